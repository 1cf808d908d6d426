//! What everything in one flow-function process shares.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, RwLock};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turlough_datastore::MemoryStore;
use turlough_sdk::{Flow, FlowName, ReplicaId, RequestId, Value};
use turlough_statestore::MemoryLog;
use turlough_statestore::event::Outcome;

use crate::abandoned::Abandoned;
use crate::evaluator::Evaluator;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// What everything in one flow-function process shares. Requests share nothing else.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) replica: ReplicaId,
    pub(crate) client: reqwest::Client,
    pub(crate) log: MemoryLog,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) index: Index,
    pub(crate) metrics: Metrics,
    pub(crate) evaluator: Evaluator,
    pub(crate) abandoned: Abandoned,
    pub(crate) capacity: Arc<Semaphore>,
    pub(crate) draining: CancellationToken,
    /// The grace time is over: who still waits or follows is sent away.
    pub(crate) closing: CancellationToken,
    pub(crate) flows: RwLock<BTreeMap<FlowName, Arc<Flow>>>,
    pub(crate) open: AtomicUsize,
    pub(crate) tasks: TaskTracker,
}

/// The end of a request, for the caller who waits.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) outcome: Outcome,
    /// The output, where it succeeded.
    pub(crate) output: Option<Value>,
}

impl Shared {
    pub(crate) fn gateway_url(&self) -> &str {
        self.settings.gateway_url.trim_end_matches('/')
    }

    /// A request is settled: what is oldest of the ended ones is forgotten past the bounds.
    pub(crate) fn forget_oldest(&self) {
        let forgotten: HashSet<RequestId> = self.index.take_excess();
        for request in forgotten {
            self.log.expire(request);
        }
    }
}
