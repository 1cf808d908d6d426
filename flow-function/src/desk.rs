//! Which requests this replica drives or is about to, and who wakes them.
//!
//! Invariants: a request is driven by one driver of a process at most; whoever appends to a request's
//! log and then pokes it, and a driver that lets go, never both miss one another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use turlough_sdk::RequestId;

/// The requests that this replica has to do with.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    standing: HashMap<RequestId, Standing>,
}

#[derive(Debug)]
enum Standing {
    /// It waits for room; a permit to go on without.
    Queued(Arc<Notify>),
    /// It is driven; how often it was poked.
    Driven(watch::Sender<u64>),
}

/// What waking a request came to.
#[derive(Debug)]
pub(crate) enum Woken {
    /// The caller has to drive it, once there is room or the permit to go on without comes.
    Queued(Arc<Notify>),
    /// Somebody here drives it, and was poked, or will.
    Already,
}

/// How often a request was poked that is driven.
pub(crate) type Pokes = watch::Receiver<u64>;

impl Desk {
    /// A request is to be driven here; whoever drives it already looks at its log once more.
    pub(crate) fn wake(&self, request: RequestId) -> Woken {
        let mut state = self.state();
        match state.standing.get(&request) {
            Some(Standing::Driven(pokes)) => {
                pokes.send_modify(|count| *count += 1);
                return Woken::Already;
            }
            Some(Standing::Queued(_)) => return Woken::Already,
            None => {}
        }
        let permit = Arc::new(Notify::new());
        let queued = Standing::Queued(Arc::clone(&permit));
        state.standing.insert(request, queued);
        Woken::Queued(permit)
    }

    /// A request that waits for room goes on without: an end needs none.
    pub(crate) fn urge(&self, request: RequestId) {
        if let Some(Standing::Queued(permit)) = self.state().standing.get(&request) {
            permit.notify_one();
        }
    }

    /// A driver takes the request, and hears how often it is poked.
    pub(crate) fn driven(&self, request: RequestId) -> Pokes {
        let mut state = self.state();
        let (sender, pokes) = watch::channel(0);
        state.standing.insert(request, Standing::Driven(sender));
        pokes
    }

    /// A driver that had heard so many pokes let go of the request. True where there were more.
    pub(crate) fn released(&self, request: RequestId, heard: u64) -> bool {
        let standing = self.state().standing.remove(&request);
        matches!(standing, Some(Standing::Driven(pokes)) if *pokes.borrow() > heard)
    }

    /// Whether no request but this one is driven here.
    pub(crate) fn drives_only(&self, request: RequestId) -> bool {
        let state = self.state();
        let mut others = state
            .standing
            .iter()
            .filter(|(other, _)| **other != request);
        others.all(|(_, standing)| matches!(standing, Standing::Queued(_)))
    }

    /// Which of these requests are driven here, or are about to be.
    pub(crate) fn of_these(&self, requests: &[RequestId]) -> Vec<RequestId> {
        let state = self.state();
        let here = requests
            .iter()
            .filter(|request| state.standing.contains_key(request));
        here.copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
