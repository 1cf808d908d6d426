//! Chains of no-op calls: what one more step costs, against one call by a client.

use std::collections::BTreeMap;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value as Json, json};

use crate::flow::Step;
use crate::report::{self, OutputArguments};
use crate::series::{Series, SeriesArguments};
use crate::subject::{Subject, SubjectArguments};

/// Measures what one more step of a chain costs, against one keep-alive call by this client
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        turlough-loadtest chain --steps 1,10,100\n  \
        turlough-loadtest chain --pure --rounds 9 --output json\n  \
        turlough-loadtest chain --steps 10 --concurrency 64\n  \
        turlough-loadtest chain --url http://127.0.0.1:8081/Chain/chain --steps 1,10\n\n\
        In each turn one chain of each length is called, then the no-op function alone, as often as\n\
        the two longest chains differ: (T(100) − T(10)) / 90 is compared with one of these calls.")]
pub(crate) struct ChainArguments {
    /// Lengths of the chains
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    steps: Vec<u64>,

    /// Steps that leave no trace: they start while what released them is being recorded
    #[arg(long, conflicts_with = "pass")]
    pure: bool,

    /// Steps that are a jq expression in the flow-function itself
    #[arg(long)]
    pass: bool,

    #[command(flatten)]
    series: SeriesArguments,

    #[command(flatten)]
    subject: SubjectArguments,

    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) async fn run(arguments: ChainArguments) -> anyhow::Result<bool> {
    ensure!(
        arguments.steps.iter().all(|&steps| steps > 0),
        "a chain has at least one step"
    );
    let step = match (arguments.pure, arguments.pass) {
        (true, _) => Step::Pure,
        (_, true) => Step::Pass,
        _ => Step::Apply,
    };
    let subject = Subject::new(&arguments.subject)?;
    let series = series(&subject, step, &arguments.steps).await?;
    let appends = Appends::read(&subject).await;
    let http = &subject.gateway.http;
    let rounds = series.measure(http, &arguments.series, "step").await?;
    let mut report = series.report(&rounds, arguments.output.raw);
    report["what"] = "chain".into();
    report["step"] = step.name().into();
    report["subject"] = subject.name().into();
    report["concurrency"] = arguments.series.concurrency.into();
    if let (Some(before), Some(after)) = (appends, Appends::read(&subject).await) {
        report["append_us_mean"] = after.mean_us_since(before);
    }
    let text = report::series(&report, "steps", "step");
    arguments.output.write(&report, &text)?;
    Ok(true)
}

/// Chains of these lengths, beside a call of the no-op function and an entry call.
pub(crate) async fn series(subject: &Subject, step: Step, steps: &[u64]) -> anyhow::Result<Series> {
    let mut sizes = BTreeMap::new();
    for &steps in steps {
        sizes.insert(steps, subject.chain(step, steps).await?);
    }
    Ok(Series {
        sizes,
        baseline: subject.baseline(),
        entry: subject.entry(),
    })
}

/// The flow-function's own account of its appends, in seconds.
#[derive(Debug, Clone, Copy)]
struct Appends {
    count: f64,
    seconds: f64,
}

impl Appends {
    async fn read(subject: &Subject) -> Option<Self> {
        subject.entry()?;
        let name = |end| format!("turlough_log_append_duration_seconds_{end}");
        Some(Self {
            count: subject.gateway.metric(&name("count")).await?,
            seconds: subject.gateway.metric(&name("sum")).await?,
        })
    }

    fn mean_us_since(self, before: Self) -> Json {
        let count = self.count - before.count;
        if count < 1.0 {
            return Json::Null;
        }
        json!(crate::statistics::rounded(
            (self.seconds - before.seconds) / count * 1e6
        ))
    }
}
