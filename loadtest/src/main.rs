//! Drives flows over the wire only and checks every answer, not just its status.
//!
//! Invariants: an answer counts only when its whole body was read and compared; a request counts as
//! ended only when the function that drives it says so; what is compared is measured in turns, never
//! one thing after the other, so that both have the same machine.

mod chain;
mod exchange;
mod fanout;
mod fizz_buzz;
mod flow;
mod load;
mod noop;
mod open;
mod report;
mod scenario;
mod series;
mod statistics;
mod subject;
mod throughput;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sends requests to running flows, checks every answer, and tells how long they took
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  turlough-loadtest fizz-buzz --requests 20000 --concurrency 100 --output json\n  \
                  turlough dev --quiet -f loadtest/stack.yaml -- turlough-loadtest chain --steps 1,10,100\n  \
                  turlough-loadtest chain --url http://127.0.0.1:8081/chain --output json\n\n\
                  chain, fanout, open and throughput need a function `noop`, which answers a number with\n\
                  the next one; loadtest/stack.yaml has it. `loadtest/steps.py` measures everything,\n\
                  peers too.\n\n\
                  Exit codes: 0 every answer was right and every request ended; 1 otherwise"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    FizzBuzz(fizz_buzz::FizzBuzzArguments),
    Chain(chain::ChainArguments),
    Fanout(fanout::FanoutArguments),
    Open(open::OpenArguments),
    Throughput(throughput::ThroughputArguments),
    #[command(hide = true)]
    ServeNoop(noop::NoopArguments),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // The function is to be as cheap as it can be: one thread, no work to steal.
    let runtime = match command {
        Command::ServeNoop(_) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        _ => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build(),
    };
    let ran = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(command)));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "turlough-loadtest: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::FizzBuzz(arguments) => fizz_buzz::run(arguments).await,
        Command::Chain(arguments) => chain::run(arguments).await,
        Command::Fanout(arguments) => fanout::run(arguments).await,
        Command::Open(arguments) => open::run(arguments).await,
        Command::Throughput(arguments) => throughput::run(arguments).await,
        Command::ServeNoop(arguments) => noop::run(arguments).await,
    }
}
