//! The process: it waits for the state, keeps, and answers HTTP, until SIGTERM.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use tracing::{info, warn};
use turlough_sdk::ReplicaId;
use turlough_statestore::{State, Use, watch_wall_clock};
use uuid::Uuid;

use crate::http;
use crate::keeper::Keeper;
use crate::options::{IndexPlace, Options};
use crate::settings::Settings;

/// What is logged where `RUST_LOG` does not say it: the client of NATS tells of every try, and the
/// connection is told of by whoever uses it.
const LOGGED: &str = "info,async_nats=warn";
/// How long answers may take once the process ends.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Runs a keeper until SIGTERM or an interrupt, logging to standard error.
#[must_use]
pub fn main_with(settings: Settings) -> ExitCode {
    settings.log_format.install(LOGGED);
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
    if settings.state.is_of_one_process() {
        bail!(
            "state {} is of one process, and the flow-function that has it keeps it; \
             start a keeper for nats://… or redis://… only",
            settings.state.url
        );
    }
    let address = settings.address();
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; set TURLOUGH_LISTEN and port"))?;
    info!(address = %listener.local_addr()?, tenant = %settings.tenant, "keeper");
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(watch_wall_clock());
    tokio::spawn(async move {
        wait_for_signal().await;
        stopping.cancel();
    });
    run_until(settings, listener, stop).await
}

/// Runs a keeper on a listener until `stop`, in a process that does other things, too. While the state
/// is away, or its server does not do what is needed, it waits, and says at `/_/ready` what for.
///
/// # Errors
/// A state that no waiting makes usable; an index that cannot be had.
pub async fn run_until(
    settings: Settings,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), anyhow::Error> {
    let text = format!("waiting for the state at {}", settings.state.url);
    let (waits, why) = watch::channel(text);
    let (answers, routers) = watch::channel(http::waiting_router(why));
    let serving = tokio::spawn(serve(listener, routers, stop.clone()));
    let options_of_state = settings.state.options(&settings.tenant, &"keeper".parse()?);
    let url = &settings.state.url;
    let state = tokio::select! {
        state = State::open_once_fit(url, &options_of_state, Use::Keep, &waits) => {
            state.with_context(|| format!("the state at {url} cannot be used"))?
        }
        () = stop.cancelled() => return Ok(serving.await?),
    };
    let keeper = Keeper::start(state, options(&settings)).await?;
    drop(answers.send_replace(keeper.router()));
    serving.await?;
    keeper.stop().await;
    Ok(())
}

fn options(settings: &Settings) -> Options {
    let replica = ReplicaId::from_uuid(Uuid::new_v4());
    let index = if settings.keeper_index == Path::new(IndexPlace::MEMORY) {
        IndexPlace::Memory
    } else {
        IndexPlace::File(settings.keeper_index.clone())
    };
    Options {
        gateway_url: settings.gateway_url.clone(),
        index,
        keep_failed_max: settings.keep_failed_max,
        heartbeat: settings.state.heartbeat,
        max_age: settings.state.max_age,
        sync_interval: settings.state.sync_interval(),
        deletions_per_s: settings.deletions_per_s,
        ..Options::new(replica, settings.tenant.clone())
    }
}

/// Answers as the newest router says until it is told to stop; then what is being answered has a
/// moment.
async fn serve(listener: TcpListener, routers: watch::Receiver<Router>, stop: CancellationToken) {
    let answer = move |request: Request| {
        let mut router = routers.borrow().clone();
        async move { router.call(request).await }
    };
    let stopping = stop.clone();
    let serving = axum::serve(listener, Router::new().fallback(answer))
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    let late = async {
        stop.cancelled().await;
        sleep(CLOSE_GRACE).await;
    };
    tokio::select! {
        // It ends by being told to.
        _ = serving => {}
        () = late => warn!("connections were still in use"),
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
