//! Where the state is kept, as `TURLOUGH_STATE` says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::StateError;
use crate::state::{Options, State};

/// Where the state is kept. It is shown without its passwords.
#[derive(Clone, PartialEq, Eq)]
pub enum StateUrl {
    /// In this process: `memory:`.
    Memory,
    /// In a folder of this machine, for one process at a time: `file:<dir>`.
    File(PathBuf),
    /// In NATS JetStream: `nats://host:port`, several separated by commas.
    Nats(String),
    /// In Redis: `redis://host:port`, `rediss://…` with TLS, `redis+unix:///path` for a socket.
    Redis(String),
}

/// Why a text does not say where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "state {found:?} is not known; write memory:, file:<dir>, nats://host:port or redis://host:port"
)]
pub struct StateUrlError {
    found: String,
}

impl FromStr for StateUrl {
    type Err = StateUrlError;

    fn from_str(text: &str) -> Result<Self, StateUrlError> {
        let is = |schemes: &[&str]| schemes.iter().any(|scheme| text.starts_with(scheme));
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        match text.strip_prefix("file:") {
            Some(dir) if !dir.is_empty() => return Ok(Self::File(dir.into())),
            _ => {}
        }
        if is(&["nats://", "tls://"]) {
            return Ok(Self::Nats(text.to_owned()));
        }
        if is(&["redis://", "rediss://", "redis+unix://"]) {
            return Ok(Self::Redis(text.to_owned()));
        }
        let found = text.chars().take(200).collect();
        Err(StateUrlError { found })
    }
}

impl StateUrl {
    /// The kind of system that keeps it, by OpenTelemetry's names where it has one.
    #[must_use]
    pub const fn system(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File(_) => "file",
            Self::Nats(_) => "nats",
            Self::Redis(_) => "redis",
        }
    }
}

impl fmt::Debug for StateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for StateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::File(dir) => write!(f, "file:{}", dir.display()),
            Self::Nats(url) => {
                let shown: Vec<_> = url.split(',').map(shown).collect();
                f.write_str(&shown.join(","))
            }
            Self::Redis(url) => f.write_str(&shown(url)),
        }
    }
}

/// An address alone: a password stands before an `@`, or in what is asked for.
fn shown(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let rest = match rest.rsplit_once('@') {
        Some((_, place)) if !scheme.ends_with("+unix") => place,
        _ => rest,
    };
    let place = rest.split_once('?').map_or(rest, |(place, _)| place);
    let parted = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{parted}{place}")
}

impl State {
    /// Opens the state of a tenant, and makes what is not there yet.
    ///
    /// # Errors
    /// A server that is away, too old or set otherwise; a folder that another process uses.
    pub async fn open(url: &StateUrl, options: &Options) -> Result<Self, StateError> {
        match url {
            StateUrl::Memory => Ok(Self::in_memory(options)),
            StateUrl::File(dir) => Self::in_folder(dir, options).await,
            StateUrl::Nats(url) => Self::in_nats(url, options).await,
            StateUrl::Redis(url) => Self::in_redis(url, options).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("nats://a:b@h:1,c:d@i", "nats://h:1,i"),
            ("nats://token@h", "nats://h"),
            ("redis://:p@s?s,x@h:6379/2", "redis://h:6379/2"),
            (
                "redis+unix:///run/a@b.sock?pass=p",
                "redis+unix:///run/a@b.sock",
            ),
        ] {
            let url: StateUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }

    #[test]
    fn reads_what_it_writes_and_names_what_it_does_not_know() {
        for text in [
            "memory:",
            "file:/var/lib/turlough",
            "file:state",
            "nats://10.0.0.1:4222,10.0.0.2:4222",
            "tls://nats.example.com",
            "redis://127.0.0.1:6379/2",
            "redis+unix:///run/redis.sock",
        ] {
            assert_eq!(text.parse::<StateUrl>().unwrap().to_string(), text);
        }
        for text in ["", "file:", "memory", "http://a", "/var/lib"] {
            let error = text.parse::<StateUrl>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
