//! Whether an attempt that is offered begins here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::runner::Attempted;

const WAITING: u8 = 0;
const HERE: u8 = 1;
const AWAY: u8 = 2;

/// Where an attempt that was offered is.
#[derive(Debug, Default)]
pub(super) struct Phase {
    now: AtomicU8,
    /// It need not wait for a slot.
    released: Notify,
}

impl Phase {
    pub(super) fn is_waiting(&self) -> bool {
        self.now.load(Ordering::Acquire) == WAITING
    }

    /// Whether it is sent away now: nobody has begun it.
    pub(super) fn leave(&self) -> bool {
        self.change(AWAY)
    }

    /// It is not sent away any more, and waits for nothing.
    pub(super) fn begin_without_slot(&self) {
        if self.change(HERE) {
            self.released.notify_one();
        }
    }

    fn is_here(&self) -> bool {
        self.now.load(Ordering::Acquire) == HERE
    }

    fn change(&self, to: u8) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let changed = self.now.compare_exchange(WAITING, to, order.0, order.1);
        changed.is_ok()
    }
}

/// The turn of an attempt that was offered, on the side of who would run it here.
#[derive(Debug)]
pub(crate) struct Turn {
    phase: Arc<Phase>,
    slots: Arc<Semaphore>,
    answer: oneshot::Receiver<Attempted>,
}

/// The right to begin here.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    phase: Arc<Phase>,
    slots: Arc<Semaphore>,
}

/// A closure that blocks its thread has begun here, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    pub(super) const fn new(
        phase: Arc<Phase>,
        slots: Arc<Semaphore>,
        answer: oneshot::Receiver<Attempted>,
    ) -> Self {
        Self {
            phase,
            slots,
            answer,
        }
    }

    pub(crate) fn here(&self) -> Here {
        Here {
            phase: Arc::clone(&self.phase),
            slots: Arc::clone(&self.slots),
        }
    }

    /// What the attempt comes to here or elsewhere. `again` runs it here where nobody else did.
    pub(crate) async fn first<A: Future<Output = Attempted>>(
        self,
        here: impl Future<Output = Attempted>,
        again: impl FnOnce() -> A,
    ) -> Attempted {
        tokio::pin!(here);
        tokio::select! {
            attempted = &mut here => attempted,
            answered = self.answer => match answered {
                Ok(attempted) => attempted,
                Err(_) if self.phase.is_here() => here.await,
                Err(_) => again().await,
            },
        }
    }
}

impl Here {
    /// Whether it begins here; otherwise another replica runs it.
    pub(crate) fn begin(&self) -> bool {
        self.phase.change(HERE) || self.phase.is_here()
    }

    /// The same for a closure that blocks its thread: it waits until a processor is free, or until it
    /// is told not to.
    pub(crate) async fn begin_in_turn(&self) -> Option<Slot> {
        let permit = tokio::select! {
            biased;
            () = self.phase.released.notified() => None,
            permit = Arc::clone(&self.slots).acquire_owned() => permit.ok(),
        };
        self.begin().then_some(Slot { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ended(name: &str) -> Attempted {
        let (step, attempt) = (name.into(), 1);
        Attempted::Late { step, attempt }
    }

    fn name(attempted: &Attempted) -> &str {
        match attempted {
            Attempted::Late { step, .. } => step.as_str(),
            other => panic!("{other:?}"),
        }
    }

    fn offered() -> (Turn, Arc<Phase>, oneshot::Sender<Attempted>) {
        let (answer, answered) = oneshot::channel();
        let phase = Arc::new(Phase::default());
        let slots = Arc::new(Semaphore::new(1));
        (
            Turn::new(Arc::clone(&phase), slots, answered),
            phase,
            answer,
        )
    }

    #[tokio::test]
    async fn what_begins_here_is_not_sent_and_what_is_sent_does_not_begin() {
        let (turn, phase, answer) = offered();
        assert!(turn.here().begin() && !phase.leave() && !phase.is_waiting());
        drop(answer);
        let again = || async { panic!("it runs already") };
        let here = async {
            tokio::task::yield_now().await;
            ended("here")
        };
        assert_eq!(name(&turn.first(here, again).await), "here");

        let (turn, phase, answer) = offered();
        assert!(phase.leave() && !turn.here().begin());
        answer.send(ended("there")).unwrap();
        let again = || async { panic!("it was done") };
        let attempted = turn.first(std::future::pending(), again).await;
        assert_eq!(name(&attempted), "there");
    }

    #[tokio::test]
    async fn what_nobody_else_did_runs_here_after_all() {
        let (turn, phase, answer) = offered();
        assert!(phase.leave());
        drop(answer);
        let again = || async { ended("again") };
        let attempted = turn.first(std::future::pending(), again).await;
        assert_eq!(name(&attempted), "again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closure_that_blocks_waits_for_a_slot_or_for_leave_to_go_without() {
        let (turn, phase, _answer) = offered();
        let held = Arc::clone(&turn.slots).acquire_owned().await.unwrap();
        let here = turn.here();
        let waits = tokio::time::timeout(Duration::from_secs(1), here.begin_in_turn());
        assert!(waits.await.is_err());
        phase.begin_without_slot();
        assert!(
            here.begin_in_turn()
                .await
                .is_some_and(|slot| slot._permit.is_none())
        );
        drop(held);

        let (turn, _phase, _answer) = offered();
        let slot = turn.here().begin_in_turn().await.unwrap();
        assert!(slot._permit.is_some() && turn.slots.available_permits() == 0);
    }
}
