//! Items of a large `for_each` that run on other replicas.
//!
//! A closure of an item that waits here for a processor is offered: after a short while some of those
//! that wait are sent to other replicas, by calls of the function's own `/_/step`, and all others begin
//! here. What was sent and does not come back runs here after all.
//!
//! Invariants: only what may be repeated is offered; an attempt begins here or is sent, never both,
//! unless the other replica did not answer; its driver alone commits what it came to.
//! Absent: steps that call somebody, which cost a processor little; retries, waits and bodies, which
//! the machine of the driver decides as ever.

mod batch;
mod guest;
mod send;
mod turn;

pub(crate) use batch::Batch;
pub(crate) use guest::{Guests, Refusal};
pub(crate) use turn::{Here, Turn};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep};
use tracing::debug;
use turlough_sdk::Operation;
use turlough_statestore::StateError;

use crate::machine::{Run, Work};
use crate::runner::{Attempted, Context};
use crate::shared::Shared;
use turn::Phase;

/// How long what is known of other replicas counts.
const OTHERS_KNOWN_FOR: Duration = Duration::from_secs(2);

/// What this replica offers to others.
#[derive(Debug)]
pub(crate) struct Spread {
    offers: Mutex<Offers>,
    /// For closures that block their thread: as many begin at once as there are processors.
    slots: Arc<Semaphore>,
    /// How many other replicas take work, and when that was found.
    others: Mutex<Option<(Instant, usize)>>,
}

#[derive(Debug, Default)]
struct Offers {
    waiting: Vec<Offer>,
    /// Whether a task looks after them.
    is_looked_after: bool,
}

/// An attempt that waits for its turn here.
#[derive(Debug)]
struct Offer {
    since: Instant,
    phase: Arc<Phase>,
    context: Arc<Context>,
    run: Arc<Run>,
    /// Who waits for what it comes to elsewhere.
    answer: oneshot::Sender<Attempted>,
}

impl Spread {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            offers: Mutex::default(),
            slots: Arc::new(Semaphore::new(processors)),
            others: Mutex::default(),
        }
    }

    /// Whether more waits here than this replica works off at once.
    pub(crate) fn is_behind(&self) -> bool {
        let offers = self.offers();
        offers.waiting.iter().any(|offer| offer.phase.is_waiting())
    }

    /// How many other replicas take work, where that was found just now.
    fn others(&self) -> Option<usize> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let known = others.filter(|(at, _)| at.elapsed() < OTHERS_KNOWN_FOR);
        known.map(|(_, others)| others)
    }

    /// For a while, so many other replicas take work.
    fn found(&self, others: usize) {
        let mut known = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Instant::now(), others));
    }

    fn offers(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what has waited for so long; what began meanwhile is forgotten. None where nothing
    /// is left.
    fn take(&self, after: Duration) -> Option<Vec<Offer>> {
        let mut offers = self.offers();
        offers.waiting.retain(|offer| offer.phase.is_waiting());
        if offers.waiting.is_empty() {
            offers.waiting = Vec::new();
            offers.is_looked_after = false;
            return None;
        }
        // They stand in the order in which they came.
        let since = Instant::now();
        let is_old = |offer: &Offer| since.duration_since(offer.since) >= after;
        let old = offers.waiting.partition_point(is_old);
        Some(offers.waiting.drain(..old).collect())
    }
}

impl Shared {
    /// Offers an attempt to others, where they may run it; its turn to run here.
    pub(crate) fn offer(self: &Arc<Self>, context: &Arc<Context>, run: &Arc<Run>) -> Option<Turn> {
        let after = self.settings.spread_after;
        let off = !self.state.is_shared || after.is_zero() || !may_run_elsewhere(run);
        if off || self.spread.others() == Some(0) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let phase = Arc::new(Phase::default());
        let slots = Arc::clone(&self.spread.slots);
        let turn = Turn::new(Arc::clone(&phase), slots, answered);
        let mut offers = self.spread.offers();
        offers.waiting.push(Offer {
            since: Instant::now(),
            phase,
            context: Arc::clone(context),
            run: Arc::clone(run),
            answer,
        });
        if !std::mem::replace(&mut offers.is_looked_after, true) {
            tokio::spawn(Arc::clone(self).look_after_offers(after));
        }
        Some(turn)
    }

    async fn look_after_offers(self: Arc<Self>, after: Duration) {
        loop {
            sleep(after).await;
            let Some(old) = self.spread.take(after) else {
                return;
            };
            if old.is_empty() {
                continue;
            }
            let others = self.helpers().await.unwrap_or_else(|error| {
                debug!(%error, "other replicas are not known");
                0
            });
            // Each replica gets as many; those that came last would begin last here.
            let stay = old.len().div_ceil(others + 1);
            let (stay, go) = split(old, stay);
            stay.iter()
                .for_each(|offer| offer.phase.begin_without_slot());
            self.send_away(go, others);
        }
    }

    /// How many other replicas of this function take work.
    async fn helpers(&self) -> Result<usize, StateError> {
        if let Some(others) = self.spread.others() {
            return Ok(others);
        }
        let others = self.others().await?;
        let others = others.iter().filter(|(_, beat)| beat.takes).count();
        self.spread.found(others);
        Ok(others)
    }
}

fn split(mut offers: Vec<Offer>, at: usize) -> (Vec<Offer>, Vec<Offer>) {
    let rest = offers.split_off(at.min(offers.len()));
    (offers, rest)
}

/// A closure of an item, which may be repeated and completes by itself.
fn may_run_elsewhere(run: &Run) -> bool {
    let node = run.node();
    matches!(run.work, Work::Operation)
        && matches!(node.operation, Operation::Map(_))
        && node.idempotent
        && node.compensate.is_none()
        && run.step.is_of_item()
}
