//! Fan-outs of no-op calls: what one more branch costs.

use std::collections::BTreeMap;

use anyhow::ensure;
use clap::Args;

use crate::report::{self, OutputArguments};
use crate::series::{Series, SeriesArguments};
use crate::subject::{Subject, SubjectArguments};

/// Measures what one more branch of a fan-out costs
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        turlough-loadtest fanout --branches 10,100,1000\n  \
        turlough-loadtest fanout --branches 1000,10000 --max-parallel 256 --requests 3\n\n\
        The flow is one for_each over the input, whose body is one call.")]
pub(crate) struct FanoutArguments {
    /// Numbers of branches
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000])]
    branches: Vec<u64>,

    /// Branches in progress at once
    #[arg(long, default_value_t = 64)]
    max_parallel: u64,

    #[command(flatten)]
    series: SeriesArguments,

    #[command(flatten)]
    subject: SubjectArguments,

    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) async fn run(arguments: FanoutArguments) -> anyhow::Result<bool> {
    ensure!(
        arguments.max_parallel > 0,
        "at least one branch must be in progress"
    );
    let subject = Subject::new(&arguments.subject)?;
    let mut sizes = BTreeMap::new();
    for &branches in &arguments.branches {
        let exchange = subject.fanout(branches, arguments.max_parallel).await?;
        sizes.insert(branches, exchange);
    }
    let series = Series {
        sizes,
        baseline: subject.baseline(),
        entry: subject.entry(),
    };
    let http = &subject.gateway.http;
    let rounds = series.measure(http, &arguments.series, "branch").await?;
    let mut report = series.report(&rounds, arguments.output.raw);
    report["what"] = "fanout".into();
    report["subject"] = subject.name().into();
    report["max_parallel"] = arguments.max_parallel.into();
    report["concurrency"] = arguments.series.concurrency.into();
    let text = report::series(&report, "branches", "branch");
    arguments.output.write(&report, &text)?;
    Ok(true)
}
