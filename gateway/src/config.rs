//! Settings of a gateway, with their defaults. Reading them from flags or the
//! environment is the caller's part.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a gateway listens, waits and stops.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where functions are called and `/system` is served. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// What a user sets to change `listen`; quoted when the address is taken.
    pub listen_setting: String,
    /// Where `/metrics` is served. Port 0 takes any free port.
    pub metrics_listen: SocketAddr,
    /// What a user sets to change `metrics_listen`; quoted when the address is taken.
    pub metrics_listen_setting: String,
    /// A directory for one `<function>.log` each; `None` keeps output in memory only.
    pub log_dir: Option<PathBuf>,
    /// From the start of a call to the function's response headers (OpenFaaS's
    /// `upstream_timeout`). A body may stream for longer.
    pub upstream_timeout: Duration,
    /// From the start of a function's process to its first healthy answer.
    pub start_timeout: Duration,
    /// How long requests in flight may take to end once the gateway is told to stop.
    pub drain_grace: Duration,
    /// From SIGTERM to SIGKILL for a function's process group.
    pub stop_grace: Duration,
    /// Client connections held at once; more wait in the kernel's backlog.
    pub connections_max: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            listen_setting: "--gateway-listen or TURLOUGH_GATEWAY_LISTEN".into(),
            metrics_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8082)),
            metrics_listen_setting: "--metrics-listen or TURLOUGH_METRICS_LISTEN".into(),
            log_dir: None,
            upstream_timeout: Duration::from_secs(60),
            start_timeout: Duration::from_secs(60),
            drain_grace: Duration::from_secs(5),
            stop_grace: Duration::from_secs(5),
            connections_max: 10_000,
        }
    }
}
