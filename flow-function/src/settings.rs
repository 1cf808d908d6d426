//! Settings: environment variables, and flags of the same name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use turlough_datastore::DataUrl;
use turlough_datastore::data::{LEASE_MAX, Options};
use turlough_keeper::StateSettings;
use turlough_sdk::{FunctionName, TenantId, parse_duration};
use turlough_statestore::StateUrl;
use turlough_telemetry::LogFormat;

use crate::fault::{Fault, planted};
use crate::machine::HALF_HEARTBEAT_US;
use crate::outside::HttpAllow;
use crate::trace::TraceSettings;

/// Most that `TURLOUGH_INLINE_BYTES_MAX` may be: an append of 512 KiB holds the last step's value and
/// the same one as the request's output, with room for what an event has beside its value.
pub(crate) const INLINE_BYTES_LIMIT: usize = 128 * 1024;

/// How a flow-function runs.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Flow-function")]
pub struct Settings {
    /// Own name, `name` or `name.namespace`; the gateway and the templates set it
    #[arg(long, env = "TURLOUGH_FUNCTION", default_value = "flows")]
    pub function: FunctionName,

    /// Where functions are called
    #[arg(
        long,
        env = "TURLOUGH_GATEWAY_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub gateway_url: String,

    /// Where the keeper of the state lists requests, where several processes share it
    #[arg(long, env = "TURLOUGH_KEEPER_URL")]
    pub keeper_url: Option<String>,

    /// Who pays for what runs here
    #[arg(long, env = "TURLOUGH_TENANT", default_value = "default")]
    pub tenant: TenantId,

    /// Address to listen on
    #[arg(long, env = "TURLOUGH_LISTEN", default_value = "0.0.0.0")]
    pub listen: IpAddr,

    /// Port to listen on; 0 takes a free one (`port` is OpenFaaS's own name)
    #[arg(long, env = "port", default_value_t = 8080)]
    pub port: u16,

    /// Requests driven at once; what is accepted past it waits its turn
    #[arg(long, env = "TURLOUGH_CAPACITY", default_value_t = 1_000)]
    pub capacity: usize,

    /// How long a closure of a for_each waits for a processor here before another replica is asked to
    /// run it; 0s for never
    #[arg(long, env = "TURLOUGH_SPREAD_AFTER", default_value = "20ms", value_parser = parse_keep)]
    pub spread_after: Duration,

    /// Requests that are open at once; past it the answer is 503
    #[arg(long, env = "TURLOUGH_REQUESTS_MAX", default_value_t = 100_000)]
    pub requests_max: usize,

    /// How long a synchronous caller waits before the answer turns into 202; without it a second less than
    /// write_timeout and exec_timeout, and 25s without these
    #[arg(long, env = "TURLOUGH_SYNC_WAIT", value_parser = parse_duration)]
    pub sync_wait: Option<Duration>,

    /// How long a caller may take to send its body (OpenFaaS's own names, from here on)
    #[arg(long, env = "read_timeout", value_parser = openfaas_duration)]
    pub read_timeout: Option<Duration>,

    /// How long an answer may take
    #[arg(long, env = "write_timeout", value_parser = openfaas_duration)]
    pub write_timeout: Option<Duration>,

    /// How long a call may take
    #[arg(long, env = "exec_timeout", value_parser = openfaas_duration)]
    pub exec_timeout: Option<Duration>,

    /// How long calls are still taken after SIGTERM, while `/_/ready` says that no more should come
    #[arg(long, env = "healthcheck_interval", default_value = "0s", value_parser = openfaas_duration)]
    pub healthcheck_interval: Duration,

    /// Calls that are worked on at once, of which an eighth is kept for callbacks, signals and control;
    /// past it the answer is 429; 0 for no limit
    #[arg(long, env = "max_inflight", default_value_t = 12_288)]
    pub max_inflight: usize,

    /// Largest body taken from a caller or a function, in bytes
    #[arg(long, env = "TURLOUGH_BODY_BYTES_MAX", default_value_t = 64 << 20)]
    pub body_bytes_max: usize,

    /// Largest input or output kept in a request's log, in bytes
    #[arg(long, env = "TURLOUGH_DURABLE_BYTES_MAX", default_value_t = 16 << 20)]
    pub durable_bytes_max: usize,

    /// Largest value that travels inside its event, in bytes
    #[arg(long, env = "TURLOUGH_INLINE_BYTES_MAX", default_value_t = 4096, value_parser = inline_bytes)]
    pub inline_bytes_max: usize,

    /// Where the data of requests is kept that does not fit into an event: `memory:`,
    /// `turlough://host:7700`, `turlough+tls://host:7700`, `unix:<path>`, `redis://host:port`,
    /// `rediss://host:port`, `redis+unix:///path`, `redis+cluster://host:port,host:port`, `file:<dir>`,
    /// `s3://bucket/prefix`
    #[arg(long, env = "TURLOUGH_DATA", default_value = "memory:")]
    pub data: DataUrl,

    /// What `memory:` may hold, in bytes
    #[arg(long, env = "TURLOUGH_DATA_BYTES_MAX", default_value_t = 4 << 30)]
    pub data_bytes_max: u64,

    /// Where inputs, results and outputs of steps that must not run again are kept that are too large for
    /// the log: `file:<dir>`, `s3://bucket/prefix`
    #[arg(long, env = "TURLOUGH_DURABLE", value_parser = durable_url)]
    pub durable: Option<DataUrl>,

    /// How long the data of a request stays of which no replica says any more that it is needed
    #[arg(long, env = "TURLOUGH_DATA_LEASE", default_value = "10m", value_parser = parse_duration)]
    pub data_lease: Duration,

    /// Root certificates, as PEM, for a store behind TLS; those of this machine without it
    #[arg(long, env = "TURLOUGH_DATA_CA")]
    pub data_ca: Option<PathBuf>,

    /// Where and how requests are kept.
    #[command(flatten)]
    pub state: StateSettings,

    /// Where traces go, and which.
    #[command(flatten)]
    pub traces: TraceSettings,

    /// Ended requests that stay listed; the oldest are forgotten past it
    #[arg(long, env = "TURLOUGH_ENDED_MAX", default_value_t = 10_000)]
    pub ended_max: usize,

    /// Bytes that the logs of ended requests may take; the oldest are forgotten past it
    #[arg(long, env = "TURLOUGH_ENDED_BYTES_MAX", default_value_t = 256 << 20)]
    pub ended_bytes_max: u64,

    /// How long a request that failed, was cancelled or timed out can be restarted; 0s for not at all
    #[arg(long, env = "TURLOUGH_KEEP_FAILED", default_value = "10m", value_parser = parse_keep)]
    pub keep_failed: Duration,

    /// Such requests that are kept at once; the oldest are let go past it
    #[arg(long, env = "TURLOUGH_KEEP_FAILED_MAX", default_value_t = 1_000)]
    pub keep_failed_max: usize,

    /// How long one jq expression may run that is not known to be cheap
    #[arg(long, env = "TURLOUGH_JQ_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    pub jq_timeout: Duration,

    /// What the evaluation of such an expression may take in memory, in bytes
    #[arg(long, env = "TURLOUGH_JQ_BYTES_MAX", default_value_t = 512 << 20)]
    pub jq_bytes_max: u64,

    /// Processes that evaluate such expressions, each one at a time
    #[arg(long, env = "TURLOUGH_JQ_PROCESSES", default_value_t = 2)]
    pub jq_processes: usize,

    /// The program of these processes; without one, this program
    #[arg(long, env = "TURLOUGH_EVALUATOR_PROGRAM", hide = true)]
    pub evaluator: Option<PathBuf>,

    /// Closures that may run on past their time limit; at it, the process ends to be replaced
    #[arg(long, env = "TURLOUGH_ABANDONED_MAX", default_value_t = 32)]
    pub abandoned_max: usize,

    /// Folder of secrets; a file `turlough-token` in it is the bearer token for request control
    #[arg(
        long,
        env = "TURLOUGH_SECRETS",
        default_value = "/var/openfaas/secrets"
    )]
    pub secrets: PathBuf,

    /// Addresses that `http` steps and callbacks may reach though they are not public: hosts,
    /// host:port, networks such as 10.0.0.0/8, or `private` for private networks; comma-separated
    #[arg(long, env = "TURLOUGH_HTTP_ALLOW", default_value = "")]
    pub http_allow: HttpAllow,

    /// Calls that must not be repeated wait for `TURLOUGH_STATE_SYNC` longer, until their start is on
    /// the disk: then a power loss does not make them be repeated either
    #[arg(long, env = "TURLOUGH_ONCE_AFTER_SYNC")]
    pub once_after_sync: bool,

    /// How the log on standard error is written
    #[arg(long, env = "TURLOUGH_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// How long requests may go on after SIGTERM; without it write_timeout, and 20s without that
    #[arg(long, env = "TURLOUGH_DRAIN", value_parser = parse_duration)]
    pub drain: Option<Duration>,
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
        <Defaults as clap::Parser>::parse_from(["flow-function"]).settings
    }

    /// How long a synchronous caller waits.
    pub(crate) fn sync_wait(&self) -> Duration {
        let limits = [self.write_timeout, self.exec_timeout];
        // The answer that says where the request is has to be out before that.
        let less = |limit: Duration| limit.checked_sub(ANSWER_TIME).unwrap_or(limit / 2);
        let said = limits.into_iter().flatten().min().map(less);
        self.sync_wait.or(said).unwrap_or(SYNC_WAIT)
    }

    /// How long requests may go on after SIGTERM.
    pub(crate) fn drain(&self) -> Duration {
        self.drain.or(self.write_timeout).unwrap_or(DRAIN)
    }

    /// How the store is used.
    pub(crate) fn data_options(&self) -> Options {
        Options {
            lease: self.data_lease,
            bytes_max: self.data_bytes_max,
            secrets: self.secrets.clone(),
            authorities: self.data_ca.clone(),
            ..Options::new(self.tenant.clone())
        }
    }

    /// Within what time a call begins that must not be repeated, from when its start is sent: after that,
    /// others may think that it never will.
    pub(crate) fn call_within(&self) -> Duration {
        let half = self.state.heartbeat / 2;
        if planted(Fault::CallsWithinAnyHeartbeat) {
            return half;
        }
        half.min(Duration::from_micros(HALF_HEARTBEAT_US))
    }

    /// Why these settings do not go together.
    pub(crate) fn conflict(&self) -> Option<String> {
        let (keep, max_age) = (self.keep_failed, self.state.max_age);
        if keep > max_age / 2 {
            return Some(format!(
                "failed requests would be kept for {keep:?}, and their logs for {max_age:?}; lower TURLOUGH_KEEP_FAILED to half of that, or raise TURLOUGH_STATE_MAX_AGE"
            ));
        }
        if self.durable.as_ref() == Some(&self.data) {
            return Some(format!(
                "TURLOUGH_DATA and TURLOUGH_DURABLE are both {}, and a request's data is dropped at its end; name another place for one of them",
                self.data
            ));
        }
        if self.durable.is_some() && max_age > LEASE_MAX {
            return Some(format!(
                "logs would be kept for {max_age:?}, and what TURLOUGH_DURABLE holds for {LEASE_MAX:?} at most; lower TURLOUGH_STATE_MAX_AGE, or leave out TURLOUGH_DURABLE"
            ));
        }
        if self.inline_bytes_max == 0 && self.durable.is_none() && !self.is_forgotten() {
            return Some(
                "no payload goes into the log with TURLOUGH_INLINE_BYTES_MAX=0, and what must outlive the store has no place; set TURLOUGH_DURABLE".to_owned(),
            );
        }
        let (sync, within) = (self.state.sync_interval(), self.call_within());
        (self.once_after_sync && sync > within / 2).then(|| {
            format!(
                "calls that must not be repeated would wait {sync:?} for the disk, and begin within {within:?} or not at all; lower TURLOUGH_STATE_SYNC to half of that, or leave out TURLOUGH_ONCE_AFTER_SYNC"
            )
        })
    }

    /// Whether requests end with this process.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self.state.url, StateUrl::Memory)
    }

    /// How what outlives a request's data is kept: for as long as its log.
    pub(crate) fn durable_options(&self) -> Options {
        Options {
            lease: self.state.max_age,
            ..self.data_options()
        }
    }

    /// Address and port to listen on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }

    /// The bearer token of request control, where there is one. It is read at each use, so that a
    /// changed secret counts at once; the file is small and cached.
    ///
    /// # Errors
    /// A file that cannot be read, or is empty.
    pub(crate) async fn token(&self) -> io::Result<Option<String>> {
        let path = self.secrets.join(TOKEN);
        let why = |kind, reason: &dyn std::fmt::Display| {
            io::Error::new(kind, format!("secret {}: {reason}", path.display()))
        };
        match tokio::fs::read_to_string(&path).await {
            Ok(token) if token.trim().is_empty() => {
                Err(why(io::ErrorKind::InvalidData, &"it is empty"))
            }
            Ok(token) => Ok(Some(token.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(why(error.kind(), &error)),
        }
    }
}

/// Name of the secret that holds the token of request control.
const TOKEN: &str = "turlough-token";

/// What is waited for where nobody says it.
const SYNC_WAIT: Duration = Duration::from_secs(25);
const DRAIN: Duration = Duration::from_secs(20);
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// A duration as OpenFaaS has it: a number alone is of seconds.
fn openfaas_duration(text: &str) -> Result<Duration, String> {
    match text.trim().parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => parse_keep(text.trim()),
    }
}

fn parse_keep(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") {
        return Ok(Duration::ZERO);
    }
    parse_duration(text)
}

fn durable_url(text: &str) -> Result<DataUrl, String> {
    match text.parse::<DataUrl>().map_err(|error| error.to_string())? {
        url @ (DataUrl::Folder(_) | DataUrl::Bucket { .. }) => Ok(url),
        other => Err(format!(
            "{other} does not outlive what it is for; write file:<dir> or s3://bucket/prefix"
        )),
    }
}

fn inline_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of bytes"))?;
    if bytes > INLINE_BYTES_LIMIT {
        return Err(format!(
            "{bytes} bytes do not fit into an event; write up to {INLINE_BYTES_LIMIT}"
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use turlough_statestore::Sync;

    use super::*;

    #[test]
    fn who_keeps_failed_requests_longer_than_their_logs_is_refused() {
        let mut settings = Settings::from_environment();
        settings.state.max_age = Duration::from_secs(20 * 60);
        assert_eq!(settings.conflict(), None);
        settings.keep_failed = Duration::from_secs(11 * 60);
        let conflict = settings.conflict().unwrap();
        assert!(conflict.contains("kept for 660s"), "{conflict}");
    }

    #[test]
    fn who_waits_for_the_disk_longer_than_a_call_may_is_refused() {
        let mut settings = Settings::from_environment();
        settings.once_after_sync = true;
        assert_eq!(settings.conflict(), None);
        settings.state.sync = Sync::Every(Duration::from_secs(120));
        let conflict = settings.conflict().unwrap();
        assert!(conflict.contains("wait 120s"), "{conflict}");
        settings.once_after_sync = false;
        assert_eq!(settings.conflict(), None);
    }

    #[test]
    fn openfaas_names_say_how_long_things_take_and_our_own_go_before_them() {
        let mut settings = Settings::from_environment();
        let seconds =
            |settings: &Settings| (settings.sync_wait().as_secs(), settings.drain().as_secs());
        assert_eq!(seconds(&settings), (25, 20));
        settings.write_timeout = Some(Duration::from_secs(60));
        assert_eq!(seconds(&settings), (59, 60));
        settings.exec_timeout = Some(Duration::from_secs(10));
        assert_eq!(seconds(&settings), (9, 60));
        settings.sync_wait = Some(Duration::from_secs(5));
        settings.drain = Some(Duration::from_secs(7));
        assert_eq!(seconds(&settings), (5, 7));
        settings.sync_wait = None;
        settings.exec_timeout = Some(Duration::from_millis(600));
        assert_eq!(settings.sync_wait(), Duration::from_millis(300));
        for (text, millis) in [
            ("30", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(
                openfaas_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "soon", "-5", "5x"] {
            assert!(openfaas_duration(text).is_err(), "{text}");
        }
    }
}
