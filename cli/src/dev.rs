//! `turlough dev`: a whole platform in one command: the gateway and a flow-function for the YAML
//! flows in this process, the functions of the stack as processes of their own.
//!
//! Invariant: when the command has ended, nothing that it started is left.

mod announcement;
mod guest;
mod keeper;
mod local;
mod log;
mod plan;
mod store;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use turlough_gateway::{Deploying, Queueing};
use turlough_sdk::parse_duration;

use crate::exit::{Exit, Failure};
use crate::terminal::Terminal;
use local::Local;
use plan::Plan;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough dev
  turlough dev -f etl/stack.yaml --flows etl/flows --flows more/nightly.yaml
  turlough dev --gateway-listen 127.0.0.1:9080 --metrics-listen 127.0.0.1:9082
  turlough dev --output json --gateway-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0
  turlough dev --quiet -- ./integration-test.sh

Functions of the stack run as the command in their annotation turlough.process. Those with the label
turlough.flow-function: \"true\" serve flows of their own. YAML flows are served by the function
`flows`, whose settings are the variables of a flow-function (TURLOUGH_CAPACITY and so on).
Ctrl-C or SIGTERM stops all of it; a second one at once. With a COMMAND, it runs once everything is
ready, with TURLOUGH_GATEWAY_URL set; all of it stops when the command ends, with its exit code.")]
pub(crate) struct DevArguments {
    /// Stack file with the functions [default: stack.yaml or stack.yml, if it is there]
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    stack: Option<PathBuf>,

    /// Folder of YAML flows, or one such file [default: `flows` beside the stack file, if it is there]
    #[arg(long, value_name = "FOLDER|FILE")]
    flows: Vec<PathBuf>,

    /// Where functions are called; port 0 takes a free one
    #[arg(
        long,
        env = "TURLOUGH_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    gateway_listen: SocketAddr,

    /// Where the gateway's metrics are; port 0 takes a free one
    #[arg(
        long,
        env = "TURLOUGH_METRICS_LISTEN",
        default_value = "127.0.0.1:8082",
        value_name = "ADDRESS"
    )]
    metrics_listen: SocketAddr,

    /// Writes the output of each function to FOLDER/FUNCTION.log too
    #[arg(long, env = "TURLOUGH_LOG_DIR", value_name = "FOLDER")]
    log_dir: Option<PathBuf>,

    #[command(flatten)]
    deploying: Deploying,

    #[command(flatten)]
    queueing: Queueing,

    /// How long open requests may go on after Ctrl-C
    #[arg(long, env = "TURLOUGH_DRAIN", default_value = "3s", value_name = "DURATION", value_parser = parse_duration)]
    drain: Duration,

    /// Runs once everything is ready; all of it stops when the command ends
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn dev(terminal: Terminal, arguments: &DevArguments) -> Result<Exit, Failure> {
    let Some(plan) = Plan::read(terminal, arguments)? else {
        return Ok(Exit::BadInput);
    };
    log::install(terminal);
    let stop = CancellationToken::new();
    let stopped_twice = watch_signals(stop.clone())?;
    let ran = async {
        let mut local = Local::bind(arguments, &plan).await?;
        let begun = local.start_functions(terminal, &plan, &stop).await;
        let ran = match begun {
            Ok(true) if arguments.command.is_empty() => serve(terminal, &mut local, &stop).await,
            Ok(true) => guest::run(&arguments.command, &mut local, &stop).await,
            Ok(false) => Ok(Exit::Ok),
            Err(failure) => Err(failure),
        };
        if stop.is_cancelled() {
            terminal.progress("stopping; Ctrl-C again stops at once");
        }
        local.stop().await;
        ran
    };
    tokio::select! {
        ran = Box::pin(ran) => ran,
        // What runs is dropped, which kills the functions' processes.
        () = stopped_twice.cancelled() => Ok(Exit::Interrupted),
    }
}

async fn serve(
    terminal: Terminal,
    local: &mut Local,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    announcement::announce(terminal, local).await?;
    tokio::select! {
        () = stop.cancelled() => Ok(Exit::Ok),
        failure = local.broken() => Err(failure),
    }
}

/// Cancels `stop` at the first signal that asks to end, and the token it returns at the second.
fn watch_signals(stop: CancellationToken) -> Result<CancellationToken, Failure> {
    let mut signals = Vec::new();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let listening = signal(kind).context("cannot listen for signals");
        signals.push(listening.map_err(Failure::platform)?);
    }
    let twice = CancellationToken::new();
    let second = twice.clone();
    tokio::spawn(async move {
        for token in [stop, second] {
            let arrivals = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
            futures_util::future::select_all(arrivals).await;
            token.cancel();
        }
    });
    Ok(twice)
}
