//! Where a value lies: in the event itself, or in a store.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// XXH3-128 of a value's envelope. It finds loss and divergence, not tampering.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a value lies, with enough to notice that it is not what was put there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueRef {
    /// In the event: the envelope itself, up to `TURLOUGH_INLINE_BYTES_MAX`.
    Inline(#[serde(with = "inline_bytes")] Bytes),
    /// In a store.
    Stored {
        /// Address of the store that owns the value.
        store: Arc<str>,
        /// Drawn when that store started: another one means that it came back empty.
        boot: u64,
        /// Key in the tenant's key space.
        key: Arc<str>,
        /// Size of the envelope in bytes.
        size: u64,
        /// Digest of the envelope.
        digest: Digest,
    },
    /// In parts, in the request's own log: what must outlive every store.
    Parts {
        /// Names the parts.
        upload: u128,
        /// How many there are.
        count: u32,
        /// Size of the envelope in bytes.
        size: u64,
        /// Digest of the envelope.
        digest: Digest,
    },
}

impl ValueRef {
    /// Size of the envelope in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(envelope) => envelope.len() as u64,
            Self::Stored { size, .. } | Self::Parts { size, .. } => *size,
        }
    }

    /// Digest of the envelope.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Inline(envelope) => Digest::of(envelope),
            Self::Stored { digest, .. } | Self::Parts { digest, .. } => *digest,
        }
    }
}

mod inline_bytes {
    use bytes::Bytes;
    use serde::de::{Deserializer, Error, Visitor};

    pub(super) fn serialize<S: serde::Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the bytes of an envelope")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes::from(bytes))
            }
        }
        from.deserialize_byte_buf(Raw)
    }
}
