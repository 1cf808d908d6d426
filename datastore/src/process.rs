//! The process: a store with what goes beside it, which serves until SIGTERM.

use std::future::IntoFuture as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::http;
use crate::server::{Config, Server, Shared, now_ms};
use crate::settings::Settings;
use crate::store::Bounds;
use crate::tenants::{self, TenantsFile};
use crate::tls;

/// Runs a store until SIGTERM or an interrupt, logging to standard error.
#[must_use]
pub fn main_with(settings: Settings) -> ExitCode {
    settings.log_format.install("info");
    let run = || -> Result<(), anyhow::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
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
    allow_files(settings.connections_max);
    let process = StoreProcess::open(&settings).await?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        info!("store is shutting down");
        stopping.cancel();
    });
    process.run(stop).await;
    Ok(())
}

/// A store, and what a process of its own has beside it: quotas from a file, health and metrics.
#[derive(Debug)]
pub struct StoreProcess {
    server: Server,
    metrics: TcpListener,
    drain: Duration,
}

impl StoreProcess {
    /// Listens as the settings say, with nothing in the store.
    ///
    /// # Errors
    /// An address, a socket, a folder or a file that cannot be had, or does not hold what it should.
    pub async fn open(settings: &Settings) -> Result<Self, anyhow::Error> {
        let bounds = settings.bounds();
        let server = Server::bind(config(settings, bounds)?).await?;
        if let Some(path) = &settings.tenants {
            let shared = server.shared();
            let mut file = TenantsFile::new(path.clone());
            file.apply(&shared.store, now_ms())?;
            tenants::follow(file, Arc::clone(shared), now_ms);
        }
        let address = settings.address_of_metrics();
        let metrics = TcpListener::bind(address).await.with_context(|| {
            format!(
                "cannot listen on {address}; set TURLOUGH_LISTEN and TURLOUGH_STORE_METRICS_PORT"
            )
        })?;
        info!(
            address = %server.local_addr()?,
            metrics = %metrics.local_addr()?,
            socket = settings.socket.as_ref().map(|path| path.display().to_string()),
            bytes_max = bounds.bytes_max,
            "store"
        );
        Ok(Self {
            server,
            metrics,
            drain: settings.drain,
        })
    }

    #[cfg(test)]
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        self.server.shared()
    }

    /// Serves until `stop`, and then for as long as clients have to go.
    pub async fn run(self, stop: CancellationToken) {
        let (shared, drain) = (Arc::clone(self.server.shared()), self.drain);
        let (ending, ended) = (CancellationToken::new(), CancellationToken::new());
        let serving = http::router(Arc::clone(&shared), ending.clone());
        let serving = tokio::spawn(axum::serve(self.metrics, serving).into_future());
        let ends = ended.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            ending.cancel();
            shared.store.close();
            gone(&shared, drain).await;
            ends.cancel();
        });
        self.server.run(ended).await;
        serving.abort();
    }
}

fn config(settings: &Settings, bounds: Bounds) -> Result<Config, anyhow::Error> {
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(tls::server(cert, key)?),
        _ => None,
    };
    let peers_root = match &settings.peers_ca {
        None => None,
        Some(path) => Some(std::fs::read(path).with_context(|| {
            let path = path.display();
            format!("cannot read certificates in {path}; set TURLOUGH_STORE_PEERS_CA")
        })?),
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Config {
        bounds,
        spill: settings.spill_to(),
        listen: settings.address_of_store(),
        address: settings.address.clone(),
        socket: settings.socket.clone(),
        secrets: settings.secrets.clone(),
        peers: settings.peers.clone(),
        peers_root,
        backup: settings.backup,
        tls,
        value_bytes_max: settings.value_bytes_max,
        connections_max: settings.connections_max,
        buffers_bytes_max: settings.buffers_bytes_max,
        stalled: settings.stalled,
        workers: settings.workers.unwrap_or(processors / 2),
    })
}

/// Has this process hold as many connections as it may: each is a file. Says so where that is fewer
/// than were asked for.
fn allow_files(connections_max: u64) {
    /// What else is open: listeners, files that are read.
    const OTHERS: u64 = 64;
    let limit = getrlimit(Resource::Nofile);
    let wanted = connections_max + OTHERS;
    let most = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            warn!(%error, "limit of open files cannot be raised");
        }
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    if current < wanted {
        warn!(
            connections_max,
            files = current,
            "this process may open fewer files than it may have connections; raise its limit of open files"
        );
    }
}

/// Waits until all clients are gone and all copies are given, for so long at most.
async fn gone(shared: &Shared, most: Duration) {
    const LOOK: Duration = Duration::from_millis(20);
    let gone = async {
        while shared.connections() > 0 || shared.peers.counts().pending() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(most, gone).await.is_ok() {
        return;
    }
    let (connections, copies) = (shared.connections(), shared.peers.counts().pending());
    let drain = format!("{most:?}");
    warn!(
        %drain,
        connections,
        copies,
        "store ends though clients are connected, or other stores were not given all copies; raise TURLOUGH_DRAIN if it should wait longer"
    );
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
