//! The engine: which flows there are, which requests are open, and the way in.

mod again;
mod alone;
mod attach;
mod children;
mod control;
mod drive;
mod folds;
mod left;
mod obstacle;
mod presence;
mod read;
mod truncated;

pub(crate) use again::Signatures;
pub(crate) use alone::TAKE_OVERS_DEAD;
#[cfg(test)]
pub(crate) use children::child_id;
pub(crate) use control::{CallbackError, Control, ControlError};
pub(crate) use folds::{FoldError, Folds};
pub(crate) use obstacle::Obstacle;
pub(crate) use presence::AttendError;
pub(crate) use read::{StepValueError, Which, is_open, outcome_in, parts};
pub(crate) use truncated::TRUNCATED;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turlough_datastore::data::Usage;
use turlough_sdk::{Digest, Flow, FlowName, ReplicaId, RequestId, Value};
use turlough_statestore::event::{Accepted, Callback, Parent, TraceParent};
use turlough_statestore::{State, StateError, Steady};
use uuid::Uuid;

use again::Again;

use crate::abandoned::Abandoned;
use crate::clock::now_us;
use crate::data::Stores;
use crate::desk::Desk;
use crate::driver::{Begin, BeginError};
use crate::evaluator::Evaluator;
use crate::gateway::Gateway;
use crate::http::InFlight;
use crate::metrics::Metrics;
use crate::outside::{self, Outside};
use crate::registry::{RegisterError, Registry};
use crate::settings::{INLINE_BYTES_LIMIT, Settings};
use crate::shared::{Finished, Room, Shared, Waiting};
use crate::spread::{Guests, Spread};
use crate::tokens::Tokens;
use crate::trace::Traces;

/// Runs requests of registered flows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// Why a request was not accepted. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("no flow {flow:?} here; there is {known}")]
    UnknownFlow { flow: String, known: String },
    #[error(
        "input is {size} bytes, limit {limit}; raise TURLOUGH_DURABLE_BYTES_MAX, or set TURLOUGH_DURABLE"
    )]
    InputTooLarge { size: usize, limit: usize },
    #[error(
        "{open} requests are open, limit {open}; try again later, or raise TURLOUGH_REQUESTS_MAX"
    )]
    Full { open: usize },
    #[error(
        "logs hold {held} of {limit} bytes, and the last fifth is for open requests; try again later, or raise TURLOUGH_STATE_BYTES_MAX"
    )]
    LogFull { held: u64, limit: u64 },
    #[error(
        "the tenant holds {} bytes in its store, and past its soft limit of {} nothing new begins; try again later, or raise its quota",
        .0.bytes, .0.soft
    )]
    DataFull(Usage),
    #[error("no flow {0} here; a sub-flow is served by the same function")]
    NoSubflow(FlowName),
    #[error("input cannot be kept: {0}")]
    StoreFull(String),
    #[error(
        "request {request} began with the same Idempotency-Key and another input; send another key"
    )]
    KeyReused { request: RequestId },
    #[error("this signature was used before, by request {request}; sign the call anew")]
    Replayed { request: RequestId },
    #[error("callback {url:?} is refused: {reason}")]
    InvalidCallback { url: String, reason: String },
    #[error(
        "{count} closures run on after their attempts were given up, limit {limit}; try again later, or raise TURLOUGH_ABANDONED_MAX"
    )]
    Abandoned { count: usize, limit: usize },
    #[error("the function is shutting down; try again")]
    Draining,
    #[error("request could not be recorded")]
    Log(#[from] StateError),
    #[error(
        "nobody answered whether request {request} was recorded; look at /requests/{request}, or send it again with the same Idempotency-Key"
    )]
    Unsure {
        request: RequestId,
        #[source]
        cause: StateError,
    },
    #[error("this replica cannot take requests yet")]
    Absent(#[from] AttendError),
    #[error("the request's task was lost while it was recorded")]
    Lost,
}

impl StartError {
    /// Whether it is the state that cannot take it now, or this replica that ends.
    fn is_of_the_state(&self) -> bool {
        match self {
            Self::Log(error) => error.passes(),
            Self::LogFull { .. }
            | Self::DataFull(_)
            | Self::StoreFull(_)
            | Self::Unsure { .. }
            | Self::Absent(_)
            | Self::Draining
            | Self::Lost => true,
            _ => false,
        }
    }
}

/// How a flow is called, beside its input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    /// Decoded, in order.
    pub(crate) query: Vec<(String, String)>,
    /// Those that the flow names, in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Who wants word of the end.
    pub(crate) callbacks: Vec<Callback>,
    /// The same key and input is the same request.
    pub(crate) key: Option<CallKey>,
    /// As the gateway gave it.
    pub(crate) call_id: Option<String>,
    /// Of the gateway's queue, where it brings the call.
    pub(crate) delivery: Option<u128>,
    /// The span that it is part of.
    pub(crate) trace: Option<TraceParent>,
}

/// By what a call is known that comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallKey {
    /// The caller's own.
    Given(String),
    /// The delivery of our gateway's queue.
    Delivery(u128),
    /// The id of the call, where another gateway's queue may bring it twice.
    Queued(String),
    /// A signature, which begins one request: which one of its key, and when it ends in Unix seconds.
    Signature {
        key_id: String,
        nonce: String,
        until_s: u64,
    },
}

/// A request that was accepted.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) request: RequestId,
    /// False where an earlier request with the same key was found.
    pub(crate) is_new: bool,
    /// Whether OpenFaaS's callback of this call is told by the request.
    pub(crate) calls_back: bool,
    pub(crate) finished: oneshot::Receiver<Finished>,
}

impl Engine {
    /// An engine without flows, whose requests and their data end with the process.
    ///
    /// # Errors
    /// An HTTP client that cannot be made.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        let state = State::in_memory(&settings.state.options(&settings.tenant, &settings.function));
        let stores = Stores::in_memory(&settings);
        Self::with(settings, state, stores)
    }

    /// An engine without flows, whose requests are kept in a state, and their data in stores, that others
    /// may share.
    ///
    /// # Errors
    /// An HTTP client that cannot be made.
    pub(crate) fn with(
        mut settings: Settings,
        state: State,
        stores: Stores,
    ) -> Result<Self, reqwest::Error> {
        settings.inline_bytes_max = settings.inline_bytes_max.min(INLINE_BYTES_LIMIT);
        let client = reqwest::Client::builder()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let metrics = Metrics::new(&settings.tenant);
        let (service, tenant) = (settings.function.as_str(), settings.tenant.as_str());
        let traces = Traces::new(&settings.traces, (service, tenant), &metrics.spans)?;
        let shared = Shared {
            evaluator: Evaluator::new(&settings),
            abandoned: Abandoned::new(settings.abandoned_max, metrics.closures_abandoned.clone()),
            replica: ReplicaId::from_uuid(Uuid::new_v4()),
            gateway: Gateway::new(&client, &settings.gateway_url),
            client,
            outside: Outside::new(&settings.http_allow)?,
            tokens: Tokens::new(&settings.secrets),
            log: Arc::clone(&state.log),
            steady: Steady::new(state.link.clone(), settings.state.heartbeat),
            obstacle: Obstacle::default(),
            state,
            stores: Arc::new(stores),
            keeper: tokio::sync::OnceCell::new(),
            metrics,
            traces,
            desk: Desk::default(),
            signatures: Signatures::default(),
            registry: Registry::default(),
            room: Room::new(settings.capacity),
            spread: Spread::new(),
            guests: Guests::new(),
            draining: CancellationToken::new(),
            leaving: CancellationToken::new(),
            in_flight: InFlight::new(settings.max_inflight),
            closing: CancellationToken::new(),
            open: 0.into(),
            tasks: TaskTracker::new(),
            waiting: Waiting::default(),
            folds: folds::Folds::default(),
            alone: tokio::sync::watch::Sender::new(None),
            lonely: Arc::default(),
            attending: tokio::sync::OnceCell::new(),
            settings,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Serves a flow from now on.
    ///
    /// # Errors
    /// A name that is taken, by another flow or by the API.
    pub fn register(&self, flow: Flow) -> Result<(), RegisterError> {
        let compiled = flow.has_closures();
        self.shared.registry.register(flow, !compiled)
    }

    /// Bytes that the ephemeral store holds now, where it is in this process.
    #[must_use]
    pub fn store_bytes(&self) -> u64 {
        self.shared.stores.held().unwrap_or_default().bytes
    }

    /// Requests that a driver of this process holds in memory now.
    #[must_use]
    pub fn driving(&self) -> u64 {
        u64::try_from(self.shared.metrics.driving.get()).unwrap_or(0)
    }

    pub(crate) fn flows(&self) -> Vec<Arc<Flow>> {
        self.shared.registry.all()
    }

    /// The version of a flow on which new requests run; one that is not known here is looked up.
    pub(crate) async fn newest(&self, name: &str) -> Result<Arc<Flow>, StartError> {
        if let Ok(parsed) = name.parse::<FlowName>() {
            self.shared.newest(&parsed).await?;
        }
        self.flow(name)
    }

    /// The same, as far as it is known here.
    pub(crate) fn flow(&self, name: &str) -> Result<Arc<Flow>, StartError> {
        let parsed = name.parse::<FlowName>().ok();
        let found = parsed.and_then(|name| self.shared.registry.current(&name));
        found.ok_or_else(|| {
            let flows = self.flows();
            let known: Vec<_> = flows.iter().map(|flow| flow.name().as_str()).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            StartError::UnknownFlow {
                flow: name.chars().take(80).collect(),
                known,
            }
        })
    }

    /// Accepts a request: when this returns, it is in the log.
    pub(crate) async fn start(
        &self,
        flow: Arc<Flow>,
        input: Value,
        call: Call,
    ) -> Result<Started, StartError> {
        let settings = &self.shared.settings;
        for callback in &call.callbacks {
            outside::check_url(&callback.url, &settings.http_allow).map_err(|reason| {
                let url = callback.url.chars().take(200).collect();
                StartError::InvalidCallback { url, reason }
            })?;
        }
        let whose = format!("{}/{}", settings.tenant, flow.name());
        let request = match &call.key {
            Some(CallKey::Given(key)) => keyed(&format!("{whose}/{key}")),
            // No tenant's name begins so.
            Some(CallKey::Delivery(id)) => keyed(&format!("~delivery/{id:032x}/{whose}")),
            Some(CallKey::Queued(id)) => {
                let input = Digest::of(input.envelope());
                keyed(&format!("~call/{input}/{whose}/{id}"))
            }
            // Whichever flow it is of.
            Some(CallKey::Signature { key_id, nonce, .. }) => {
                keyed(&format!("~signature/{}/{key_id}/{nonce}", settings.tenant))
            }
            None => RequestId::from_uuid(Uuid::now_v7()),
        };
        let keyed = call.key.is_some();
        self.shared
            .begin(request, flow, input, call, None, keyed)
            .await
    }

    /// Takes no new requests; those that are driven go to other replicas, or, where this is the only
    /// one, on to their ends for up to `grace`. True when none is left.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.shared.draining.cancel();
        self.shared.tasks.close();
        let ended = tokio::time::timeout(grace, self.shared.tasks.wait()).await;
        ended.is_ok()
    }
}

/// The id of a request that is named by what it is for.
pub(crate) fn keyed(name: &str) -> RequestId {
    let digest = Digest::of(name.as_bytes()).0;
    RequestId::from_uuid(uuid::Builder::from_custom_bytes(digest.to_be_bytes()).into_uuid())
}

impl Shared {
    /// Accepts a request under an id. Where `keyed`, one that stands under it already is taken for the
    /// same if its input is.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        request: RequestId,
        flow: Arc<Flow>,
        input: Value,
        call: Call,
        parent: Option<Parent>,
        keyed: bool,
    ) -> Result<Started, StartError> {
        // Held from here on, so that a drain waits for what is accepted beside it.
        let task = self.tasks.token();
        if self.draining.is_cancelled() {
            return Err(StartError::Draining);
        }
        self.refuse_abandoned()?;
        self.attend().await?;
        let (size, limit) = (input.body().len(), self.settings.durable_bytes_max);
        if size > limit && !self.stores.has_durable() {
            return Err(StartError::InputTooLarge { size, limit });
        }
        let again = Again::of(&call);
        if again.is_used(&self.signatures, request) {
            return Err(StartError::Replayed { request });
        }
        let calls_back = call.callbacks.iter().any(|callback| callback.is_openfaas);
        if keyed && let Some(found) = self.attach(request, &input, again).await? {
            return Ok(found);
        }
        let usage = self.log.usage().await?;
        if usage.is_nearly_full() {
            let (held, limit) = (usage.bytes, usage.bytes_max);
            return Err(StartError::LogFull { held, limit });
        }
        // A sub-flow is part of what was let in.
        if parent.is_none()
            && let Some(usage) = self.stores.past_soft().await
        {
            return Err(StartError::DataFull(usage));
        }
        self.admit(self.settings.requests_max)
            .map_err(|open| StartError::Full { open })?;
        let finished = self.waiting.register(request);
        let begin = Begin {
            request,
            accepted: self.accepted(&flow, call, parent),
            flow,
            input: input.clone(),
        };
        let (answer, accepted) = oneshot::channel();
        // In a task of its own: a caller who goes away meanwhile leaves nothing half done.
        tokio::spawn(Arc::clone(self).begin_and_drive(begin, answer, task));
        match accepted.await.map_err(|_| StartError::Lost)? {
            Ok(()) => {
                again.use_up(&self.signatures, request);
                Ok(Started {
                    request,
                    is_new: true,
                    calls_back,
                    finished,
                })
            }
            // Another with the same key came first.
            Err(BeginError::Log(StateError::Conflict { .. })) if keyed => {
                self.attach_soon(request, &input, again).await
            }
            Err(BeginError::Log(cause @ StateError::Unanswered { .. })) => {
                Err(StartError::Unsure { request, cause })
            }
            Err(BeginError::Log(error)) => Err(error.into()),
            Err(BeginError::Store(error)) => Err(StartError::StoreFull(error.to_string())),
        }
    }

    /// Whether closures that nobody waits for leave enough of this replica.
    pub(crate) fn refuse_abandoned(&self) -> Result<(), StartError> {
        let limit = self.abandoned.limit();
        match self.abandoned.too_many() {
            Some(count) => Err(StartError::Abandoned { count, limit }),
            None => Ok(()),
        }
    }

    pub(crate) fn accepted(&self, flow: &Flow, call: Call, parent: Option<Parent>) -> Accepted {
        let at_us = now_us();
        let timeout_us = u64::try_from(flow.timeout().as_micros()).unwrap_or(u64::MAX);
        Accepted {
            flow: flow.name().clone(),
            version: flow.version().as_str().to_owned(),
            tenant: self.settings.tenant.clone(),
            // Set when it is known where it lies.
            input: turlough_sdk::ValueRef::Inline(bytes::Bytes::new()),
            query: call.query,
            headers: call.headers,
            parent,
            callbacks: call.callbacks,
            call_id: call.call_id,
            delivery: call.delivery,
            trace: call.trace,
            deadline_us: at_us.saturating_add(timeout_us),
            at_us,
        }
    }
}

#[cfg(test)]
mod tests;
