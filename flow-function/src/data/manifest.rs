//! What a `for_each` goes over: its items, each a value of its own, and their keys where they came
//! in a map.

use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use turlough_sdk::{Value, ValueError, ValueRef};

/// Lists the items of a `for_each`, in their order.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Where they lie.
    pub(crate) items: Vec<ValueRef>,
    /// Their keys, where they came in a map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keys: Option<Vec<String>>,
}

/// A list or map, taken apart.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) items: Vec<Value>,
    pub(crate) keys: Option<Vec<String>>,
}

impl Split {
    /// Takes a list or map apart.
    pub(crate) fn of(value: &Value) -> Result<Self, ValueError> {
        let items = value.items()?;
        let keys = match is_map(value) {
            true => Some(value.decode::<Keys>()?.0),
            false => None,
        };
        Ok(Self { items, keys })
    }
}

fn is_map(value: &Value) -> bool {
    let body = value.body();
    if value.content_type().is_msgpack() {
        return matches!(body.first(), Some(0x80..=0x8f | 0xde | 0xdf));
    }
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// The keys of a map, in their order, each once.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map whose keys are texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom("a key stands in it twice"));
                    }
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        from.deserialize_map(OfMap)
    }
}
