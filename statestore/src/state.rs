//! The state of a tenant: logs, queues, words and tables, of one backend.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use turlough_sdk::{FunctionName, TenantId};

use crate::bus::Bus;
use crate::log::Log;
use crate::queue::Queue;
use crate::table::Table;

/// The state of one tenant. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State {
    /// The logs of requests.
    pub log: Arc<dyn Log>,
    /// Hints, and what else must be done by somebody.
    pub queue: Arc<dyn Queue>,
    /// Words between processes.
    pub bus: Arc<dyn Bus>,
    /// Definitions of flows.
    pub flows: Arc<dyn Table>,
    /// Heartbeats: entries lapse after [`Options::heartbeat`].
    pub replicas: Arc<dyn Table>,
    /// Whether other processes may use it at the same time. Where not, every other replica is dead.
    pub is_shared: bool,
    /// How the connection stands.
    pub link: watch::Receiver<Link>,
}

/// How the connection to the state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Grows with every new connection: what was true of the state before may not be true any more.
    pub era: u64,
    /// Whether it stands.
    pub is_up: bool,
    /// Since when it stands, or does not.
    pub since: Instant,
}

/// How the state is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose it is.
    pub tenant: TenantId,
    /// Who uses it; a backend for one process keeps one state for each function.
    pub function: FunctionName,
    /// Bytes that logs may take.
    pub bytes_max: u64,
    /// How long an append is kept.
    pub max_age: Duration,
    /// How long a heartbeat lasts.
    pub heartbeat: Duration,
    /// How long a taken item stays with its taker.
    pub visibility: Duration,
    /// Copies of what is stored, 1 to 5, where the backend makes copies.
    pub replicas: u8,
    /// Where what is stored lies, where the backend has a choice.
    pub storage: Storage,
    /// When what is stored is forced to the disk, where that is ours to say.
    pub sync: Sync,
    /// The file that says who we are to a server that asks: a NATS `.creds` file.
    pub credentials: Option<PathBuf>,
}

/// Where what is stored lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory: gone with the server.
    Memory,
}

/// When what is stored is forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before an append is answered.
    Always,
    /// At this interval.
    Every(Duration),
}

impl Options {
    /// What is kept where nobody says otherwise.
    #[must_use]
    pub const fn new(tenant: TenantId, function: FunctionName) -> Self {
        Self {
            tenant,
            function,
            bytes_max: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 3600),
            heartbeat: Duration::from_secs(10),
            visibility: Duration::from_secs(30),
            replicas: 1,
            storage: Storage::File,
            sync: Sync::Every(Duration::from_millis(200)),
            credentials: None,
        }
    }
}

impl Link {
    /// A connection that stands for as long as the process.
    pub(crate) fn of_process() -> watch::Receiver<Self> {
        let link = Self {
            era: 1,
            is_up: true,
            since: Instant::now(),
        };
        watch::channel(link).1
    }
}
