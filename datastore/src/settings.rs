//! Settings: environment variables, and flags of the same name.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use turlough_sdk::parse_duration;
use turlough_telemetry::LogFormat;

use crate::peers::{Backup, PeerList};
use crate::server::SpillTo;
use crate::store::{Bounds, Quota};

/// How a store's process runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Address to listen on
    #[arg(long, env = "TURLOUGH_LISTEN", default_value = "0.0.0.0")]
    pub listen: IpAddr,

    /// Port for Redis's protocol; 0 takes a free one
    #[arg(long, env = "TURLOUGH_STORE_PORT", default_value_t = 7700)]
    pub port: u16,

    /// Port for health, readiness and metrics; 0 takes a free one
    #[arg(long, env = "TURLOUGH_STORE_METRICS_PORT", default_value_t = 7701)]
    pub metrics_port: u16,

    /// Unix socket to listen on as well, for clients on this host
    #[arg(long, env = "TURLOUGH_STORE_SOCKET")]
    pub socket: Option<PathBuf>,

    /// Where other hosts reach this store, as host:port, for references [default: the address that it listens on]
    #[arg(long, env = "TURLOUGH_STORE_ADDRESS")]
    pub address: Option<String>,

    /// Folder with the passwords: turlough-store-TENANT for each tenant, turlough-store-admin for
    /// whoever sets quotas. Without any, clients on this host are the tenant `default`, and others are refused
    #[arg(
        long,
        env = "TURLOUGH_SECRETS",
        default_value = "/var/openfaas/secrets"
    )]
    pub secrets: PathBuf,

    /// Certificates for TLS over TCP, as PEM, with the key in TURLOUGH_STORE_TLS_KEY
    #[arg(long, env = "TURLOUGH_STORE_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of the certificate, as PEM
    #[arg(long, env = "TURLOUGH_STORE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Other stores, for copies: host:port,host:port, or dns:name:port for all that a name resolves to
    #[arg(long, env = "TURLOUGH_STORE_PEERS")]
    pub peers: Option<PeerList>,

    /// What other stores' certificates are signed by, as PEM; without it they are spoken to without TLS
    #[arg(long, env = "TURLOUGH_STORE_PEERS_CA")]
    pub peers_ca: Option<PathBuf>,

    /// Copies of values in buckets of which SET does not say it: given to one other store behind the
    /// answer (async), before it (sync), or to none
    #[arg(long, env = "TURLOUGH_STORE_BACKUP", default_value = "none")]
    pub backup: Backup,

    /// What all tenants hold together, in bytes [default: half of the memory that this process may have]
    #[arg(long, env = "TURLOUGH_STORE_BYTES_MAX")]
    pub bytes_max: Option<u64>,

    /// Folder on a local disk for the largest and coldest values, when memory runs short
    #[arg(long, env = "TURLOUGH_STORE_SPILL")]
    pub spill: Option<PathBuf>,

    /// What they may take there, in bytes [default: what the disk has]
    #[arg(long, env = "TURLOUGH_STORE_SPILL_BYTES_MAX", requires = "spill")]
    pub spill_bytes_max: Option<u64>,

    /// They go once so much of TURLOUGH_STORE_BYTES_MAX is held, in percent
    #[arg(long, env = "TURLOUGH_STORE_SPILL_PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub spill_percent: u8,

    /// The largest value, in bytes
    #[arg(long, env = "TURLOUGH_STORE_VALUE_BYTES_MAX", default_value_t = 512 << 20)]
    pub value_bytes_max: usize,

    /// How long a request's bucket stays of which nobody says it
    #[arg(long, env = "TURLOUGH_STORE_LEASE", default_value = "10m", value_parser = parse_duration)]
    pub lease: Duration,

    /// What a tenant may hold for whom the tenants' file says nothing, in bytes [default: TURLOUGH_STORE_BYTES_MAX]
    #[arg(long, env = "TURLOUGH_STORE_TENANT_BYTES_MAX")]
    pub tenant_bytes_max: Option<u64>,

    /// Quotas, as YAML: `acme: { hard: 1073741824, soft: 800000000, flight: 268435456 }`; read anew when it changes
    #[arg(long, env = "TURLOUGH_STORE_TENANTS")]
    pub tenants: Option<PathBuf>,

    /// Connections at once
    #[arg(long, env = "TURLOUGH_STORE_CONNECTIONS_MAX", default_value_t = 20_000)]
    pub connections_max: u64,

    /// What they may hold together of commands that are not there yet and of replies that nobody reads, in
    /// bytes; past it each may hold 64 KiB
    #[arg(long, env = "TURLOUGH_STORE_BUFFERS_BYTES_MAX", default_value_t = 256 << 20)]
    pub buffers_bytes_max: u64,

    /// How long a client may take over a part of a command, leave a reply unread, or not say who it is
    #[arg(long, env = "TURLOUGH_STORE_STALLED", default_value = "60s", value_parser = parse_duration)]
    pub stalled: Duration,

    /// Threads that serve [default: one for every two processors, the rest is for who asks]
    #[arg(long, env = "TURLOUGH_STORE_WORKERS")]
    pub workers: Option<usize>,

    /// How long clients have to go once the process is told to end
    #[arg(long, env = "TURLOUGH_DRAIN", default_value = "5s", value_parser = parse_duration)]
    pub drain: Duration,

    /// How the log on standard error is written
    #[arg(long, env = "TURLOUGH_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// Of a machine that does not say what it has.
const BYTES_MAX: u64 = 1 << 30;

impl Settings {
    /// The settings that an empty command line gives; environment variables count.
    #[must_use]
    pub fn from_environment() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            settings: Settings,
        }
        <Defaults as clap::Parser>::parse_from(["store"]).settings
    }

    /// Address and port for Redis's protocol.
    #[must_use]
    pub const fn address_of_store(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }

    /// Address and port for health and metrics.
    #[must_use]
    pub const fn address_of_metrics(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.metrics_port)
    }

    /// Where values go when memory runs short.
    #[must_use]
    pub fn spill_to(&self) -> Option<SpillTo> {
        let folder = self.spill.clone()?;
        Some(SpillTo {
            folder,
            bytes_max: self.spill_bytes_max.unwrap_or(u64::MAX),
            percent: self.spill_percent,
        })
    }

    /// What the store holds at most.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let bytes_max = self.bytes_max.unwrap_or_else(half_of_memory);
        Bounds {
            bytes_max,
            lease_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            quota: Quota::of(self.tenant_bytes_max.unwrap_or(bytes_max)),
        }
    }
}

/// Half of what the machine has, or of what its group of processes may have, where that is less.
fn half_of_memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
    });
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok());
    let all = machine.unwrap_or(2 * BYTES_MAX);
    group.map_or(all, |group: u64| group.min(all)) / 2
}
