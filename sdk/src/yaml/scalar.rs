//! A scalar where a map may stand too. A number or a boolean is taken for the text that was written.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_saphyr::Location;

/// A text, or a map of another shape.
pub(super) enum TextOr<M> {
    /// A text.
    Text(String),
    /// A number or a boolean, which reads in another form than it was written: `007` as `7`.
    Unquoted(String),
    /// A map.
    Map(M),
}

impl<'de, M: Deserialize<'de>> Deserialize<'de> for TextOr<M> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Either(PhantomData))
    }
}

struct Either<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de>> Visitor<'de> for Either<M> {
    type Value = TextOr<M>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TextOr<M>, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, found: bool) -> Result<TextOr<M>, E> {
        Ok(TextOr::Unquoted(found.to_string()))
    }

    fn visit_u64<E: Error>(self, found: u64) -> Result<TextOr<M>, E> {
        Ok(TextOr::Unquoted(found.to_string()))
    }

    fn visit_i64<E: Error>(self, found: i64) -> Result<TextOr<M>, E> {
        Ok(TextOr::Unquoted(found.to_string()))
    }

    fn visit_f64<E: Error>(self, found: f64) -> Result<TextOr<M>, E> {
        Ok(TextOr::Unquoted(found.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOr<M>, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Map)
    }
}

/// What stands at a place of `source`, where a scalar was read as `found`.
pub(super) fn as_written(source: &str, place: Location, found: String) -> String {
    let span = place.span();
    let written = span
        .byte_offset()
        .zip(span.byte_len())
        .and_then(|(from, len)| {
            let from = usize::try_from(from).ok()?;
            let to = from.checked_add(usize::try_from(len).ok()?)?;
            source.get(from..to)
        });
    let plain = |text: &&str| {
        let of_a_number = |b: u8| b.is_ascii_alphanumeric() || b"+-._".contains(&b);
        !text.is_empty() && text.bytes().all(of_a_number)
    };
    written.filter(plain).map_or(found, str::to_owned)
}
