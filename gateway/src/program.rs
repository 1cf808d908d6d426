//! The gateway as a program: it serves until SIGTERM.

use std::io::Write as _;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::gateway::Gateway;
use crate::settings::Settings;
use crate::stack::Stack;

/// Runs a gateway until SIGTERM or an interrupt, logging to standard error.
#[must_use]
pub fn main_with(settings: Settings) -> ExitCode {
    settings.log_format.install("info");
    let run = || -> Result<(), anyhow::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(run(settings))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not as a log line: whatever the log's filter is, a person has to see it.
            let told = writeln!(std::io::stderr(), "error: {error:#}");
            drop(told);
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> Result<(), anyhow::Error> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    let stack = settings.stack.as_deref().map(Stack::load).transpose()?;
    let gateway = Gateway::bind(settings.config()).await?;
    info!(address = %gateway.url(), metrics = %gateway.metrics_addr(), "gateway listens");
    if settings.deploying.folder.is_none() {
        info!("what is deployed goes with this process; set TURLOUGH_GATEWAY_FOLDER to keep it");
    }
    if settings.deploying.anybody_deploys {
        warn!("whoever reaches the gateway may deploy, which is to run commands as its user");
    }
    if let Some(stack) = &stack {
        let started = gateway.start_stack(stack, |function| {
            info!(function = %function.function, after = ?function.ready_after, "function is ready");
        });
        let started = tokio::select! {
            started = started => started,
            () = stop.cancelled() => Ok(()),
        };
        if let Err(error) = started {
            // What has begun is stopped as at any end, with what its processes had started.
            stop.cancel();
            gateway.run(stop).await?;
            return Err(error.into());
        }
    }
    Ok(gateway.run(stop).await?)
}
