//! Attempts that a driver runs: their starts, what stops them, and what they came to.

use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::{Operation, RequestId, StepPath};
use turlough_statestore::Event;
use turlough_statestore::event::Parent;

use tracing::debug;

use super::Driver;
use super::running::{End, Ended, Key, Marks};
use crate::clock::{boot, now_us};
use crate::fault::{Fault, planted};
use crate::machine::{Action, Run, Work};
use crate::runner::{self, Attempted};
use crate::shared::Shared;

/// What an attempt came to that must not be repeated, for as long as the log may lose it.
#[derive(Debug)]
pub(super) struct Known {
    /// When that was heard, on the clock of this machine.
    at: Duration,
    key: Key,
    attempted: Attempted,
}

impl Driver {
    /// Pure steps start beside the append that releases them: their ends go into the next one.
    pub(super) fn speculate(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Run(run) = action
                && (run.vertex().pure || planted(Fault::SinksSpeculated))
            {
                self.start(run.clone(), None, false);
            }
        }
    }

    /// Stops what can be done again.
    pub(super) fn stop_repeatable(&mut self) {
        self.delayed.clear();
        drop(self.running.stop_repeatable());
    }

    /// This driver is done, its request is not. Calls that must not be made twice go on, and whoever
    /// holds their answers says so in the log; all others are stopped, and made again by the next one.
    pub(super) fn outlive(&mut self) {
        let is_held = self.running.has_once();
        for step in self.running.stop_repeatable() {
            debug!(request = %self.request, %step, "attempt is left to the next driver");
        }
        let mut rest = self.running.hand_out();
        if !is_held || planted(Fault::AnswerDropped) {
            return;
        }
        let (shared, request) = (Arc::clone(&self.shared), self.request);
        let task = shared.tasks.token();
        tokio::spawn(async move {
            while let Some(ended) = rest.join_next().await {
                if let Ok(Attempted::Ended { parts, ended }) = ended {
                    shared.report(request, parts, ended).await;
                }
            }
            drop(task);
        });
    }

    /// The claim is over: what is known of such calls may not have been stored, and is said from outside.
    pub(super) fn leave(&mut self) {
        self.outlive();
        self.tell_known();
    }

    /// Where an append was stored this long after an end was heard, that is on the disk, and need not be
    /// kept here.
    pub(super) fn forget_synced(&mut self) {
        let unsure = self.shared.settings.state.sync_interval() * 2;
        let stored = self.stored;
        let is_synced = |known: &Known| known.at + unsure < stored;
        while self.known.front().is_some_and(is_synced) {
            self.known.pop_front();
        }
    }

    /// The log was folded anew, and may have lost ends: they count as heard just now.
    pub(super) fn hear_anew(&mut self) {
        self.known.iter_mut().for_each(|known| known.at = boot());
    }

    /// The log lost its tail and the claim with it: what is known of calls that must not be repeated is
    /// said once more, by whoever holds the request next.
    pub(super) fn tell_known(&mut self) {
        for known in std::mem::take(&mut self.known) {
            if planted(Fault::AnswerDropped) {
                continue;
            }
            if let Attempted::Ended { parts, ended } = known.attempted {
                let (shared, request) = (Arc::clone(&self.shared), self.request);
                let task = shared.tasks.token();
                tokio::spawn(async move {
                    shared.report(request, parts, ended).await;
                    drop(task);
                });
            }
        }
    }

    pub(super) fn act(&mut self, actions: Vec<Action>) {
        let is_run = |action: &&Action| matches!(action, Action::Run(_));
        let is_one = actions.iter().filter(is_run).count() == 1;
        for action in actions {
            match action {
                Action::Run(run) => {
                    let call_by = self.call_by(&run);
                    self.start(run, call_by, is_one);
                }
                Action::Stop { step, attempt } => self.stop(&step, attempt),
                Action::Start { .. } | Action::End(_) => {}
            }
        }
    }

    pub(super) fn stop_all(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Stop { step, attempt } = action {
                self.stop(step, *attempt);
            }
        }
    }

    /// Tells whoever works on an attempt that nobody waits for it.
    fn stop(&mut self, step: &StepPath, attempt: u32) {
        let stopped = self.running.stop(&(step.clone(), attempt));
        if stopped.is_some_and(|marks| !marks.begins_child) {
            return;
        }
        let delayed = self.delayed.len();
        self.delayed
            .retain(|_, run| run.step != *step || run.attempt != attempt);
        if self.delayed.len() == delayed {
            let generation = self.execution.generation();
            let parent = self.as_parent(generation, step.clone(), attempt);
            self.shared.cancel_child(&parent);
        }
    }

    /// After a commit: sub-flows whose attempts ended without them, by a timeout say, are not waited
    /// for.
    pub(super) fn cancel_given_up(&mut self) {
        let generation = self.execution.generation();
        for parent in std::mem::take(&mut self.given_up) {
            let awaits = self.execution.awaits(&parent.step, parent.attempt);
            if !awaits || parent.generation != generation {
                self.shared.cancel_child(&parent);
            }
        }
    }

    fn as_parent(&self, generation: u32, step: StepPath, attempt: u32) -> Parent {
        Parent {
            request: self.request,
            generation,
            step,
            attempt,
            depth: 0,
        }
    }

    /// Until when a call must begin whose start is recorded: as long as nobody else can think that it
    /// never will.
    fn call_by(&self, run: &Run) -> Option<Duration> {
        let vertex = run.vertex();
        let is_bound = !vertex.idempotent || vertex.compensate.is_some();
        let is_bound = is_bound && !planted(Fault::CallsLate);
        is_bound.then(|| self.sent + self.shared.settings.call_within())
    }

    /// Starts that were recorded too long ago, or under a claim that a store does not take, and whose calls
    /// were not made: they are recorded again.
    pub(super) fn late(&mut self, attempted: &[Attempted]) -> Vec<Event> {
        let mut again = Vec::new();
        for attempted in attempted {
            let (step, attempt) = match attempted {
                Attempted::Late { step, attempt } => {
                    self.made.remove(&(step.clone(), *attempt));
                    (step, *attempt)
                }
                Attempted::Behind { step, attempt, .. }
                    if self.made.remove(&(step.clone(), *attempt)) =>
                {
                    (step, *attempt)
                }
                _ => continue,
            };
            again.push(Event::StepStarted {
                step: step.clone(),
                attempt,
                at_us: now_us(),
            });
        }
        again
    }

    fn start(&mut self, run: Box<Run>, call_by: Option<Duration>, is_one: bool) {
        let key = (run.step.clone(), run.attempt);
        // After a fold from the start the machine wants again what runs already.
        if self.running.has(&key) {
            return;
        }
        let once = !run.vertex().idempotent;
        let is_once = once || run.vertex().compensate.is_some();
        let mut known = None;
        if once && !self.made.insert(key.clone()) {
            let Some(again) = self.known.iter().find(|known| known.key == key) else {
                return;
            };
            known = Some(again.attempted.clone());
        }
        let operation = &run.vertex().operation;
        let marks = Marks {
            begins_child: matches!(operation, Operation::Flow(_))
                && matches!(run.work, Work::Operation),
            is_once,
        };
        // What waits for its answer nearly all of the time keeps its driver from nothing.
        let is_here = is_one && matches!(operation, Operation::Apply(_));
        let attempt = self.attempt(run, call_by, is_once, known);
        if is_here {
            self.running.run_here(key, marks, attempt);
        } else {
            self.running.spawn(key, marks, attempt);
        }
    }

    /// An attempt from before its call to its end; what is known already is not called for.
    fn attempt(
        &self,
        run: Box<Run>,
        call_by: Option<Duration>,
        is_once: bool,
        known: Option<Attempted>,
    ) -> impl Future<Output = Attempted> + Send + use<> {
        let waits = is_once && self.shared.settings.once_after_sync;
        let synced = waits.then(|| Arc::clone(&self.shared).synced(self.request, self.era));
        let (context, run) = (Arc::clone(&self.context), Arc::<Run>::from(run));
        let turn = self.shared.offer(&context, &run);
        async move {
            if let Some(known) = known {
                // The log lost its end.
                return known;
            }
            if let Some(synced) = synced
                && !synced.await
            {
                let (step, attempt) = (run.step.clone(), run.attempt);
                return Attempted::Late { step, attempt };
            }
            let Some(turn) = turn else {
                return runner::run(context, run, call_by, None).await;
            };
            // On the heap: hardly any attempt is offered, and every one would have room for three.
            let begin = |turn| {
                let (context, run) = (Arc::clone(&context), Arc::clone(&run));
                Box::pin(runner::run(context, run, None, turn))
            };
            let here = begin(Some(turn.here()));
            turn.first(here, || begin(None)).await
        }
    }

    pub(super) fn start_delayed(&mut self) {
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now_us()
        {
            let run = entry.remove();
            if self.execution.awaits(&run.step, run.attempt) {
                // What waits for its time has no start on record that another could see.
                self.start(run, None, false);
            }
        }
    }

    /// What an attempt came to; nothing for one that was stopped.
    pub(super) fn ended(&mut self, ended: Ended) -> Option<Attempted> {
        let is_made = ended.marks.is_once && self.made.contains(&ended.key);
        let (step, attempt) = ended.key;
        let attempted = match ended.end {
            End::CameTo(attempted) => attempted,
            End::Stopped => return None,
            End::Lost(why) => Attempted::Ended {
                parts: Vec::new(),
                ended: runner::lost(&self.context, step.clone(), attempt, &why),
            },
        };
        // What was late was no call.
        let is_answer = matches!(attempted, Attempted::Ended { .. }) || planted(Fault::LateKnown);
        if is_made && is_answer && !planted(Fault::AnswerForgotten) {
            self.known.push_back(Known {
                at: boot(),
                key: (step.clone(), attempt),
                attempted: attempted.clone(),
            });
        }
        if ended.marks.begins_child
            && let Attempted::Ended { ended, .. } = &attempted
        {
            let parent = self.as_parent(ended.generation, step, attempt);
            self.given_up.push(parent);
        }
        Some(attempted)
    }
}

impl Shared {
    /// Waits until what was stored is on the disk, too. False where the connection was lost meanwhile:
    /// then nobody knows whether it stands.
    async fn synced(self: Arc<Self>, request: RequestId, era: u64) -> bool {
        tokio::time::sleep(self.settings.state.sync_interval()).await;
        // Who answers now was there all the time.
        let answered = self.log.last(request).await;
        answered.is_ok_and(|last| last.is_some()) && self.state.link.borrow().era == era
    }
}
