//! Which flows are served, and every version that a request may still run on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use turlough_sdk::{Flow, FlowName};

use crate::machine::Versions;

/// Paths of the API, which a flow's name would hide.
const RESERVED_NAMES: [&str; 5] = ["flows", "requests", "callbacks", "metrics", "schema"];
/// Versions of one flow that are kept for requests that began with them.
pub(crate) const VERSIONS_MAX: usize = 1_000;

/// Why a flow was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Its name is a path of the API.
    #[error("flow {0} has the name of a path of the API; give it another")]
    Reserved(FlowName),
    /// Another flow has its name.
    #[error("two flows are named {0}; rename one")]
    Twice(FlowName),
    /// A flow with closures is part of a program, and is replaced with it.
    #[error(
        "flow {0} is compiled into this function; deploy the function anew, or choose another name"
    )]
    Compiled(FlowName),
    /// Too many versions are in use.
    #[error(
        "flow {0} has {VERSIONS_MAX} versions that requests may still run on, the limit; wait until they end"
    )]
    Versions(FlowName),
}

/// What registering a flow at run time came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    Replaced,
    Unchanged,
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    current: BTreeMap<FlowName, Current>,
    /// By flow and version, current ones included.
    known: HashMap<FlowName, HashMap<String, Arc<Flow>>>,
}

#[derive(Debug)]
struct Current {
    flow: Arc<Flow>,
    replaceable: bool,
    /// The version that was deployed; none where the flow was put at run time alone.
    deployed: Option<String>,
}

impl State {
    fn know(&mut self, flow: &Arc<Flow>) {
        let versions = self.known.entry(flow.name().clone()).or_default();
        versions.insert(flow.version().to_string(), Arc::clone(flow));
    }

    fn point(&mut self, name: FlowName, flow: Arc<Flow>) {
        let deployed = self.current.get(&name);
        let deployed = deployed.and_then(|current| current.deployed.clone());
        let current = Current {
            flow,
            replaceable: true,
            deployed,
        };
        self.current.insert(name, current);
    }
}

impl Registry {
    /// Serves a flow from now on.
    pub(crate) fn register(&self, flow: Flow, replaceable: bool) -> Result<(), RegisterError> {
        let name = flow.name().clone();
        if RESERVED_NAMES.contains(&name.as_str()) {
            return Err(RegisterError::Reserved(name));
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.current.contains_key(&name) {
            return Err(RegisterError::Twice(name));
        }
        let flow = Arc::new(flow);
        state.know(&flow);
        let deployed = Some(flow.version().to_string());
        let current = Current {
            flow,
            replaceable,
            deployed,
        };
        state.current.insert(name, current);
        Ok(())
    }

    /// Serves this version of a flow to new requests from now on; open ones keep theirs. `used` are
    /// the versions that are still needed, where [`Registry::is_crowded`].
    pub(crate) fn put(&self, flow: Flow, used: &HashSet<String>) -> Result<Put, RegisterError> {
        let name = flow.name().clone();
        self.may_put(&name)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let put = match state.current.get(&name) {
            Some(current) if current.flow.version() == flow.version() => return Ok(Put::Unchanged),
            Some(_) => Put::Replaced,
            None => Put::Created,
        };
        if let Some(versions) = state.known.get_mut(&name)
            && versions.len() >= VERSIONS_MAX
        {
            versions.retain(|version, _| used.contains(version));
            if versions.len() >= VERSIONS_MAX {
                return Err(RegisterError::Versions(name));
            }
        }
        let flow = Arc::new(flow);
        state.know(&flow);
        state.point(name, flow);
        Ok(put)
    }

    /// Whether a flow may be put under a name at run time.
    pub(crate) fn may_put(&self, name: &FlowName) -> Result<(), RegisterError> {
        if RESERVED_NAMES.contains(&name.as_str()) {
            return Err(RegisterError::Reserved(name.clone()));
        }
        match self.state().current.get(name) {
            Some(current) if !current.replaceable => Err(RegisterError::Compiled(name.clone())),
            _ => Ok(()),
        }
    }

    /// Serves a version that is known to new requests; one that is not is left alone.
    pub(crate) fn point(&self, name: &FlowName, version: &str) -> Result<(), RegisterError> {
        self.may_put(name)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let flow = state.known.get(name).and_then(|known| known.get(version));
        if let Some(flow) = flow.cloned() {
            state.point(name.clone(), flow);
        }
        Ok(())
    }

    /// Knows a version that requests may run on.
    pub(crate) fn know(&self, flow: Flow) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.know(&Arc::new(flow));
    }

    /// The version that is deployed under a name.
    pub(crate) fn deployed(&self, name: &FlowName) -> Option<String> {
        self.state().current.get(name)?.deployed.clone()
    }

    /// Flows that are served in a version other than the deployed one.
    pub(crate) fn put_at_run_time(&self) -> Vec<FlowName> {
        let state = self.state();
        let current = state.current.iter().filter(|(_, current)| {
            current.deployed.as_deref() != Some(current.flow.version().as_str())
        });
        current.map(|(name, _)| name.clone()).collect()
    }

    /// Whether versions of a flow have to go before another one comes.
    pub(crate) fn is_crowded(&self, name: &FlowName) -> bool {
        let state = self.state();
        state
            .known
            .get(name)
            .is_some_and(|versions| versions.len() >= VERSIONS_MAX)
    }

    pub(crate) fn known_versions(&self, name: &FlowName) -> Vec<String> {
        let state = self.state();
        state
            .known
            .get(name)
            .map(|versions| versions.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// The version that new requests run on.
    pub(crate) fn current(&self, name: &FlowName) -> Option<Arc<Flow>> {
        self.state()
            .current
            .get(name)
            .map(|current| Arc::clone(&current.flow))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Flow>> {
        let state = self.state();
        state
            .current
            .values()
            .map(|current| Arc::clone(&current.flow))
            .collect()
    }

    /// A version of a flow, current or not.
    pub(crate) fn version(&self, name: &FlowName, version: &str) -> Option<Arc<Flow>> {
        self.state().known.get(name)?.get(version).cloned()
    }

    /// Every version of every flow, for a machine whose flow only its snapshot tells.
    pub(crate) fn all_versions(&self) -> Versions {
        let state = Arc::clone(&self.state);
        Versions(Arc::new(move |version| {
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            let mut flows = state.known.values();
            flows.find_map(|versions| versions.get(version).cloned())
        }))
    }

    /// The versions of one flow, for a machine.
    pub(crate) fn versions(&self, name: &FlowName) -> Versions {
        let (state, name) = (Arc::clone(&self.state), name.clone());
        Versions(Arc::new(move |version| {
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            state.known.get(&name)?.get(version).cloned()
        }))
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}
