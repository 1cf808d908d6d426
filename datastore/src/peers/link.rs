//! Connections to other stores, made when they are needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, RedisResult, TlsCertificates,
};

use super::PeerError;
use crate::server::{Secrets, now_ms};

/// How long a connection may take to be made: a host that is gone says nothing.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take: that to a value of 512 MiB on a slow network.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a peer that did not answer is not asked for a copy.
const DOWN_MS: u64 = 5_000;

/// What a connection is for. Copies do not wait for what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Copy,
    Read,
}

/// Peer, tenant, purpose.
pub(super) type Name = (Arc<str>, Arc<str>, Purpose);
type Wire = Arc<tokio::sync::Mutex<Option<MultiplexedConnection>>>;

#[derive(Debug)]
pub(super) struct Links {
    secrets: Secrets,
    /// What peers' certificates are signed by, as PEM; no TLS without it.
    root: Option<Vec<u8>>,
    wires: Mutex<HashMap<Name, Wire>>,
    /// Peers that did not answer, and until when they are left out.
    down: Mutex<HashMap<Arc<str>, u64>>,
}

impl Links {
    pub(super) fn new(secrets: Secrets, root: Option<Vec<u8>>) -> Self {
        Self {
            secrets,
            root,
            wires: Mutex::default(),
            down: Mutex::default(),
        }
    }

    /// Whether a peer did not answer a while ago.
    pub(super) fn is_down(&self, peer: &str, now_ms: u64) -> bool {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.get(peer).is_some_and(|until_ms| *until_ms > now_ms)
    }

    /// Asks a peer for something. A connection that breaks is made anew by who asks next.
    pub(super) async fn ask<T>(
        &self,
        name: &Name,
        ask: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, PeerError> {
        let answered = match self.wire(name).await {
            Ok(wire) => ask(wire).await,
            Err(error) => Err(error),
        };
        answered.map_err(|error| {
            let failure = failure(&name.0, &error);
            if matches!(failure, PeerError::Away { .. }) {
                self.wires().remove(name);
                let until_ms = now_ms() + DOWN_MS;
                let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
                down.insert(Arc::clone(&name.0), until_ms);
            }
            failure
        })
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
            .set_response_timeout(Some(ANSWER));
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

    fn wires(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Wire>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a peer said is a refusal; all else is silence.
fn failure(peer: &Arc<str>, error: &RedisError) -> PeerError {
    let peer = Arc::clone(peer);
    match error.code() {
        Some(code) => PeerError::Refused {
            peer,
            why: format!("{code} {}", error.detail().unwrap_or_default()),
        },
        None => PeerError::Away {
            peer,
            why: error.to_string(),
        },
    }
}
