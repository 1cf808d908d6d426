//! A jq value as a body: JSON text, and MessagePack on the way in.
//!
//! jaq's own writer prints what JSON cannot say (NaN, byte strings, keys that are no strings) as it
//! is; here it becomes JSON or is refused. Nesting is bounded in both directions.

use std::fmt::Write as _;
use std::sync::Arc;

use jaq_json::{Num, Val};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::msgpack::DEPTH_MAX;
use crate::value::Value;

/// Digits of a number beside each other: they are read and printed in quadratic time.
const DIGITS_MAX: usize = 1000;

/// Reads a value: JSON and MessagePack by content type, nothing as null, all else as bytes.
pub(super) fn read(value: &Value) -> Result<Val, String> {
    let body = value.body();
    if body.is_empty() {
        Ok(Val::Null)
    } else if value.content_type().is_json() {
        from_json(&body)
    } else if value.content_type().is_msgpack() {
        from_msgpack(&body)
    } else {
        Ok(Val::byte_str(body))
    }
}

/// Reads one JSON text.
pub(super) fn from_json(body: &[u8]) -> Result<Val, String> {
    // jaq's reader recurses without a bound and reads comments, so the text is checked before it is
    // measured, and measured before it is read.
    serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|error| error.to_string())?;
    let (depth, digits) = extent(body);
    if depth > DEPTH_MAX {
        return Err(format!("it is nested deeper than {DEPTH_MAX}"));
    }
    if digits > DIGITS_MAX {
        return Err(format!(
            "it holds a number of {digits} digits, limit {DIGITS_MAX}; write it as a string"
        ));
    }
    jaq_json::read::parse_single(body).map_err(|error| error.to_string())
}

/// How deeply a valid JSON text is nested, and how many digits its longest number has.
fn extent(text: &[u8]) -> (usize, usize) {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut digits, mut most) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        if byte.is_ascii_digit() && !quoted {
            digits += 1;
            most = most.max(digits);
            continue;
        }
        digits = 0;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (deepest, most)
}

/// Reads one MessagePack value, binary members included.
pub(super) fn from_msgpack(body: &[u8]) -> Result<Val, String> {
    crate::msgpack::check(body)?;
    let mut source = rmp_serde::Deserializer::from_read_ref(body);
    source.set_max_depth(DEPTH_MAX);
    let Packed(value) = Packed::deserialize(&mut source).map_err(|error| error.to_string())?;
    Ok(value)
}

/// The JSON text of a value; numbers keep the digits that they came with.
pub(super) fn to_json(value: &Val) -> Result<String, String> {
    let mut text = String::new();
    put(&mut text, value, 0)?;
    Ok(text)
}

fn put(text: &mut String, value: &Val, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("its output is nested deeper than {DEPTH_MAX}"));
    }
    match value {
        Val::Null => text.push_str("null"),
        Val::Bool(bool) => text.push_str(if *bool { "true" } else { "false" }),
        Val::Num(number) => put_number(text, number),
        Val::TStr(bytes) => put_string(text, &String::from_utf8_lossy(bytes)),
        Val::BStr(_) => {
            return Err("its output holds bytes, which JSON cannot; take them out".to_owned());
        }
        Val::Arr(items) => {
            text.push('[');
            for (ix, item) in items.iter().enumerate() {
                text.push_str(if ix == 0 { "" } else { "," });
                put(text, item, depth + 1)?;
            }
            text.push(']');
        }
        Val::Obj(members) => {
            text.push('{');
            for (ix, (key, member)) in members.iter().enumerate() {
                text.push_str(if ix == 0 { "" } else { "," });
                put_key(text, key)?;
                text.push(':');
                put(text, member, depth + 1)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn put_key(text: &mut String, key: &Val) -> Result<(), String> {
    match key {
        Val::TStr(bytes) => put_string(text, &String::from_utf8_lossy(bytes)),
        Val::Null | Val::Bool(_) | Val::Num(_) => {
            text.push('"');
            put(text, key, 0)?;
            text.push('"');
        }
        _ => return Err("its output has a key that is no string; write tostring".to_owned()),
    }
    Ok(())
}

fn put_string(text: &mut String, string: &str) {
    // A JSON string of a text is always there.
    text.push_str(&serde_json::Value::from(string).to_string());
}

fn put_number(text: &mut String, number: &Num) {
    let start = text.len();
    let _ = write!(text, "{number}");
    // What jq calls a number and JSON does not: nan, infinite, and digits like `01.5`.
    if serde_json::from_str::<serde::de::IgnoredAny>(&text[start..]).is_err() {
        let value = text[start..].parse::<f64>().ok();
        let number = value.and_then(serde_json::Number::from_f64);
        text.truncate(start);
        match number {
            Some(number) => text.push_str(&number.to_string()),
            None => text.push_str("null"),
        }
    }
}

/// Drops a value without recursion, since an expression may nest its output as deeply as its input
/// is long.
pub(super) fn drop_flat(value: Val) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Val::Arr(items) => left.extend(Arc::try_unwrap(items).unwrap_or_default()),
            Val::Obj(members) => {
                for (key, member) in Arc::try_unwrap(members).unwrap_or_default() {
                    left.extend([key, member]);
                }
            }
            _ => {}
        }
    }
}

struct Packed(Val);

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PackedVisitor).map(Self)
    }
}

struct PackedVisitor;

impl<'de> Visitor<'de> for PackedVisitor {
    type Value = Val;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessagePack without extension types")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Val, E> {
        Ok(Val::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Val, E> {
        Ok(Val::Num(Num::from_integral(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Val, E> {
        Ok(Val::Num(Num::from_integral(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Val, E> {
        Ok(Val::Num(Num::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Val, E> {
        Ok(Val::utf8_str(value.as_bytes().to_vec()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Val, E> {
        Ok(Val::byte_str(value.to_vec()))
    }

    fn visit_unit<E>(self) -> Result<Val, E> {
        Ok(Val::Null)
    }

    fn visit_none<E>(self) -> Result<Val, E> {
        Ok(Val::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Val, A::Error> {
        let mut list = Vec::new();
        while let Some(Packed(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into_iter().collect())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Val, A::Error> {
        let mut map = jaq_json::Map::default();
        while let Some((Packed(key), Packed(member))) = members.next_entry()? {
            // Its hash is taken by sorting what it holds, on every level.
            if matches!(key, Val::Arr(_) | Val::Obj(_)) {
                return Err(serde::de::Error::custom("a key is a list or a map"));
            }
            map.insert(key, member);
        }
        Ok(Val::obj(map))
    }
}
