//! Connections to other stores, made when they are needed.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
};

use super::PeerError;
use crate::server::{Secrets, now_ms};

/// How long a connection may take to be made: a host that is gone says nothing.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a small answer may take, and one to 512 MiB on a slow network behind others.
const SMALL_ANSWER: Duration = Duration::from_secs(5);
const LARGE_ANSWER: Duration = Duration::from_secs(300);
/// What is small, in bytes.
const SMALL_BYTES_MAX: u64 = 64 << 10;
/// How long a peer that did not answer is not given copies.
const DOWN_MS: u64 = 5_000;
/// A peer that let so little time out is asked for nothing for a while: all that is asked meanwhile would
/// wait as long.
const SILENT_MS: u64 = 15_000;
/// How long values of a peer that is away are waited for, before they are lost.
const AWAY_MS: u64 = 5_000;

/// What a connection is for: what is small waits for nothing that is large, and what is read not for copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Copy,
    Small,
    Large,
}

impl Purpose {
    /// That of reading a value of so many bytes.
    pub(super) const fn of_read(bytes: u64) -> Self {
        match bytes {
            ..=SMALL_BYTES_MAX => Self::Small,
            _ => Self::Large,
        }
    }

    const fn answer(self) -> Duration {
        match self {
            Self::Small => SMALL_ANSWER,
            Self::Copy | Self::Large => LARGE_ANSWER,
        }
    }
}

/// Peer, tenant, purpose.
pub(super) type Name = (Arc<str>, Arc<str>, Purpose);
type Wire = Arc<tokio::sync::Mutex<Option<MultiplexedConnection>>>;

type Troubles = HashMap<(Arc<str>, Arc<str>), Trouble>;

/// What came of asking a peer that does not answer.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    /// Since when nothing was answered.
    since_ms: u64,
    /// Until when it is given no copies.
    down_ms: u64,
    /// Until when it is asked for nothing.
    silent_ms: u64,
}

#[derive(Debug)]
pub(super) struct Links {
    secrets: Secrets,
    /// What peers' certificates are signed by, as PEM; no TLS without it.
    root: Option<Vec<u8>>,
    wires: Mutex<HashMap<Name, Wire>>,
    /// Peers that did not answer, by peer and tenant: one may have a password there that others have not.
    troubles: Mutex<Troubles>,
}

impl Links {
    pub(super) fn new(secrets: Secrets, root: Option<Vec<u8>>) -> Self {
        Self {
            secrets,
            root,
            wires: Mutex::default(),
            troubles: Mutex::default(),
        }
    }

    /// Whether a peer did not answer a while ago.
    pub(super) fn is_down(&self, peer: &Arc<str>, tenant: &str, now_ms: u64) -> bool {
        let trouble = self.trouble(peer, tenant);
        trouble.is_some_and(|it| it.down_ms.max(it.silent_ms) > now_ms)
    }

    /// Whether a peer has not answered for so long that it is not waited for.
    pub(super) fn is_away_for_long(&self, peer: &Arc<str>, tenant: &str, now_ms: u64) -> bool {
        let trouble = self.trouble(peer, tenant);
        trouble.is_some_and(|it| it.since_ms.saturating_add(AWAY_MS) <= now_ms)
    }

    /// Asks a peer for something. A connection that breaks is made anew by who asks next.
    pub(super) async fn ask<T>(
        &self,
        name: &Name,
        ask: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, PeerError> {
        let (peer, tenant, purpose) = name;
        let (begin_ms, trouble) = (now_ms(), self.trouble(peer, tenant));
        if trouble.is_some_and(|trouble| trouble.silent_ms > begin_ms) {
            return Err(PeerError::Away {
                peer: Arc::clone(peer),
                why: "it did not answer a while ago".to_owned(),
            });
        }
        let (answered, is_small) = match self.wire(name).await {
            Ok(wire) => {
                let answered = tokio::time::timeout(purpose.answer(), ask(wire)).await;
                let timed_out = |_| Err(io::Error::from(io::ErrorKind::TimedOut).into());
                (
                    answered.unwrap_or_else(timed_out),
                    *purpose == Purpose::Small,
                )
            }
            Err(error) => (Err(error), true),
        };
        let error = match answered {
            Ok(answer) => {
                if trouble.is_some() {
                    self.troubles()
                        .remove(&(Arc::clone(peer), Arc::clone(tenant)));
                }
                return Ok(answer);
            }
            Err(error) => error,
        };
        let failure = failure(peer, &error);
        if matches!(failure, PeerError::Away { .. }) {
            self.wires().remove(name);
            let mut troubles = self.troubles();
            let pair = (Arc::clone(peer), Arc::clone(tenant));
            let trouble = troubles.entry(pair).or_insert_with(|| Trouble {
                since_ms: begin_ms,
                ..Trouble::default()
            });
            let now_ms = now_ms();
            trouble.down_ms = now_ms + DOWN_MS;
            // What is large may have waited for others' values.
            if is_small && error.is_timeout() {
                trouble.silent_ms = now_ms + SILENT_MS;
            }
        }
        Err(failure)
    }

    fn trouble(&self, peer: &Arc<str>, tenant: &str) -> Option<Trouble> {
        let troubles = self.troubles();
        if troubles.is_empty() {
            return None;
        }
        troubles
            .get(&(Arc::clone(peer), Arc::from(tenant)))
            .copied()
    }

    async fn wire(&self, name: &Name) -> RedisResult<MultiplexedConnection> {
        let wire = Arc::clone(self.wires().entry(name.clone()).or_default());
        let mut wire = wire.lock().await;
        if let Some(wire) = &*wire {
            return Ok(wire.clone());
        }
        let (peer, tenant, _) = name;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(LARGE_ANSWER));
        let client = self.client(peer, tenant)?;
        let made = client.get_multiplexed_async_connection_with_config(&config);
        let made = made.await?;
        *wire = Some(made.clone());
        Ok(made)
    }

    fn client(&self, peer: &str, tenant: &str) -> RedisResult<Client> {
        let (host, port) = peer.rsplit_once(':').unwrap_or((peer, ""));
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = port.parse().unwrap_or_default();
        let address = match self.root {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = self.secrets.password(tenant) {
            settings = settings.set_username(tenant).set_password(password);
        }
        let info = address.into_connection_info()?.set_redis_settings(settings);
        match &self.root {
            None => Client::open(info),
            Some(root) => Client::build_with_tls(
                info,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(root.clone()),
                },
            ),
        }
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wires(&self) -> MutexGuard<'_, HashMap<Name, Wire>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What breaks a connection is silence; all else is what a peer said.
fn failure(peer: &Arc<str>, error: &RedisError) -> PeerError {
    let peer = Arc::clone(peer);
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        let why = error.to_string();
        return PeerError::Away { peer, why };
    }
    let why = match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
        None if error.kind() == ErrorKind::AuthenticationFailed => format!("NOAUTH {error}"),
        None => format!("ERR {error}"),
    };
    PeerError::Refused { peer, why }
}
