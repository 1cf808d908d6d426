//! A keeper: its tasks, and a handle to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turlough_sdk::{FlowName, RequestId, TenantId};
use turlough_statestore::{State, StateError, Steady};
use turlough_telemetry::Registry;

use crate::duties::{self, Questions};
use crate::follower::{self, Barrier};
use crate::gateway::Gateway;
use crate::index::{Counts, Index, IndexError, Indexed};
use crate::metrics::{Metrics, Reading};
use crate::options::Options;
use crate::replicas::Replicas;
use crate::row::{Row, Rules};
use crate::summary::{Filter, Summary};
use crate::{http, lease, sweep};

/// Callers that wait until all that stands in the logs was followed.
const BARRIERS_MAX: usize = 1_024;
/// How long they wait at most, then they get what there is.
const BARRIER_WAIT: Duration = Duration::from_secs(1);
/// How long tasks may take to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Keeps the requests of a tenant going. Cheap to clone; it stops with [`Keeper::stop`] or with the
/// last clone.
#[derive(Debug, Clone)]
pub struct Keeper {
    pub(crate) shared: Arc<Shared>,
    _guard: Arc<StopGuard>,
}

#[derive(Debug)]
struct StopGuard(CancellationToken);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What the tasks of a keeper share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: State,
    pub(crate) options: Options,
    pub(crate) index: Indexed,
    pub(crate) metrics: Metrics,
    registry: Arc<Registry>,
    pub(crate) replicas: Replicas,
    /// How steadily the state answers.
    pub(crate) steady: Steady,
    pub(crate) questions: Questions,
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) is_active: watch::Sender<bool>,
    pub(crate) is_caught_up: watch::Sender<bool>,
    /// Why the logs cannot be followed, where the state says so.
    pub(crate) not_followed: Mutex<Option<String>>,
    /// Why the lease cannot be looked at.
    pub(crate) not_leased: Mutex<Option<String>>,
    /// Why the work queue takes no hints, and when it last did not.
    not_hinted: Mutex<Option<(Instant, String)>>,
    barriers: mpsc::Sender<Barrier>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    is_stopped: AtomicBool,
}

/// Why a keeper does not start, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The index does not answer.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client")]
    Client(#[from] reqwest::Error),
    /// Nobody can say where a list goes on.
    #[error("request {0} is not known, and its id holds no time: no list can go on after it")]
    NoPlace(RequestId),
}

/// Why a request is not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// There is none.
    #[error("no request {0} here")]
    Unknown(RequestId),
    /// It has not come to its end.
    #[error("request {0} is open; cancel it, and delete it once it is settled")]
    Open(RequestId),
    /// The index does not answer.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// How far behind the logs a keeper is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Whether all that stood in the logs was followed, up to a moment ago.
    pub is_caught_up: bool,
    /// The place up to which the logs were followed.
    pub seq: u64,
    /// How long ago happened what was followed last; zero once it is caught up.
    pub age: Duration,
}

impl Shared {
    /// Whether who does not answer, or has no heartbeat, is dead, and not merely unheard.
    pub(crate) fn may_judge(&self) -> bool {
        !self.state.is_shared || self.steady.is_steady()
    }

    /// What the state does not do that this keeper needs.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let said = |by: &Mutex<Option<String>>| {
            let said = by.lock().unwrap_or_else(PoisonError::into_inner);
            said.clone()
        };
        said(&self.not_followed)
            .or_else(|| said(&self.not_leased))
            .or_else(|| self.not_hinted())
    }

    /// What is not taken is sent again within the interval of repetition: after two of them nothing
    /// is left to be sent, and nobody knows.
    fn not_hinted(&self) -> Option<String> {
        let said = self.not_hinted.lock();
        let said = said.unwrap_or_else(PoisonError::into_inner);
        let (at, why) = said.as_ref()?;
        (at.elapsed() < self.options.repeat * 2).then(|| why.clone())
    }

    /// Notes whether the work queue took a hint.
    pub(crate) fn note_hint(&self, error: Option<&StateError>) {
        let said = error.map(|error| (Instant::now(), error.to_string()));
        *self
            .not_hinted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Notes what one of the tasks last heard from the state.
    pub(crate) fn note(by: &Mutex<Option<String>>, error: Option<&StateError>) {
        let text = error.map(ToString::to_string);
        *by.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

fn own_registry(tenant: &TenantId) -> Arc<Registry> {
    let (process, version) = ("turlough-keeper", env!("CARGO_PKG_VERSION"));
    Arc::new(Registry::of_tenant(process, version, tenant.as_str()))
}

impl Keeper {
    /// Opens the index, and begins to follow.
    ///
    /// # Errors
    /// An index that cannot be opened or made.
    pub async fn start(state: State, options: Options) -> Result<Self, KeeperError> {
        let rules = Rules::new(
            options.grace,
            options.repeat,
            options.silent,
            options.max_age,
        );
        let (place, tenant) = (options.index.clone(), options.tenant.clone());
        let index = Indexed::open(place, tenant, options.clock.clone(), rules).await?;
        let url = options.gateway_url.as_deref();
        let gateway = url.map(Gateway::new).transpose()?.map(Arc::new);
        let (barriers, waiting) = mpsc::channel(BARRIERS_MAX);
        let registry = options
            .registry
            .clone()
            .unwrap_or_else(|| own_registry(&options.tenant));
        let shared = Arc::new(Shared {
            metrics: Metrics::new(&registry),
            registry,
            replicas: Replicas::default(),
            steady: Steady::new(state.link.clone(), options.heartbeat),
            questions: Questions::new(),
            is_active: watch::Sender::new(false),
            is_caught_up: watch::Sender::new(false),
            not_followed: Mutex::default(),
            not_leased: Mutex::default(),
            not_hinted: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            is_stopped: AtomicBool::new(false),
            state,
            options,
            index,
            gateway,
            barriers,
        });
        let of = || Arc::clone(&shared);
        shared.tasks.spawn(follower::run(of(), waiting));
        shared.tasks.spawn(lease::keep(of()));
        shared.tasks.spawn(duties::run(of()));
        shared.tasks.spawn(duties::judge(of()));
        shared.tasks.spawn(duties::hear(of()));
        shared.tasks.spawn(sweep::run(of()));
        let _guard = Arc::new(StopGuard(shared.stop.clone()));
        Ok(Self { shared, _guard })
    }

    /// Gives the lease back, ends all tasks, and stores the index.
    pub async fn stop(&self) {
        let shared = &self.shared;
        if shared.is_stopped.swap(true, Ordering::Relaxed) {
            return;
        }
        shared.stop.cancel();
        shared.tasks.close();
        if timeout(STOP_GRACE, shared.tasks.wait()).await.is_err() {
            tracing::warn!("tasks of the keeper did not end in time");
        }
        if let Err(error) = shared.index.call(Index::flush).await {
            let error = follower::chain(&error);
            tracing::warn!(error, "index was not stored; it is read from the logs");
        }
    }

    /// Requests, newest first. What was appended before this was called is in it, unless the keeper is
    /// not caught up.
    ///
    /// # Errors
    /// A `before` of which nobody knows where it stood; an index that does not answer.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<(RequestId, Summary)>, KeeperError> {
        self.catch_up().await;
        let wanted = filter.clone();
        let found = self
            .shared
            .index
            .call(move |index| index.list(&wanted))
            .await?;
        let place = filter
            .before
            .unwrap_or(RequestId::from_uuid(uuid::Uuid::nil()));
        found.ok_or(KeeperError::NoPlace(place))
    }

    /// A request; none where it is not known.
    ///
    /// # Errors
    /// An index that does not answer.
    pub async fn get(&self, request: RequestId) -> Result<Option<Summary>, KeeperError> {
        self.catch_up().await;
        let job = move |index: &mut Index| Ok(index.row(request)?.map(Row::summary));
        Ok(self.shared.index.call(job).await?)
    }

    /// The sub-flows of a request, newest first.
    ///
    /// # Errors
    /// An index that does not answer.
    pub async fn children(
        &self,
        parent: RequestId,
        limit: usize,
    ) -> Result<Vec<(RequestId, Summary)>, KeeperError> {
        self.list(&Filter {
            parent: Some(parent),
            limit,
            ..Filter::default()
        })
        .await
    }

    /// Whether anything is still to be done for a request on this version of a flow.
    ///
    /// # Errors
    /// An index that does not answer.
    pub async fn uses(&self, flow: &FlowName, version: &str) -> Result<bool, KeeperError> {
        self.catch_up().await;
        let (flow, version) = (flow.clone(), version.to_owned());
        let job = move |index: &mut Index| index.uses(flow.as_str(), &version);
        Ok(self.shared.index.call(job).await?)
    }

    /// Has a settled request's log deleted. When this returns, it will be, however often the keeper is
    /// started anew.
    ///
    /// # Errors
    /// A request that is open, or not known; an index that does not answer.
    pub async fn delete(&self, request: RequestId) -> Result<(), DeleteError> {
        self.catch_up().await;
        match self
            .shared
            .index
            .call(move |index| index.doom(request))
            .await?
        {
            Some(true) => Ok(()),
            Some(false) => Err(DeleteError::Open(request)),
            None => Err(DeleteError::Unknown(request)),
        }
    }

    /// What there is; as of some tenths of a second ago.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counts = self.shared.index.told.counts.lock();
        counts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far behind the logs it is.
    #[must_use]
    pub fn behind(&self) -> Behind {
        let is_caught_up = *self.shared.is_caught_up.borrow();
        let newest = *self.shared.index.told.newest.borrow();
        let age_us = self
            .shared
            .options
            .clock
            .wall_us()
            .saturating_sub(newest.at_us);
        let age_us = if is_caught_up || newest.at_us == 0 {
            0
        } else {
            age_us
        };
        Behind {
            is_caught_up,
            seq: newest.seq,
            age: Duration::from_micros(age_us),
        }
    }

    /// Whether it is the one of its tenant's keepers that acts.
    #[must_use]
    pub fn is_active(&self) -> bool {
        *self.shared.is_active.borrow()
    }

    /// Waits until all that stood in the logs was followed once.
    pub async fn caught_up(&self) {
        let mut is_caught_up = self.shared.is_caught_up.subscribe();
        // It goes with the keeper, which is there.
        let _ = is_caught_up.wait_for(|is_caught_up| *is_caught_up).await;
    }

    /// Its HTTP API: lists, deletions, health, metrics.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// Its metrics in Prometheus's text format.
    #[must_use]
    pub fn metrics(&self) -> Vec<u8> {
        self.read_metrics();
        self.shared.registry.text()
    }

    /// Brings its metrics up to date, where others show them beside theirs.
    pub fn read_metrics(&self) {
        self.shared.metrics.read(&Reading {
            counts: self.counts(),
            behind_s: self.behind().age.as_secs(),
            is_active: self.is_active(),
        });
    }

    /// What stands in the logs now is followed first, where the keeper is caught up.
    async fn catch_up(&self) {
        if !*self.shared.is_caught_up.borrow() {
            return;
        }
        let (barrier, passed) = oneshot::channel();
        let pass = async {
            if self.shared.barriers.send(barrier).await.is_ok() {
                // A follower that begins anew lets go of those who wait.
                let _ = passed.await;
            }
        };
        let _ = timeout(BARRIER_WAIT, pass).await;
    }
}
