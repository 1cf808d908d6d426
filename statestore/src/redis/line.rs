//! The connection to a Redis: one that all share, made again when it breaks, and what its state is.
//!
//! Invariants: a connection is used only once the server is found fit and every channel is subscribed
//! to again; the era grows with each. Nothing is sent twice: whoever was waiting for an answer when it
//! broke is told that there was none.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisError,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::failure::{Doing, state_error};
use super::hearing::Hearing;
use super::requirements;
use crate::error::StateError;
use crate::state::Link;

/// How long an answer may take: a server that forks or trims pauses for less.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that is silent is asked this often whether it stands.
const PING: Duration = Duration::from_secs(2);
/// Waits between attempts to connect, doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// The connection. Ends when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    wires: watch::Receiver<Option<MultiplexedConnection>>,
    link: watch::Receiver<Link>,
    dialler: Arc<Dialler>,
    _guard: DropGuard,
}

/// Makes connections.
#[derive(Debug)]
struct Dialler {
    client: Client,
    /// Without the password.
    address: String,
    hearing: Arc<Hearing>,
    /// Told where the connection may have broken.
    broken: Arc<Notify>,
}

impl Line {
    /// Connects, and stays connected.
    pub(super) async fn open(url: &str, hearing: Arc<Hearing>) -> Result<Self, StateError> {
        let refused = |error: RedisError| StateError::Setting {
            attempted: "reading the address of the state in redis".to_owned(),
            reason: format!("{error}; write redis://host:port"),
        };
        let info = url.into_connection_info().map_err(refused)?;
        // Words come on the same connection as answers, and it says when it breaks.
        let settings = info.redis_settings().clone();
        let settings = settings.set_protocol(ProtocolVersion::RESP3);
        let address = info.addr().to_string();
        let client = Client::open(info.set_redis_settings(settings)).map_err(refused)?;
        let dialler = Arc::new(Dialler {
            client,
            address,
            hearing,
            broken: Arc::new(Notify::new()),
        });
        let wire = dialler.dial().await?;
        let (wires_out, wires) = watch::channel(Some(wire));
        let (link_out, link) = watch::channel(Link {
            era: 1,
            is_up: true,
            since: Instant::now(),
        });
        let ended = CancellationToken::new();
        let keeping = keep(Arc::clone(&dialler), wires_out, link_out, ended.clone());
        tokio::spawn(keeping);
        Ok(Self {
            wires,
            link,
            dialler,
            _guard: ended.drop_guard(),
        })
    }

    /// How the connection stands.
    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// The connection, if it stands.
    pub(super) fn wire(
        &self,
        attempted: impl Fn() -> String,
    ) -> Result<MultiplexedConnection, StateError> {
        self.wires
            .borrow()
            .clone()
            .ok_or_else(|| StateError::Unavailable {
                attempted: attempted(),
                reason: format!("redis at {} is not connected", self.dialler.address),
            })
    }

    /// A connection of its own, for whoever waits on it.
    pub(super) async fn another(
        &self,
        attempted: impl Fn() -> String,
    ) -> Result<MultiplexedConnection, StateError> {
        // Not before the shared one stands: then the server is known to be fit.
        self.wire(&attempted)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let client = &self.dialler.client;
        let wire = client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        wire.map_err(|error| state_error(&error, Doing::Read, attempted()))
    }

    /// What an error means; where the connection may have broken, that is looked at.
    pub(super) fn failed(&self, error: &RedisError, doing: Doing, attempted: String) -> StateError {
        if error.is_unrecoverable_error() || error.is_timeout() || error.is_io_error() {
            self.dialler.broken.notify_one();
        }
        state_error(error, doing, attempted)
    }

    /// Asks for something, and reads the answer.
    pub(super) async fn ask<T: redis::FromRedisValue>(
        &self,
        doing: Doing,
        command: &redis::Cmd,
        attempted: impl Fn() -> String,
    ) -> Result<T, StateError> {
        let mut wire = self.wire(&attempted)?;
        let answer = command.query_async(&mut wire).await;
        answer.map_err(|error| self.failed(&error, doing, attempted()))
    }

    /// Runs a script, and reads its answer.
    pub(super) async fn run<T: redis::FromRedisValue>(
        &self,
        doing: Doing,
        script: &redis::ScriptInvocation<'_>,
        attempted: impl Fn() -> String,
    ) -> Result<T, StateError> {
        let mut wire = self.wire(&attempted)?;
        let answer = script.invoke_async(&mut wire).await;
        answer.map_err(|error| self.failed(&error, doing, attempted()))
    }
}

impl Dialler {
    fn attempted(&self) -> String {
        format!("opening the state in redis at {}", self.address)
    }

    /// A connection to a server that is fit, on which every channel is subscribed to.
    async fn dial(&self) -> Result<MultiplexedConnection, StateError> {
        let failed = |error: RedisError| state_error(&error, Doing::Read, self.attempted());
        let (hearing, broken) = (Arc::clone(&self.hearing), Arc::clone(&self.broken));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == redis::PushKind::Disconnection {
                    broken.notify_one();
                }
                hearing.heard(push);
                Ok::<(), redis::aio::SendError>(())
            });
        let wire = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        let mut wire = wire.map_err(failed)?;
        let info: String = redis::cmd("INFO")
            .query_async(&mut wire)
            .await
            .map_err(failed)?;
        if let Some(reason) = requirements::unmet(&info) {
            return Err(StateError::Refused {
                attempted: self.attempted(),
                reason,
            });
        }
        if requirements::forgets(&info) {
            tracing::warn!(
                address = %self.address,
                "redis has no append-only file: when it ends, requests since its last snapshot are lost; \
                 set appendonly to yes"
            );
        }
        self.hearing
            .subscribe_again(&mut wire)
            .await
            .map_err(failed)?;
        Ok(wire)
    }
}

/// Watches over the connection, and makes it again when it breaks, until nobody holds it.
async fn keep(
    dialler: Arc<Dialler>,
    wires: watch::Sender<Option<MultiplexedConnection>>,
    link: watch::Sender<Link>,
    ended: CancellationToken,
) {
    let mut era = 1;
    let keeping = async {
        loop {
            let wire = wires.borrow().clone();
            if let Some(wire) = wire {
                until_broken(&dialler, wire).await;
            }
            wires.send_replace(None);
            let since = Instant::now();
            link.send_replace(Link {
                era,
                is_up: false,
                since,
            });
            let wire = dial_until_it_stands(&dialler).await;
            era += 1;
            // First the connection, then the word of it.
            wires.send_replace(Some(wire));
            let since = Instant::now();
            link.send_replace(Link {
                era,
                is_up: true,
                since,
            });
        }
    };
    ended.run_until_cancelled(keeping).await;
}

async fn until_broken(dialler: &Dialler, mut wire: MultiplexedConnection) {
    loop {
        // Told that it may be broken, or now and then: it is asked, within its time for an answer.
        drop(tokio::time::timeout(PING, dialler.broken.notified()).await);
        if let Err(error) = redis::cmd("PING").exec_async(&mut wire).await {
            tracing::warn!(address = %dialler.address, %error, "the connection to redis broke");
            return;
        }
    }
}

async fn dial_until_it_stands(dialler: &Dialler) -> MultiplexedConnection {
    let (mut wait, wait_max) = RETRY;
    loop {
        match dialler.dial().await {
            Ok(wire) => {
                tracing::info!(address = %dialler.address, "connected to redis again");
                return wire;
            }
            Err(error @ StateError::Refused { .. }) => {
                tracing::error!(%error, "redis cannot be used any more");
            }
            Err(error) => tracing::debug!(%error, "redis is away"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(wait_max);
    }
}
