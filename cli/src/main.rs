//! `turlough`: runs, watches and validates pipelines from the command line.
//!
//! `dev` starts a platform in this process; `validate`, `replay` and `graph --file` read files, `schema` reads
//! nothing; every other command only talks HTTP to a gateway, `deploy` after it has read files. Invariants:
//! stdout carries results and nothing else; a command ends with one of the codes of [`exit::Exit`].

mod arguments;
mod exit;
mod terminal;

mod deploy;
mod dev;
mod run;

mod control;
mod events;
mod flows;
mod graph;
mod put;
mod replay;
mod requests;
mod schema;
mod validate;

mod amount;
mod credentials;
mod document;
mod input;
mod missing;
mod platform;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use arguments::{Arguments, Command};
use exit::{Exit, Failure};
use platform::Platform;
use terminal::Terminal;

/// For what is left when a command has ended, such as a closure that never returns.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // `dev` has the flow-function's jq evaluated in processes of this program.
    turlough_flow_function::run_evaluator_if_asked();
    let arguments = Arguments::parse();
    let terminal = arguments.terminal();
    match start(arguments, terminal) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            terminal.note(&format!("turlough: {:#}", failure.cause));
            failure.exit.into()
        }
    }
}

fn start(arguments: Arguments, terminal: Terminal) -> Result<Exit, Failure> {
    // One thread is enough to wait with; `dev` is a whole platform.
    let mut runtime = match arguments.command {
        Command::Dev(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .context("cannot start a runtime")
        .map_err(Failure::platform)?;
    let ended = runtime.block_on(Box::pin(command(arguments, terminal)));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    ended
}

async fn command(arguments: Arguments, terminal: Terminal) -> Result<Exit, Failure> {
    let platform = || -> Result<Platform, Failure> {
        let connection = &arguments.connection;
        let gateway = connection.gateway_url()?;
        let credentials = connection.credentials(&gateway)?;
        Platform::new(&gateway, connection.token()?.as_deref(), credentials)
    };
    match &arguments.command {
        Command::Dev(dev) => dev::dev(terminal, dev).await,
        Command::Run(run) => run::run(&platform()?, terminal, run).await,
        Command::Follow(one) => run::follow(&platform()?, terminal, one).await,
        Command::Requests(list) => requests::list(&platform()?, terminal, list).await,
        Command::Request(one) => requests::show(&platform()?, terminal, one).await,
        Command::Events(one) => events::events(&platform()?, terminal, one).await,
        Command::Replay(log) => replay::replay(terminal, log),
        Command::Pause(one) => control::pause(&platform()?, terminal, one).await,
        Command::Resume(one) => control::resume(&platform()?, terminal, one).await,
        Command::Cancel(one) => control::cancel(&platform()?, terminal, one).await,
        Command::Restart(one) => control::restart(&platform()?, terminal, one).await,
        Command::Signal(one) => control::signal(&platform()?, terminal, one).await,
        Command::Put(files) => put::put(&platform()?, terminal, files).await,
        Command::Deploy(deploy) => deploy::deploy(platform, terminal, deploy).await,
        Command::Flows => flows::list(&platform()?, terminal).await,
        Command::Graph(graph) => graph::graph(platform, terminal, graph).await,
        Command::Validate(validate) => validate::validate(terminal, validate),
        Command::Schema => schema::schema(terminal),
    }
}
