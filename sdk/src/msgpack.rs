//! MessagePack without types: where items lie, what must be embedded, and the way to and from JSON.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;

use crate::value::{ValueError, ValueWriter};

/// Deepest nesting that is followed; deeper input is an error, not a stack overflow. JSON's reader
/// has the same bound.
pub(crate) const DEPTH_MAX: usize = 128;

/// What stands at a position: a scalar of so many bytes, or a head with so many children.
enum Head {
    Scalar {
        bytes: usize,
        bin: bool,
    },
    Nested {
        head: usize,
        children: usize,
        map: bool,
    },
}

fn big_endian(body: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = body.get(at..at + width)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    )
}

fn head(body: &[u8], at: usize) -> Option<Head> {
    let scalar = |bytes| Some(Head::Scalar { bytes, bin: false });
    let sized = |width: usize, extra: usize, bin| {
        let size = big_endian(body, at + 1, width)?;
        Some(Head::Scalar {
            bytes: 1 + width + extra + size,
            bin,
        })
    };
    let nested = |width: usize, map: bool| {
        let children = big_endian(body, at + 1, width)? * if map { 2 } else { 1 };
        Some(Head::Nested {
            head: 1 + width,
            children,
            map,
        })
    };
    let marker = *body.get(at)?;
    let low = usize::from(marker & 0x0f);
    match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => scalar(1),
        0x80..=0x8f => Some(Head::Nested {
            head: 1,
            children: low * 2,
            map: true,
        }),
        0x90..=0x9f => Some(Head::Nested {
            head: 1,
            children: low,
            map: false,
        }),
        0xa0..=0xbf => scalar(1 + usize::from(marker & 0x1f)),
        0xc4..=0xc6 => sized(1 << (marker - 0xc4), 0, true),
        0xc7..=0xc9 => sized(1 << (marker - 0xc7), 1, true),
        0xcc | 0xd0 => scalar(2),
        0xcd | 0xd1 => scalar(3),
        0xca | 0xce | 0xd2 => scalar(5),
        0xcb | 0xcf | 0xd3 => scalar(9),
        0xd4..=0xd8 => Some(Head::Scalar {
            bytes: 2 + (1 << (marker - 0xd4)),
            bin: true,
        }),
        0xd9..=0xdb => sized(1 << (marker - 0xd9), 0, false),
        0xdc => nested(2, false),
        0xdd => nested(4, false),
        0xde => nested(2, true),
        0xdf => nested(4, true),
        0xc1 => None,
    }
}

/// The end of the value at `at`; calls `seen(bin)` for each scalar.
fn skip(body: &[u8], mut at: usize, seen: &mut impl FnMut(bool)) -> Result<usize, String> {
    let cut = || "the MessagePack is cut off or malformed".to_owned();
    let mut open = vec![1_usize];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        match head(body, at).ok_or_else(cut)? {
            Head::Scalar { bytes, bin } => {
                seen(bin);
                at += bytes;
            }
            Head::Nested { head, children, .. } if open.len() < DEPTH_MAX => {
                at += head;
                open.push(children);
            }
            Head::Nested { .. } => {
                return Err(format!("it is nested deeper than {DEPTH_MAX}"));
            }
        }
    }
    if at <= body.len() { Ok(at) } else { Err(cut()) }
}

/// Whether `body` is one value, and nothing after it.
pub(crate) fn check(body: &[u8]) -> Result<(), String> {
    let end = skip(body, 0, &mut |_| {})?;
    if end == body.len() {
        Ok(())
    } else {
        Err(format!("{} bytes follow the value", body.len() - end))
    }
}

/// Where the elements of the list (or the values of the map) lie in `body`.
pub(crate) fn item_spans(body: &[u8]) -> Result<Vec<Range<usize>>, String> {
    let Some(Head::Nested {
        head,
        children,
        map,
    }) = head(body, 0)
    else {
        return Err("it is a scalar, not a list or map".to_owned());
    };
    // A child takes a byte at least, so a forged length cannot reserve more than the body's own.
    let mut spans = Vec::with_capacity(children.min(body.len()));
    let mut at = head;
    for child in 0..children {
        let end = skip(body, at, &mut |_| {})?;
        if !map || child % 2 == 1 {
            spans.push(at..end);
        }
        at = end;
    }
    if at == body.len() {
        Ok(spans)
    } else {
        Err("bytes follow the list".to_owned())
    }
}

/// Where the keys and the values of a map lie in `body`.
pub(crate) fn member_spans(body: &[u8]) -> Result<Vec<[Range<usize>; 2]>, String> {
    let Some(Head::Nested {
        head,
        children,
        map: true,
    }) = head(body, 0)
    else {
        return Err("it is no map".to_owned());
    };
    let mut spans = Vec::with_capacity((children / 2).min(body.len()));
    let mut at = head;
    for _ in 0..children / 2 {
        let value_at = skip(body, at, &mut |_| {})?;
        let end = skip(body, value_at, &mut |_| {})?;
        spans.push([at..value_at, value_at..end]);
        at = end;
    }
    if at == body.len() {
        Ok(spans)
    } else {
        Err("bytes follow the map".to_owned())
    }
}

/// The bytes of a body that is binary as a whole.
pub(crate) fn bin(body: &[u8]) -> Option<&[u8]> {
    let width = match body.first()? {
        marker @ 0xc4..=0xc6 => 1 << (marker - 0xc4),
        _ => return None,
    };
    body.get(1 + width..)
}

/// Whether a binary member stands anywhere in `body`; such a value cannot be JSON.
pub(crate) fn holds_bin(body: &[u8]) -> Result<bool, String> {
    let mut found = false;
    skip(body, 0, &mut |bin| found |= bin)?;
    Ok(found)
}

/// The JSON text of a MessagePack body.
pub(crate) fn to_json(body: &[u8]) -> Result<Bytes, ValueError> {
    let mut text = Vec::with_capacity(body.len() * 2);
    let mut source = rmp_serde::Deserializer::from_read_ref(body);
    source.set_max_depth(DEPTH_MAX);
    serde_transcode::transcode(&mut source, &mut serde_json::Serializer::new(&mut text)).map_err(
        |error| ValueError::Encode {
            wanted: "JSON of a MessagePack body",
            reason: error.to_string(),
        },
    )?;
    Ok(Bytes::from(text))
}

/// Appends a JSON text as MessagePack.
pub(crate) fn from_json(text: &[u8], writer: &mut ValueWriter) -> Result<(), ValueError> {
    let wrong = |reason: String| ValueError::Decode {
        content_type: "application/json".to_owned(),
        size: text.len(),
        wanted: "what it says it is",
        reason,
    };
    let mut source = serde_json::Deserializer::from_slice(text);
    let data = serde_json::Value::deserialize(&mut source).map_err(|e| wrong(e.to_string()))?;
    source.end().map_err(|error| wrong(error.to_string()))?;
    serde::Serialize::serialize(&data, &mut rmp_serde::Serializer::new(writer))
        .map_err(|error| wrong(error.to_string()))
}

fn put_len(writer: &mut ValueWriter, len: usize, fix: Option<(usize, u8)>, wide: [u8; 2]) {
    match (fix, u16::try_from(len)) {
        (Some((limit, marker)), _) if len < limit => writer.put(&[marker | len as u8]),
        (_, Ok(short)) => {
            writer.put(&[wide[0]]);
            writer.put(&short.to_be_bytes());
        }
        _ => {
            writer.put(&[wide[1]]);
            writer.put(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

pub(crate) fn put_array_len(writer: &mut ValueWriter, len: usize) {
    put_len(writer, len, Some((16, 0x90)), [0xdc, 0xdd]);
}

pub(crate) fn put_map_len(writer: &mut ValueWriter, len: usize) {
    put_len(writer, len, Some((16, 0x80)), [0xde, 0xdf]);
}

pub(crate) fn put_str(writer: &mut ValueWriter, text: &str) {
    put_len(writer, text.len(), Some((32, 0xa0)), [0xda, 0xdb]);
    writer.put(text.as_bytes());
}

pub(crate) fn put_bin(writer: &mut ValueWriter, bytes: &[u8]) {
    put_len(writer, bytes.len(), None, [0xc5, 0xc6]);
    writer.put(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_a_list_are_its_encoded_elements() {
        let body = rmp_serde::to_vec_named(&(1_u8, "text", vec![1_i64, -70_000], 0.5_f64)).unwrap();
        let spans = item_spans(&body).unwrap();
        assert_eq!(spans.len(), 4);
        let third: Vec<i64> = rmp_serde::from_slice(&body[spans[2].clone()]).unwrap();
        assert_eq!(third, [1, -70_000]);
    }

    #[test]
    fn a_forged_or_cut_length_is_an_error() {
        for bad in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0x92, 1],
            &[0x91, 0xc1],
            &[0x90, 0],
        ] {
            assert!(item_spans(bad).is_err(), "{bad:?}");
        }
        assert!(item_spans(&[0x91; 1000]).is_err(), "nesting is bounded");
        assert!(item_spans(&[5]).is_err(), "a scalar has no items");
    }

    #[test]
    fn binary_members_are_found_at_any_depth() {
        assert!(holds_bin(&[0x91, 0x91, 0xc4, 1, 0xff]).unwrap());
        assert!(!holds_bin(&[0x91, 0x91, 0xa1, b'x']).unwrap());
    }
}
