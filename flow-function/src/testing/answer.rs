//! What a stub answers.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value as Json;

/// What a stub answers: 200, unless it says otherwise.
///
/// JSON, texts, bytes and nothing (`()`) become one by themselves.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) after: Duration,
}

impl Answer {
    /// Data as JSON.
    ///
    /// # Panics
    /// What cannot be written as JSON.
    #[track_caller]
    pub fn json<T: Serialize + ?Sized>(data: &T) -> Self {
        match serde_json::to_vec(data) {
            Ok(body) => Self::typed("application/json", body.into()),
            Err(error) => panic!("test kit: an answer is no JSON: {error}"),
        }
    }

    /// Bytes, as `application/octet-stream`.
    #[must_use]
    pub fn bytes(body: impl Into<Bytes>) -> Self {
        Self::typed("application/octet-stream", body.into())
    }

    /// A status without a body. 408, 429 and 5xx are tried again where the node has `retry`, other ones
    /// from 400 are final.
    ///
    /// # Panics
    /// A number that is no status.
    #[must_use]
    #[track_caller]
    pub fn status(status: u16) -> Self {
        let none = Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            after: Duration::ZERO,
        };
        none.with_status(status)
    }

    /// The same, with another status.
    ///
    /// # Panics
    /// A number that is no status of an answer: those are 200 to 999.
    #[must_use]
    #[track_caller]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = match StatusCode::from_u16(status) {
            // What is below is no last answer to a call.
            Ok(code) if status >= 200 => code,
            _ => panic!("test kit: {status} is no status of an answer; write 200 to 999"),
        };
        self
    }

    /// The same, with a header in place of one of its name.
    ///
    /// # Panics
    /// What HTTP takes for no header.
    #[must_use]
    #[track_caller]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => self.headers.insert(name, value),
            _ => panic!("test kit: {name:?}: {value:?} is no header of an answer"),
        };
        self
    }

    /// The same, but later: for a node that runs into its `timeout`.
    #[must_use]
    pub const fn after(mut self, wait: Duration) -> Self {
        self.after = wait;
        self
    }

    fn typed(media: &'static str, body: Bytes) -> Self {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(media))];
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter(headers),
            body,
            after: Duration::ZERO,
        }
    }
}

impl From<Json> for Answer {
    fn from(data: Json) -> Self {
        Self::json(&data)
    }
}

impl From<Bytes> for Answer {
    fn from(body: Bytes) -> Self {
        Self::bytes(body)
    }
}

impl From<Vec<u8>> for Answer {
    fn from(body: Vec<u8>) -> Self {
        Self::bytes(body)
    }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::typed("text/plain; charset=utf-8", text.to_owned().into())
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self::typed("text/plain; charset=utf-8", text.into())
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Self::status(200)
    }
}
