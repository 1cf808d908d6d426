//! What keeps this replica from its work though it is connected to its state: the state does not
//! permit something, or has no room for a heartbeat.
//!
//! Invariant: what is noted stands until the state has shown that it is over.

use std::sync::{Mutex, PoisonError};

use tracing::{error, info, warn};
use turlough_statestore::StateError;

const NOT_READY: &str =
    "the state does not do what is needed; this replica is not ready, and waits";

/// What is wrong with the state, as it last said.
#[derive(Debug, Default)]
pub(crate) struct Obstacle(Mutex<Option<String>>);

impl Obstacle {
    /// Notes what the state said, and logs it where it is news: somebody must look.
    pub(crate) fn note(&self, error: &StateError) {
        let text = error.to_string();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.is_some() {
            true => {}
            false if error.passes() => warn!(%error, "{NOT_READY}"),
            false => error!(%error, "{NOT_READY}"),
        }
        *known = Some(text);
    }

    /// The state does what is needed again.
    pub(crate) fn is_over(&self) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.take().is_some() {
            info!("the state does what is needed again");
        }
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
