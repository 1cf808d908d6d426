//! What everything in one flow-function process shares.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turlough_keeper::Keeper;
use turlough_sdk::{Flow, FlowName, ReplicaId, RequestId, Value};
use turlough_statestore::event::Outcome;
use turlough_statestore::{Log, State, Steady};

use crate::abandoned::Abandoned;
use crate::data::Stores;
use crate::desk::Desk;
use crate::engine::{Folds, Obstacle, Signatures};
use crate::evaluator::Evaluator;
use crate::gateway::Gateway;
use crate::http::InFlight;
use crate::metrics::Metrics;
use crate::outside::Outside;
use crate::registry::Registry;
use crate::settings::Settings;
use crate::spread::{Guests, Spread};
use crate::tokens::Tokens;
use crate::trace::Traces;

/// What everything in one flow-function process shares. Requests share nothing else.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) replica: ReplicaId,
    /// Calls functions.
    pub(crate) gateway: Gateway,
    /// Asks the keeper.
    pub(crate) client: reqwest::Client,
    /// Calls everything else.
    pub(crate) outside: Outside,
    pub(crate) tokens: Tokens,
    pub(crate) evaluator: Evaluator,
    pub(crate) abandoned: Abandoned,
    pub(crate) state: State,
    /// How steadily it answers.
    pub(crate) steady: Steady,
    /// What it does not do.
    pub(crate) obstacle: Obstacle,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) stores: Arc<Stores>,
    /// Lists requests and wakes them, where no other process does.
    pub(crate) keeper: OnceCell<Keeper>,
    pub(crate) metrics: Metrics,
    /// None where nothing is traced.
    pub(crate) traces: Option<Traces>,
    pub(crate) desk: Desk,
    pub(crate) signatures: Signatures,
    pub(crate) registry: Registry,
    pub(crate) room: Room,
    pub(crate) spread: Spread,
    pub(crate) guests: Guests,
    pub(crate) draining: CancellationToken,
    /// No more calls should come; those that do are still taken.
    pub(crate) leaving: CancellationToken,
    pub(crate) in_flight: InFlight,
    /// The grace time is over: who still waits or follows is sent away.
    pub(crate) closing: CancellationToken,
    pub(crate) open: AtomicUsize,
    pub(crate) tasks: TaskTracker,
    pub(crate) waiting: Waiting,
    pub(crate) folds: Folds,
    /// The request that this replica drives alone, and whose turn it is.
    pub(crate) alone: watch::Sender<Option<RequestId>>,
    pub(crate) lonely: Arc<tokio::sync::Mutex<()>>,
    /// Others are told once that this replica is there.
    pub(crate) attending: OnceCell<()>,
}

/// The end of a request, for the caller who waits.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) outcome: Outcome,
    /// The output, where it succeeded and is kept.
    pub(crate) output: Option<Value>,
}

/// How a synchronous caller is answered at such an end.
pub(crate) const fn status_of(outcome: &Outcome) -> StatusCode {
    match outcome {
        Outcome::Succeeded { .. } => StatusCode::OK,
        Outcome::Failed { .. } | Outcome::Dead { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        Outcome::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Outcome::Cancelled => StatusCode::CONFLICT,
    }
}

/// Who waits for the ends of requests.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    callers: HashMap<RequestId, Vec<oneshot::Sender<Finished>>>,
    /// Requests that others drive, and whose ends somebody here looks out for.
    watched: HashSet<RequestId>,
}

impl Waiting {
    pub(crate) fn register(&self, request: RequestId) -> oneshot::Receiver<Finished> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiters();
        let list = waiting.callers.entry(request).or_default();
        list.retain(|sender| !sender.is_closed());
        list.push(sender);
        receiver
    }

    pub(crate) fn tell(&self, request: RequestId, finished: &Finished) {
        let list = self.waiters().callers.remove(&request);
        for sender in list.into_iter().flatten() {
            // A caller who went away needs no answer.
            drop(sender.send(finished.clone()));
        }
    }

    /// Whether somebody waits for a request.
    pub(crate) fn is_waited_for(&self, request: RequestId) -> bool {
        let mut waiting = self.waiters();
        let Some(list) = waiting.callers.get_mut(&request) else {
            return false;
        };
        list.retain(|sender| !sender.is_closed());
        let waited_for = !list.is_empty();
        if !waited_for {
            waiting.callers.remove(&request);
        }
        waited_for
    }

    /// True where somebody waits for the request and nobody looks out for its end yet: now the caller
    /// does.
    pub(crate) fn watch(&self, request: RequestId) -> bool {
        self.is_waited_for(request) && self.waiters().watched.insert(request)
    }

    pub(crate) fn unwatch(&self, request: RequestId) {
        self.waiters().watched.remove(&request);
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room to drive: of the process, and of each flow that bounds it.
#[derive(Debug)]
pub(crate) struct Room {
    all: Arc<Semaphore>,
    flows: Mutex<HashMap<FlowName, (usize, Arc<Semaphore>)>>,
}

/// The right to drive a request, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Permit {
    _all: OwnedSemaphorePermit,
    _flow: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, u32::MAX as usize >> 3);
        Self {
            all: Arc::new(Semaphore::new(capacity)),
            flows: Mutex::default(),
        }
    }

    /// Room, if there is some now.
    pub(crate) fn try_take(&self, flow: &Flow) -> Option<Permit> {
        let of_flow = match self.of_flow(flow) {
            Some(room) => Some(room.try_acquire_owned().ok()?),
            None => None,
        };
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Permit {
            _all: all,
            _flow: of_flow,
        })
    }

    /// Room, once there is some. None where the process ends.
    pub(crate) async fn take(&self, flow: &Flow) -> Option<Permit> {
        // First the flow's own: who waits for it keeps no other flow from its room.
        let of_flow = match self.of_flow(flow) {
            Some(room) => Some(room.acquire_owned().await.ok()?),
            None => None,
        };
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Permit {
            _all: all,
            _flow: of_flow,
        })
    }

    /// Requests that could be driven beside those that are.
    pub(crate) fn free(&self) -> usize {
        self.all.available_permits()
    }

    /// Waits until there is room for one request.
    pub(crate) async fn some(&self) {
        drop(self.all.acquire().await);
    }

    /// The newest version's bound counts for all.
    fn of_flow(&self, flow: &Flow) -> Option<Arc<Semaphore>> {
        let bound = flow.concurrency()?;
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || (bound, Arc::new(Semaphore::new(bound)));
        let (known, room) = flows.entry(flow.name().clone()).or_insert_with(fresh);
        if *known != bound {
            (*known, *room) = fresh();
        }
        Some(Arc::clone(room))
    }
}

impl Shared {
    pub(crate) fn gateway_url(&self) -> &str {
        self.settings.gateway_url.trim_end_matches('/')
    }

    /// Where this function is called back: through the gateway, by its own name.
    pub(crate) fn callback_base(&self) -> String {
        format!("{}/function/{}", self.gateway_url(), self.settings.function)
    }

    /// Counts a request as open, within the limit.
    pub(crate) fn admit(&self, limit: usize) -> Result<(), usize> {
        let admit = |open: usize| (open < limit).then_some(open + 1);
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit)
            .map(drop)
    }

    pub(crate) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
