//! Closures that run on although nobody waits for them: their attempt timed out, or was given up.
//!
//! A thread cannot be stopped from outside. So such closures are counted, and a replica with too many
//! of them takes no more requests and is replaced.
//!
//! Invariants: a closure counts from the moment in which its attempt is over until it returns; one
//! that had not begun by then never begins.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use turlough_telemetry::IntGauge;

/// How many closures run on, and how many may.
#[derive(Debug, Clone)]
pub(crate) struct Abandoned(Arc<State>);

#[derive(Debug)]
struct State {
    count: AtomicUsize,
    limit: usize,
    gauge: IntGauge,
    exceeded: CancellationToken,
}

/// The attempt's side of a closure: dropped before the closure has returned, it gives it up.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Closure>);

/// The thread's side of a closure.
#[derive(Debug)]
pub(crate) struct Running(Arc<Closure>);

#[derive(Debug)]
struct Closure {
    /// Held while the count changes, so that it never goes down before it went up.
    phase: Mutex<Phase>,
    abandoned: Abandoned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    Runs,
    /// Given up while it ran.
    RunsOn,
    /// Returned, or given up before it began.
    Over,
}

impl Abandoned {
    /// None yet. `limit` is how many make a replica unfit; at least one does.
    pub(crate) fn new(limit: usize, gauge: IntGauge) -> Self {
        Self(Arc::new(State {
            count: AtomicUsize::new(0),
            limit: limit.max(1),
            gauge,
            exceeded: CancellationToken::new(),
        }))
    }

    /// The two sides of a closure that is about to be queued.
    pub(crate) fn closure(&self) -> (Waiting, Running) {
        let closure = Arc::new(Closure {
            phase: Mutex::new(Phase::Queued),
            abandoned: self.clone(),
        });
        (Waiting(Arc::clone(&closure)), Running(closure))
    }

    /// How many there are, where that is too many now.
    pub(crate) fn too_many(&self) -> Option<usize> {
        let count = self.0.count.load(Ordering::Relaxed);
        (count >= self.0.limit).then_some(count)
    }

    /// How many make a replica unfit.
    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// Cancelled once there were too many, for good.
    pub(crate) fn exceeded(&self) -> &CancellationToken {
        &self.0.exceeded
    }

    fn add(&self) {
        let state = &self.0;
        let count = state.count.fetch_add(1, Ordering::Relaxed) + 1;
        state.gauge.inc();
        let limit = state.limit;
        if count < limit {
            warn!(
                count,
                limit, "a closure runs on after its attempt was given up"
            );
        } else if !state.exceeded.is_cancelled() {
            state.exceeded.cancel();
            error!(
                count,
                limit,
                "too many closures run on after their attempts were given up; raise TURLOUGH_ABANDONED_MAX, or make them return"
            );
        }
    }

    fn remove(&self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge.dec();
    }
}

impl Closure {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Whether anybody still waits for it to begin.
    pub(crate) fn begin(&self) -> bool {
        let mut phase = self.0.phase();
        let begins = *phase == Phase::Queued;
        if begins {
            *phase = Phase::Runs;
        }
        begins
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut phase = self.0.phase();
        *phase = match *phase {
            Phase::Runs => {
                self.0.abandoned.add();
                Phase::RunsOn
            }
            _ => Phase::Over,
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut phase = self.0.phase();
        if *phase == Phase::RunsOn {
            self.0.abandoned.remove();
        }
        *phase = Phase::Over;
    }
}
