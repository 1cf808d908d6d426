//! Drives flows over the wire only, closed loop, and checks every answer, not just its status.
//!
//! Invariants: an answer counts only when its whole body was read and compared; a request counts as
//! ended only when the function that drives it says so.

mod load;
mod scenario;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use serde_json::json;

use scenario::Scenario;

/// Sends requests to a running flow and checks every answer
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  turlough-loadtest fizz-buzz\n  \
                  turlough-loadtest fizz-buzz --requests 20000 --concurrency 100 --output json\n\n\
                  Exit codes: 0 every answer was right and every request ended; 1 otherwise"
)]
struct Arguments {
    /// What to send, and what must come back
    scenario: Scenario,

    /// Gateway to send to
    #[arg(
        long,
        env = "TURLOUGH_GATEWAY_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    gateway: String,

    /// Function that serves the flow
    #[arg(long, default_value = "flows")]
    function: String,

    /// Requests in all
    #[arg(long, short = 'n', default_value_t = 5_000)]
    requests: u64,

    /// Requests in flight
    #[arg(long, short = 'c', default_value_t = 50)]
    concurrency: u64,

    /// How the result is written
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "turlough-loadtest: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(60))
        .build()?;
    let function = format!(
        "{}/function/{}",
        arguments.gateway.trim_end_matches('/'),
        arguments.function
    );
    let flow = format!("{function}/{}", arguments.scenario.flow());
    let result = load::run(
        &http,
        &flow,
        arguments.scenario,
        arguments.requests,
        arguments.concurrency,
    )
    .await;
    let open = still_open(&http, &function)
        .await
        .with_context(|| format!("ask {function} which requests are open"))?;

    let quantile = |q: f64| result.latency_us.value_at_quantile(q) as f64 / 1e3;
    let seconds = result.took.as_secs_f64();
    let report = json!({
        "scenario": arguments.scenario.flow(),
        "requests": arguments.requests,
        "concurrency": arguments.concurrency,
        "right": result.right,
        "wrong": result.wrong,
        "failed": result.failed,
        "open_afterwards": open,
        "seconds": seconds,
        "requests_per_second": result.right as f64 / seconds,
        "latency_ms": { "p50": quantile(0.5), "p99": quantile(0.99), "max": quantile(1.0) },
        "first_problem": result.first_problem,
    });
    let text = if arguments.output == "json" {
        report.to_string()
    } else {
        serde_json::to_string_pretty(&report)?
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(result.right == arguments.requests && open == 0)
}

/// Requests that have not ended; asked again for up to 30 s, since the end is told before the last
/// record of it is written.
async fn still_open(http: &reqwest::Client, function: &str) -> anyhow::Result<usize> {
    let mut open = 0;
    for _ in 0..300 {
        let url = format!("{function}/requests?status=running&limit=1000");
        let list: serde_json::Value = http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        open = list["requests"].as_array().map_or(0, Vec::len);
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(open)
}
