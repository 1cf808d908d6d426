//! Who holds a request: the newest claim that counts, until it is released.

use serde::{Deserialize, Serialize};
use turlough_sdk::ReplicaId;
use turlough_statestore::{AppendId, Event};

use super::Execution;

/// The claim that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Who claimed it.
    pub(crate) replica: ReplicaId,
    /// The append that claimed it, which names the claim.
    pub(crate) claim: AppendId,
}

impl Execution {
    /// Who holds the request; none where nobody claimed it or it was released.
    pub(crate) const fn holder(&self) -> Option<Holder> {
        self.holder
    }

    /// Take-overs from holders that were dead, one after another without the end of a step or of the
    /// request, or word of that, between them.
    pub(crate) const fn take_overs(&self) -> u32 {
        self.take_overs
    }

    /// What an append that counts means for who holds the request.
    pub(super) fn hold(&mut self, append: AppendId, events: &[Event]) {
        for event in events {
            match event {
                Event::Claimed { replica, .. } => {
                    // Whoever claims again what it holds did not die of it.
                    if self.holder.is_some_and(|holder| holder.replica != *replica) {
                        self.take_overs += 1;
                    }
                    self.holder = Some(Holder {
                        replica: *replica,
                        claim: append,
                    });
                }
                Event::Released { .. } | Event::Settled { .. } => self.holder = None,
                Event::StepEnded(_)
                | Event::Ended { .. }
                | Event::Delivered { .. }
                | Event::RestartAsked { .. } => self.take_overs = 0,
                _ => {}
            }
        }
    }
}
