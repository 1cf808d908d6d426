//! Headers that end here, and headers that the gateway adds.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) static CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
static START_TIME: HeaderName = HeaderName::from_static("x-start-time");
static DURATION_SECONDS: HeaderName = HeaderName::from_static("x-duration-seconds");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

pub(crate) static CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");
/// Names a delivery of the queue of asynchronous calls, and the callback that follows it.
pub(crate) static DELIVERY_ID: HeaderName = HeaderName::from_static("x-turlough-delivery-id");
/// Says that a function may call `X-Callback-Url` back in the gateway's place, and its answer that it will.
static CALLBACK_BY: HeaderName = HeaderName::from_static("x-turlough-callback-by");
static CALLBACK: HeaderName = HeaderName::from_static("x-turlough-callback");

/// The other end of a client connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: HeaderValue,
}

impl Peer {
    pub(crate) fn new(address: IpAddr) -> Self {
        let text = address.to_canonical().to_string();
        let unknown = || HeaderValue::from_static("unknown");
        Self {
            address: HeaderValue::try_from(text).unwrap_or_else(|_| unknown()),
        }
    }

    /// One that was known before, as [`Peer::as_bytes`] gave it.
    pub(crate) fn known_as(bytes: &[u8]) -> Self {
        let unknown = |_| HeaderValue::from_static("unknown");
        Self {
            address: HeaderValue::from_bytes(bytes).unwrap_or_else(unknown),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.address.as_bytes()
    }
}

/// What a request and its response both carry: the call's id and start.
#[derive(Debug)]
pub(crate) struct Stamp {
    call_id: HeaderValue,
    start_time: HeaderValue,
    begun: Instant,
}

impl Stamp {
    /// Stamps a request; a call id that the caller chose stays.
    pub(crate) fn put_on(headers: &mut HeaderMap) -> Self {
        let call_id = headers.entry(&CALL_ID).or_insert_with(new_call_id).clone();
        let start_time = unix_ns();
        headers.insert(START_TIME.clone(), start_time.clone());
        Self {
            call_id,
            start_time,
            begun: Instant::now(),
        }
    }

    /// Stamps the response; a duration that the function measured stays.
    pub(crate) fn finish<B>(self, mut response: Response<B>) -> Response<B> {
        let headers = response.headers_mut();
        headers.insert(CALL_ID.clone(), self.call_id);
        headers.insert(START_TIME.clone(), self.start_time);
        headers.entry(&DURATION_SECONDS).or_insert_with(|| {
            let seconds = format!("{:.6}", self.begun.elapsed().as_secs_f64());
            HeaderValue::try_from(seconds).unwrap_or_else(|_| HeaderValue::from_static("0"))
        });
        response
    }
}

/// Takes off what only the gateway says of a callback.
pub(crate) fn forget_callback(headers: &mut HeaderMap) {
    headers.remove(&DELIVERY_ID);
    headers.remove(&CALLBACK_BY);
}

/// Leaves the callback to the function, if it takes that on: one that does not is told nothing new.
pub(crate) fn leave_callback(headers: &mut HeaderMap) {
    if headers.contains_key(&CALLBACK_URL) {
        headers.insert(CALLBACK_BY.clone(), HeaderValue::from_static("function"));
    }
}

/// Whether a function has taken the callback on.
pub(crate) fn has_taken_callback(headers: &HeaderMap) -> bool {
    headers.get(&CALLBACK).is_some_and(|said| said == "taken")
}

/// Makes a caller's headers those of the request to the function, but for
/// `Host`, which is the endpoint's to set.
pub(super) fn forward(headers: &mut HeaderMap, peer: &Peer) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // A length beside an encoding is void (RFC 9112, 6.3) and must not go on alone.
        headers.remove(header::CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
    // Answered here: the server sends `100 Continue` when the body is first read.
    headers.remove(header::EXPECT);
    if !headers.contains_key(&FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST)
    {
        let host = host.clone();
        headers.insert(FORWARDED_HOST.clone(), host);
    }
    append_peer(headers, &peer.address);
}

/// Removes what concerns one connection only (RFC 9110, 7.6.1).
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        strip_named_by_connection(headers);
    }
    for name in [
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
        &header::PROXY_AUTHENTICATE,
        &header::PROXY_AUTHORIZATION,
        &header::TE,
        &header::TRAILER,
        &header::TRANSFER_ENCODING,
        &header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

fn strip_named_by_connection(headers: &mut HeaderMap) {
    let lists: Vec<HeaderValue> = headers
        .get_all(header::CONNECTION)
        .iter()
        .cloned()
        .collect();
    headers.remove(header::CONNECTION);
    for list in &lists {
        for name in list.as_bytes().split(|&byte| byte == b',') {
            if let Ok(name) = HeaderName::from_bytes(name.trim_ascii()) {
                headers.remove(name);
            }
        }
    }
}

/// Adds the peer to the end of whatever chain the caller sent.
fn append_peer(headers: &mut HeaderMap, peer: &HeaderValue) {
    if !headers.contains_key(&FORWARDED_FOR) {
        headers.insert(FORWARDED_FOR.clone(), peer.clone());
        return;
    }
    let mut chain = Vec::new();
    for value in headers.get_all(&FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    if let Ok(chain) = HeaderValue::from_bytes(&chain) {
        headers.insert(FORWARDED_FOR.clone(), chain);
    }
}

fn new_call_id() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn unix_ns() -> HeaderValue {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // 64 bits of nanoseconds last until the year 2554.
    HeaderValue::from(since.map_or(0, |since| since.as_nanos() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn peer() -> Peer {
        Peer::new("::ffff:10.0.0.9".parse().unwrap())
    }

    #[test]
    fn peer_is_appended_to_every_earlier_hop() {
        let mut headers = map(&[
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-for", "3.3.3.3"),
        ]);
        forward(&mut headers, &peer());
        assert_eq!(
            headers["x-forwarded-for"],
            "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9"
        );
    }

    #[test]
    fn headers_named_by_connection_end_here() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Once"),
            ("connection", "close"),
            ("x-once", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("authorization", "Bearer x"),
        ]);
        forward(&mut headers, &peer());
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "x-forwarded-for"]);
    }

    #[test]
    fn length_beside_an_encoding_is_not_passed_on() {
        let mut headers = map(&[("transfer-encoding", "chunked"), ("content-length", "5")]);
        forward(&mut headers, &peer());
        assert!(!headers.contains_key("content-length"));
    }

    #[test]
    fn host_is_told_unless_an_earlier_hop_told_it() {
        let mut headers = map(&[("host", "here:8080")]);
        forward(&mut headers, &peer());
        assert_eq!(headers["x-forwarded-host"], "here:8080");
        let mut headers = map(&[("host", "here:8080"), ("x-forwarded-host", "there")]);
        forward(&mut headers, &peer());
        assert_eq!(headers["x-forwarded-host"], "there");
    }
}
