//! Settings: environment variables, and flags of the same name.

mod state;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use turlough_sdk::TenantId;
use turlough_telemetry::LogFormat;

pub use state::StateSettings;

/// How a keeper's process runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Where and how the state is kept.
    #[command(flatten)]
    pub state: StateSettings,

    /// Whose requests these are
    #[arg(long, env = "TURLOUGH_TENANT", default_value = "default")]
    pub tenant: TenantId,

    /// Where functions without a replica are woken; without it hints wait for one to come up
    #[arg(long, env = "TURLOUGH_GATEWAY_URL")]
    pub gateway_url: Option<String>,

    /// File of the index, or `memory:`; it is rebuilt from the logs where it is lost
    #[arg(long, env = "TURLOUGH_KEEPER_INDEX", default_value = "keeper.db")]
    pub keeper_index: PathBuf,

    /// Address to listen on
    #[arg(long, env = "TURLOUGH_LISTEN", default_value = "0.0.0.0")]
    pub listen: IpAddr,

    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "port", default_value_t = 7710)]
    pub port: u16,

    /// Failed requests that are kept for a restart at once; the oldest are let go past it
    #[arg(long, env = "TURLOUGH_KEEP_FAILED_MAX", default_value_t = 1_000)]
    pub keep_failed_max: usize,

    /// Logs that are deleted in a second, of requests that somebody asked to delete
    #[arg(long, env = "TURLOUGH_DELETIONS_PER_S", default_value_t = 200)]
    pub deletions_per_s: u32,

    /// How the log on standard error is written
    #[arg(long, env = "TURLOUGH_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl Settings {
    /// The settings that an empty command line gives; environment variables count.
    #[must_use]
    pub fn from_environment() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            settings: Settings,
        }
        <Defaults as clap::Parser>::parse_from(["keeper"]).settings
    }

    /// Address and port to listen on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }
}
