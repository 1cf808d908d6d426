//! What a request line and its headers say, with problem documents where they cannot be read.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// What a path names.
pub(super) struct Path<T>(pub(super) T);

/// What a query says.
pub(super) struct Query<T>(pub(super) T);

/// The `Idempotency-Key` that a caller gives.
#[derive(Debug)]
pub(super) struct Key(pub(super) Option<String>);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = AxumPath::from_request_parts(parts, state).await;
        let refuse = |error: PathRejection| Problem::new(error.status(), &error.body_text());
        read.map(|AxumPath(path)| Self(path)).map_err(refuse)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = AxumQuery::from_request_parts(parts, state).await;
        let refuse = |error: QueryRejection| Problem::new(error.status(), &error.body_text());
        read.map(|AxumQuery(query)| Self(query)).map_err(refuse)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl Key {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(key) = single(headers, "idempotency-key")? else {
            return Ok(Self(None));
        };
        let allowed = |bytes: &[u8]| {
            (1..=KEY_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        };
        if !allowed(key) {
            let text = format!(
                "Idempotency-Key of {} bytes is not allowed; send 1 to {KEY_BYTES_MAX} visible \
                 ASCII characters",
                key.len()
            );
            return Err(Problem::new(StatusCode::BAD_REQUEST, &text));
        }
        Ok(Self(Some(String::from_utf8_lossy(key).into_owned())))
    }
}

/// A header that may be there once.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a [u8]>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(axum::http::HeaderValue::as_bytes);
    if values.next().is_some() {
        let text = format!("header {name} is sent more than once; send it once");
        return Err(Problem::new(StatusCode::BAD_REQUEST, &text));
    }
    Ok(first)
}

/// The start of a text that a caller sent, for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn key(values: &[&[u8]]) -> Result<Option<String>, StatusCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("idempotency-key", HeaderValue::from_bytes(value).unwrap());
        }
        Key::of(&headers).map(|key| key.0).map_err(|p| p.status())
    }

    #[test]
    fn a_key_is_one_header_of_visible_ascii() {
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(
            key(&[b"order-7/\"x\""]),
            Ok(Some("order-7/\"x\"".to_owned()))
        );
        assert_eq!(key(&[&[b'k'; 255]]).unwrap().unwrap().len(), 255);
        let long = [b'k'; 256];
        for bad in [&b""[..], b"a b", b"\tkey", b"k\xc3\xa9y", b"\xff", &long] {
            assert_eq!(key(&[bad]), Err(StatusCode::BAD_REQUEST), "{bad:?}");
        }
        assert_eq!(key(&[b"a", b"a"]), Err(StatusCode::BAD_REQUEST));
    }
}
