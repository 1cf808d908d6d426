//! Where and how the state is kept: the same for everybody who uses it.

use std::path::PathBuf;
use std::time::Duration;

use turlough_sdk::{FunctionName, TenantId, parse_duration};
use turlough_statestore::{Options, StateUrl, Storage, Sync};

/// Where and how the state is kept.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "State")]
pub struct StateSettings {
    /// Where requests are kept: `memory:`, `file:<dir>`, `nats://host:port` or `redis://host:port`
    #[arg(long = "state", env = "TURLOUGH_STATE", default_value = "memory:")]
    pub url: StateUrl,

    /// Bytes that all logs may take; from 80 % of it on no request is accepted, and open ones go on
    #[arg(long = "state-bytes-max", env = "TURLOUGH_STATE_BYTES_MAX", default_value_t = 1 << 30)]
    pub bytes_max: u64,

    /// How long what is appended to a log is kept; of an open request that outlives half of it, a
    /// snapshot is written
    #[arg(long = "state-max-age", env = "TURLOUGH_STATE_MAX_AGE", default_value = "168h", value_parser = parse_duration)]
    pub max_age: Duration,

    /// Copies that JetStream keeps, 1 to 5; read where its streams are made
    #[arg(long = "state-replicas", env = "TURLOUGH_STATE_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub replicas: u8,

    /// Where JetStream keeps logs, file or memory; read where its streams are made
    #[arg(long = "state-storage", env = "TURLOUGH_STATE_STORAGE", default_value = "file", value_parser = storage)]
    pub storage: Storage,

    /// When logs are forced to the disk: always, or at an interval. For `file:` it is done so; of a
    /// server it says how the server is set, which is what a power loss may take
    #[arg(long = "state-sync", env = "TURLOUGH_STATE_SYNC", default_value = "200ms", value_parser = sync)]
    pub sync: Sync,

    /// File of credentials for NATS
    #[arg(long = "state-credentials", env = "TURLOUGH_STATE_CREDENTIALS")]
    pub credentials: Option<PathBuf>,

    /// How long a replica counts as alive after its last heartbeat
    #[arg(long, env = "TURLOUGH_HEARTBEAT", default_value = "10s", value_parser = parse_duration)]
    pub heartbeat: Duration,
}

impl StateSettings {
    /// How a function of a tenant opens it.
    #[must_use]
    pub fn options(&self, tenant: &TenantId, function: &FunctionName) -> Options {
        Options {
            bytes_max: self.bytes_max,
            max_age: self.max_age,
            heartbeat: self.heartbeat,
            replicas: self.replicas,
            storage: self.storage,
            sync: self.sync,
            credentials: self.credentials.clone(),
            ..Options::new(tenant.clone(), function.clone())
        }
    }

    /// Whether it is of one process, which then keeps it, too.
    #[must_use]
    pub const fn is_of_one_process(&self) -> bool {
        matches!(self.url, StateUrl::Memory | StateUrl::File(_))
    }

    /// How long an append may be lost by a machine that loses its power.
    #[must_use]
    pub const fn sync_interval(&self) -> Duration {
        match self.sync {
            Sync::Always => Duration::ZERO,
            Sync::Every(interval) => interval,
        }
    }
}

fn storage(text: &str) -> Result<Storage, String> {
    match text {
        "file" => Ok(Storage::File),
        "memory" => Ok(Storage::Memory),
        _ => Err(format!(
            "{text:?} is no place for logs; write file or memory"
        )),
    }
}

fn sync(text: &str) -> Result<Sync, String> {
    if text == "always" {
        return Ok(Sync::Always);
    }
    let every = parse_duration(text);
    let every = every.map_err(|error| format!("{error}; or write always"))?;
    Ok(Sync::Every(every))
}
