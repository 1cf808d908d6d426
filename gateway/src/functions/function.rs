//! One registered function: what it was deployed as, and its live counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Endpoint, FunctionName};
use crate::metrics::FunctionMetrics;

/// Processes of one function at most: each is one of this machine's.
pub(super) const REPLICAS_MAX: u32 = 32;

/// What a function was deployed as; shown by `/system/functions`.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    pub name: FunctionName,
    pub image: String,
    /// The command line that serves it; empty where someone else runs it.
    pub env_process: String,
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
    /// Replicas that it is to have: OpenFaaS's label `com.openfaas.scale.min`, 1 without it, and
    /// 32 at most.
    #[must_use]
    pub fn replicas_min(&self) -> u32 {
        let label = self.labels.get("com.openfaas.scale.min");
        let replicas = label.and_then(|text| text.trim().parse().ok());
        replicas.unwrap_or(1).clamp(1, REPLICAS_MAX)
    }

    /// A function of which nothing but the name is known.
    #[must_use]
    pub fn new(name: FunctionName) -> Self {
        Self {
            name,
            image: String::new(),
            env_process: String::new(),
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
    spec: FunctionSpec,
    created_at: Timestamp,
    /// Those that answer now; calls take them in turn.
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    turn: AtomicUsize,
    /// How many there ought to be.
    replicas: AtomicU32,
    invocations: AtomicU64,
    metrics: FunctionMetrics,
}

impl Function {
    pub(super) fn new(spec: FunctionSpec, replicas: u32, metrics: FunctionMetrics) -> Self {
        metrics.replicas(replicas);
        Self {
            spec,
            created_at: Timestamp::now(),
            endpoints: ArcSwap::from_pointee(Vec::new()),
            turn: AtomicUsize::new(0),
            replicas: AtomicU32::new(replicas),
            invocations: AtomicU64::new(0),
            metrics,
        }
    }

    pub(crate) fn spec(&self) -> &FunctionSpec {
        &self.spec
    }

    pub(crate) fn created_at(&self) -> Timestamp {
        self.created_at
    }

    pub(crate) fn metrics(&self) -> &FunctionMetrics {
        &self.metrics
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.replicas.load(Ordering::Relaxed)
    }

    pub(crate) fn replicas_available(&self) -> usize {
        self.endpoints.load().len()
    }

    pub(crate) fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::Relaxed)
    }

    pub(crate) fn count_invocation(&self) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
    }

    /// The replica whose turn it is; `None` while there is none.
    pub(crate) fn endpoint(&self) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        match endpoints.len() {
            0 => None,
            1 => Some(Arc::clone(&endpoints[0])),
            several => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                Some(Arc::clone(&endpoints[turn % several]))
            }
        }
    }

    pub(crate) fn attach(&self, endpoint: Arc<Endpoint>) {
        self.endpoints.rcu(|endpoints| {
            let mut endpoints = Vec::clone(endpoints);
            endpoints.push(Arc::clone(&endpoint));
            endpoints
        });
    }

    pub(crate) fn detach(&self, endpoint: &Arc<Endpoint>) {
        self.endpoints.rcu(|endpoints| {
            let mut endpoints = Vec::clone(endpoints);
            endpoints.retain(|held| !Arc::ptr_eq(held, endpoint));
            endpoints
        });
    }
}
