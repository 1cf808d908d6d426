//! Settings of a gateway, with their defaults. Reading them from flags or the
//! environment is the caller's part.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use turlough_statestore::StateUrl;

use crate::asynchronous::RetryConfig;

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
    /// What outlives the gateway: namespaces, secrets, functions deployed over REST. `None` keeps it
    /// until the gateway ends.
    pub folder: Option<PathBuf>,
    /// A folder with `basic-auth-user` and `basic-auth-password`, which `/system` then asks for. Without
    /// it nothing can be changed over REST: to deploy is to run commands as the gateway's user.
    pub basic_auth: Option<PathBuf>,
    /// Whoever reaches the gateway may change everything, where it asks for no password.
    pub anybody_deploys: bool,
    /// A file that says what runs for which image.
    pub images: Option<PathBuf>,
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
    pub asynchronous: AsyncConfig,
}

/// How asynchronous calls are held, made, and told of.
#[derive(Clone, Debug)]
pub struct AsyncConfig {
    /// Where they lie. In memory, every bound here is one on memory.
    pub state: StateUrl,
    /// How they are made again.
    pub retry: RetryConfig,
    /// Calls accepted and not yet over; past it, callers get 503.
    pub calls_max: usize,
    /// Heads and bodies of the calls that no function has answered yet; past it,
    /// callers get 503.
    pub bytes_max: usize,
    /// The body of one call; past it, its caller gets 413.
    pub body_bytes_max: usize,
    /// The body of a function's answer that is to be called back with; past it,
    /// the callback says 502.
    pub answer_bytes_max: usize,
    /// Calls that one function works on at once.
    pub in_flight_per_function_max: usize,
    /// How often a callback is tried.
    pub callback_attempts_max: u32,
    /// Before the second attempt; doubled after each, with jitter (half of it to all).
    pub callback_wait_min: Duration,
    /// From the start of an attempt to the receiver's response headers.
    pub callback_timeout: Duration,
    /// Callbacks may go to addresses of the link alone, where clouds tell machines their secrets.
    pub callback_link_local: bool,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            listen_setting: "--gateway-listen or TURLOUGH_GATEWAY_LISTEN".into(),
            metrics_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8082)),
            metrics_listen_setting: "--metrics-listen or TURLOUGH_METRICS_LISTEN".into(),
            folder: None,
            basic_auth: None,
            anybody_deploys: false,
            images: None,
            log_dir: None,
            upstream_timeout: Duration::from_secs(60),
            start_timeout: Duration::from_secs(60),
            drain_grace: Duration::from_secs(5),
            stop_grace: Duration::from_secs(5),
            connections_max: 10_000,
            asynchronous: AsyncConfig::default(),
        }
    }
}

impl Default for AsyncConfig {
    fn default() -> Self {
        Self {
            state: StateUrl::Memory,
            retry: RetryConfig::default(),
            // As many as clients: a call without a body takes about 1 KiB.
            calls_max: 10_000,
            bytes_max: 256 << 20,
            // OpenFaaS's own queue takes 1 MiB.
            body_bytes_max: 8 << 20,
            answer_bytes_max: 8 << 20,
            // Enough to keep a function's process busy, too few to fill its backlog.
            in_flight_per_function_max: 16,
            // Waits of 13 to 26 s in all: a receiver has the time to be restarted.
            callback_attempts_max: 9,
            callback_wait_min: Duration::from_millis(100),
            callback_timeout: Duration::from_secs(30),
            callback_link_local: false,
        }
    }
}
