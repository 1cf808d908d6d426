//! The process: flows in, HTTP out, until SIGTERM.

mod opening;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use turlough_sdk::{Flow, FlowError, read_yaml_file_text};
use turlough_statestore::{StateError, StateUrl, watch_wall_clock};

use crate::engine::Engine;
use crate::evaluator::run_evaluator_if_asked;
use crate::http;
use crate::registry::RegisterError;
use crate::settings::Settings;

/// What is logged where `RUST_LOG` does not say it: the client of NATS tells of every try, and the
/// connection is told of by whoever uses it.
const LOGGED: &str = "info,async_nats=warn";

/// How long a process that ends waits for its last spans to be taken.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Why a flow-function does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A flow is wrong.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// Two flows cannot stand side by side.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The address cannot be had.
    #[error("cannot listen on {address}; set TURLOUGH_LISTEN and port to another")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The state cannot be used as it is.
    #[error("the state at {url} cannot be used")]
    State {
        /// Where it is.
        url: StateUrl,
        /// Why.
        #[source]
        source: StateError,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Settings(String),
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client")]
    Client(#[from] reqwest::Error),
    /// Flows cannot be read.
    #[error("cannot read flows from {path}")]
    Folder {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Flows of a folder are wrong: every problem of every one, a line each.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Flows(Vec<FlowError>),
    /// Closures that cannot be stopped hold too many threads.
    #[error(
        "{limit} closures ran on after their attempts were given up, limit {limit}; start the process again, and make them return or raise TURLOUGH_ABANDONED_MAX"
    )]
    Abandoned {
        /// How many there may be.
        limit: usize,
    },
}

/// A flow-function that is bound to its address, and not serving yet.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    listener: TcpListener,
}

impl Server {
    /// Binds the address, opens the state and the store, and registers the flows; port 0 takes a free one.
    /// While the state or the store is away, or does not do what is needed, it waits, and says at
    /// `/_/ready` what for.
    ///
    /// # Errors
    /// Settings that do not go together; two flows of one name; an address that cannot be had; a state
    /// that no waiting makes usable.
    pub async fn bind(settings: Settings, flows: Vec<Flow>) -> Result<Self, ServeError> {
        if let Some(conflict) = settings.conflict() {
            return Err(ServeError::Settings(conflict));
        }
        let address = settings.address();
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })?;
        let (listener, state, stores) = opening::open(listener, &settings).await?;
        let engine = Engine::with(settings, state, stores)?;
        for flow in flows {
            engine.register(flow)?;
        }
        if let Err(error) = engine.shared.attend().await {
            warn!(%error, "this replica cannot take requests yet");
        }
        Ok(Self { engine, listener })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// A socket that is gone.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What runs the flows.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Serves until `shutdown`: then it is not ready, after a while takes no new requests, lets the open
    /// ones end within the grace time, and closes.
    ///
    /// # Errors
    /// None for now: what goes wrong with a connection ends that connection.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        tokio::spawn(Arc::clone(&self.engine.shared).attend_soon());
        let engine = self.engine.clone();
        let draining = async move {
            let settings = &engine.shared.settings;
            let (grace, still) = (settings.drain(), settings.healthcheck_interval);
            shutdown.cancelled().await;
            engine.shared.leaving.cancel();
            if !still.is_zero() {
                tokio::time::sleep(still).await;
            }
            if !engine.drain(grace).await {
                warn!(?grace, "requests were open when the grace time was over");
            }
            engine.shared.leave_the_table().await;
            if let Some(traces) = &engine.shared.traces {
                traces.exporter.flush(FLUSH_TIME).await;
            }
            engine.shared.closing.cancel();
        };
        tokio::join!(draining, http::serve(self.listener, &self.engine));
        Ok(())
    }
}

/// The flows of a folder's `*.yml` and `*.yaml`, or of one file, in the order of their names.
///
/// # Errors
/// What cannot be read; every problem of every flow.
pub fn load_folder(path: &Path) -> Result<Vec<Flow>, ServeError> {
    let folder = |source| ServeError::Folder {
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(folder)? {
            let file = entry.map_err(folder)?.path();
            if file
                .extension()
                .is_some_and(|end| end == "yml" || end == "yaml")
            {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let (mut flows, mut wrong) = (Vec::new(), Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|source| ServeError::Folder {
            path: path.clone(),
            source,
        })?;
        match read_yaml_file_text(&path.display().to_string(), &text) {
            Ok(flow) => flows.push(flow),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() {
        Ok(flows)
    } else {
        Err(ServeError::Flows(wrong))
    }
}

/// Serves one compiled flow: the whole `main` of an author's flow-function.
#[must_use]
pub fn serve(flow: Result<Flow, FlowError>) -> ExitCode {
    run_evaluator_if_asked();
    #[derive(Parser)]
    #[command(about = "A Turlough flow-function", version)]
    struct Arguments {
        #[command(flatten)]
        settings: Settings,
    }
    let Arguments { settings } = Arguments::parse();
    main_with(
        settings,
        flow.map(|flow| vec![flow]).map_err(ServeError::from),
    )
}

/// Serves flows until SIGTERM or an interrupt, logging to standard error. A `main` that reads
/// arguments before this calls [`run_evaluator_if_asked`] before it reads them.
///
/// It ends with a failure too when too many closures run on past their time limit
/// (`TURLOUGH_ABANDONED_MAX`), so that its supervisor replaces it.
#[must_use]
pub fn main_with(settings: Settings, flows: Result<Vec<Flow>, ServeError>) -> ExitCode {
    run_evaluator_if_asked();
    settings.log_format.install(LOGGED);
    let run = || -> Result<(), anyhow::Error> {
        let flows = flows?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let served = runtime.block_on(serve_until_signal(settings, flows));
        // A closure that never returns must not keep the process.
        runtime.shutdown_background();
        Ok(served?)
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

async fn serve_until_signal(settings: Settings, flows: Vec<Flow>) -> Result<(), ServeError> {
    let names: Vec<_> = flows.iter().map(|flow| flow.name().to_string()).collect();
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    tokio::spawn(watch_wall_clock());
    tokio::spawn(async move {
        wait_for_signal().await;
        asked.cancel();
    });
    let server = tokio::select! {
        server = Server::bind(settings, flows) => server?,
        // It waits for its state, and holds nothing.
        () = shutdown.cancelled() => return Ok(()),
    };
    if let Ok(address) = server.local_addr() {
        info!(%address, flows = names.join(","), "serving");
    }
    let abandoned = server.engine().shared.abandoned.clone();
    let (stopping, exceeded) = (shutdown.clone(), abandoned.exceeded().clone());
    tokio::spawn(async move {
        exceeded.cancelled().await;
        stopping.cancel();
    });
    server.run(shutdown).await?;
    if abandoned.exceeded().is_cancelled() {
        let limit = abandoned.limit();
        return Err(ServeError::Abandoned { limit });
    }
    Ok(())
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
