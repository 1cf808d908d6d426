//! A map taken apart into values.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::{ContentType, Value, ValueError};
use crate::msgpack;

impl Value {
    /// Splits a map into its members in order, each a value of its own with this one's producer.
    /// Members are copied as they are, never decoded, but bytes come out as bytes; keys that are no
    /// text become text; nothing is an empty map.
    ///
    /// # Errors
    /// A body that is no map.
    pub fn members(&self) -> Result<Vec<(String, Self)>, ValueError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let body = self.body();
        let wrong = |reason: String| ValueError::Decode {
            content_type: self.content_type.as_str().to_owned(),
            size: body.len(),
            wanted: "a map of members",
            reason,
        };
        if self.content_type.is_msgpack() {
            let spans = msgpack::member_spans(&body).map_err(wrong)?;
            let member =
                |[key, value]: [_; 2]| Ok((key_text(&body[key])?, self.packed(&body[value])));
            return spans.into_iter().map(member).collect();
        }
        if !self.content_type.is_json() {
            return Err(wrong("only JSON and MessagePack have members".to_owned()));
        }
        let members: IndexMap<String, &RawValue> =
            serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
        let member = |(key, raw): (String, &RawValue)| {
            let value = Self::new(ContentType::JSON, self.producer, raw.get().as_bytes());
            (key, value)
        };
        Ok(members.into_iter().map(member).collect())
    }

    fn packed(&self, value: &[u8]) -> Self {
        match msgpack::bin(value) {
            Some(bytes) => Self::new(ContentType::BYTES, self.producer, bytes),
            None => Self::new(ContentType::MSGPACK, self.producer, value),
        }
    }
}

fn key_text(key: &[u8]) -> Result<String, ValueError> {
    let json = msgpack::to_json(key)?;
    let text = serde_json::from_slice(&json);
    Ok(text.unwrap_or_else(|_| String::from_utf8_lossy(&json).into_owned()))
}
