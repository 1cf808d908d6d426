//! The flow of etl-examples/fizz-buzz under load.

use clap::Args;

use crate::exchange::Exchange;
use crate::load::{self, Until};
use crate::report::OutputArguments;
use crate::scenario::Scenario;
use crate::subject::{Gateway, GatewayArguments};

/// Plays fizz-buzz, and checks every answer
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  turlough-loadtest fizz-buzz\n  \
                  turlough-loadtest fizz-buzz --requests 20000 --concurrency 100 --output json")]
pub(crate) struct FizzBuzzArguments {
    #[command(flatten)]
    gateway: GatewayArguments,

    /// Requests in all
    #[arg(long, short = 'n', default_value_t = 5_000)]
    requests: u64,

    /// Requests in flight
    #[arg(long, short = 'c', default_value_t = 50)]
    concurrency: u64,

    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) async fn run(arguments: FizzBuzzArguments) -> anyhow::Result<bool> {
    let scenario = Scenario::FizzBuzz;
    let gateway = Gateway::new(&arguments.gateway)?;
    let url = gateway.path(scenario.flow());
    let until = Until::Requests(arguments.requests);
    let result = load::run(&gateway.http, until, arguments.concurrency, move |n| {
        let (body, expected) = scenario.exchange(n);
        let url = url.clone();
        Exchange {
            url,
            body,
            expected,
        }
    })
    .await;
    let open = gateway.still_open("running").await?;
    let mut report = result.report();
    report["scenario"] = scenario.flow().into();
    report["requests"] = arguments.requests.into();
    report["concurrency"] = arguments.concurrency.into();
    report["open_afterwards"] = open.into();
    let text = serde_json::to_string_pretty(&report)?;
    arguments.output.write(&report, &text)?;
    Ok(result.right == arguments.requests && open == 0)
}
