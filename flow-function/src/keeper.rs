//! Wakes requests that nobody drives: when their time comes, when somebody appended to them, when
//! there is room again. In this process for now, beside the drivers.
//!
//! Invariants: a request is driven by one driver at most; whoever appends to a request's log and then
//! wakes it, and a driver that lets go and then looks at the log, never both miss one another.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use turlough_sdk::RequestId;

/// Where open requests stand, and when those that sleep are due.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    /// An earlier time than the one that is waited for was set.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct State {
    standing: HashMap<RequestId, Standing>,
    due: BTreeSet<(u64, RequestId)>,
    due_at: HashMap<RequestId, u64>,
}

#[derive(Debug, Clone)]
enum Standing {
    /// It waits for room; a permit to go on without.
    Queued(Arc<Notify>),
    Driven,
}

/// What waking a request came to.
#[derive(Debug)]
pub(crate) enum Woken {
    /// The caller has to drive it, once there is room or the permit to go on without comes.
    Queued(Arc<Notify>),
    /// Somebody drives it, or will.
    Already,
}

impl Keeper {
    /// A request that was not driven is to be.
    pub(crate) fn wake(&self, request: RequestId) -> Woken {
        let mut state = self.state();
        if state.standing.contains_key(&request) {
            return Woken::Already;
        }
        let permit = Arc::new(Notify::new());
        let queued = Standing::Queued(Arc::clone(&permit));
        state.standing.insert(request, queued);
        state.forget_due(request);
        Woken::Queued(permit)
    }

    /// A request that waits for room goes on without: an end needs none.
    pub(crate) fn urge(&self, request: RequestId) {
        if let Some(Standing::Queued(permit)) = self.state().standing.get(&request) {
            permit.notify_one();
        }
    }

    /// A driver takes the request.
    pub(crate) fn driven(&self, request: RequestId) {
        let mut state = self.state();
        state.forget_due(request);
        state.standing.insert(request, Standing::Driven);
    }

    /// A driver let go of the request. It looks at the log once more after this.
    pub(crate) fn released(&self, request: RequestId, due_us: Option<u64>) {
        let mut state = self.state();
        state.standing.remove(&request);
        if let Some(due_us) = due_us {
            self.set_due(&mut state, request, due_us);
        }
    }

    /// A request that waits for room is due at this time, come room or not.
    pub(crate) fn queued_until(&self, request: RequestId, due_us: u64) {
        self.set_due(&mut self.state(), request, due_us);
    }

    fn set_due(&self, state: &mut State, request: RequestId, due_us: u64) {
        state.forget_due(request);
        let first = state.due.first().map_or(u64::MAX, |(first, _)| *first);
        state.due.insert((due_us, request));
        state.due_at.insert(request, due_us);
        if due_us < first {
            self.earlier.notify_one();
        }
    }

    /// Requests that are due at `now_us`, and when the next one is.
    pub(crate) fn take_due(&self, now_us: u64) -> (Vec<RequestId>, Option<u64>) {
        let mut state = self.state();
        let mut due = Vec::new();
        while let Some((at, request)) = state.due.first().copied()
            && at <= now_us
        {
            state.due.pop_first();
            state.due_at.remove(&request);
            due.push(request);
        }
        (due, state.due.first().map(|(at, _)| *at))
    }

    /// Waits until an earlier time was set.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_due(&mut self, request: RequestId) {
        if let Some(at) = self.due_at.remove(&request) {
            self.due.remove(&(at, request));
        }
    }
}
