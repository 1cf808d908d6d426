//! Asynchronous calls: `POST /async-function/NAME[.namespace][/…]` is answered 202 at once; the function is
//! called when it is the call's turn, and what it answered goes to the caller's `X-Callback-Url`, if there is
//! one. `GET /async-function/NAME/CALL-ID` says how a call stands, and `DELETE` cancels it.
//!
//! A call is an `item` in a queue of its function (`store`), which `dispatcher` takes it from once it may be
//! made: `invocation` makes it through the proxy, like any call. What `retry` says is made again goes back
//! into the queue; what is given up, to the `dead_letters`; an answer, into a queue of callbacks. `tracker`
//! knows how each call stands, and `room` how many there may be.
//!
//! Invariants: what was answered 202 is called at least once unless it is cancelled, also after the gateway
//! was killed, where its state outlives it; where it does not, what is left when the gateway stops is counted
//! as dropped. A body is read only as far as there is room for it; a function, or a receiver of callbacks,
//! that is slow or down holds up no other function. Callbacks are delivered at least once, under one delivery
//! id, until they are taken or given up.

mod callback;
mod dead_letters;
mod dispatcher;
mod invocation;
mod item;
mod refusal;
mod retry;
mod room;
mod store;
mod tracker;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_bytes::ByteBuf;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use turlough_statestore::StateError;

use crate::config::AsyncConfig;
use crate::functions::Registry;
use crate::metrics::AsyncMetrics;
use crate::proxy::{CALL_ID, CALLBACK_URL, GatewayBody, Peer, Proxy, Stamp, forget_callback};
use crate::timeout::timeout_of;
use callback::{CallbackUrl, Caller};
pub(crate) use dead_letters::Shown;
use dispatcher::{AcceptError, Dispatcher};
use invocation::Invoker;
use item::{Head, Headers};
use refusal::Refusal;
pub use retry::RetryConfig;
pub(crate) use retry::Said as RetrySaid;
use room::Place;
use tracker::Known;

const PREFIX: &str = "/async-function/";

/// What makes a path under `/async-function/` one under `/function/`.
const PREFIX_OF_PREFIX: &str = "/async-";

/// The way in. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AsyncCalls {
    dispatcher: Arc<Dispatcher>,
    body_bytes_max: usize,
    /// From a request's head to the end of its body.
    body_timeout: Duration,
    callback_link_local: bool,
}

impl AsyncCalls {
    /// Goes on with the calls that were left by a process before.
    pub(crate) async fn open(
        config: AsyncConfig,
        proxy: Arc<Proxy>,
        registry: Registry,
        upstream_timeout: Duration,
        metrics: AsyncMetrics,
    ) -> Result<Self, StateError> {
        let invoker = Invoker {
            proxy,
            answer_bytes_max: config.answer_bytes_max,
            answer_timeout: upstream_timeout,
        };
        let caller = Caller::new(&config);
        let dispatcher = Dispatcher::open(&config, registry, invoker, caller, metrics);
        Ok(Self {
            dispatcher: dispatcher.await?,
            // One that no queue could hold is too large, not untimely.
            body_bytes_max: config.body_bytes_max.min(config.bytes_max),
            body_timeout: upstream_timeout,
            callback_link_local: config.callback_link_local,
        })
    }

    /// Brings metrics up to date that change with time alone.
    pub(crate) fn read_metrics(&self) {
        self.dispatcher.read_metrics();
    }

    /// From now on calls are made: their functions are known.
    pub(crate) fn begin(&self) {
        self.dispatcher.begin_calls();
    }

    /// Makes the calls until `shutdown`; what is under way then has the grace time to end.
    pub(crate) async fn run(self, shutdown: CancellationToken, grace: Duration) {
        self.dispatcher.run(shutdown, grace).await;
    }

    /// True for the paths that [`AsyncCalls::respond`] takes.
    pub(crate) fn owns(path: &str) -> bool {
        path.starts_with(PREFIX)
    }

    /// Queues a call, says how one stands, or cancels one; refusals become responses.
    pub(crate) async fn respond(
        &self,
        mut request: Request<Incoming>,
        peer: &Peer,
    ) -> Response<GatewayBody> {
        if let Some((function, call_id)) = call_of(request.method(), request.uri().path()) {
            let done = match *request.method() {
                Method::DELETE => self.cancel(function, call_id).await,
                _ => self.standing(function, call_id),
            };
            return done.unwrap_or_else(Refusal::into_response);
        }
        let stamp = Stamp::put_on(request.headers_mut());
        let response = match self.queue(request, peer).await {
            Ok(()) => accepted(),
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
        timeout_of(&head.headers)?;
        let callback = CallbackUrl::of(head.headers.get(&CALLBACK_URL), self.callback_link_local)?;
        // As it was written: it may be part of what was signed.
        let said = head.headers.remove(&CALLBACK_URL);
        forget_callback(&mut head.headers);
        let headers = head.headers.iter();
        let headers = headers.map(|(name, value)| name.as_str().len() + value.len());
        let mut place = self.dispatcher.room.place()?;
        place.extend(target.as_str().len() + headers.sum::<usize>())?;
        let body = self.read(body, &mut place);
        let body = tokio::time::timeout(self.body_timeout, body).await;
        let body = body.map_err(|_| Refusal::Slow(self.body_timeout))??;
        let call_id = head.headers.get(&CALL_ID).map(HeaderValue::as_bytes);
        let call_id = String::from_utf8_lossy(call_id.unwrap_or_default()).into_owned();
        let function = Proxy::named(target.as_str()).to_owned();
        let head = Head {
            target: target.as_str().to_owned(),
            headers: Headers::of(&head.headers),
            peer: ByteBuf::from(peer.as_bytes()),
            callback: callback.and_then(|_| Some(said?.to_str().ok()?.to_owned())),
        };
        let accepted = self.dispatcher.accept(head, call_id, function, body, place);
        Ok(accepted.await?)
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

    fn standing(&self, function: &str, call_id: &str) -> Result<Response<GatewayBody>, Refusal> {
        let known = self.dispatcher.find(function, call_id);
        let Some(last) = known.last() else {
            return Err(Refusal::Unknown {
                function: function.to_owned(),
                call_id: call_id.to_owned(),
            });
        };
        let text = shown(call_id, last, known.len()).to_string();
        let mut response = Response::new(GatewayBody::full(Bytes::from(text)));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        Ok(response)
    }

    async fn cancel(
        &self,
        function: &str,
        call_id: &str,
    ) -> Result<Response<GatewayBody>, Refusal> {
        let cancelled = self.dispatcher.cancel(function, call_id).await;
        if cancelled.map_err(AcceptError::State)? > 0 {
            return Ok(accepted());
        }
        let (function_name, call_id_) = (function.to_owned(), call_id.to_owned());
        Err(match self.dispatcher.find(function, call_id).is_empty() {
            true => Refusal::Unknown {
                function: function_name,
                call_id: call_id_,
            },
            false => Refusal::Over {
                function: function_name,
                call_id: call_id_,
            },
        })
    }

    /// Calls that were given up, of a function or of all, the latest first.
    pub(crate) fn dead_letters(&self, function: Option<&str>, limit: usize) -> Vec<Shown> {
        let function = function.map(item::qualified);
        self.dispatcher
            .dead_letters
            .list(function.as_deref(), limit)
    }

    /// Has a call that was given up made anew; false where there is no such.
    pub(crate) async fn revive(&self, id: uuid::Uuid) -> Result<bool, StateError> {
        self.dispatcher.revive(id).await
    }

    /// Takes a call that was given up away for good; false where there is no such.
    pub(crate) async fn forget_dead_letter(&self, id: uuid::Uuid) -> Result<bool, StateError> {
        self.dispatcher.dead_letters.remove_with_body(id).await
    }
}

/// The path under `/function/` of one under `/async-function/` that names a function.
fn target(path_and_query: Option<&PathAndQuery>) -> Option<PathAndQuery> {
    let rest = path_and_query?.as_str().strip_prefix(PREFIX_OF_PREFIX)?;
    let target = PathAndQuery::try_from(format!("/{rest}")).ok()?;
    let named = !Proxy::named(target.as_str()).is_empty();
    named.then_some(target)
}

/// The function and the call that a path names, where something is asked of a call.
fn call_of<'a>(method: &Method, path: &'a str) -> Option<(&'a str, &'a str)> {
    let (function, call_id) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let is_asked = [Method::GET, Method::DELETE].contains(method);
    let is_one = !function.is_empty() && !call_id.is_empty() && !call_id.contains('/');
    (is_asked && is_one).then_some((function, call_id))
}

fn accepted() -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// A call as it stands; of several under one id, the last.
fn shown(call_id: &str, known: &Known, count: usize) -> serde_json::Value {
    json!({
        "callId": call_id,
        "function": known.function,
        "state": known.standing,
        "attempts": known.attempts,
        "status": known.status,
        "acceptedAt": time(known.accepted_ms),
        "changedAt": time(known.changed_ms),
        "nextAttemptAt": known.due_ms.map(time),
        "callsOfThisId": count,
    })
}

/// A moment as clients read it.
pub(crate) fn time(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok();
    let moment = moment.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// Unix time in ms.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
