//! Who is alive: the heartbeats in the table of replicas.
//!
//! Nobody counts as dead by a heartbeat that is missing, unless the state answered for a heartbeat's
//! lifetime: a server that was away or stopped took all heartbeats with it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use turlough_sdk::{FunctionName, ReplicaId};
use turlough_statestore::{Beat, State, StateError};

/// The replicas with a heartbeat, as they were seen last.
#[derive(Debug, Default)]
pub(crate) struct Replicas(Mutex<HashMap<ReplicaId, Beat>>);

impl Replicas {
    /// Looks who is alive now.
    pub(crate) async fn look(&self, state: &State) -> Result<(), StateError> {
        let entries = state.replicas.list("").await?;
        // The leases of keepers stand in the same table.
        let beats = entries.iter().filter_map(|(key, value)| {
            let replica: ReplicaId = key.parse().ok()?;
            Some((replica, Beat::decode(value)?))
        });
        *self.beats() = beats.collect();
        Ok(())
    }

    pub(crate) fn is_alive(&self, replica: ReplicaId) -> bool {
        self.beats().contains_key(&replica)
    }

    /// A replica of a function that takes requests; another one each time, as `draw` says.
    pub(crate) fn one_of(&self, function: &FunctionName, draw: u64) -> Option<ReplicaId> {
        let beats = self.beats();
        let takes = beats
            .iter()
            .filter(|(_, beat)| beat.function == *function && beat.takes);
        let takes: Vec<_> = takes.map(|(replica, _)| *replica).collect();
        let place = usize::try_from(draw)
            .unwrap_or(0)
            .checked_rem(takes.len())?;
        takes.get(place).copied()
    }

    /// Whether a function has any replica.
    pub(crate) fn any_of(&self, function: &FunctionName) -> bool {
        self.beats().values().any(|beat| beat.function == *function)
    }

    fn beats(&self) -> MutexGuard<'_, HashMap<ReplicaId, Beat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
