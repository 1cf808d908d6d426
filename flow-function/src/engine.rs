//! The engine: which flows there are, which requests are open, and the way in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turlough_datastore::MemoryStore;
use turlough_sdk::{Flow, FlowName, ReplicaId, RequestId, Value};
use turlough_statestore::{
    Append, AppendError, AppendId, Envelope, Event, Kind, MemoryLog, Record, Seq,
};
use uuid::Uuid;

use crate::abandoned::Abandoned;
use crate::clock::now_us;
use crate::driver::Driver;
use crate::evaluator::Evaluator;
use crate::index::{Index, Summary};
use crate::metrics::Metrics;
use crate::settings::{INLINE_BYTES_LIMIT, Settings};
use crate::shared::{Finished, Shared};

/// Paths of the API, which a flow's name would hide.
const RESERVED_NAMES: [&str; 4] = ["flows", "requests", "callbacks", "metrics"];
/// How often an external append that meets another is tried again: each try means that somebody
/// else got through, so a request that is this busy is not stuck.
const EXTERNAL_TRIES_MAX: usize = 100;

/// Runs requests of registered flows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// Why a flow was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Its name is a path of the API.
    #[error("flow {0} has the name of a path of the API; give it another")]
    Reserved(FlowName),
    /// Another flow has its name.
    #[error("two flows are named {0}; rename one")]
    Twice(FlowName),
}

/// Why a request was not accepted. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("no flow {flow:?} here; there is {known}")]
    UnknownFlow { flow: String, known: String },
    #[error("input is {size} bytes, limit {limit}; raise TURLOUGH_DURABLE_BYTES_MAX")]
    InputTooLarge { size: usize, limit: usize },
    #[error(
        "{open} requests are open, limit {open}; try again later, or raise TURLOUGH_REQUESTS_MAX"
    )]
    Full { open: usize },
    #[error(
        "logs hold {held} of {limit} bytes, and the last fifth is for open requests; try again later, or raise TURLOUGH_STATE_BYTES_MAX"
    )]
    LogFull { held: u64, limit: u64 },
    #[error("the function is shutting down; try again")]
    Draining,
    #[error(
        "{count} closures run on after their attempts were given up, limit {limit}; try again later, or raise TURLOUGH_ABANDONED_MAX"
    )]
    Abandoned { count: usize, limit: usize },
    #[error("request could not be recorded")]
    Log(#[from] AppendError),
    #[error("the request's task was lost while it was recorded")]
    Lost,
}

/// Why a request was not cancelled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("no request {0} here")]
    Unknown(RequestId),
    #[error("request {request} is {status} already")]
    Ended {
        request: RequestId,
        status: &'static str,
    },
    #[error("control of request {0} could not be recorded")]
    Log(RequestId, #[source] AppendError),
}

/// A request that was accepted.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) request: RequestId,
    pub(crate) finished: oneshot::Receiver<Finished>,
}

impl Engine {
    /// An engine without flows.
    ///
    /// # Errors
    /// An HTTP client that cannot be made.
    pub fn new(mut settings: Settings) -> Result<Self, reqwest::Error> {
        settings.inline_bytes_max = settings.inline_bytes_max.min(INLINE_BYTES_LIMIT);
        let client = reqwest::Client::builder()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(256)
            .no_proxy()
            .build()?;
        let boot = Uuid::new_v4().as_u128() as u64;
        let metrics = Metrics::new(&settings.tenant);
        let shared = Shared {
            evaluator: Evaluator::new(&settings),
            abandoned: Abandoned::new(settings.abandoned_max, metrics.closures_abandoned.clone()),
            replica: ReplicaId::from_uuid(Uuid::new_v4()),
            client,
            log: MemoryLog::default(),
            store: Arc::new(MemoryStore::new(boot, settings.data_bytes_max)),
            index: Index::new(settings.ended_max, settings.ended_bytes_max),
            metrics,
            capacity: Arc::new(Semaphore::new(
                settings.capacity.clamp(1, Semaphore::MAX_PERMITS),
            )),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            flows: RwLock::default(),
            open: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
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
        let name = flow.name().clone();
        if RESERVED_NAMES.contains(&name.as_str()) {
            return Err(RegisterError::Reserved(name));
        }
        let mut flows = self
            .shared
            .flows
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if flows.contains_key(&name) {
            return Err(RegisterError::Twice(name));
        }
        flows.insert(name, Arc::new(flow));
        Ok(())
    }

    /// Bytes that the ephemeral store holds now.
    #[must_use]
    pub fn store_bytes(&self) -> u64 {
        self.shared.store.bytes()
    }

    pub(crate) fn flows(&self) -> Vec<Arc<Flow>> {
        let flows = self
            .shared
            .flows
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        flows.values().cloned().collect()
    }

    pub(crate) fn flow(&self, name: &str) -> Result<Arc<Flow>, StartError> {
        let flows = self
            .shared
            .flows
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let found = name
            .parse::<FlowName>()
            .ok()
            .and_then(|name| flows.get(&name).cloned());
        found.ok_or_else(|| {
            let known: Vec<_> = flows.keys().map(FlowName::as_str).collect();
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
    pub(crate) async fn start(&self, flow: Arc<Flow>, input: Value) -> Result<Started, StartError> {
        let shared = &self.shared;
        // Held from here on, so that a drain waits for what is accepted beside it.
        let open = shared.tasks.token();
        if shared.draining.is_cancelled() {
            return Err(StartError::Draining);
        }
        self.refuse_abandoned()?;
        let (size, limit) = (input.body().len(), shared.settings.durable_bytes_max);
        if size > limit {
            return Err(StartError::InputTooLarge { size, limit });
        }
        let (held, log_limit) = (shared.log.held(), shared.settings.state_bytes_max);
        if held > log_limit / 5 * 4 {
            return Err(StartError::LogFull {
                held,
                limit: log_limit,
            });
        }
        let slot = OpenSlot::take(Arc::clone(shared))?;
        let request = RequestId::from_uuid(Uuid::now_v7());
        let permit = Arc::clone(&shared.capacity).try_acquire_owned().ok();
        let (answer, accepted) = oneshot::channel();
        let shared = Arc::clone(shared);
        // In a task of its own: a caller who goes away meanwhile leaves nothing half done.
        tokio::spawn(async move {
            let _held = (slot, open);
            match Driver::accept(shared, flow, request, input, permit.is_some()).await {
                Ok((driver, finished)) => {
                    drop(answer.send(Ok(finished)));
                    driver.run(permit).await;
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        });
        let finished = accepted.await.map_err(|_| StartError::Lost)??;
        Ok(Started { request, finished })
    }

    /// Whether closures that nobody waits for leave enough of this replica.
    pub(crate) fn refuse_abandoned(&self) -> Result<(), StartError> {
        let abandoned = &self.shared.abandoned;
        let limit = abandoned.limit();
        match abandoned.too_many() {
            Some(count) => Err(StartError::Abandoned { count, limit }),
            None => Ok(()),
        }
    }

    /// Cancels an open request.
    pub(crate) async fn cancel(&self, request: RequestId) -> Result<(), ControlError> {
        let log = &self.shared.log;
        for _ in 0..EXTERNAL_TRIES_MAX {
            let last = log.last(request).await;
            let last = last.map_err(|error| ControlError::Log(request, error))?;
            let last = last.ok_or(ControlError::Unknown(request))?;
            self.refuse_ended(request, &last).await?;
            let seq = last.seq;
            let envelope = Envelope {
                id: AppendId(Uuid::new_v4().as_u128()),
                after: Some(last.append.envelope.id),
                kind: Kind::External,
                replica: self.shared.replica,
                ..last.append.envelope.clone()
            };
            let append = Append::new(envelope, vec![Event::CancelAsked { at_us: now_us() }]);
            match log.append(request, seq, &append).await {
                Err(AppendError::Conflict { .. }) => {}
                stored => return stored.map(drop).map_err(|e| ControlError::Log(request, e)),
            }
        }
        let error = AppendError::Conflict {
            request,
            expected: Seq::START,
            last: Seq::START,
        };
        Err(ControlError::Log(request, error))
    }

    /// Whether a request has ended is what its log says. Nothing follows an end but its settling, so
    /// that its last append tells.
    async fn refuse_ended(&self, request: RequestId, last: &Record) -> Result<(), ControlError> {
        let is_end = |event: &Event| {
            matches!(
                event,
                Event::Ended { .. } | Event::Closing { .. } | Event::Settled { .. }
            )
        };
        if !last.append.events.iter().any(is_end) {
            return Ok(());
        }
        let records = self.records(request).await?;
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let status = events.find_map(|event| match event {
            Event::Ended { outcome, .. } => Some(outcome.status()),
            _ => None,
        });
        let status = status.unwrap_or("ended");
        Err(ControlError::Ended { request, status })
    }

    /// The log of a request.
    pub(crate) async fn records(&self, request: RequestId) -> Result<Vec<Record>, ControlError> {
        let records = self.shared.log.read(request, Seq::START).await;
        let records = records.map_err(|error| ControlError::Log(request, error))?;
        if records.is_empty() {
            Err(ControlError::Unknown(request))
        } else {
            Ok(records)
        }
    }

    pub(crate) fn summary(&self, request: RequestId) -> Option<Summary> {
        self.shared.index.get(request)
    }

    /// Takes no new requests, and waits for the open ones for up to `grace`. True when all ended.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.shared.draining.cancel();
        self.shared.tasks.close();
        tokio::time::timeout(grace, self.shared.tasks.wait())
            .await
            .is_ok()
    }
}

/// Counts an open request for as long as it lives.
struct OpenSlot(Arc<Shared>);

impl OpenSlot {
    fn take(shared: Arc<Shared>) -> Result<Self, StartError> {
        let limit = shared.settings.requests_max;
        let admit = |open: usize| (open < limit).then_some(open + 1);
        let taken = shared
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit);
        match taken {
            Ok(_) => Ok(Self(shared)),
            Err(open) => Err(StartError::Full { open }),
        }
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
