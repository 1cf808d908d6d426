//! Settings of the process: environment variables, and flags of the same name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use turlough_statestore::StateUrl;
use turlough_telemetry::LogFormat;

use crate::asynchronous::RetryConfig;
use crate::config::GatewayConfig;
use crate::functions::duration;

/// Who may deploy functions, which, and for how long they stay.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Deploying {
    /// What runs for which image, for functions that are deployed
    #[arg(long, env = "TURLOUGH_IMAGES", value_name = "FILE")]
    pub images: Option<PathBuf>,

    /// Keeps namespaces, secrets and deployed functions here; without it they go with the process
    #[arg(long, env = "TURLOUGH_GATEWAY_FOLDER", value_name = "FOLDER")]
    pub folder: Option<PathBuf>,

    /// A folder with basic-auth-user and basic-auth-password, which /system/ then asks for. Without it
    /// nothing can be deployed
    #[arg(long, env = "TURLOUGH_BASIC_AUTH", value_name = "FOLDER")]
    pub basic_auth: Option<PathBuf>,

    /// Whoever reaches the gateway may deploy, which is to run commands as its user
    #[arg(long, env = "TURLOUGH_ANYBODY_DEPLOYS", conflicts_with = "basic_auth")]
    pub anybody_deploys: bool,
}

impl Deploying {
    /// A configuration with these settings.
    #[must_use]
    pub fn apply(&self, config: GatewayConfig) -> GatewayConfig {
        GatewayConfig {
            folder: self.folder.clone(),
            basic_auth: self.basic_auth.clone(),
            anybody_deploys: self.anybody_deploys,
            images: self.images.clone(),
            ..config
        }
    }
}

/// Where asynchronous calls wait, and how they are made again.
#[derive(Debug, Clone, clap::Args)]
pub struct Queueing {
    /// Where asynchronous calls wait: `memory:`, `file:<dir>`, `nats://host:port` or `redis://host:port` [default: a
    /// folder in TURLOUGH_GATEWAY_FOLDER, or memory where there is none]
    #[arg(long, env = "TURLOUGH_ASYNC_STATE", value_name = "URL")]
    pub async_state: Option<StateUrl>,

    /// How often an asynchronous call is made, where its function's annotations say nothing
    #[arg(
        long,
        env = "TURLOUGH_ASYNC_ATTEMPTS",
        default_value_t = 10,
        value_name = "N"
    )]
    pub async_attempts: u32,

    /// Statuses after which it is made again
    #[arg(
        long,
        env = "TURLOUGH_ASYNC_RETRY_CODES",
        default_value = "408,429,500,502,503,504",
        value_delimiter = ',',
        value_name = "STATUSES"
    )]
    pub async_retry_codes: Vec<u16>,

    /// How long before it is made again, at first; doubled each time, and half of it to all
    #[arg(long, env = "TURLOUGH_ASYNC_RETRY_MIN_WAIT", default_value = "10s", value_name = "DURATION", value_parser = parse_duration)]
    pub async_retry_min_wait: Duration,

    /// What that is doubled to
    #[arg(long, env = "TURLOUGH_ASYNC_RETRY_MAX_WAIT", default_value = "2m", value_name = "DURATION", value_parser = parse_duration)]
    pub async_retry_max_wait: Duration,

    /// Callbacks may go to link-local addresses, where clouds tell machines their secrets
    #[arg(long, env = "TURLOUGH_CALLBACK_LINK_LOCAL")]
    pub callback_link_local: bool,
}

impl Queueing {
    /// A configuration with these settings; its folder counts.
    #[must_use]
    pub fn apply(&self, mut config: GatewayConfig) -> GatewayConfig {
        let in_folder = config.folder.as_ref();
        let in_folder = in_folder.map(|folder| StateUrl::File(folder.join("async-calls")));
        let state = self.async_state.clone().or(in_folder);
        config.asynchronous.state = state.unwrap_or(StateUrl::Memory);
        config.asynchronous.callback_link_local = self.callback_link_local;
        config.asynchronous.retry = RetryConfig {
            attempts: self.async_attempts.max(1),
            codes: self.async_retry_codes.clone(),
            min_wait: self.async_retry_min_wait,
            max_wait: self.async_retry_max_wait.max(self.async_retry_min_wait),
        };
        config
    }
}

/// How a gateway's process runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Functions of a stack file to start with; they come from it again at the next start
    #[arg(long, short = 'f', env = "TURLOUGH_STACK", value_name = "FILE")]
    pub stack: Option<PathBuf>,

    #[command(flatten)]
    pub deploying: Deploying,

    #[command(flatten)]
    pub queueing: Queueing,

    /// Where functions are called and deployed
    #[arg(
        long,
        env = "TURLOUGH_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,

    /// Where /metrics is
    #[arg(
        long,
        env = "TURLOUGH_METRICS_LISTEN",
        default_value = "127.0.0.1:8082",
        value_name = "ADDRESS"
    )]
    pub metrics_listen: SocketAddr,

    /// Writes the output of each function to FOLDER/FUNCTION.log too, 32 MiB of it at most
    #[arg(long, env = "TURLOUGH_LOG_DIR", value_name = "FOLDER")]
    pub log_dir: Option<PathBuf>,

    /// How long a function may take to answer
    #[arg(long, env = "TURLOUGH_UPSTREAM_TIMEOUT", default_value = "60s", value_name = "DURATION", value_parser = parse_duration)]
    pub upstream_timeout: Duration,

    /// How long a function may take until it is healthy
    #[arg(long, env = "TURLOUGH_START_TIMEOUT", default_value = "60s", value_name = "DURATION", value_parser = parse_duration)]
    pub start_timeout: Duration,

    /// How long open requests may go on after SIGTERM
    #[arg(long, env = "TURLOUGH_DRAIN", default_value = "5s", value_name = "DURATION", value_parser = parse_duration)]
    pub drain: Duration,

    /// How the log on standard error is written
    #[arg(long, env = "TURLOUGH_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl Settings {
    pub(crate) fn config(&self) -> GatewayConfig {
        let config = self.deploying.apply(GatewayConfig {
            listen: self.listen,
            listen_setting: "--listen or TURLOUGH_GATEWAY_LISTEN".into(),
            metrics_listen: self.metrics_listen,
            log_dir: self.log_dir.clone(),
            upstream_timeout: self.upstream_timeout,
            start_timeout: self.start_timeout,
            drain_grace: self.drain,
            ..GatewayConfig::default()
        });
        self.queueing.apply(config)
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = duration(text).filter(|parsed| !parsed.is_zero());
    parsed.ok_or_else(|| format!("`{text}` is not a duration; write one such as 90s, 5m or 1h30m"))
}
