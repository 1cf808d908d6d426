//! Flows that were put at run time, where every replica of the function finds them: a table of the
//! state.
//!
//! Each version has an entry of its own, which is never changed; another names the version on which new
//! requests run, and the deployed one that it takes the place of. So what is deployed anew counts from
//! then on.
//!
//! Invariants: a version stands in the table before anything names it; who put it has no answer before
//! it is named. Who lacks a version looks it up; who misses the word of a new one hears of it with the
//! next heartbeat.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use turlough_sdk::{Flow, FlowName, RequestId, read_yaml};
use turlough_statestore::{Channel, Event, Record, StateError, Word};

use crate::engine::FoldError;
use crate::machine::RestoreError;
use crate::registry::{Put, RegisterError, VERSIONS_MAX};
use crate::shared::Shared;

/// Longest text of a flow in the table, in bytes: it travels in one message.
const TEXT_BYTES_MAX: usize = 512 * 1024;
/// The entry that names a version, instead of one.
const CURRENT: &str = "current";

/// Why a flow was not put.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error(
        "flow {flow} is {size} bytes of text, limit {TEXT_BYTES_MAX} for one that several replicas share; split it, or deploy it with its function"
    )]
    TooLarge { flow: FlowName, size: usize },
    #[error("flow {flow} was not put: {source}")]
    State { flow: FlowName, source: StateError },
}

/// On which version new requests run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pointer {
    version: String,
    /// The version that was deployed under the name, if one was.
    over: Option<String>,
}

impl Shared {
    /// Serves this version of a flow to new requests from now on, on all replicas.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        flow: Flow,
        text: &str,
    ) -> Result<Put, PublishError> {
        let (name, version) = (flow.name().clone(), flow.version().to_string());
        if self.state.is_shared && text.len() > TEXT_BYTES_MAX {
            let size = text.len();
            return Err(PublishError::TooLarge { flow: name, size });
        }
        self.registry.may_put(&name)?;
        let used = match self.registry.is_crowded(&name) {
            true => Some(self.used_versions(&name).await),
            false => None,
        };
        if used.as_ref().is_some_and(|used| used.len() >= VERSIONS_MAX) {
            return Err(RegisterError::Versions(name).into());
        }
        let known = self.registry.known_versions(&name);
        let pointer = Pointer {
            version: version.clone(),
            over: self.registry.deployed(&name),
        };
        let table = &self.state.flows;
        let stored = async {
            let copy = Bytes::copy_from_slice(text.as_bytes());
            table.put(&self.key_of(&name, &version), copy).await?;
            table
                .put(&self.key_of(&name, CURRENT), encode(&pointer))
                .await
        };
        let failed = |source| PublishError::State {
            flow: name.clone(),
            source,
        };
        stored.await.map_err(failed)?;
        let put = self
            .registry
            .put(flow, used.as_ref().unwrap_or(&HashSet::new()))?;
        if let Some(used) = used {
            let unused = known
                .iter()
                .filter(|known| !used.contains(*known) && **known != version);
            for version in unused {
                drop(table.remove(&self.key_of(&name, version)).await);
            }
        }
        if put != Put::Unchanged {
            self.tell_replicas(&name).await;
        }
        Ok(put)
    }

    /// Reads what was put while this replica was not there.
    pub(crate) async fn learn_flows(&self) -> Result<(), StateError> {
        let prefix = format!("{}.", self.settings.function);
        for (key, value) in self.state.flows.list(&prefix).await? {
            let Some((name, CURRENT)) = key[prefix.len()..].split_once('.') else {
                continue;
            };
            if let (Ok(name), Some(pointer)) = (name.parse(), decode(&value)) {
                self.follow_pointer(&name, &pointer).await?;
            }
        }
        Ok(())
    }

    /// Looks up on which version of a flow new requests run.
    pub(crate) async fn learn_flow(&self, name: &FlowName) -> Result<(), StateError> {
        let found = self.state.flows.get(&self.key_of(name, CURRENT)).await?;
        match found.as_deref().and_then(decode) {
            Some(pointer) => self.follow_pointer(name, &pointer).await,
            None => Ok(()),
        }
    }

    /// The same for all flows that were put at run time, as far as they are known here.
    pub(crate) async fn learn_changes(&self) -> Result<(), StateError> {
        for name in self.registry.put_at_run_time() {
            self.learn_flow(&name).await?;
        }
        Ok(())
    }

    /// The version of a flow on which new requests run; one that is not known here is looked up.
    pub(crate) async fn newest(&self, name: &FlowName) -> Result<Option<Arc<Flow>>, StateError> {
        if let Some(flow) = self.registry.current(name) {
            return Ok(Some(flow));
        }
        self.learn_flow(name).await?;
        Ok(self.registry.current(name))
    }

    /// Sees to it that all versions are known on which a request runs, as far as they can be found.
    pub(crate) async fn learn_versions(
        &self,
        request: RequestId,
        records: &[Record],
    ) -> Result<(), StateError> {
        let mut flow = None;
        for event in records.iter().flat_map(|record| &record.append.events) {
            let version = match event {
                Event::Accepted(accepted) => {
                    flow = Some(&accepted.flow);
                    Some(&accepted.version)
                }
                Event::RestartAsked { version, .. } => version.as_ref(),
                _ => None,
            };
            if let (Some(flow), Some(version)) = (flow, version) {
                self.learn_version(flow, version).await?;
            }
        }
        // Its head is gone: what its snapshot names is known once that is read.
        if flow.is_none()
            && let Err(FoldError::Restore {
                why: RestoreError::NoVersion { flow, version },
                ..
            }) = self.execution(request, records)
            && let Ok(flow) = flow.parse()
        {
            self.learn_version(&flow, &version).await?;
        }
        Ok(())
    }

    async fn learn_version(&self, name: &FlowName, version: &str) -> Result<(), StateError> {
        if self.registry.version(name, version).is_some() || version == CURRENT {
            return Ok(());
        }
        let Some(text) = self.state.flows.get(&self.key_of(name, version)).await? else {
            return Ok(());
        };
        let read = tokio::task::spawn_blocking(move || {
            let text = std::str::from_utf8(&text).map_err(|error| error.to_string())?;
            read_yaml(text).map_err(|error| error.to_string())
        });
        let read = read.await.map_err(|error| error.to_string()).flatten();
        match read {
            Ok(flow) if flow.name() == name && flow.version().as_str() == version => {
                self.registry.know(flow);
            }
            Ok(flow) => {
                let found = flow.version();
                warn!(flow = %name, %version, %found, "flow in the state is read as another version");
            }
            Err(error) => {
                warn!(flow = %name, %version, %error, "flow in the state cannot be read");
            }
        }
        Ok(())
    }

    async fn follow_pointer(&self, name: &FlowName, pointer: &Pointer) -> Result<(), StateError> {
        if self.registry.deployed(name) != pointer.over {
            // Another was deployed since.
            return Ok(());
        }
        self.learn_version(name, &pointer.version).await?;
        if let Err(error) = self.registry.point(name, &pointer.version) {
            debug!(flow = %name, %error, "flow in the state is not served here");
        }
        Ok(())
    }

    async fn tell_replicas(&self, flow: &FlowName) {
        let word = Word::Put { flow: flow.clone() }.encode();
        for (replica, _) in self.others().await.unwrap_or_default() {
            let sent = self.state.bus.send(Channel::Replica(replica), word.clone());
            drop(sent.await);
        }
    }

    fn key_of(&self, flow: &FlowName, entry: &str) -> String {
        format!("{}.{flow}.{entry}", self.settings.function)
    }
}

fn encode(pointer: &Pointer) -> Bytes {
    // Two texts: there is nothing in them that could fail.
    rmp_serde::to_vec_named(pointer).unwrap_or_default().into()
}

fn decode(bytes: &[u8]) -> Option<Pointer> {
    rmp_serde::from_slice(bytes).ok()
}
