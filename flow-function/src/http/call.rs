//! What is recorded of how a flow was called: its query, the headers that it names, who wants word of
//! the end, by what it is known again.
//!
//! Invariant: OpenFaaS's `X-Callback-Url` has one party that calls it back. A gateway that leaves that to
//! whoever it calls says so; without its word the header is the gateway's own, and is not looked at.

use axum::http::{HeaderMap, StatusCode};
use turlough_sdk::Flow;
use turlough_statestore::event::{Callback, TraceParent};

use super::extract::{Key, shortened, single};
use super::problem::Problem;
use crate::engine::{Call, CallKey};
use crate::outside::{self, HttpAllow};
use crate::trace::parse_traceparent;

/// Names and values of a query, decoded, in order.
pub(super) type Pairs = Vec<(String, String)>;

/// What a query may hold, and what recorded headers may: both stand in one append with the input.
const QUERY_BYTES_MAX: usize = 32 * 1024;
const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Longest address of a callback, in bytes.
const URL_BYTES_MAX: usize = 2 * 1024;

/// Never recorded, whatever a flow names.
const SECRET_HEADERS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// Of the gateway: the id of a call, and who is to be told what came of it.
const CALL_ID: &str = "x-call-id";
pub(super) const CALLBACK_URL: &str = "x-callback-url";
/// Of our gateway: which delivery of its queue this is, and that the callback is left to a function that
/// takes it on.
const DELIVERY_ID: &str = "x-turlough-delivery-id";
const CALLBACK_BY: &str = "x-turlough-callback-by";
const TRACEPARENT: &str = "traceparent";
/// Longest id of a call that is recorded, in bytes.
const CALL_ID_BYTES_MAX: usize = 128;

/// Headers that name who wants word of the end, and whether of failures alone.
pub(super) const CALLBACKS: [(&str, bool); 2] = [
    ("x-turlough-callback-url", false),
    ("x-turlough-failure-url", true),
];

pub(super) fn call(
    flow: &Flow,
    query: Pairs,
    key: Key,
    headers: &HeaderMap,
    allowed: &HttpAllow,
) -> Result<Call, Problem> {
    let size = bytes(&query);
    if size > QUERY_BYTES_MAX {
        let text = format!("query is {size} bytes, limit {QUERY_BYTES_MAX}; send it as the body");
        return Err(Problem::new(StatusCode::URI_TOO_LONG, &text));
    }
    let (call_id, delivery) = (call_id(headers), delivery(headers)?);
    let mut callbacks = callbacks(headers)?;
    callbacks.extend(openfaas_callback(headers, allowed));
    let key = match (key.0, delivery, &call_id) {
        (Some(key), ..) => Some(CallKey::Given(key)),
        (None, Some(delivery), _) => Some(CallKey::Delivery(delivery)),
        // A queue of OpenFaaS's own says of a call that comes again what it said the first time.
        (None, None, Some(id)) if headers.contains_key(CALLBACK_URL) && !is_left_to_us(headers) => {
            Some(CallKey::Queued(id.clone()))
        }
        _ => None,
    };
    Ok(Call {
        query,
        headers: named(flow.headers(), headers)?,
        callbacks,
        key,
        call_id,
        delivery,
        trace: trace(headers),
    })
}

/// The id of the call; none where nobody could find it by that.
fn call_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(CALL_ID)?.to_str().ok()?.trim();
    let is_id = (1..=CALL_ID_BYTES_MAX).contains(&id.len());
    is_id.then(|| id.to_owned())
}

/// The caller's span; one who writes it wrong is not traced, and served all the same.
fn trace(headers: &HeaderMap) -> Option<TraceParent> {
    let said = single(headers, TRACEPARENT).ok()??;
    parse_traceparent(std::str::from_utf8(said).ok()?)
}

fn delivery(headers: &HeaderMap) -> Result<Option<u128>, Problem> {
    let Some(id) = single(headers, DELIVERY_ID)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(id).ok().filter(|text| text.len() == 32);
    let id = text.and_then(|text| u128::from_str_radix(text, 16).ok());
    id.map(Some).ok_or_else(|| {
        let text = format!("{DELIVERY_ID} is not 32 hexadecimal digits; leave it out");
        Problem::new(StatusCode::BAD_REQUEST, &text)
    })
}

fn is_left_to_us(headers: &HeaderMap) -> bool {
    headers.get(CALLBACK_BY).is_some_and(|by| by == "function")
}

/// OpenFaaS's callback, where the gateway leaves it to us, and we may call it. Of an address that is wrong
/// it tells the caller itself.
fn openfaas_callback(headers: &HeaderMap, allowed: &HttpAllow) -> Option<Callback> {
    if !is_left_to_us(headers) {
        return None;
    }
    let url = single(headers, CALLBACK_URL).ok()??;
    let url = std::str::from_utf8(url).ok()?;
    if url.len() > URL_BYTES_MAX {
        return None;
    }
    let url = outside::check_url(url, allowed).ok()?;
    Some(Callback {
        url: url.into(),
        failures_only: false,
        is_openfaas: true,
    })
}

/// The headers that a flow names, in its order; one that is sent twice is there twice.
fn named(names: &[String], headers: &HeaderMap) -> Result<Pairs, Problem> {
    let names = names
        .iter()
        .filter(|name| !SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    let values = names.flat_map(|name| {
        let values = headers.get_all(name.as_str()).iter();
        values.map(move |value| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_ascii_lowercase(), value)
        })
    });
    let found: Pairs = values.collect();
    let size = bytes(&found);
    if size > HEADERS_BYTES_MAX {
        let text = format!(
            "headers that the flow names are {size} bytes, limit {HEADERS_BYTES_MAX}; send them in \
             the body"
        );
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, &text));
    }
    Ok(found)
}

fn callbacks(headers: &HeaderMap) -> Result<Vec<Callback>, Problem> {
    let mut callbacks = Vec::new();
    for (name, failures_only) in CALLBACKS {
        let Some(value) = single(headers, name)? else {
            continue;
        };
        let refuse = |why: &str| {
            let found = shortened(&String::from_utf8_lossy(value));
            let text = format!("{name} {found:?} {why}; send an absolute http or https URL");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &text)
        };
        if value.len() > URL_BYTES_MAX {
            let why = format!("is {} bytes, limit {URL_BYTES_MAX}", value.len());
            return Err(refuse(&why));
        }
        let text = std::str::from_utf8(value).map_err(|_| refuse("is not text"))?;
        let url =
            reqwest::Url::parse(text).map_err(|error| refuse(&format!("is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(refuse("is none that can be called"));
        }
        callbacks.push(Callback {
            url: url.into(),
            failures_only,
            is_openfaas: false,
        });
    }
    Ok(callbacks)
}

fn bytes(pairs: &[(String, String)]) -> usize {
    pairs
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(list: &[(&str, &[u8])]) -> HeaderMap {
        let parse = |(name, value): &(&str, &[u8])| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_bytes(value).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in list.iter().map(parse) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn only_what_a_flow_names_is_recorded_and_never_a_secret() {
        let names = ["x-b", "Authorization", "cookie", "X-A"].map(str::to_owned);
        let sent = headers(&[
            ("x-a", b"1"),
            ("x-c", b"no"),
            ("authorization", b"Bearer s"),
            ("cookie", b"s"),
            ("x-b", b"2"),
            ("x-b", b"\xff"),
        ]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("x-b", "2"), pair("x-b", "\u{fffd}"), pair("x-a", "1")];
        assert_eq!(named(&names, &sent).unwrap(), expected);
        let large = vec![b'x'; HEADERS_BYTES_MAX];
        let refused = named(&names, &headers(&[("x-a", &large)])).unwrap_err();
        assert_eq!(
            refused.status(),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        );
    }

    #[test]
    fn a_callback_is_one_absolute_url_of_either_kind() {
        let sent = headers(&[
            ("x-turlough-failure-url", b"http://127.0.0.1:1/f?x=1"),
            ("x-turlough-callback-url", b"https://example.org"),
        ]);
        let found = callbacks(&sent).unwrap();
        let urls: Vec<_> = found.iter().map(|c| (&*c.url, c.failures_only)).collect();
        let expected = [
            ("https://example.org/", false),
            ("http://127.0.0.1:1/f?x=1", true),
        ];
        assert_eq!(urls, expected);
        let long = [b"http://e/".to_vec(), vec![b'x'; URL_BYTES_MAX]].concat();
        for bad in [
            &b""[..],
            b"/done",
            b"example.org/done",
            b"ftp://example.org/",
            b"file:///etc/passwd",
            b"http://",
            b"http://[::1",
            b"javascript:alert(1)",
            b"http://e/\xff",
            &long,
        ] {
            for (name, _) in CALLBACKS {
                let refused = callbacks(&headers(&[(name, bad)])).unwrap_err();
                assert_eq!(
                    refused.status(),
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "{bad:?}"
                );
            }
        }
        let twice = headers(&[
            ("x-turlough-callback-url", b"http://a"),
            ("x-turlough-callback-url", b"http://b"),
        ]);
        assert_eq!(
            callbacks(&twice).unwrap_err().status(),
            StatusCode::BAD_REQUEST
        );
    }
}
