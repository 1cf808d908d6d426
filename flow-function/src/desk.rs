//! Which requests this replica drives or is about to, and who wakes them.
//!
//! Invariants: a request is driven by one driver of a process at most; whoever appends to a request's
//! log and then pokes it, and a driver that lets go, never both miss one another.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use turlough_sdk::RequestId;

/// The requests that this replica has to do with.
#[derive(Debug, Default)]
pub(crate) struct Desk {
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
        state.forget_due(request);
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
        state.forget_due(request);
        let (sender, pokes) = watch::channel(0);
        state.standing.insert(request, Standing::Driven(sender));
        pokes
    }

    /// A driver that had heard so many pokes let go of the request. True where there were more.
    pub(crate) fn released(&self, request: RequestId, heard: u64, due_us: Option<u64>) -> bool {
        let mut state = self.state();
        let standing = state.standing.remove(&request);
        if let Some(due_us) = due_us {
            self.set_due(&mut state, request, due_us);
        }
        matches!(standing, Some(Standing::Driven(pokes)) if *pokes.borrow() > heard)
    }

    /// A request that waits for room is due at this time, come room or not.
    pub(crate) fn queued_until(&self, request: RequestId, due_us: u64) {
        self.set_due(&mut self.state(), request, due_us);
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
