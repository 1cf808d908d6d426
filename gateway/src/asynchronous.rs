//! Asynchronous calls: `POST /async-function/NAME[.namespace][/…]` is answered 202
//! at once; the function is called when it is the call's turn, and what it
//! answered goes to the caller's `X-Callback-Url`, if there is one.
//!
//! A call goes `queue` (bounded, in memory) → `dispatcher` (whose turn it is says
//! `lanes`) → `invocation` (through the proxy, like any call) → `callback`.
//!
//! Invariants: what was answered 202 is called once, or counted as dropped when
//! the gateway stops; a body is read only as far as there is room for it; a
//! function, or a receiver of callbacks, that is slow or down holds up no other
//! function. Callbacks are delivered at least once, until they are taken or
//! given up.
//!
//! Deliberately absent, so far: calls that outlive the gateway, retries of the
//! function, cancelling a queued call.

mod call;
mod refusal;

mod queue;

mod dispatcher;
mod lanes;

mod callback;
mod invocation;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::HeaderName;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prometheus::IntGauge;

use crate::config::AsyncConfig;
use crate::proxy::{GatewayBody, Peer, Proxy, Stamp};
use call::AsyncCall;
use callback::CallbackUrl;
pub(crate) use dispatcher::Dispatcher;
use queue::{Place, Queue};
use refusal::Refusal;

const PREFIX: &str = "/async-function/";

/// What makes a path under `/async-function/` one under `/function/`.
const PREFIX_OF_PREFIX: &str = "/async-";

static CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");

/// The way in.
#[derive(Debug)]
pub(crate) struct AsyncCalls {
    queue: Queue,
    body_bytes_max: usize,
    /// From a request's head to the end of its body.
    body_timeout: Duration,
}

impl AsyncCalls {
    /// The way in, and the task that makes the calls.
    pub(crate) fn new(
        config: AsyncConfig,
        proxy: Arc<Proxy>,
        upstream_timeout: Duration,
        queued: IntGauge,
    ) -> (Self, Dispatcher) {
        let (queue, waiting) = queue::new(config.calls_max, config.bytes_max, queued);
        let calls = Self {
            queue,
            // One that no queue could hold is too large, not untimely.
            body_bytes_max: config.body_bytes_max.min(config.bytes_max),
            body_timeout: upstream_timeout,
        };
        let dispatcher = Dispatcher::new(config, waiting, proxy, upstream_timeout);
        (calls, dispatcher)
    }

    /// True for the paths that [`AsyncCalls::accept`] takes.
    pub(crate) fn owns(path: &str) -> bool {
        path.starts_with(PREFIX)
    }

    /// Queues a call; refusals become responses.
    pub(crate) async fn accept(
        &self,
        mut request: Request<Incoming>,
        peer: &Peer,
    ) -> Response<GatewayBody> {
        let stamp = Stamp::put_on(request.headers_mut());
        let response = match self.queue(request, peer).await {
            Ok(()) => {
                let mut response = Response::new(GatewayBody::empty());
                *response.status_mut() = StatusCode::ACCEPTED;
                response
            }
            Err(refusal) => refusal.into_response(),
        };
        stamp.finish(response)
    }

    async fn queue(&self, request: Request<Incoming>, peer: &Peer) -> Result<(), Refusal> {
        let (mut head, body) = request.into_parts();
        if head.method != Method::POST {
            return Err(Refusal::Method);
        }
        let target = target(head.uri.path_and_query()).ok_or(Refusal::NoFunction)?;
        let callback = CallbackUrl::of(head.headers.get(&CALLBACK_URL))?;
        head.headers.remove(&CALLBACK_URL);
        let headers = head.headers.iter();
        let headers = headers.map(|(name, value)| name.as_str().len() + value.len());
        let mut place = self.queue.place()?;
        place.extend(target.as_str().len() + headers.sum::<usize>())?;
        let body = self.read(body, &mut place);
        let body = tokio::time::timeout(self.body_timeout, body).await;
        let call = AsyncCall {
            target,
            headers: head.headers,
            body: body.map_err(|_| Refusal::Slow(self.body_timeout))??,
            peer: peer.clone(),
            callback,
        };
        Ok(self.queue.put(call, place)?)
    }

    async fn read(&self, mut body: Incoming, place: &mut Place) -> Result<Bytes, Refusal> {
        let limit = self.body_bytes_max;
        let told = body.size_hint().lower();
        if told > limit as u64 {
            return Err(Refusal::TooLarge { bytes: told, limit });
        }
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| Refusal::BrokenOff { source })?;
            let Ok(part) = frame.into_data() else {
                continue;
            };
            let bytes = read.len() + part.len();
            if bytes > limit {
                let bytes = bytes as u64;
                return Err(Refusal::TooLarge { bytes, limit });
            }
            place.extend(part.len())?;
            read.extend_from_slice(&part);
        }
        Ok(read.freeze())
    }
}

/// The path under `/function/` of one under `/async-function/` that names a function.
fn target(path_and_query: Option<&PathAndQuery>) -> Option<PathAndQuery> {
    let rest = path_and_query?.as_str().strip_prefix(PREFIX_OF_PREFIX)?;
    let target = PathAndQuery::try_from(format!("/{rest}")).ok()?;
    let named = !Proxy::named(target.as_str()).is_empty();
    named.then_some(target)
}
