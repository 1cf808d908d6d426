//! Requests that took replicas down with them.
//!
//! From the second take-over in a row on, without any progress between them, a request is driven alone:
//! a replica takes no other, lets go of those that it drives, and only then begins. After the third it
//! is not driven any more, and ends as dead.

use std::sync::Arc;

use tracing::{error, warn};
use turlough_sdk::RequestId;

use crate::fault::{Fault, planted};
use crate::shared::Shared;

/// Take-overs in a row from which on a request is driven alone, and after which it is dead.
pub(crate) const TAKE_OVERS_ALONE: u32 = 2;
pub(crate) const TAKE_OVERS_DEAD: u32 = 3;

impl Shared {
    /// Whether a request is to be handed over now: the replica ends, or has to be alone with another.
    pub(crate) fn hands_over(&self, request: RequestId) -> bool {
        let alone = *self.alone.borrow();
        self.leaves() || alone.is_some_and(|other| other != request)
    }

    /// Whether this replica ends, and others go on with its requests.
    pub(crate) fn leaves(&self) -> bool {
        self.state.is_shared && self.draining.is_cancelled()
    }

    /// Comes when a request is to be handed over.
    pub(crate) async fn must_hand_over(&self, request: RequestId) {
        let mut alone = self.alone.subscribe();
        let other = alone.wait_for(|alone| alone.is_some_and(|other| other != request));
        if self.state.is_shared {
            tokio::select! {
                () = self.draining.cancelled() => {}
                _ = other => {}
            }
        } else {
            drop(other.await);
        }
    }

    /// Waits until this replica drives nothing but a request; others are handed over, and none is taken
    /// until what this returns is dropped. None where another is driven alone by now: it would wait for
    /// this one for ever.
    pub(crate) async fn be_alone(
        self: &Arc<Self>,
        request: RequestId,
        take_overs: u32,
    ) -> Option<Alone> {
        let turn = tokio::select! {
            biased;
            turn = Arc::clone(&self.lonely).lock_owned() => turn,
            () = self.must_hand_over(request), if !planted(Fault::AloneAwaited) => return None,
        };
        warn!(%request, take_overs, "request took replicas down with it; it is driven alone");
        self.alone.send_replace(Some(request));
        while !self.desk.drives_only(request) && !self.draining.is_cancelled() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Some(Alone {
            shared: Arc::clone(self),
            _turn: turn,
        })
    }

    /// Waits until no other request has to be driven alone.
    pub(crate) async fn others_are_driven(&self) {
        let mut alone = self.alone.subscribe();
        drop(alone.wait_for(Option::is_none).await);
    }

    /// Why a request is dead.
    pub(crate) fn dead(request: RequestId, take_overs: u32) -> String {
        error!(%request, take_overs, "request is dead: replicas that drove it died, one after another");
        format!(
            "{take_overs} replicas that drove it died one after another, without the end of a step between them; see their logs, then restart it"
        )
    }
}

/// This replica drives one request alone, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Alone {
    shared: Arc<Shared>,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.shared.alone.send_replace(None);
    }
}
