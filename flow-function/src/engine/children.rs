//! Sub-flows: how they begin, what becomes of those that nobody waits for, and word of their ends.
//!
//! Invariant: no sub-flow runs on that its parent does not wait for. A parent appends that it waits no
//! longer, and then looks for the sub-flow; a sub-flow appends that it began, and then looks at its
//! parent. Whichever append comes second, its look finds the first.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use turlough_sdk::{Cause, FlowName, RequestId, StepError, Value, ValueRef};
use turlough_statestore::event::{Outcome, Parent, StepEnd, TraceParent};
use turlough_statestore::{Event, Record, Seq};

use super::{Call, Control, ControlError, Engine, StartError, Started, keyed};
use crate::fault::{Fault, planted};
use crate::shared::{Finished, Shared};

/// How long to wait before a sub-flow is begun, looked at or cancelled again where the state did not answer.
const AGAIN: Duration = Duration::from_millis(500);
/// Flows that stand in one another, at most.
const FLOW_DEPTH_MAX: u32 = 16;

impl Shared {
    /// Starts a sub-flow, or finds it started: one of an attempt.
    pub(crate) async fn start_child(
        self: &Arc<Self>,
        flow: &FlowName,
        input: Value,
        (parent, trace): (Parent, Option<TraceParent>),
    ) -> Result<(), StepError> {
        if parent.depth > FLOW_DEPTH_MAX {
            let text = format!(
                "flow {flow} would stand {} deep in others, limit {FLOW_DEPTH_MAX}; end the recursion earlier",
                parent.depth
            );
            return Err(StepError::permanent(text));
        }
        let request = child_id(&parent);
        loop {
            let begun = self
                .begin_child(request, flow, input.clone(), (&parent, trace))
                .await;
            let error = match begun {
                Ok(started) if started.is_new => return Ok(()),
                Ok(_) => match self.tell_found(request, &parent).await {
                    Ok(()) => return Ok(()),
                    Err(ControlError::Log(_, error) | ControlError::Read(_, error)) => {
                        StartError::Log(error)
                    }
                    Err(error) => {
                        return Err(StepError::permanent(format!("flow {flow}: {error}")));
                    }
                },
                Err(error) => error,
            };
            if error.is_of_the_state() && !planted(Fault::ChildGivenUp) {
                // No request fails for it: the attempt's own time bounds how long this takes.
                warn!(%request, %flow, %error, "sub-flow was not begun yet; it is tried again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let text = format!("flow {flow}: {error}");
            return Err(match error {
                StartError::InputTooLarge { .. }
                | StartError::KeyReused { .. }
                | StartError::NoSubflow(_) => StepError::permanent(text),
                _ => StepError::transient(text),
            });
        }
    }

    async fn begin_child(
        self: &Arc<Self>,
        request: RequestId,
        flow: &FlowName,
        input: Value,
        (parent, trace): (&Parent, Option<TraceParent>),
    ) -> Result<Started, StartError> {
        let known = self.newest(flow).await?;
        let known = known.ok_or_else(|| StartError::NoSubflow(flow.clone()))?;
        let above = Some(parent.clone());
        let call = Call {
            trace,
            ..Call::default()
        };
        self.begin(request, known, input, call, above, true).await
    }

    /// A sub-flow that was found may have ended, and told so while its parent's log was lost: then it is
    /// told once more.
    async fn tell_found(
        self: &Arc<Self>,
        child: RequestId,
        parent: &Parent,
    ) -> Result<(), ControlError> {
        let records = self.log.read(child, Seq::START).await;
        let records = records.map_err(|error| ControlError::Read(child, error))?;
        let stands = self.execution(child, &records);
        let is_told = stands.is_ok_and(|it| it.is_ended() && it.owed().is_empty());
        if is_told && let Some(finished) = self.end_in_log(child, &records).await {
            self.tell_parent(parent, &finished).await?;
        }
        Ok(())
    }

    /// Cancels the sub-flow of an attempt that, as its log says, nobody waits for any more. One that
    /// is not there yet finds out by itself when it begins.
    pub(crate) fn cancel_child(self: &Arc<Self>, parent: &Parent) {
        let (shared, child) = (Arc::clone(self), child_id(parent));
        let task = self.tasks.token();
        tokio::spawn(async move {
            shared.cancel(child).await;
            drop(task);
        });
    }

    /// Cancels what is open of the sub-flows of a request that was given up or restarted.
    pub(crate) fn cancel_children(self: &Arc<Self>, parent: RequestId) {
        let shared = Arc::clone(self);
        let task = self.tasks.token();
        tokio::spawn(async move {
            match shared.log.read(parent, Seq::START).await {
                Ok(records) => {
                    for attempt in attempts(parent, &records) {
                        let child = child_id(&attempt);
                        shared.cancel_unless_awaited(child, &attempt).await;
                    }
                }
                Err(error) => {
                    warn!(request = %parent, %error, "sub-flows could not be looked for");
                }
            }
            drop(task);
        });
    }

    async fn cancel(self: &Arc<Self>, child: RequestId) {
        let engine = Engine {
            shared: Arc::clone(self),
        };
        loop {
            match engine.control(child, Control::Cancel, None).await {
                // One that has ended, or never began, needs nothing.
                Ok(()) | Err(ControlError::Refused { .. } | ControlError::Unknown(_)) => return,
                Err(ControlError::Log(_, error) | ControlError::Read(_, error))
                    if error.passes() && !planted(Fault::UnawaitedRunsOn) =>
                {
                    warn!(request = %child, %error, "sub-flow was not cancelled yet; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => {
                    return warn!(request = %child, %error, "sub-flow could not be cancelled");
                }
            }
        }
    }

    /// Cancels a sub-flow that stands in the log by now, if nobody waits for it.
    pub(super) async fn cancel_unless_awaited(self: &Arc<Self>, child: RequestId, parent: &Parent) {
        if !self.awaits(parent).await {
            self.cancel(child).await;
        }
    }

    /// Whether an attempt is still waited for.
    async fn awaits(&self, parent: &Parent) -> bool {
        loop {
            let mut turn = self.folds.turn(parent.request).await;
            let kept = turn.take();
            match self.fold_on(parent.request, kept).await {
                Ok(fold) => {
                    let execution = &fold.execution;
                    let awaits = execution.generation() == parent.generation
                        && execution.awaits(&parent.step, parent.attempt);
                    self.folds.keep(&mut turn, fold);
                    return awaits;
                }
                Err(ControlError::Unknown(_)) => return false,
                Err(ControlError::Log(_, error) | ControlError::Read(_, error))
                    if error.passes() && !planted(Fault::UnawaitedRunsOn) =>
                {
                    drop(turn);
                    warn!(request = %parent.request, %error, "parent of a sub-flow was not read yet");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => {
                    // Its own timeout ends it at the latest.
                    warn!(request = %parent.request, %error, "parent of a sub-flow could not be read");
                    return true;
                }
            }
        }
    }

    /// Tells a parent how its sub-flow ended. Errors are those that trying again may mend.
    pub(crate) async fn tell_parent(
        self: &Arc<Self>,
        parent: &Parent,
        finished: &Finished,
    ) -> Result<(), ControlError> {
        let failed = |message: String, cause| StepEnd::Failed { message, cause };
        let (before, end) = match (&finished.outcome, &finished.output) {
            // It lies beside its log, and its parent reads it there.
            (
                Outcome::Succeeded {
                    output: Some(at @ ValueRef::Stored { .. }),
                    ..
                },
                Some(_),
            ) => (Vec::new(), StepEnd::Succeeded { value: at.clone() }),
            (Outcome::Succeeded { .. }, Some(value)) => {
                let (parts, at) = self.external_value(value)?;
                (parts, StepEnd::Succeeded { value: at })
            }
            (Outcome::Succeeded { size, .. }, None) => {
                let text = format!(
                    "the sub-flow's output, {size} bytes, was too large to keep; raise TURLOUGH_DURABLE_BYTES_MAX"
                );
                (Vec::new(), failed(text, Cause::Permanent))
            }
            (
                Outcome::Failed {
                    step,
                    message,
                    cause,
                },
                _,
            ) => {
                let cause = if cause.may_retry() {
                    Cause::Transient
                } else {
                    *cause
                };
                (
                    Vec::new(),
                    failed(format!("the sub-flow's step {step}: {message}"), cause),
                )
            }
            (Outcome::TimedOut, _) => {
                let text = "the sub-flow took longer than its timeout".to_owned();
                (Vec::new(), failed(text, Cause::Timeout))
            }
            (Outcome::Dead { message }, _) => {
                let text = format!("the sub-flow is dead: {message}");
                (Vec::new(), failed(text, Cause::Permanent))
            }
            (Outcome::Cancelled, _) => (
                Vec::new(),
                failed("the sub-flow was cancelled".to_owned(), Cause::Permanent),
            ),
        };
        let at = (parent.generation, parent.step.clone(), parent.attempt);
        let told = self.complete_step(parent.request, at, before, end).await;
        match told {
            // One that went on, ended or is gone needs no word any more.
            told if planted(Fault::RefusalRetried) => told,
            Err(ControlError::Refused { .. } | ControlError::Unknown(_)) => Ok(()),
            told => told,
        }
    }
}

/// The attempts of a request, in all its generations, that each may have begun a sub-flow: those whose
/// start is recorded.
fn attempts(request: RequestId, records: &[Record]) -> Vec<Parent> {
    let mut generation = 0;
    let mut attempts = Vec::new();
    for record in records {
        generation = record.append.envelope.generation.max(generation);
        for event in &record.append.events {
            if let Event::StepStarted { step, attempt, .. } = event {
                attempts.push(Parent {
                    request,
                    generation,
                    step: step.clone(),
                    attempt: *attempt,
                    depth: 0,
                });
            }
        }
    }
    attempts
}

/// The request that an attempt of a `flow` step starts.
pub(crate) fn child_id(parent: &Parent) -> RequestId {
    let Parent {
        request,
        generation,
        step,
        attempt,
        ..
    } = parent;
    keyed(&format!("{request}/{generation}/{step}/{attempt}"))
}

#[cfg(test)]
mod tests;
