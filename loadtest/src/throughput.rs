//! Chains of no-op calls, as many as the machine makes.

use std::time::Duration;

use clap::Args;

use crate::flow::Step;
use crate::load::{self, Until};
use crate::report::{self, OutputArguments};
use crate::subject::{Subject, SubjectArguments};

/// Measures how many chains end per second, with all cores busy
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  turlough-loadtest throughput\n  \
                  turlough-loadtest throughput --steps 10 --concurrency 128 --seconds 30\n  \
                  turlough-loadtest throughput --url http://127.0.0.1:8081/Chain/chain")]
pub(crate) struct ThroughputArguments {
    /// Length of the chains
    #[arg(long, default_value_t = 10)]
    steps: u64,

    /// Requests in flight
    #[arg(long, short = 'c', default_value_t = 64)]
    concurrency: u64,

    /// How long to send
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,

    /// How long to send before that, uncounted
    #[arg(long, default_value_t = 2.0)]
    warm_up_seconds: f64,

    #[command(flatten)]
    subject: SubjectArguments,

    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) async fn run(arguments: ThroughputArguments) -> anyhow::Result<bool> {
    let subject = Subject::new(&arguments.subject)?;
    let exchange = subject.chain(Step::Apply, arguments.steps).await?;
    let http = &subject.gateway.http;
    let concurrency = arguments.concurrency;
    let run = async |seconds: f64| {
        let exchange = exchange.clone();
        let limit = Duration::try_from_secs_f64(seconds)?;
        let outcome = load::run(http, Until::Elapsed(limit), concurrency, move |_| {
            exchange.clone()
        });
        anyhow::Ok(outcome.await)
    };
    run(arguments.warm_up_seconds).await?;
    let outcome = run(arguments.seconds).await?;
    let mut report = outcome.report();
    let steps = arguments.steps as f64 * outcome.right as f64 / outcome.took.as_secs_f64();
    report["what"] = "throughput".into();
    report["subject"] = subject.name().into();
    report["steps"] = arguments.steps.into();
    report["concurrency"] = concurrency.into();
    report["steps_per_second"] = steps.into();
    let latency = &report["latency_ms"];
    let text = format!(
        "{} chains of {} steps per second, {} steps per second; p50 {} ms, p99 {} ms; \
         {} right, {} wrong, {} failed{}",
        report::number(steps / arguments.steps as f64),
        arguments.steps,
        report::number(steps),
        report::number(latency["p50"].as_f64().unwrap_or(0.0)),
        report::number(latency["p99"].as_f64().unwrap_or(0.0)),
        outcome.right,
        outcome.wrong,
        outcome.failed,
        match &outcome.first_problem {
            Some(problem) => format!("; first: {problem}"),
            None => String::new(),
        }
    );
    arguments.output.write(&report, &text)?;
    Ok(outcome.wrong == 0 && outcome.failed == 0)
}
