//! Media types, as far as values need them.

use std::borrow::Cow;

/// A media type, without interpretation beyond what [`Value`](super::Value) needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType(Cow<'static, str>);

/// Longest content type, in bytes (the envelope's header keeps it in one length byte).
const CONTENT_TYPE_BYTES_MAX: usize = 255;

impl ContentType {
    /// `application/json`
    pub const JSON: Self = Self(Cow::Borrowed("application/json"));
    /// `application/msgpack`
    pub const MSGPACK: Self = Self(Cow::Borrowed("application/msgpack"));
    /// `application/octet-stream`
    pub const BYTES: Self = Self(Cow::Borrowed("application/octet-stream"));

    /// Takes a media type as a header gave it; one of over 255 bytes becomes `BYTES`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match text.trim() {
            "application/json" => Self::JSON,
            "application/msgpack" => Self::MSGPACK,
            text if text.len() > CONTENT_TYPE_BYTES_MAX || text.is_empty() => Self::BYTES,
            text => Self(Cow::Owned(text.to_owned())),
        }
    }

    /// The media type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn essence(&self) -> &str {
        self.0.split(';').next().unwrap_or_default().trim()
    }

    /// Whether the body is JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let essence = self.essence().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    }

    /// Whether the body is MessagePack.
    #[must_use]
    pub fn is_msgpack(&self) -> bool {
        matches!(
            self.essence().to_ascii_lowercase().as_str(),
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack"
        )
    }
}
