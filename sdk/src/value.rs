//! A value between two steps: an envelope in MessagePack of content type, producer and body.
//!
//! Invariants: what a function returned keeps its bytes, bit for bit; a value is one shared buffer,
//! so that cloning it, taking its body and putting it into the store copy nothing. What came from
//! outside (a caller, a function) is checked before it becomes a part of a join or a list, so that
//! a body that is not what its content type says cannot corrupt its neighbours; and nothing nested
//! deeper than 128 is followed.

mod content_type;
mod members;
mod writer;

pub use content_type::ContentType;
pub use writer::ValueWriter;

use std::fmt;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::msgpack;

/// Who made a value: it decides how the value leaves the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Producer {
    /// The caller of the flow; its bytes are never touched.
    Caller = 0,
    /// A function or endpoint; its bytes are never touched.
    Function = 1,
    /// A closure or an expression; leaves as JSON unless told otherwise.
    Closure = 2,
    /// The platform: a join or a list.
    Platform = 3,
}

impl Producer {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Caller),
            1 => Some(Self::Function),
            2 => Some(Self::Closure),
            3 => Some(Self::Platform),
            _ => None,
        }
    }
}

/// Content type, producer and the place of the body, in whichever of MessagePack's forms they are written, by
/// the beginning of an envelope of so many bytes.
fn parse(envelope: &[u8], bytes: u64) -> Option<(ContentType, Producer, usize)> {
    let (text_at, text_len) = match envelope {
        [0x93, short @ 0xa0..=0xbf, ..] => (2, usize::from(short & 0x1f)),
        [0x93, 0xd9, len, ..] => (3, usize::from(*len)),
        _ => return None,
    };
    let producer_at = text_at + text_len;
    let text = std::str::from_utf8(envelope.get(text_at..producer_at)?).ok()?;
    let producer = Producer::from_byte(*envelope.get(producer_at)?)?;
    let rest = envelope.get(producer_at + 1..)?;
    let (size_bytes, size) = match rest {
        [0xc4, size, ..] => (1, usize::from(*size)),
        [0xc5, a, b, ..] => (2, usize::from(u16::from_be_bytes([*a, *b]))),
        [0xc6, a, b, c, d, ..] => (4, u32::from_be_bytes([*a, *b, *c, *d]) as usize),
        _ => return None,
    };
    let body_at = producer_at + 2 + size_bytes;
    let whole = body_at as u64 + size as u64;
    (bytes == whole).then(|| (ContentType::new(text), producer, body_at))
}

/// Why a value could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The body is not of the type that the reader wants.
    #[error("cannot read a body of {size} bytes of {content_type} as {wanted}: {reason}")]
    Decode {
        /// Media type of the body.
        content_type: String,
        /// Its length in bytes.
        size: usize,
        /// The Rust type or format that was asked for.
        wanted: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The value cannot be written as MessagePack or JSON.
    #[error("cannot encode a value of type {wanted}: {reason}")]
    Encode {
        /// The Rust type or format.
        wanted: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The stored bytes are no envelope.
    #[error("stored value of {size} bytes is not an envelope of content type, producer and body")]
    Envelope {
        /// Length of what was found, in bytes.
        size: usize,
    },
}

/// A value: content type, producer and body in one buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    envelope: Bytes,
    content_type: ContentType,
    producer: Producer,
    body_at: usize,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("content_type", &self.content_type.as_str())
            .field("producer", &self.producer)
            .field("body_bytes", &self.body().len())
            .finish()
    }
}

/// A raw body for closures that want bytes, not a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Media type of the bytes.
    pub content_type: ContentType,
    /// The bytes.
    pub bytes: Bytes,
}

impl Value {
    /// Wraps a body.
    #[must_use]
    pub fn new(content_type: ContentType, producer: Producer, body: &[u8]) -> Self {
        let mut writer = ValueWriter::new(content_type, producer, body.len());
        writer.put(body);
        writer.finish()
    }

    /// The value of a node that returned nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(ContentType::BYTES, Producer::Platform, &[])
    }

    /// Encodes `data` as MessagePack, structs as maps.
    ///
    /// # Errors
    /// What serde cannot write, such as a map of unknown length.
    pub fn encode<T: Serialize + ?Sized>(data: &T) -> Result<Self, ValueError> {
        let mut writer = ValueWriter::new(ContentType::MSGPACK, Producer::Closure, 128);
        data.serialize(&mut rmp_serde::Serializer::new(&mut writer).with_struct_map())
            .map_err(|error| ValueError::Encode {
                wanted: std::any::type_name::<T>(),
                reason: error.to_string(),
            })?;
        Ok(writer.finish())
    }

    /// Reads the body as `T`: JSON and MessagePack by content type; an empty body as nothing.
    ///
    /// # Errors
    /// Another content type, or a body that is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        let body = self.body();
        let wrong = |reason: String| ValueError::Decode {
            content_type: self.content_type.as_str().to_owned(),
            size: body.len(),
            wanted: std::any::type_name::<T>(),
            reason,
        };
        if body.is_empty() {
            return T::deserialize(serde::de::value::UnitDeserializer::new())
                .map_err(|error: serde::de::value::Error| wrong(error.to_string()));
        }
        if self.content_type.is_msgpack() {
            self.checked().map_err(wrong)?;
            let mut source = rmp_serde::Deserializer::from_read_ref(&body[..]);
            source.set_max_depth(msgpack::DEPTH_MAX);
            T::deserialize(&mut source).map_err(|error| wrong(error.to_string()))
        } else if self.content_type.is_json() {
            serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))
        } else {
            Err(wrong(
                "only JSON and MessagePack have types; take the raw Body instead".to_owned(),
            ))
        }
    }

    /// Length in bytes of what comes before a body, at most.
    pub const HEAD_BYTES_MAX: usize = 264;

    /// Who made a value, by how its envelope of so many bytes begins.
    ///
    /// # Errors
    /// Bytes that are the beginning of no such envelope.
    pub fn producer_of(head: &[u8], bytes: u64) -> Result<Producer, ValueError> {
        let parsed = parse(head, bytes).map(|(_, producer, _)| producer);
        parsed.ok_or(ValueError::Envelope {
            size: usize::try_from(bytes).unwrap_or(usize::MAX),
        })
    }

    /// Reads an envelope as the log and the store keep it.
    ///
    /// # Errors
    /// Bytes that are no envelope.
    pub fn from_envelope(envelope: Bytes) -> Result<Self, ValueError> {
        let parsed = parse(&envelope, envelope.len() as u64);
        match parsed {
            Some((content_type, producer, body_at)) => Ok(Self {
                envelope,
                content_type,
                producer,
                body_at,
            }),
            None => Err(ValueError::Envelope {
                size: envelope.len(),
            }),
        }
    }

    /// The whole envelope, as it is stored.
    #[must_use]
    pub const fn envelope(&self) -> &Bytes {
        &self.envelope
    }

    /// The body, sharing the value's buffer.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.envelope.slice(self.body_at..)
    }

    /// Media type of the body.
    #[must_use]
    pub const fn content_type(&self) -> &ContentType {
        &self.content_type
    }

    /// Who made the value.
    #[must_use]
    pub const fn producer(&self) -> Producer {
        self.producer
    }

    /// Whether the node returned nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body_at == self.envelope.len()
    }

    /// The value as it leaves over HTTP: (content type, body). What a closure or the platform made
    /// leaves as JSON, or as MessagePack where `msgpack` is asked for or a member is binary;
    /// everything else is untouched.
    ///
    /// # Errors
    /// A body that is not what its content type says.
    pub fn leaving(&self, msgpack: bool) -> Result<(ContentType, Bytes), ValueError> {
        let ours = matches!(self.producer, Producer::Closure | Producer::Platform);
        let body = self.body();
        let wrong = |reason| ValueError::Encode {
            wanted: "JSON of a MessagePack body",
            reason,
        };
        let as_is = !ours || msgpack || !self.content_type.is_msgpack() || body.is_empty();
        if as_is || msgpack::holds_bin(&body).map_err(wrong)? {
            return Ok((self.content_type.clone(), body));
        }
        Ok((ContentType::JSON, msgpack::to_json(&body)?))
    }

    /// Splits a list into its items, each a value of its own with this one's producer. Elements are
    /// copied as they are, never decoded; a map gives its values in order; nothing is an empty
    /// list.
    ///
    /// # Errors
    /// A body that is no list or map.
    pub fn items(&self) -> Result<Vec<Self>, ValueError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let body = self.body();
        let wrong = |reason: String| ValueError::Decode {
            content_type: self.content_type.as_str().to_owned(),
            size: body.len(),
            wanted: "a list or map of items",
            reason,
        };
        if self.content_type.is_msgpack() {
            let spans = msgpack::item_spans(&body).map_err(wrong)?;
            let item = |span| Self::new(ContentType::MSGPACK, self.producer, &body[span]);
            return Ok(spans.into_iter().map(item).collect());
        }
        if !self.content_type.is_json() {
            return Err(wrong("for_each takes JSON or MessagePack".to_owned()));
        }
        let item =
            |raw: &RawValue| Self::new(ContentType::JSON, self.producer, raw.get().as_bytes());
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
            let members: IndexMap<String, &RawValue> =
                serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
            return Ok(members.into_values().map(item).collect());
        }
        let members: Vec<&RawValue> =
            serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
        Ok(members.into_iter().map(item).collect())
    }

    /// One list of `items`, in order: JSON where all are JSON, otherwise MessagePack with what is
    /// neither as bin.
    ///
    /// # Errors
    /// An item whose body is not what its content type says.
    pub fn list(items: &[Self]) -> Result<Self, ValueError> {
        let size = items.iter().map(|item| item.envelope.len()).sum();
        if !items.is_empty() && items.iter().all(|item| item.content_type.is_json()) {
            let mut writer = ValueWriter::new(ContentType::JSON, Producer::Platform, size);
            for (index, item) in items.iter().enumerate() {
                writer.put(if index == 0 { b"[" } else { b"," });
                if item.is_empty() {
                    writer.put(b"null");
                } else {
                    item.checked().map_err(|reason| item.misfit(reason))?;
                    writer.put(&item.body());
                }
            }
            writer.put(b"]");
            return Ok(writer.finish());
        }
        let mut writer = ValueWriter::new(ContentType::MSGPACK, Producer::Platform, size);
        msgpack::put_array_len(&mut writer, items.len());
        for item in items {
            item.embed(&mut writer)?;
        }
        Ok(writer.finish())
    }

    /// One MessagePack map of `members`: JSON and MessagePack embedded, the rest as bin.
    ///
    /// # Errors
    /// A member whose body is not what its content type says.
    pub fn map<'a>(members: &[(&'a str, &'a Self)]) -> Result<Self, ValueError> {
        let size = members
            .iter()
            .map(|(name, value)| name.len() + value.envelope.len())
            .sum();
        let mut writer = ValueWriter::new(ContentType::MSGPACK, Producer::Platform, size);
        msgpack::put_map_len(&mut writer, members.len());
        for (name, value) in members {
            msgpack::put_str(&mut writer, name);
            value.embed(&mut writer)?;
        }
        Ok(writer.finish())
    }

    /// Whether the body is what its content type says, where that was not seen to by us.
    fn checked(&self) -> Result<(), String> {
        if matches!(self.producer, Producer::Closure | Producer::Platform) {
            return Ok(());
        }
        self.sound()
    }

    /// Whether the body is what its content type says.
    pub(crate) fn sound(&self) -> Result<(), String> {
        if self.is_empty() {
            Ok(())
        } else if self.content_type.is_msgpack() {
            msgpack::check(&self.body())
        } else if self.content_type.is_json() {
            serde_json::from_slice::<serde::de::IgnoredAny>(&self.body())
                .map(|_| ())
                .map_err(|error| error.to_string())
        } else {
            Ok(())
        }
    }

    fn misfit(&self, reason: String) -> ValueError {
        ValueError::Decode {
            content_type: self.content_type.as_str().to_owned(),
            size: self.body().len(),
            wanted: "what it says it is",
            reason,
        }
    }

    fn embed(&self, writer: &mut ValueWriter) -> Result<(), ValueError> {
        let body = self.body();
        if body.is_empty() {
            writer.put(&[0xc0]);
        } else if self.content_type.is_msgpack() {
            self.checked().map_err(|reason| self.misfit(reason))?;
            writer.put(&body);
        } else if self.content_type.is_json() {
            msgpack::from_json(&body, writer)?;
        } else {
            msgpack::put_bin(writer, &body);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
