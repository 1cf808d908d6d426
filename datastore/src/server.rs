//! The store as a server: listeners, and workers that each serve their connections in a thread.

#[cfg(any(fuzzing, test))]
mod alone;
mod clock;
mod commands;
mod connection;
mod fault;
mod guesses;
mod secrets;
mod session;
mod wait;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

#[cfg(fuzzing)]
pub(crate) use alone::Alone;
pub(crate) use clock::now_ms;
use connection::Connection;
use guesses::{Guesses, Origin};
pub(crate) use secrets::Secrets;
use session::Counts;
use session::Place;
pub(crate) use session::Shared;

use crate::peers::{self, Backup, PeerList, Peers};
use crate::spill::Disk;
use crate::store::{Bounds, Pressure, Store};

/// What is due is looked for so often; memory that nobody uses goes back more seldom.
const SWEEP: Duration = Duration::from_millis(100);
const TRIM_SWEEPS: u32 = 10;
/// After a failure to accept: for want of files, say.
const AGAIN: Duration = Duration::from_millis(50);
/// After a disk that took nothing.
const SPILL_AGAIN: Duration = Duration::from_secs(1);
/// After which time without a word a host is asked whether it is there; after twice that it is not.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How a server runs.
#[derive(Debug)]
pub struct Config {
    /// What the store holds at most.
    pub bounds: Bounds,
    /// Where values go when memory runs short.
    pub spill: Option<SpillTo>,
    /// Where to listen for TCP.
    pub listen: SocketAddr,
    /// Where other hosts reach it, as references say; the address that it listens on where none is said.
    pub address: Option<String>,
    /// The Unix socket.
    pub socket: Option<PathBuf>,
    /// The folder with passwords.
    pub secrets: PathBuf,
    /// The other stores.
    pub peers: Option<PeerList>,
    /// What their certificates are signed by, as PEM; they are spoken to without TLS where there is
    /// none.
    pub peers_root: Option<Vec<u8>>,
    /// Whether values are copied to one of them of whose backup nothing is said.
    pub backup: Backup,
    /// TLS over TCP.
    pub tls: Option<Arc<ServerConfig>>,
    /// The largest value, in bytes.
    pub value_bytes_max: usize,
    /// Connections at once.
    pub connections_max: u64,
    /// What they may hold together of commands and replies, in bytes.
    pub buffers_bytes_max: u64,
    /// How long a client may take over a part of a command, leave a reply unread, or not say who it is.
    pub stalled: Duration,
    /// Threads that serve.
    pub workers: usize,
}

/// Where values go when memory runs short, and when.
#[derive(Debug, Clone)]
pub struct SpillTo {
    /// The folder.
    pub folder: PathBuf,
    /// What they may take there, in bytes.
    pub bytes_max: u64,
    /// They go once so much of the store's bound is held, in percent.
    pub percent: u8,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be had.
    #[error("cannot listen on {address}; set TURLOUGH_LISTEN and TURLOUGH_STORE_PORT")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be had.
    #[error("cannot listen on the socket {}; set TURLOUGH_STORE_SOCKET", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder for what spills cannot be written.
    #[error("cannot write values to {}; set TURLOUGH_STORE_SPILL to a folder with room", folder.display())]
    Spill {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread cannot be had.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
}

/// A store that listens.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    tcp: TcpListener,
    unix: Option<UnixListener>,
    socket: Option<PathBuf>,
    tls: Option<Arc<ServerConfig>>,
    connections_max: u64,
    workers: Vec<Handle>,
    stop: CancellationToken,
}

impl Server {
    /// Listens, with nothing in the store.
    ///
    /// # Errors
    /// An address, a socket or a thread that cannot be had.
    pub async fn bind(config: Config) -> Result<Self, ServerError> {
        let address = config.listen;
        let tcp = TcpListener::bind(address)
            .await
            .map_err(|source| ServerError::Listen { address, source })?;
        let unix = config.socket.as_deref().map(listen).transpose()?;
        let bound = tcp.local_addr().unwrap_or(address);
        let stop = CancellationToken::new();
        let pressure = config
            .spill
            .map(|spill| pressure(spill, config.bounds))
            .transpose()?;
        let start = |name: String| worker(name, stop.clone()).map_err(ServerError::Worker);
        let workers = (0..config.workers.max(1)).map(|n| start(format!("store-{n}")));
        let workers = workers.collect::<Result<_, _>>()?;
        let runtime = start("peers".to_owned())?;
        let secrets = Secrets::new(config.secrets);
        let address = config.address.unwrap_or_else(|| bound.to_string());
        let boot = uuid::Uuid::new_v4().as_u64_pair().0;
        let peers = Arc::new(Peers::new(
            address.clone(),
            boot,
            runtime.clone(),
            secrets.clone(),
            config.peers_root,
        ));
        if let Some(list) = config.peers {
            runtime.spawn(peers::follow(list, Arc::clone(&peers)));
        }
        Ok(Self {
            shared: Arc::new(Shared {
                store: Store::spilling(config.bounds, pressure),
                secrets,
                guesses: Guesses::default(),
                peers,
                backup: config.backup,
                address,
                boot,
                started_ms: clock::now_ms(),
                value_bytes_max: config.value_bytes_max,
                buffers_bytes_max: config.buffers_bytes_max,
                stalled: config.stalled,
                counts: Counts::default(),
            }),
            tcp,
            unix,
            socket: config.socket,
            tls: config.tls,
            connections_max: config.connections_max,
            workers,
            stop,
        })
    }

    /// Where it listens for TCP.
    ///
    /// # Errors
    /// A socket of which the kernel does not say it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Serves until `stop`; connections that are open then are closed.
    pub async fn run(self, stop: CancellationToken) {
        let stopped = self.stop.clone().drop_guard();
        let sweeping = tokio::task::spawn_blocking({
            let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
            move || sweep(&shared, &stop)
        });
        let spilling = tokio::task::spawn_blocking({
            let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
            move || {
                shared
                    .store
                    .pressure()
                    .is_some()
                    .then(|| spill(&shared, &stop))
            }
        });
        let mut turn = 0;
        loop {
            turn += 1;
            let worker = &self.workers[turn % self.workers.len()];
            tokio::select! {
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, peer)) => self.take(worker, stream, peer),
                    Err(error) => pause(&error).await,
                },
                accepted = accept(self.unix.as_ref()) => match accepted {
                    Ok(stream) => self.take_unix(worker, stream),
                    Err(error) => pause(&error).await,
                },
                () = stop.cancelled() => break,
            }
        }
        drop(stopped);
        if let Some(path) = &self.socket {
            // Who comes next takes it away otherwise.
            drop(std::fs::remove_file(path));
        }
        // They end with the token.
        drop(sweeping.await);
        drop(spilling.await);
    }

    /// Whether there is room for one more connection. One that comes beyond it is closed.
    fn has_room(&self) -> bool {
        let counts = &self.shared.counts;
        let has_room = counts.connections.load(Ordering::Relaxed) < self.connections_max;
        if !has_room {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                limit = self.connections_max,
                "connection was refused; raise TURLOUGH_STORE_CONNECTIONS_MAX"
            );
        }
        has_room
    }

    fn take(&self, worker: &Handle, stream: TcpStream, peer: SocketAddr) {
        if !self.has_room() {
            return;
        }
        // Before anything is said: a handshake takes a place as well.
        let (place, tls) = (Place::take(&self.shared), self.tls.clone());
        // From one worker's reactor to another's.
        let ready = stream
            .set_nodelay(true)
            .and_then(|()| keep_alive(&stream))
            .and_then(|()| stream.into_std());
        let Ok(stream) = ready else {
            return;
        };
        worker.spawn(async move {
            let Ok(stream) = TcpStream::from_std(stream) else {
                return;
            };
            let origin = Origin::Host(peer.ip());
            let Some(tls) = tls else {
                return Connection::new(stream, place, origin).serve().await;
            };
            let accepted = TlsAcceptor::from(tls).accept(stream);
            match tokio::time::timeout(HANDSHAKE, accepted).await {
                Ok(Ok(stream)) => Connection::new(stream, place, origin).serve().await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        });
    }

    fn take_unix(&self, worker: &Handle, stream: UnixStream) {
        if !self.has_room() {
            return;
        }
        let place = Place::take(&self.shared);
        let user = stream.peer_cred().ok().map(|peer| peer.uid());
        let Ok(stream) = stream.into_std() else {
            return;
        };
        worker.spawn(async move {
            if let Ok(stream) = UnixStream::from_std(stream) {
                let origin = Origin::User(user);
                Connection::new(stream, place, origin).serve().await;
            }
        });
    }
}

/// Has the kernel ask whether a host is there that says nothing: of one that vanished nobody hears otherwise.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE / 4)?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    Ok(())
}

async fn accept(unix: Option<&UnixListener>) -> io::Result<UnixStream> {
    match unix {
        Some(unix) => Ok(unix.accept().await?.0),
        None => std::future::pending().await,
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "connection was not accepted");
    tokio::time::sleep(AGAIN).await;
}

/// Takes the place of a socket that nobody listens on any more.
fn listen(path: &Path) -> Result<UnixListener, ServerError> {
    let failed = |source| ServerError::Socket {
        path: path.to_owned(),
        source,
    };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(failed(io::ErrorKind::AddrInUse.into()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    UnixListener::bind(path).map_err(failed)
}

/// A thread that serves connections until `stop`.
fn worker(name: String, stop: CancellationToken) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name(name)
        .spawn(move || runtime.block_on(stop.cancelled()))?;
    Ok(handle)
}

fn pressure(spill: SpillTo, bounds: Bounds) -> Result<Pressure, ServerError> {
    let disk = Disk::open(&spill.folder, spill.bytes_max);
    let disk = disk.map_err(|source| ServerError::Spill {
        folder: spill.folder,
        source,
    })?;
    Ok(Pressure::new(disk, bounds.bytes_max, spill.percent))
}

/// Moves values to disk when memory runs short, until `stop`.
fn spill(shared: &Shared, stop: &CancellationToken) {
    shared.store.wake_when_pressed(std::thread::current());
    let mut has_failed = false;
    while !stop.is_cancelled() {
        match shared.store.spill(clock::now_ms()) {
            Err(error) => {
                // Said once; the metric goes on counting.
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::error!(%error, "values cannot be moved to disk; they stay in memory");
                }
                std::thread::sleep(SPILL_AGAIN);
            }
            Ok(0) => {}
            Ok(_) => has_failed = false,
        }
        std::thread::park_timeout(SWEEP);
    }
}

/// Takes away what is due, and gives memory back, until `stop`.
fn sweep(shared: &Shared, stop: &CancellationToken) {
    let mut sweeps = 0;
    while !stop.is_cancelled() {
        shared.store.sweep(clock::now_ms());
        sweeps += 1;
        if sweeps % TRIM_SWEEPS == 0 {
            shared.store.pool().trim();
        }
        std::thread::sleep(SWEEP);
    }
}
