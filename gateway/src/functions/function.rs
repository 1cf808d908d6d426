//! One registered function: what it was deployed as, and its live counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::endpoint::InFlight;
use super::scaling::{Scaling, SettingError};
use super::{Endpoint, FunctionName};
use crate::asynchronous::RetrySaid;
use crate::metrics::FunctionMetrics;
use crate::usage::Account;

/// What a function was deployed as; shown by `/system/functions`.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    pub name: FunctionName,
    pub image: String,
    /// The command line that serves it; empty where someone else runs it.
    pub env_process: String,
    pub env_vars: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub constraints: Vec<String>,
    pub secrets: Vec<String>,
    pub limits: Option<Resources>,
    pub requests: Option<Resources>,
    pub read_only_root_filesystem: bool,
}

/// Amounts in Kubernetes notation, such as `128Mi` and `100m`; shown, not enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
}

impl FunctionSpec {
    /// Replicas that it is to have: OpenFaaS's label `com.openfaas.scale.min`, 1 without it.
    ///
    /// # Errors
    /// Labels that say something else.
    pub fn replicas_min(&self) -> Result<u32, SettingError> {
        Ok(self.scaling()?.min)
    }

    /// How its labels and variables let it scale.
    ///
    /// # Errors
    /// A label that says something else.
    pub(crate) fn scaling(&self) -> Result<Scaling, SettingError> {
        Scaling::read(&self.name, &self.labels, &self.env_vars)
    }

    /// What its annotations say of asynchronous calls that are made again.
    ///
    /// # Errors
    /// An annotation that says something else.
    pub(crate) fn retry(&self) -> Result<RetrySaid, SettingError> {
        RetrySaid::read(&self.name, &self.annotations)
    }

    /// A function of which nothing but the name is known.
    #[must_use]
    pub fn new(name: FunctionName) -> Self {
        Self {
            name,
            image: String::new(),
            env_process: String::new(),
            env_vars: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            constraints: Vec::new(),
            secrets: Vec::new(),
            limits: None,
            requests: None,
            read_only_root_filesystem: false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Function {
    name: FunctionName,
    deployed: ArcSwap<Deployed>,
    created_at: Timestamp,
    /// Those that answer now.
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    attached: Notify,
    turn: AtomicUsize,
    /// How many there ought to be; whoever runs them follows it.
    replicas: watch::Sender<u32>,
    /// It had no replica when a call came, and calls wait for one.
    is_waking: AtomicBool,
    is_removed: AtomicBool,
    invocations: AtomicU64,
    /// When it was last called, scaled, or had a replica more, in milliseconds since the first function was registered.
    called_ms: AtomicU64,
    metrics: FunctionMetrics,
    /// What its processes take.
    account: Arc<Account>,
}

/// What an update replaces.
#[derive(Debug)]
pub(crate) struct Deployed {
    pub(crate) spec: FunctionSpec,
    pub(crate) scaling: Scaling,
    /// How asynchronous calls of it are made again.
    pub(crate) retry: RetrySaid,
}

/// Why a call has no replica to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// There is none now: it is starting, or failed.
    None,
    /// It was scaled to none: the call may wait for one.
    Asleep,
    /// Each works on as many calls as it may.
    Full,
}

impl Function {
    pub(super) fn new(
        spec: FunctionSpec,
        replicas: u32,
        metrics: FunctionMetrics,
        account: Arc<Account>,
    ) -> Result<Self, SettingError> {
        metrics.replicas(replicas);
        Ok(Self {
            name: spec.name.clone(),
            deployed: ArcSwap::from_pointee(Deployed::new(spec)?),
            created_at: Timestamp::now(),
            endpoints: ArcSwap::from_pointee(Vec::new()),
            attached: Notify::new(),
            turn: AtomicUsize::new(0),
            replicas: watch::Sender::new(replicas),
            is_waking: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
            invocations: AtomicU64::new(0),
            called_ms: AtomicU64::new(now_ms()),
            metrics,
            account,
        })
    }

    pub(crate) fn name(&self) -> &FunctionName {
        &self.name
    }

    pub(crate) fn deployed(&self) -> Arc<Deployed> {
        self.deployed.load_full()
    }

    /// Shows it as something else, from now on.
    pub(crate) fn redeploy(&self, spec: FunctionSpec) -> Result<(), SettingError> {
        self.deployed.store(Arc::new(Deployed::new(spec)?));
        Ok(())
    }

    pub(crate) fn created_at(&self) -> Timestamp {
        self.created_at
    }

    pub(crate) fn metrics(&self) -> &FunctionMetrics {
        &self.metrics
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(crate) fn replicas(&self) -> u32 {
        *self.replicas.borrow()
    }

    /// Tells of each change of the number of replicas that there ought to be.
    pub(crate) fn scaled(&self) -> watch::Receiver<u32> {
        self.replicas.subscribe()
    }

    pub(crate) fn scale(&self, replicas: u32) {
        self.metrics.replicas(replicas);
        self.called_ms.store(now_ms(), Ordering::Relaxed);
        self.replicas.send_replace(replicas);
    }

    pub(crate) fn replicas_available(&self) -> usize {
        self.endpoints.load().len()
    }

    pub(crate) fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::Relaxed)
    }

    pub(crate) fn count_invocation(&self) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
        self.called_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// For how long nobody has called it; `None` while a call is in flight.
    pub(crate) fn unused_for(&self) -> Option<Duration> {
        let endpoints = self.endpoints.load();
        if endpoints.iter().any(|endpoint| endpoint.in_flight() > 0) {
            return None;
        }
        let called_ms = self.called_ms.load(Ordering::Relaxed);
        Some(Duration::from_millis(now_ms().saturating_sub(called_ms)))
    }

    /// The replica with the fewest calls in flight; those that have as many take turns.
    pub(crate) fn endpoint(&self) -> Result<InFlight, Busy> {
        let max = self.deployed.load().scaling.in_flight_max;
        loop {
            let endpoints = self.endpoints.load();
            if endpoints.is_empty() {
                return Err(self.without_replica());
            }
            if let Some(taken) = self.take_on(&endpoints, max) {
                return Ok(taken);
            }
            // Where one was taken out meanwhile there may be others by now.
            if !endpoints.iter().any(|endpoint| endpoint.is_closed()) {
                return Err(Busy::Full);
            }
        }
    }

    fn take_on(&self, endpoints: &[Arc<Endpoint>], max: usize) -> Option<InFlight> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len();
        let (before, after) = endpoints.split_at(turn);
        let in_turn = || after.iter().chain(before);
        let least = in_turn().min_by_key(|endpoint| endpoint.in_flight())?;
        least.take_on(max).or_else(|| {
            // Other calls may have taken its room; another replica may have some.
            let mut others: Vec<_> = in_turn().collect();
            others.sort_by_cached_key(|endpoint| endpoint.in_flight());
            others.into_iter().find_map(|other| other.take_on(max))
        })
    }

    fn without_replica(&self) -> Busy {
        let is_asleep = self.replicas() == 0 || self.is_waking.load(Ordering::Relaxed);
        if is_asleep && !self.is_removed.load(Ordering::Relaxed) {
            Busy::Asleep
        } else {
            Busy::None
        }
    }

    /// Has a replica started where there are none, and waits until one answers, or the function is removed.
    pub(crate) async fn wake(&self) {
        let is_first = self.replicas.send_if_modified(|replicas| {
            let is_asleep = *replicas == 0;
            if is_asleep {
                // Before anybody sees the number: whoever finds no replica then waits, too.
                self.is_waking.store(true, Ordering::Relaxed);
                *replicas = self.deployed.load().scaling.min;
            }
            is_asleep
        });
        if is_first {
            self.metrics.replicas(self.replicas());
        }
        loop {
            let attached = self.attached.notified();
            if self.replicas_available() > 0 || self.is_removed.load(Ordering::Relaxed) {
                return;
            }
            attached.await;
        }
    }

    pub(crate) fn attach(&self, endpoint: Arc<Endpoint>) {
        self.endpoints.rcu(|endpoints| {
            let mut endpoints = Vec::clone(endpoints);
            endpoints.push(Arc::clone(&endpoint));
            endpoints
        });
        // What has just been started for a call is not unused before that comes.
        self.called_ms.store(now_ms(), Ordering::Relaxed);
        self.is_waking.store(false, Ordering::Relaxed);
        self.attached.notify_waiters();
    }

    /// Nobody waits any longer for a replica of it.
    pub(super) fn removed(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
        self.attached.notify_waiters();
    }

    pub(crate) fn detach(&self, endpoint: &Arc<Endpoint>) {
        self.endpoints.rcu(|endpoints| {
            let mut endpoints = Vec::clone(endpoints);
            endpoints.retain(|held| !Arc::ptr_eq(held, endpoint));
            endpoints
        });
        // After that, so that a call that finds it closed finds the others when it looks again.
        endpoint.close();
    }
}

impl Deployed {
    fn new(spec: FunctionSpec) -> Result<Self, SettingError> {
        Ok(Self {
            scaling: spec.scaling()?,
            retry: spec.retry()?,
            spec,
        })
    }
}

fn now_ms() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let since = FIRST.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
