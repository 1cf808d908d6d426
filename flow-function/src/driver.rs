//! Drives one request: folds its log, asks the machine, runs steps, commits their ends.
//!
//! Invariants: one append in flight; nothing is started, and nobody is told, before the append that
//! decides it is stored; a driver whose claim is over stops and writes nothing.

mod commit;
mod pieces;
mod start;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{error, warn};
use turlough_sdk::{Cause, Flow, RequestId, StepPath, Value};
use turlough_statestore::event::{Outcome, StepEnded};
use turlough_statestore::{AppendError, Event, Seq};
use uuid::Uuid;

use crate::clock::{now_us, until};
use crate::data::RequestData;
use crate::index::Summary;
use crate::machine::{Action, Conclusion, Execution, Run};
use crate::runner::{self, Context};
use crate::shared::{Finished, Shared};

/// Drives one request from its acceptance to its end.
#[derive(Debug)]
pub(crate) struct Driver {
    shared: Arc<Shared>,
    request: RequestId,
    flow: Arc<Flow>,
    execution: Execution,
    /// Where the log ends, as far as this driver knows.
    seq: Seq,
    deadline_us: u64,
    context: Arc<Context>,
    running: JoinSet<StepEnded>,
    /// What runs: by task, and as a set of steps with their attempts.
    tasks: HashMap<Id, (StepPath, u32)>,
    attempts: HashSet<(StepPath, u32)>,
    tail: watch::Receiver<Seq>,
    finished: Option<oneshot::Sender<Finished>>,
}

/// Why a driver stops before its request's end.
#[derive(Debug, thiserror::Error)]
enum DriveError {
    #[error("a newer claim counts")]
    Superseded,
    #[error("it has ended already")]
    Ended,
    #[error("its log is gone")]
    Gone,
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Driver {
    /// Records a request, with its claim where there is room for it.
    pub(crate) async fn accept(
        shared: Arc<Shared>,
        flow: Arc<Flow>,
        request: RequestId,
        input: Value,
        claim: bool,
    ) -> Result<(Self, oneshot::Receiver<Finished>), AppendError> {
        let accepted_us = now_us();
        let timeout_us = u64::try_from(flow.timeout().as_micros()).unwrap_or(u64::MAX);
        let deadline_us = accepted_us.saturating_add(timeout_us);
        let (finished, receiver) = oneshot::channel();
        let start = start::Start::new(&shared, &flow, request, deadline_us);
        let (at, began) = start.accept(&input, accepted_us, claim).await?;
        let (execution, seq, tail) = began;
        let data = RequestData::new(
            request,
            1,
            Arc::clone(&shared.store),
            shared.settings.inline_bytes_max,
            (at, input),
        );
        let summary = Summary::accepted(flow.name(), flow.version(), accepted_us);
        shared.index.insert(request, summary);
        let context = Arc::new(Context {
            request,
            generation: 0,
            epoch: 1,
            data,
            shared: Arc::clone(&shared),
        });
        let driver = Self {
            shared,
            request,
            flow,
            execution,
            seq,
            deadline_us,
            context,
            running: JoinSet::new(),
            tasks: HashMap::new(),
            attempts: HashSet::new(),
            tail,
            finished: Some(finished),
        };
        Ok((driver, receiver))
    }

    /// Drives to the end. Whatever goes wrong here is logged, and is no other request's concern.
    pub(crate) async fn run(mut self, permit: Option<OwnedSemaphorePermit>) {
        let _permit = match permit {
            Some(permit) => Some(permit),
            None => self.wait_for_room().await,
        };
        let (shared, request) = (Arc::clone(&self.shared), self.request);
        shared.metrics.driving.inc();
        let why = match AssertUnwindSafe(self.drive()).catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                warn!(%request, %error, "driver stopped before the request's end");
                Some(error.to_string())
            }
            Err(_) => {
                error!(%request, "driver panicked; its request fails");
                Some("its driver panicked".to_owned())
            }
        };
        if let Some(why) = why {
            self.give_up(&why).await;
        }
        shared.metrics.driving.dec();
    }

    /// Waits for room to drive. None where the request ends without: an end needs no room.
    async fn wait_for_room(&mut self) -> Option<OwnedSemaphorePermit> {
        let mut room = pin!(Arc::clone(&self.shared.capacity).acquire_owned());
        while !self.execution.is_concluded() {
            tokio::select! {
                permit = &mut room => return permit.ok(),
                () = tokio::time::sleep(until(self.deadline_us)) => return None,
                changed = self.tail.changed() => {
                    // An error shows again as soon as the request is driven, and is handled there.
                    if changed.is_err() || self.read_external().await.is_err() {
                        return None;
                    }
                }
            }
        }
        None
    }

    async fn drive(&mut self) -> Result<(), DriveError> {
        if self.execution.epoch() == 0 {
            self.claim().await?;
        }
        let mut events = Vec::new();
        if until(self.deadline_us).is_zero() {
            // It waited for room until now: nothing of it is started any more.
            events.push(Event::DeadlinePassed { at_us: now_us() });
        }
        loop {
            let (actions, finished) = self.decide(&events).await?;
            if let Some(finished) = finished {
                return self.finish(finished).await;
            }
            for action in actions {
                if let Action::Run(run) = action {
                    self.start(run);
                }
            }
            events = self.wait().await?;
        }
    }

    /// Applies what happened, asks the machine, and commits both together. Where somebody else
    /// appended first, the state is folded anew and everything is asked again.
    async fn decide(
        &mut self,
        events: &[Event],
    ) -> Result<(Vec<Action>, Option<Finished>), DriveError> {
        loop {
            let mut decided = events.to_vec();
            for event in &decided {
                self.execution.apply(event);
            }
            let actions = self.execution.next_actions();
            let mut finished = None;
            if let Some(Action::End(conclusion)) = actions.first() {
                let Some(end) = self.conclude(conclusion.clone()).await? else {
                    self.refold().await?;
                    continue;
                };
                let at_us = now_us();
                decided.push(Event::Ended {
                    outcome: end.outcome.clone(),
                    at_us,
                });
                // Nothing is owed yet, and nothing is kept: it closes with its end.
                decided.push(Event::Closing { at_us });
                finished = Some(end);
            }
            if decided.is_empty() || self.commit(decided).await? {
                self.observe(events);
                return Ok((actions, finished));
            }
            self.refold().await?;
        }
    }

    fn observe(&self, events: &[Event]) {
        for event in events {
            if let Event::StepEnded(ended) = event {
                self.shared.metrics.step(&self.flow, ended);
            }
        }
    }

    fn start(&mut self, run: Run) {
        let key = (run.step.clone(), run.attempt);
        // After a fold from the start the machine wants again what runs already.
        if !self.attempts.insert(key.clone()) {
            return;
        }
        let task = self
            .running
            .spawn(runner::run(Arc::clone(&self.context), run));
        self.tasks.insert(task.id(), key);
    }

    /// Waits until something happened; what else is there by then comes along.
    async fn wait(&mut self) -> Result<Vec<Event>, DriveError> {
        let mut events = Vec::new();
        while events.is_empty() {
            // Another's append may have come beside our own: its place tells, not the wake-up.
            let tail = *self.tail.borrow_and_update();
            if tail > self.seq && self.read_external().await? {
                break;
            }
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => events.push(self.ended(ended)),
                () = tokio::time::sleep(until(self.deadline_us)) => {
                    events.push(Event::DeadlinePassed { at_us: now_us() });
                }
                changed = self.tail.changed() => {
                    if changed.is_err() {
                        return Err(DriveError::Gone);
                    }
                }
            }
        }
        while let Some(ended) = self.running.try_join_next_with_id() {
            events.push(self.ended(ended));
        }
        Ok(events)
    }

    fn ended(&mut self, ended: Result<(Id, StepEnded), JoinError>) -> Event {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let (step, attempt) = self
            .tasks
            .remove(&id)
            .unwrap_or_else(|| (StepPath::from(""), 0));
        self.attempts.remove(&(step.clone(), attempt));
        Event::StepEnded(match ended {
            Ok((_, ended)) => ended,
            Err(error) => runner::lost(&self.context, step, attempt, &error.to_string()),
        })
    }

    /// What a conclusion means for the caller, its output kept where it fits. None where somebody
    /// else appended first: it may be that the request ends otherwise.
    async fn conclude(&mut self, conclusion: Conclusion) -> Result<Option<Finished>, DriveError> {
        let outcome = match conclusion {
            Conclusion::Succeeded(given) => match runner::resolve(&self.context, given).await {
                Ok(value) => {
                    let Some(output) = self.keep_output(&value).await? else {
                        return Ok(None);
                    };
                    let size = value.envelope().len() as u64;
                    let outcome = Outcome::Succeeded {
                        output: output.place(),
                        size,
                    };
                    return Ok(Some(Finished {
                        outcome,
                        output: Some(value),
                    }));
                }
                Err(error) => Outcome::Failed {
                    step: StepPath::from("output"),
                    message: error.message,
                    cause: error.cause,
                },
            },
            Conclusion::Failed {
                step,
                message,
                cause,
            } => Outcome::Failed {
                step,
                message,
                cause,
            },
            Conclusion::TimedOut => Outcome::TimedOut,
            Conclusion::Cancelled => Outcome::Cancelled,
        };
        Ok(Some(Finished {
            outcome,
            output: None,
        }))
    }

    /// After the end is stored: the caller is told, the data dropped, the request settled.
    async fn finish(&mut self, finished: Finished) -> Result<(), DriveError> {
        self.running.abort_all();
        self.tell(finished);
        self.context.data.close();
        let settled = self.settle().await;
        let log_bytes = self.shared.log.bytes(self.request);
        self.shared.index.settle(self.request, log_bytes);
        self.shared.forget_oldest();
        settled
    }

    /// Shows the end, and tells the caller, once.
    fn tell(&mut self, finished: Finished) {
        let Some(waiting) = self.finished.take() else {
            return;
        };
        let (index, ended_us) = (&self.shared.index, now_us());
        index.end(self.request, &finished.outcome, ended_us);
        let about = index.get(self.request);
        let accepted_us = about.map_or(ended_us, |about| about.accepted_us);
        let took = Duration::from_micros(ended_us.saturating_sub(accepted_us));
        let outcome = finished.outcome.status();
        self.shared.metrics.request(&self.flow, outcome, took);
        // A caller who went away needs no answer.
        drop(waiting.send(finished));
    }

    /// The last resort, where driving came to nothing: the request fails, and lets go of what it
    /// holds. With this log there is no other replica that could take it over.
    async fn give_up(&mut self, why: &str) {
        let outcome = match self.record_failure(why).await {
            Ok(outcome) => outcome,
            Err(DriveError::Superseded) => return,
            Err(error) => {
                let request = self.request;
                error!(%request, %error, "end of a request could not be recorded");
                failure(why)
            }
        };
        let output = None;
        if let Err(error) = self.finish(Finished { outcome, output }).await {
            warn!(request = %self.request, %error, "request could not be settled");
        }
    }
}

/// How a request ends that could not be driven.
fn failure(why: &str) -> Outcome {
    Outcome::Failed {
        step: StepPath::from("driver"),
        message: format!("the request could not be driven on: {why}"),
        cause: Cause::Permanent,
    }
}

fn random() -> u128 {
    Uuid::new_v4().as_u128()
}

#[cfg(test)]
mod tests;
