//! Calls of functions through the gateway, over HTTP/1.1.
//!
//! A chain of short calls costs little more than what it waits for. So a connection has no task of its
//! own: whoever makes a call on it sees to it until the answer is read, and nobody does while it is
//! idle.
//!
//! Invariants: a call that fails says whether it may have been made; a call is sent once, and a
//! connection that was closed while it was idle takes none with it; idle connections are bounded; one
//! whose answer was not read to its end is not used again.
//! Absent: TLS, redirects, proxies; answers other than the last one of a call; whoever closes idle
//! connections that their server closed, before the next call finds them.

mod answer;
mod connection;
mod signal;

pub(crate) use answer::Answer;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::uri::InvalidUri;
use hyper::{HeaderMap, Method, Request, Uri, header};
use reqwest::Url;
use reqwest::header::HeaderValue;

use connection::{Connection, Unsent};

/// Idle connections that are kept: a burst of more calls than that connects anew.
const IDLE_MAX: usize = 256;
/// How long an idle connection is kept; servers close theirs after about as long.
const IDLE_AGE_MAX: Duration = Duration::from_secs(90);

/// The gateway, and the idle connections to it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where it is; otherwise why it cannot be called.
    target: Result<Target, String>,
    /// The one that was used last is at the back.
    idle: Mutex<VecDeque<(Connection, Instant)>>,
}

/// The URL of the gateway, as its calls need it.
#[derive(Debug)]
struct Target {
    base: Url,
    /// Name or address, without brackets.
    host: String,
    port: u16,
    /// What all calls carry.
    headers: HeaderMap,
}

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// There is nothing that could be called.
    #[error("{0}")]
    Malformed(String),
    /// The call was not made.
    #[error("no connection to the gateway at {host}:{port}")]
    Unmade {
        host: String,
        port: u16,
        source: io::Error,
    },
    /// It may have been made.
    #[error("connection to the gateway was lost")]
    Lost(#[source] hyper::Error),
}

/// What is sent to a function. The path follows the gateway's own.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Gateway {
    /// The gateway at a URL. `client` knows how URLs are read; nothing is sent.
    pub(crate) fn new(client: &reqwest::Client, url: &str) -> Self {
        Self(Arc::new(Inner {
            target: Target::new(client, url),
            idle: Mutex::default(),
        }))
    }

    /// Makes a call. It ends with the head of the answer.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Answer, GatewayError> {
        let target = self.0.target.as_ref();
        let target = target.map_err(|reason| GatewayError::Malformed(reason.clone()))?;
        let mut request = target
            .request(call)
            .map_err(|error| GatewayError::Malformed(format!("its path is refused: {error}")))?;
        while let Some(connection) = self.take() {
            match connection.send(request).await {
                Ok((connection, answer)) => return Ok(Answer::new(self, connection, answer)),
                Err(Unsent::Lost(error)) => return Err(GatewayError::Lost(error)),
                // It was closed while it was idle.
                Err(Unsent::Kept { request: kept, .. }) => request = *kept,
            }
        }
        let unmade = |source| GatewayError::Unmade {
            host: target.host.clone(),
            port: target.port,
            source,
        };
        let connecting = Connection::open(&target.host, target.port);
        match connecting.await.map_err(unmade)?.send(request).await {
            Ok((connection, answer)) => Ok(Answer::new(self, connection, answer)),
            Err(Unsent::Lost(error)) => Err(GatewayError::Lost(error)),
            Err(Unsent::Kept { error, .. }) => Err(unmade(io::Error::other(error))),
        }
    }

    /// An idle connection that is still good.
    fn take(&self) -> Option<Connection> {
        loop {
            let (connection, since) = self.idle().pop_back()?;
            if since.elapsed() < IDLE_AGE_MAX && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose last answer was read.
    fn put(&self, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.idle();
        let is_old = |since: Instant| now.duration_since(since) > IDLE_AGE_MAX;
        while idle.len() >= IDLE_MAX || idle.front().is_some_and(|(_, since)| is_old(*since)) {
            idle.pop_front();
        }
        idle.push_back((connection, now));
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<(Connection, Instant)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn new(client: &reqwest::Client, url: &str) -> Result<Self, String> {
        let wrong = |reason: &dyn std::fmt::Display| {
            format!("TURLOUGH_GATEWAY_URL cannot be read: {reason}; write it as http://host:port")
        };
        let call = client.get(url).build();
        let call = call.map_err(|error| wrong(&crate::outside::without_url(&error)))?;
        let base = call.url().clone();
        if base.scheme() != "http" {
            return Err(
                "https to the gateway is not spoken here; write TURLOUGH_GATEWAY_URL with http"
                    .to_owned(),
            );
        }
        let host = base.host_str().ok_or_else(|| wrong(&"it has no host"))?;
        let authority = match base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        // A name and a password in the URL stand here already.
        let mut headers = call.headers().clone();
        let authority = HeaderValue::try_from(authority).map_err(|error| wrong(&error))?;
        headers.insert(header::HOST, authority);
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: base.port_or_known_default().unwrap_or(80),
            headers,
            base,
        })
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, InvalidUri> {
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = self.uri(call.path)?;
        let headers = request.headers_mut();
        *headers = call.headers;
        for (name, value) in &self.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        Ok(request)
    }

    fn uri(&self, path: &str) -> Result<Uri, InvalidUri> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte);
        let text = format!("{}{path}", self.base.path().trim_end_matches('/'));
        if text.bytes().all(is_plain) {
            return text.try_into();
        }
        // All others are escaped as URLs are.
        let mut url = self.base.clone();
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text.as_str(), None),
        };
        url.set_path(path);
        url.set_query(query);
        match url.query() {
            Some(query) => format!("{}?{query}", url.path()).try_into(),
            None => url.path().try_into(),
        }
    }
}

#[cfg(test)]
mod tests;
