//! How a connection is made: to a store's process, a Redis, a cluster of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value,
};
use turlough_sdk::TenantId;

use super::fault::Fault;
use crate::data::error::Failure;

/// How long a connection may take to be there, with its greetings.
const CONNECT: Duration = Duration::from_secs(5);
/// Within an answer's time a cluster's client asks so often, and waits so long in between, in ms.
const CLUSTER_TRIES: u32 = 3;
const CLUSTER_PAUSE_MS: u64 = 500;

/// Makes connections.
#[derive(Debug)]
pub(in crate::data) struct Dialler {
    /// Without passwords.
    address: Arc<str>,
    to: To,
}

#[derive(Debug)]
enum To {
    Store(Arc<StoreLogin>),
    Redis(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// How to connect to a store's process, and who says so.
#[derive(Debug)]
pub(in crate::data) struct StoreLogin {
    pub(in crate::data) address: ConnectionAddr,
    pub(in crate::data) tenant: TenantId,
    /// What the address said.
    pub(in crate::data) password: Option<Password>,
    /// Where it is otherwise.
    pub(in crate::data) secrets: PathBuf,
    pub(in crate::data) authorities: Option<Vec<u8>>,
    /// How long a bucket has to stay of which nobody says it.
    pub(in crate::data) lease: Duration,
}

/// Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::data) struct Password(pub(in crate::data) String);

/// A connection that stands.
#[derive(Debug, Clone)]
pub(in crate::data) struct Wire {
    pub(super) connection: Connection,
    /// What the store drew when it started, where it draws one: a connection never outlives it.
    pub(in crate::data) boot: u64,
    /// Where the server is, by its own word or as it was named.
    pub(in crate::data) address: Arc<str>,
}

#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(one) => command.query_async(one).await,
            Self::Cluster(all) => command.query_async(all).await,
        }
    }

    /// What an error of it means.
    pub(super) fn fault(&self, error: &RedisError) -> Fault {
        let is_elsewhere = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask)
        );
        match self {
            // Its nodes do not agree yet.
            Self::Cluster(_) if is_elsewhere => Fault::Away(error.to_string()),
            Self::Cluster(_) | Self::One(_) => Fault::from(error),
        }
    }
}

impl Dialler {
    pub(in crate::data) const fn store(address: Arc<str>, login: Arc<StoreLogin>) -> Self {
        Self {
            address,
            to: To::Store(login),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A connection to whoever answers at the address now.
    pub(super) async fn dial(&self) -> Result<Wire, Fault> {
        let dialled = tokio::time::timeout(CONNECT, async {
            match &self.to {
                To::Store(login) => login.dial().await,
                To::Redis(client) => self.redis(client).await,
                To::Cluster(client) => self.wire(Connection::Cluster(
                    client
                        .get_async_connection()
                        .await
                        .map_err(|error| Fault::from(&error))?,
                )),
            }
        });
        dialled.await.unwrap_or_else(|_| {
            Err(Fault::Away(format!(
                "no connection to {} within {CONNECT:?}",
                self.address
            )))
        })
    }

    async fn redis(&self, client: &Client) -> Result<Wire, Fault> {
        self.wire(Connection::One(connect(client).await?))
    }

    fn wire(&self, connection: Connection) -> Result<Wire, Fault> {
        Ok(Wire {
            connection,
            boot: 0,
            address: Arc::clone(&self.address),
        })
    }
}

impl StoreLogin {
    async fn dial(&self) -> Result<Wire, Fault> {
        let mut redis = RedisConnectionInfo::default();
        if let Some(Password(password)) = self.password().await? {
            redis = redis
                .set_username(self.tenant.as_str())
                .set_password(password);
        }
        let info = self.address.clone().into_connection_info();
        let info = info
            .map_err(|error| Fault::from(&error))?
            .set_redis_settings(redis);
        let client = client_of(info, self.authorities.clone());
        let mut connection = connect(&client.map_err(|error| Fault::from(&error))?).await?;
        let info: String = redis::cmd("INFO")
            .query_async(&mut connection)
            .await
            .map_err(|error| Fault::from(&error))?;
        let says = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
        };
        let boot = says("turlough_boot").and_then(|boot| u64::from_str_radix(boot, 16).ok());
        let (Some(boot), Some(address)) = (boot, says("turlough_address")) else {
            return Err(Fault::Denied(
                "what answers there is no turlough-datastore; for a redis write redis://host:port"
                    .to_owned(),
            ));
        };
        let lease_ms = says("turlough_lease_ms").and_then(|ms| ms.parse().ok());
        let lease = lease_ms.map_or(Duration::MAX, Duration::from_millis);
        if lease < self.lease {
            return Err(Fault::Denied(format!(
                "its buckets go after {lease:?} of which nobody says it, and are to stay for {:?}; raise TURLOUGH_STORE_LEASE there, or lower TURLOUGH_DATA_LEASE",
                self.lease
            )));
        }
        Ok(Wire {
            connection: Connection::One(connection),
            boot,
            address: address.into(),
        })
    }

    /// The tenant's password, read each time, so that one that was changed counts at once. None where
    /// there is no file: then the store has to be one that needs none.
    pub(in crate::data) async fn password(&self) -> Result<Option<Password>, Fault> {
        if self.password.is_some() {
            return Ok(self.password.clone());
        }
        let path = self.secrets.join(format!("turlough-store-{}", self.tenant));
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => Ok(Some(Password(text.trim_end().to_owned()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::Denied(format!(
                "cannot read the password in {}: {error}",
                path.display()
            ))),
        }
    }
}

/// A dialler to a Redis.
pub(in crate::data) fn server(
    address: Arc<str>,
    url: &str,
    authorities: Option<Vec<u8>>,
) -> Result<Dialler, Failure> {
    let client = url
        .into_connection_info()
        .and_then(|info| client_of(info, authorities));
    let client = client.map_err(|error| not_an_address(&address, &error))?;
    Ok(Dialler {
        address,
        to: To::Redis(Box::new(client)),
    })
}

/// A dialler to a cluster, by the URLs of some of its nodes.
pub(in crate::data) fn cluster(
    address: Arc<str>,
    nodes: Vec<String>,
    authorities: Option<Vec<u8>>,
) -> Result<Dialler, Failure> {
    // An answer is bounded by whoever asks, who knows how much is moved.
    let mut builder = ClusterClient::builder(nodes)
        .retries(CLUSTER_TRIES)
        .max_retry_wait(CLUSTER_PAUSE_MS)
        .connection_timeout(CONNECT);
    if authorities.is_some() {
        builder = builder.certs(certificates(authorities));
    }
    let client = builder
        .build()
        .map_err(|error| not_an_address(&address, &error))?;
    Ok(Dialler {
        address,
        to: To::Cluster(Box::new(client)),
    })
}

fn not_an_address(address: &str, error: &redis::RedisError) -> Failure {
    Failure::Denied {
        attempted: format!("reading the address {address} of a store"),
        reason: error.to_string(),
    }
}

fn client_of(info: redis::ConnectionInfo, authorities: Option<Vec<u8>>) -> RedisResult<Client> {
    if authorities.is_some() && matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::build_with_tls(info, certificates(authorities));
    }
    Client::open(info)
}

const fn certificates(root_cert: Option<Vec<u8>>) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        root_cert,
    }
}

/// Reads the root certificates that were named.
pub(in crate::data) async fn read_authorities(
    path: Option<&Path>,
) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = path else { return Ok(None) };
    match tokio::fs::read(path).await {
        Ok(pem) => Ok(Some(pem)),
        Err(error) => Err(Failure::Denied {
            attempted: format!("reading the root certificates in {}", path.display()),
            reason: error.to_string(),
        }),
    }
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, Fault> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        // Bounded by whoever asks, who knows how much is moved.
        .set_response_timeout(None);
    let connected = client.get_multiplexed_async_connection_with_config(&config);
    connected.await.map_err(|error| Fault::from(&error))
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Cluster(_) => "Cluster",
        })
    }
}
