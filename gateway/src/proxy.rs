//! Calls of functions: `/function/NAME[.namespace][/…]`, any method. Asynchronous
//! calls come this way too, once it is their turn.
//!
//! The hot path. Bodies pass through as they come, in both directions; the path
//! after the prefix and the query are not decoded; nothing is logged for a call
//! that the function answered. A caller that goes away drops the future, and
//! with it the connection upstream.
//!
//! Retries are left to the pool, which makes them only where a kept connection
//! turned out to be closed before a byte of the request was written.

mod body;
mod call;
mod headers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;
use tracing::warn;

use crate::functions::{Busy, Function, InFlight, Registry, Served};
use crate::timeout::{TimeoutError, timeout_of};
use crate::usage::Cost;
use body::BoxError;
pub(crate) use body::{CallBody, GatewayBody};
use call::Call;
pub(crate) use headers::{CALL_ID, CALLBACK_URL, DELIVERY_ID, Peer, Stamp};
pub(crate) use headers::{forget_callback, has_taken_callback, leave_callback};

/// Shorter than the 5 s after which Node closes an idle connection, the least
/// of the servers in common use: a connection that the function is about to
/// close is better not used again.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Idle connections kept per replica: more than two cores can keep busy, fewer
/// than would trouble a function with a small limit of open files.
const POOL_IDLE_PER_REPLICA_MAX: usize = 256;

const PREFIX: &str = "/function/";

/// What is held of an answer whose cost is asked for, as much as of one of a process.
const HELD_BYTES_MAX: u64 = 64 << 10;

/// Marks an answer that the platform gave, not the function.
pub(crate) static INTERNAL: HeaderName = HeaderName::from_static("x-openfaas-internal");

#[derive(Debug)]
pub(crate) struct Proxy {
    registry: Registry,
    client: Client<HttpConnector, CallBody>,
    upstream_timeout: Duration,
    /// How long a call waits for the first replica of a function that has none.
    wake_timeout: Duration,
}

/// What a path under `/function/` asks for.
struct Target<'a> {
    /// `name` or `name.namespace`, not checked.
    function: &'a str,
    /// What follows, with the query; may lack the leading slash.
    rest: &'a str,
}

impl Proxy {
    pub(crate) fn new(
        registry: Registry,
        upstream_timeout: Duration,
        wake_timeout: Duration,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(upstream_timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_PER_REPLICA_MAX)
            .build(connector);
        Self {
            registry,
            client,
            upstream_timeout,
            wake_timeout,
        }
    }

    /// True for the paths that [`Proxy::call`] takes.
    pub(crate) fn owns(path: &str) -> bool {
        path.starts_with(PREFIX)
    }

    /// The function that a path under `/function/` names, not checked.
    pub(crate) fn named(path_and_query: &str) -> &str {
        Target::of(path_and_query).map_or("", |target| target.function)
    }

    /// Passes a call to its function; errors become responses.
    pub(crate) async fn call(
        &self,
        mut request: Request<CallBody>,
        peer: &Peer,
    ) -> Response<GatewayBody> {
        let stamp = Stamp::put_on(request.headers_mut());
        let Some((function, target)) = self.resolve(&request) else {
            return stamp.finish(not_found(&request));
        };
        let mut call = Call::begin(function);
        let said = match timeout_of(request.headers()) {
            Ok(said) => said,
            Err(error) => return stamp.finish(call.answer(bad_timeout(&error))),
        };
        let begun = Instant::now();
        let wait = said.map_or(self.wake_timeout, |said| said.min(self.wake_timeout));
        let endpoint = match self.replica(call.function(), wait).await {
            Ok(endpoint) => call.goes_to(endpoint),
            Err(busy) => return stamp.finish(call.answer(no_replica(busy))),
        };
        if Cost::is_wanted(request.headers()) {
            call.begin_cost(&endpoint);
        }
        headers::forward(request.headers_mut(), peer);
        *request.version_mut() = Version::HTTP_11;
        request.extensions_mut().clear();
        if let Err(error) = endpoint.address(&mut request, target) {
            warn!(function = %call.function().name(), %error, "cannot form the function's address");
            return stamp.finish(call.answer(bad_gateway()));
        }
        // What a caller lets it take counts from the beginning, also of a wait for a replica.
        let left = said.map(|said| said.saturating_sub(begun.elapsed()));
        let limit = left.map_or(self.upstream_timeout, |left| {
            left.min(self.upstream_timeout)
        });
        let answer = tokio::time::timeout(limit, self.answer(&mut call, request)).await;
        let response = match answer {
            Ok(Ok(mut response)) => {
                headers::strip_hop_by_hop(response.headers_mut());
                if endpoint.served() != Served::Watchdog {
                    Cost::strike(response.headers_mut());
                }
                call.end_cost(response.headers_mut());
                call.answer(response)
            }
            Ok(Err(error)) => {
                let cause = error.source();
                warn!(function = %call.function().name(), %error, cause, "function call failed");
                call.answer(bad_gateway())
            }
            Err(_) => {
                warn!(function = %call.function().name(), ?limit, "function call timed out");
                call.answer(bad_gateway())
            }
        };
        stamp.finish(response)
    }

    /// The function's answer; the whole of it where its cost is to stand in its head.
    async fn answer(
        &self,
        call: &mut Call,
        request: Request<CallBody>,
    ) -> Result<Response<GatewayBody>, BoxError> {
        let response = self.client.request(request).await?;
        if !call.has_cost() {
            return Ok(response.map(GatewayBody::function));
        }
        let is_short = response.body().size_hint().upper();
        if is_short.is_none_or(|bytes| bytes > HELD_BYTES_MAX) {
            // What follows its head would not be told.
            call.forget_cost();
            return Ok(response.map(GatewayBody::function));
        }
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response::from_parts(head, GatewayBody::full(body)))
    }

    /// A replica that takes the call. Where there are none because nobody called, it waits for one.
    async fn replica(&self, function: &Function, wait: Duration) -> Result<InFlight, Busy> {
        match function.endpoint() {
            Err(Busy::Asleep) => {
                let woken = tokio::time::timeout(wait, woken(function)).await;
                woken.unwrap_or(Err(Busy::None))
            }
            found => found,
        }
    }

    fn resolve<B>(&self, request: &Request<B>) -> Option<(Arc<Function>, PathAndQuery)> {
        let target = Target::of(request.uri().path_and_query()?.as_str())?;
        let function = self.registry.find(target.function)?;
        let path = if target.rest.starts_with('/') {
            PathAndQuery::try_from(target.rest)
        } else {
            PathAndQuery::try_from(format!("/{}", target.rest))
        };
        Some((function, path.ok()?))
    }
}

impl<'a> Target<'a> {
    fn of(path_and_query: &'a str) -> Option<Self> {
        let after = path_and_query.strip_prefix(PREFIX)?;
        let end = after.find(['/', '?']).unwrap_or(after.len());
        Some(Self {
            function: &after[..end],
            rest: &after[end..],
        })
    }
}

/// A replica of a function that had none; what was woken may have gone to sleep again meanwhile.
async fn woken(function: &Function) -> Result<InFlight, Busy> {
    loop {
        function.wake().await;
        match function.endpoint() {
            Err(Busy::Asleep) => {}
            found => return found,
        }
    }
}

fn not_found<B>(request: &Request<B>) -> Response<GatewayBody> {
    let name = Proxy::named(request.uri().path());
    let text = format!("function `{name}` is not deployed\n");
    refused(StatusCode::NOT_FOUND, text)
}

fn bad_timeout(error: &TimeoutError) -> Response<GatewayBody> {
    refused(StatusCode::BAD_REQUEST, format!("{error}\n"))
}

fn refused(status: StatusCode, text: String) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::full(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    mark_internal(headers);
    response
}

fn no_replica(busy: Busy) -> Response<GatewayBody> {
    let mut response = internal(match busy {
        Busy::Full => StatusCode::TOO_MANY_REQUESTS,
        Busy::None | Busy::Asleep => StatusCode::SERVICE_UNAVAILABLE,
    });
    response
        .headers_mut()
        .insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn bad_gateway() -> Response<GatewayBody> {
    internal(StatusCode::BAD_GATEWAY)
}

fn internal(status: StatusCode) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::empty());
    *response.status_mut() = status;
    mark_internal(response.headers_mut());
    response
}

fn mark_internal(headers: &mut http::HeaderMap) {
    headers.insert(INTERNAL.clone(), HeaderValue::from_static("gateway"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_split_after_the_function_and_left_as_it_is() {
        let check = |path: &str, function: &str, rest: &str| {
            let target = Target::of(path).unwrap();
            assert_eq!((target.function, target.rest), (function, rest), "{path}");
        };
        check("/function/echo", "echo", "");
        check("/function/echo/", "echo", "/");
        check("/function/echo?a=/b", "echo", "?a=/b");
        check(
            "/function/echo.ns/a%2Fb//c?d=%20",
            "echo.ns",
            "/a%2Fb//c?d=%20",
        );
        assert!(Target::of("/functions/echo").is_none());
    }
}
