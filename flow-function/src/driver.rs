//! Drives one request: folds its log, asks the machine, runs steps, commits their ends.
//!
//! Invariants: one append in flight; nothing is started, and nobody is told, before the append that
//! decides it is stored (pure steps may start beside it); a driver whose claim is over stops and
//! writes nothing; a driver that has nothing to do lets go of its request.

mod attempts;
mod begin;
mod commit;
mod deliver;
mod end;
mod hand_over;
mod output;
mod pieces;
mod rest;
mod running;
mod snapshot;
mod telling;

pub(crate) use begin::{Begin, BeginError};
pub(crate) use pieces::parts_of;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::{error, warn};
use turlough_sdk::{RequestId, StepPath};
use turlough_statestore::event::Parent;
use turlough_statestore::{Event, Seq, StateError, Why};
use uuid::Uuid;

use crate::clock::{boot, now_us};
use crate::data::Touched;
use crate::desk::Pokes;
use crate::engine::{FoldError, TAKE_OVERS_DEAD};
use crate::fault::{Fault, planted};
use crate::machine::{Action, Conclusion, Execution, Holder, Run};
use crate::runner::{Attempted, Context};
use crate::shared::Shared;
use crate::trace::Telling;
use attempts::Known;
use output::Output;
use running::Running;

/// Drives one request from its acceptance, or from where another left it, to its rest.
#[derive(Debug)]
pub(crate) struct Driver {
    shared: Arc<Shared>,
    request: RequestId,
    execution: Execution,
    /// Where the log ends, as far as this driver knows.
    seq: Seq,
    context: Arc<Context>,
    running: Running,
    /// Whether it is handed over at once.
    is_given_back: bool,
    /// Attempts that ended here though each may have begun a sub-flow.
    given_up: Vec<Parent>,
    /// Attempts that were made and must not be repeated: never twice by one driver.
    made: HashSet<(StepPath, u32)>,
    /// What they came to, the newest last.
    known: VecDeque<Known>,
    /// Attempts that wait for their time, by that.
    delayed: BTreeMap<(u64, u64), Box<Run>>,
    delays: u64,
    /// Whether the claim that counts is this driver's own.
    owned: bool,
    /// Appends of the log, about.
    appends: usize,
    /// Until when it stays though it has nothing to do; 0 where it has.
    lingers_until_us: u64,
    pokes: Pokes,
    /// How often it was poked when it last read what others appended.
    heard: u64,
    /// The connection on which its log was last seen to be as this driver knows it.
    era: u64,
    /// The newest epoch that it met, whether it stands or was lost.
    epoch_seen: u64,
    /// When it claimed the request: by the wall, and on the clock of this machine.
    claimed: (u64, Duration),
    /// When the last append was sent, on the clock of this machine.
    sent: Duration,
    /// When the last one was sent that was stored.
    stored: Duration,
    /// When the newest snapshot of its log was written.
    snapshot_us: u64,
    /// What the flow returns, on its way.
    output: Output,
    /// The stores that its log names.
    touched: Touched,
    /// The generation that is known to have begun.
    generation: u32,
    /// What it was woken for.
    asked: Option<Why>,
    /// What of its trace was told; none where it is not.
    telling: Option<Box<Telling>>,
}

/// Why a driver let go of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing is to be done before the time that its log tells.
    Until,
    /// Nothing will be done any more.
    Over,
    /// Another drives it.
    Elsewhere,
    /// Another is to drive it, as soon as it can.
    HandedOver,
}

/// Why a driver stops before its request's end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    #[error("a newer claim counts")]
    Superseded,
    #[error("replica {} holds it", .0.replica)]
    Held(Holder),
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error("its log is gone")]
    Gone,
    #[error(transparent)]
    Log(#[from] StateError),
}

impl DriveError {
    /// Whether it is the request that cannot go on, and not this replica that cannot drive it.
    const fn is_of_the_request(&self) -> bool {
        matches!(self, Self::Log(StateError::TooLarge { .. }))
    }
}

/// What was decided and is stored.
enum Decided {
    Run(Vec<Action>),
    Released,
    Ended(Box<crate::shared::Finished>),
    /// The log says that it had ended already: the append that ended it was stored, its answer lost.
    HadEnded,
}

impl Driver {
    pub(crate) const fn request(&self) -> RequestId {
        self.request
    }

    /// Take-overs of its request in a row, this one counted.
    pub(crate) const fn take_overs(&self) -> u32 {
        self.execution.take_overs()
    }

    /// Drives until the request rests, and tells how often it was poked as far as it looked. Whatever
    /// goes wrong here is logged, and is no other request's concern.
    pub(crate) async fn run(mut self) -> (Rest, u64) {
        let (shared, request) = (Arc::clone(&self.shared), self.request);
        shared.metrics.driving.inc();
        let driven = AssertUnwindSafe(self.drive()).catch_unwind().await;
        let rest = match driven {
            Ok(Ok(rest)) => rest,
            Ok(Err(DriveError::Superseded)) => {
                self.leave();
                Rest::Elsewhere
            }
            Ok(Err(error @ DriveError::Gone)) => {
                warn!(%request, %error, "driver stopped before the request's end");
                self.lose(&error.to_string());
                Rest::Over
            }
            Ok(Err(error)) if error.is_of_the_request() => {
                warn!(%request, %error, "request cannot be driven; it fails");
                self.give_up(&error.to_string()).await;
                Rest::Over
            }
            Ok(Err(error)) => {
                warn!(%request, %error, "driver stopped before the request's end");
                self.leave();
                Rest::Elsewhere
            }
            Err(_) => {
                error!(%request, "driver panicked; its request fails");
                self.give_up("its driver panicked").await;
                Rest::Over
            }
        };
        shared.metrics.driving.dec();
        (rest, self.heard)
    }

    /// It is handed over before anything is done for it.
    pub(crate) const fn give_back(&mut self) {
        self.is_given_back = true;
    }

    async fn drive(&mut self) -> Result<Rest, DriveError> {
        let mut attempted = Vec::new();
        if self.is_given_back {
            return self.hand_over_after(&attempted).await;
        }
        let is_poison = self.execution.take_overs() >= TAKE_OVERS_DEAD;
        if is_poison && !self.execution.is_ended() && !planted(Fault::NeverDead) {
            self.die().await?;
        }
        // Before it rests again: it may have been woken for this alone.
        self.keep_head().await?;
        loop {
            if self.execution.is_ended() {
                if let Some(rest) = self.after_end(None).await? {
                    return Ok(rest);
                }
                continue;
            }
            self.reopen();
            match self.decide(&attempted).await? {
                Decided::Run(actions) => {
                    self.act(actions);
                    self.keep_head().await?;
                }
                Decided::Released => return Ok(Rest::Until),
                Decided::HadEnded => {
                    self.outlive();
                    attempted.clear();
                    continue;
                }
                Decided::Ended(finished) => {
                    self.outlive();
                    attempted.clear();
                    if let Some(rest) = self.after_end(Some(*finished)).await? {
                        return Ok(rest);
                    }
                    continue;
                }
            }
            attempted = self.wait().await?;
            if self.shared.hands_over(self.request) {
                return self.hand_over_after(&attempted).await;
            }
        }
    }

    /// Applies what happened, asks the machine, and commits both together. Where somebody else
    /// appended first, the state is folded anew and everything is asked again.
    async fn decide(&mut self, attempted: &[Attempted]) -> Result<Decided, DriveError> {
        // Others of this process wait their turn: what they appended is read before, and nothing comes
        // in between. Those of other processes may, and then the append conflicts.
        let shared = Arc::clone(&self.shared);
        let _turn = shared.folds.turn(self.request).await;
        self.forget_synced();
        if self.pokes.has_changed().unwrap_or(false) {
            self.read_external().await?;
        }
        self.renew_claim(attempted).await?;
        loop {
            if self.execution.is_ended() && !planted(Fault::EndUnseen) {
                self.observe_ends(attempted);
                return Ok(Decided::HadEnded);
            }
            if !self.commit_parts(attempted).await? {
                self.refold().await?;
                continue;
            }
            let mut events = self.happened(attempted);
            events.iter().for_each(|event| self.execution.apply(event));
            let mut actions = self.ask(&mut events);
            // On the heap: most of the time no request ends.
            let ending = Box::pin(self.ending(&mut actions, &mut events)).await?;
            let Some(finished) = ending else {
                self.refold().await?;
                continue;
            };
            let actions = self.put_off(actions);
            let idle = finished.is_none() && self.rests(&actions);
            if !idle {
                self.lingers_until_us = 0;
            }
            let rests = idle && self.has_lingered();
            if rests {
                events.push(Event::Released { at_us: now_us() });
                self.keep_data(self.due_us()).await;
                if let Some(epoch) = self.newer_in_stores() {
                    self.claim_above(epoch).await?;
                    continue;
                }
            }
            self.speculate(&actions);
            self.sent = boot();
            if !events.is_empty()
                && !self
                    .commit(events.clone(), rests.then(|| self.due_us()))
                    .await?
            {
                self.refold().await?;
                continue;
            }
            self.observe_ends(attempted);
            self.cancel_given_up();
            return Ok(match finished {
                Some(finished) => {
                    self.stop_all(&actions);
                    Decided::Ended(Box::new(finished))
                }
                None if rests => {
                    self.stop_all(&actions);
                    Decided::Released
                }
                None => Decided::Run(actions),
            });
        }
    }

    /// Claims above what stores have heard of, and records starts again whose calls were not made.
    async fn renew_claim(&mut self, attempted: &[Attempted]) -> Result<(), DriveError> {
        if let Some(epoch) = behind(attempted).max(self.newer_in_stores()) {
            self.claim_above(epoch).await?;
        }
        let late = self.late(attempted);
        if !late.is_empty() {
            // Once the append is stored this driver's claim stands still, and the machine, which knows
            // of these starts, tells of their calls anew.
            loop {
                self.sent = boot();
                let is_stored = self.commit(late.clone(), None).await?;
                self.refold().await?;
                if is_stored {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Asks the machine, recording the starts that it wants recorded.
    fn ask(&mut self, events: &mut Vec<Event>) -> Vec<Action> {
        let mut actions = Vec::new();
        loop {
            let mut recorded = false;
            for action in self.execution.next_actions() {
                let Action::Start { step, attempt } = action else {
                    actions.push(action);
                    continue;
                };
                let at_us = now_us();
                let started = Event::StepStarted {
                    step,
                    attempt,
                    at_us,
                };
                self.execution.apply(&started);
                events.push(started);
                recorded = true;
            }
            if !recorded {
                return actions;
            }
        }
    }

    /// Runs whose time has not come are put off.
    fn put_off(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let now = now_us();
        let mut rest = Vec::with_capacity(actions.len());
        for action in actions {
            match action {
                Action::Run(run) if run.not_before_us > now => {
                    self.delays += 1;
                    self.delayed.insert((run.not_before_us, self.delays), run);
                }
                action => rest.push(action),
            }
        }
        rest
    }

    /// What attempts came to, and the time. Where the log lost the start of one, that comes with its end.
    fn happened(&self, attempted: &[Attempted]) -> Vec<Event> {
        let mut events = Vec::with_capacity(attempted.len() + 1);
        for attempted in attempted.iter().filter(|it| self.is_to_be_told(it)) {
            let (step, attempt, at_us, event) = match attempted {
                Attempted::Ended { ended, .. } => {
                    let event = Event::StepEnded(ended.clone());
                    (&ended.step, ended.attempt, ended.begin_us, event)
                }
                Attempted::Called {
                    step,
                    attempt,
                    at_us,
                    child,
                } => {
                    if child.is_some_and(|era| era != self.era) {
                        // The log may have lost it: it is begun again, or found.
                        continue;
                    }
                    let event = Event::StepCalled {
                        step: step.clone(),
                        attempt: *attempt,
                        at_us: *at_us,
                    };
                    (step, *attempt, *at_us, event)
                }
                Attempted::Late { .. } | Attempted::Behind { .. } => continue,
            };
            if self.execution.lacks_start(step, attempt) && !planted(Fault::EndWithoutStart) {
                events.push(Event::StepStarted {
                    step: step.clone(),
                    attempt,
                    at_us,
                });
            }
            events.push(event);
        }
        let now = self.time_us();
        if self
            .execution
            .wake_at_us()
            .is_some_and(|due_us| due_us <= now)
        {
            events.push(Event::Ticked { at_us: now });
        }
        events
    }

    fn is_to_be_told(&self, attempted: &Attempted) -> bool {
        self.is_awaited(attempted) || planted(Fault::EndsUnasked)
    }

    /// Whether the machine waits for what an attempt came to: by now it may stand in the log, or be withdrawn.
    pub(super) fn is_awaited(&self, attempted: &Attempted) -> bool {
        match attempted {
            Attempted::Ended { ended, .. } => self.execution.awaits(&ended.step, ended.attempt),
            Attempted::Called { step, attempt, .. } => self.execution.awaits(step, *attempt),
            Attempted::Late { .. } | Attempted::Behind { .. } => false,
        }
    }

    fn observe_ends(&self, attempted: &[Attempted]) {
        for attempted in attempted {
            if let Attempted::Ended { ended, .. } = attempted {
                self.shared.metrics.step(self.execution.flow(), ended);
            }
        }
    }

    pub(super) fn observe(&self, events: &[Event]) {
        for event in events {
            if let Event::StepEnded(ended) = event {
                self.shared.metrics.step(self.execution.flow(), ended);
            }
        }
    }
}

fn random() -> u128 {
    Uuid::new_v4().as_u128()
}

/// The newest claim that a store knows of where it took nothing under this one.
fn behind(attempted: &[Attempted]) -> Option<u64> {
    let epochs = attempted.iter().filter_map(|attempted| match attempted {
        Attempted::Behind { epoch, .. } => Some(*epoch),
        _ => None,
    });
    epochs.max()
}

#[cfg(test)]
mod tests;
