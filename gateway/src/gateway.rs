//! The gateway as a whole: listeners, registry, functions, and their end.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info};
use turlough_statestore::StateError;

use crate::asynchronous::AsyncCalls;
use crate::config::GatewayConfig;
use crate::deployments::Deployments;
use crate::folder::{Folder, FolderError};
use crate::functions::{Registry, RegistryError};
use crate::images::{Images, ImagesError};
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::process::{StartError, Started, Supervisor, SupervisorConfig, allow_files};
use crate::proxy::Proxy;
use crate::rest::{self, Access, BasicAuthError};
use crate::secrets::Secrets;
use crate::server::Server;
use crate::stack::Stack;

/// Functions started at once: interpreters start on a core each, and more of
/// them only run into one another's start timeouts.
const STARTING_MAX: usize = 4;

/// A gateway that listens. Dropped, it kills its functions; [`Gateway::run`]
/// stops them properly.
#[derive(Debug)]
pub struct Gateway {
    local_addr: SocketAddr,
    metrics_addr: SocketAddr,
    registry: Registry,
    deployments: Arc<Deployments>,
    async_calls: AsyncCalls,
    /// The dispatcher of asynchronous calls is among them.
    servers: JoinSet<()>,
    /// Ends the servers and the asynchronous calls. A child of the token that ends the functions, since
    /// requests in flight need them.
    serving: CancellationToken,
    _all: DropGuard,
}

/// Why a gateway could not begin, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(
        "cannot listen on {address}: address already in use; another process holds it, set {setting} to another"
    )]
    AddressInUse {
        address: SocketAddr,
        setting: String,
    },
    #[error("cannot listen on {address}; set {setting} to an address of this machine")]
    Listen {
        address: SocketAddr,
        setting: String,
        source: io::Error,
    },
    #[error("cannot start the thread that starts functions")]
    Spawner { source: io::Error },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot keep secrets; set the gateway's folder to one that can be written")]
    Secrets { source: io::Error },
    #[error(transparent)]
    BasicAuth(#[from] BasicAuthError),
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error("cannot have the queue of asynchronous calls: {0}")]
    AsyncState(#[from] StateError),
    #[error("a server of the gateway failed")]
    Server { source: JoinError },
}

impl Gateway {
    /// Listens on both addresses and begins to serve, with no functions yet.
    ///
    /// # Errors
    /// [`GatewayError`] if an address cannot be had.
    pub async fn bind(config: GatewayConfig) -> Result<Self, GatewayError> {
        let (listener, local_addr) = listen(config.listen, &config.listen_setting).await?;
        let (metrics_listener, metrics_addr) =
            listen(config.metrics_listen, &config.metrics_listen_setting).await?;

        allow_files(config.connections_max);
        let all = CancellationToken::new();
        let serving = all.child_token();
        let metrics = Metrics::new();
        let registry = Registry::new(metrics.clone());
        let access = Access::read(config.basic_auth.as_deref(), config.anybody_deploys)?;
        let deployments = Arc::new(deployments(&config, local_addr, &registry, &all)?);
        let proxy = Arc::new(Proxy::new(
            registry.clone(),
            config.upstream_timeout,
            config.start_timeout,
        ));
        let async_calls = AsyncCalls::open(
            config.asynchronous,
            Arc::clone(&proxy),
            registry.clone(),
            config.upstream_timeout,
            metrics.asynchronous(),
        );
        let async_calls = async_calls.await?;
        let server = Server {
            proxy,
            async_calls: async_calls.clone(),
            rest: rest::router(Arc::clone(&deployments), async_calls.clone(), access),
            connections_max: config.connections_max,
            drain_grace: config.drain_grace,
        };
        let mut servers = JoinSet::new();
        servers.spawn(server.serve(listener, serving.clone()));
        servers.spawn(async_calls.clone().run(serving.clone(), config.drain_grace));
        let metrics_server = serve_metrics(
            metrics_listener,
            metrics.router(Arc::clone(deployments.meter()), async_calls.clone()),
            serving.clone(),
            config.drain_grace,
        );
        servers.spawn(metrics_server);
        servers.spawn({
            let (deployments, serving) = (Arc::clone(&deployments), serving.clone());
            async move {
                tokio::select! {
                    () = deployments.keep() => {}
                    () = serving.cancelled() => {}
                }
            }
        });
        Ok(Self {
            local_addr,
            metrics_addr,
            registry,
            deployments,
            async_calls,
            servers,
            serving,
            _all: all.drop_guard(),
        })
    }

    /// Where functions are called.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where `/metrics` is.
    #[must_use]
    pub fn metrics_addr(&self) -> SocketAddr {
        self.metrics_addr
    }

    /// A base URL that processes of this machine can call.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", reachable(self.local_addr))
    }

    /// The functions, for adding those that someone else runs.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Starts all functions of a stack and waits until they are healthy, telling
    /// of each as it becomes so. Afterwards they are kept running. From the first moment all of them
    /// are known: a call of one that waits for its turn to be started finds no replica, and may try
    /// again, rather than no function.
    ///
    /// # Errors
    /// The first [`StartError`]. What had been started by then keeps running
    /// until the gateway ends.
    pub async fn start_stack(
        &self,
        stack: &Stack,
        mut progress: impl FnMut(Started),
    ) -> Result<(), StartError> {
        let mut registered = Vec::new();
        for function in stack.functions() {
            let replicas = function.spec.replicas_min();
            let replicas = replicas.map_err(RegistryError::from)?;
            let added = self.registry.add(function.spec.clone(), replicas);
            match added {
                Ok(added) => registered.push((function, added)),
                Err(error) => {
                    let earlier = registered.iter().map(|(function, _)| &function.spec.name);
                    earlier.for_each(|name| _ = self.registry.remove(name));
                    return Err(error.into());
                }
            }
        }
        self.deployments.restore().await;
        let starts = registered
            .into_iter()
            .map(|(function, _)| self.deployments.start(function));
        let mut starts = stream::iter(starts).buffer_unordered(STARTING_MAX);
        while let Some(started) = starts.next().await {
            progress(started?);
        }
        Ok(())
    }

    /// Waits for `shutdown`; then stops accepting, lets requests and asynchronous
    /// calls in flight end, stops the functions, and returns when all of them are gone.
    ///
    /// # Errors
    /// [`GatewayError::Server`] if a server failed; the functions are stopped all the same.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), GatewayError> {
        if !shutdown.is_cancelled() {
            self.deployments.restore().await;
            self.async_calls.begin();
        }
        let mut outcome = Ok(());
        tokio::select! {
            () = shutdown.cancelled() => info!("gateway is stopping"),
            Some(ended) = self.servers.join_next() => outcome = ended,
        }
        self.serving.cancel();
        while let Some(ended) = self.servers.join_next().await {
            if let Err(error) = &ended {
                error!(%error, "server task failed");
            }
            outcome = outcome.and(ended);
        }
        self.deployments.stop().await;
        outcome.map_err(|source| GatewayError::Server { source })
    }
}

/// What is to run, and what is known of it from before.
fn deployments(
    config: &GatewayConfig,
    local_addr: SocketAddr,
    registry: &Registry,
    all: &CancellationToken,
) -> Result<Deployments, GatewayError> {
    let images = Images::default();
    if let Some(file) = &config.images {
        images.load(file)?;
    }
    let folder = Folder::new(config.folder.clone());
    let supervisor = SupervisorConfig {
        gateway_url: format!("http://{}", reachable(local_addr)),
        log_dir: config.log_dir.clone(),
        start_timeout: config.start_timeout,
        call_timeout: config.upstream_timeout,
        stop_grace: config.stop_grace,
    };
    let supervisor = Supervisor::new(supervisor, all.clone());
    let deployments = Deployments::open(
        registry.clone(),
        images,
        Namespaces::open(folder.clone())?,
        Secrets::open(&folder).map_err(|source| GatewayError::Secrets { source })?,
        folder,
        supervisor.map_err(|source| GatewayError::Spawner { source })?,
    );
    Ok(deployments?)
}

/// A listener, and the address that it got.
async fn listen(
    address: SocketAddr,
    setting: &str,
) -> Result<(TcpListener, SocketAddr), GatewayError> {
    let listener = TcpListener::bind(address).await;
    let bound = listener.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|source| {
        let setting = setting.to_owned();
        match source.kind() {
            io::ErrorKind::AddrInUse => GatewayError::AddressInUse { address, setting },
            _ => GatewayError::Listen {
                address,
                setting,
                source,
            },
        }
    })
}

/// The address by which this machine's processes reach a listener that may be
/// bound to all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => reachable.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => reachable.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    reachable
}

async fn serve_metrics(
    listener: TcpListener,
    router: axum::Router,
    serving: CancellationToken,
    drain_grace: Duration,
) {
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(serving.clone().cancelled_owned())
        .into_future();
    let too_long = async {
        serving.cancelled().await;
        tokio::time::sleep(drain_grace).await;
    };
    tokio::select! {
        served = served => if let Err(error) = served {
            error!(%error, "metrics server failed");
        },
        () = too_long => {}
    }
}
