//! Settings of the process: environment variables, and flags of the same name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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

/// How a gateway's process runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Functions of a stack file to start with; they come from it again at the next start
    #[arg(long, short = 'f', env = "TURLOUGH_STACK", value_name = "FILE")]
    pub stack: Option<PathBuf>,

    #[command(flatten)]
    pub deploying: Deploying,

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
}

impl Settings {
    pub(crate) fn config(&self) -> GatewayConfig {
        self.deploying.apply(GatewayConfig {
            listen: self.listen,
            listen_setting: "--listen or TURLOUGH_GATEWAY_LISTEN".into(),
            metrics_listen: self.metrics_listen,
            log_dir: self.log_dir.clone(),
            upstream_timeout: self.upstream_timeout,
            start_timeout: self.start_timeout,
            drain_grace: self.drain,
            ..GatewayConfig::default()
        })
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = duration(text).filter(|parsed| !parsed.is_zero());
    parsed.ok_or_else(|| format!("`{text}` is not a duration; write one such as 90s, 5m or 1h30m"))
}
