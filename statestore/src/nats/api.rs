//! JetStream's JSON interface: how it is asked, and what it answers.

use std::fmt;

use async_nats::client::{RequestError, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connection::Connection;
use crate::error::StateError;

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not sent.
    NotSent(String),
    /// It was sent, or may have been; nobody answered.
    Unanswered(String),
    /// The server says that nobody is there who could answer.
    Nobody,
    /// The server does not permit it.
    Denied(String),
    /// It will never be sent: larger than the server takes.
    TooLarge(String),
    /// The server did not do it.
    Api(ApiError),
}

/// An error of JetStream.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) description: String,
}

/// Codes of JetStream that are told apart.
pub(super) mod code {
    pub(in crate::nats) const RESOURCES: [u32; 7] =
        [10002, 10023, 10026, 10027, 10028, 10047, 10122];
    pub(in crate::nats) const CONSUMER_NOT_FOUND: u32 = 10014;
    pub(in crate::nats) const CONSUMER_EXISTS: [u32; 3] = [10013, 10105, 10148];
    pub(in crate::nats) const NO_MESSAGE: u32 = 10037;
    pub(in crate::nats) const NOT_ENABLED: [u32; 2] = [10039, 10076];
    pub(in crate::nats) const STREAM_EXISTS: u32 = 10058;
    pub(in crate::nats) const STREAM_NOT_FOUND: u32 = 10059;
    /// The log ends elsewhere, as the leader says, or another append is on its way.
    pub(in crate::nats) const WRONG_LAST: [u32; 3] = [10071, 10164, 10163];
    pub(in crate::nats) const STORE_FAILED: u32 = 10077;
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (JetStream error {})",
            self.description, self.err_code
        )
    }
}

impl ApiError {
    /// Whether there is no room for it: it was not stored.
    pub(super) fn is_full(&self) -> bool {
        code::RESOURCES.contains(&self.err_code)
            || (self.err_code == code::STORE_FAILED && self.description.contains("maximum"))
    }

    /// Whether it may be otherwise a little later: the cluster has no leader at the moment.
    pub(super) const fn passes(&self) -> bool {
        self.code == 503
    }
}

impl Failure {
    pub(super) fn of(error: &RequestError) -> Self {
        match error.kind() {
            RequestErrorKind::NoResponders => Self::Nobody,
            RequestErrorKind::MaxPayloadExceeded => Self::TooLarge(error.to_string()),
            RequestErrorKind::InvalidSubject => Self::NotSent(error.to_string()),
            _ => Self::Unanswered(error.to_string()),
        }
    }

    /// What it means for something that changes nothing.
    pub(super) fn of_read(self, attempted: impl Into<String>) -> StateError {
        match self {
            Self::Unanswered(reason) => StateError::Unavailable {
                attempted: attempted.into(),
                reason,
            },
            other => other.of_write(attempted),
        }
    }

    /// What it means for something that changes what is stored.
    pub(super) fn of_write(self, attempted: impl Into<String>) -> StateError {
        let attempted = attempted.into();
        match self {
            Self::NotSent(reason) => StateError::Unavailable { attempted, reason },
            Self::Unanswered(reason) => StateError::Unanswered { attempted, reason },
            Self::Nobody => StateError::Unavailable {
                attempted,
                reason: "no server has the stream, or JetStream is not running".to_owned(),
            },
            Self::Denied(text) => StateError::Refused {
                attempted,
                reason: format!(
                    "{text}; permit the user tl.>, $JS.API.>, $JS.ACK.>, $KV.> and _INBOX.>"
                ),
            },
            Self::TooLarge(reason) => StateError::Refused {
                attempted,
                reason: format!("{reason}; raise max_payload of the server"),
            },
            Self::Api(error) if error.passes() => StateError::Unavailable {
                attempted,
                reason: error.to_string(),
            },
            // Where a store failed, what it holds is not known.
            Self::Api(error) if error.err_code == code::STORE_FAILED => StateError::Unanswered {
                attempted,
                reason: error.to_string(),
            },
            Self::Api(error) => StateError::Refused {
                attempted,
                reason: error.to_string(),
            },
        }
    }

    /// The code of JetStream's error; 0 for others.
    pub(super) const fn code(&self) -> u32 {
        match self {
            Self::Api(error) => error.err_code,
            _ => 0,
        }
    }
}

/// What every answer may be.
#[derive(Deserialize)]
struct Answer {
    error: Option<ApiError>,
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failure> {
    let unreadable = |error: serde_json::Error| {
        let found = String::from_utf8_lossy(&payload[..payload.len().min(200)]);
        Failure::Unanswered(format!("the answer cannot be read: {error}: {found}"))
    };
    match serde_json::from_slice::<Answer>(payload) {
        Ok(Answer { error: Some(error) }) => Err(Failure::Api(error)),
        _ => serde_json::from_slice(payload).map_err(unreadable),
    }
}

/// Calls the interface, as in `call(connection, "STREAM.INFO.X", &json!({}))`.
pub(super) async fn call<T: DeserializeOwned>(
    connection: &Connection,
    name: &str,
    body: &Value,
) -> Result<T, Failure> {
    let body = Bytes::from(body.to_string());
    let answer = connection
        .request(&format!("$JS.API.{name}"), None, body)
        .await?;
    read(&answer.payload)
}
