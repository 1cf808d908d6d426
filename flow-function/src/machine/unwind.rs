//! The way to a request's end: what must be awaited is, what was done is undone in reverse, then the
//! handlers have their turn.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use turlough_sdk::{Cause, Graph, StepPath, Value, ValueRef};
use turlough_statestore::event::{StepEnd, Trouble};

use super::action::{Conclusion, trouble};
use super::frame::{FrameIx, Root};
use super::given::Given;
use super::mutation::{Mutation, planted};
use super::timers::after;
use super::{Execution, Phase, Slot, Stray};
use crate::fault::{self, Fault};

#[derive(Debug, Clone)]
pub(super) struct Unwinding {
    pub(super) conclusion: Conclusion,
    pub(super) until_us: u64,
    pub(super) at: At,
}

/// How far a request is unwound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum At {
    /// Starts that must be awaited run.
    Awaiting,
    Undoing,
    BeforeOnFailure,
    OnFailure(FrameIx),
    BeforeFinally,
    Finally(FrameIx),
    Over,
}

/// What handlers are given.
#[derive(Serialize)]
struct Report<'a> {
    request: String,
    flow: &'a str,
    status: &'static str,
    error: Option<&'a Trouble>,
}

impl Unwinding {
    pub(super) const fn runs_handler(&self) -> bool {
        matches!(self.at, At::OnFailure(_) | At::Finally(_))
    }
}

impl Execution {
    /// The request's end is decided: nothing new starts.
    pub(super) fn conclude(&mut self, conclusion: Conclusion) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        self.paused = false;
        self.fresh.clear();
        self.parked.clear();
        let slots: Vec<_> = self.open.iter().map(|(p, s)| (p.clone(), *s)).collect();
        for (path, slot) in slots {
            // Others are awaited to their end or timeout: where nothing else bounds it, the
            // unwinding does.
            if let Slot::Node(ix, node) = slot
                && (!self.must_end(ix, node)
                    || planted(Mutation::NothingAwaited)
                    || fault::planted(Fault::NothingAwaited))
            {
                self.let_go(path, ix, node);
            }
        }
        let open = &self.open;
        self.timers.retain(|(_, step)| open.contains_key(step));
        self.phase = Phase::Unwinding(Box::new(Unwinding {
            conclusion,
            until_us: after(self.now_us, self.flow.timeout()),
            at: At::Awaiting,
        }));
        self.unwind();
    }

    /// Something that was awaited ended, while nothing else runs.
    pub(super) fn awaited(&mut self) {
        if let Phase::Unwinding(unwinding) = &self.phase
            && matches!(unwinding.at, At::Awaiting | At::BeforeFinally | At::Over)
        {
            self.unwind();
        }
    }

    pub(super) fn unwind(&mut self) {
        loop {
            let Phase::Unwinding(unwinding) = &self.phase else {
                return;
            };
            let conclusion = unwinding.conclusion.clone();
            let succeeds = matches!(conclusion, Conclusion::Succeeded(_));
            let at = unwinding.at;
            let next = match at {
                At::Awaiting | At::BeforeFinally | At::Over if !self.open.is_empty() => return,
                At::Awaiting if succeeds => At::BeforeFinally,
                At::Awaiting => At::Undoing,
                At::Undoing if self.undo_next() => return,
                At::Undoing => At::BeforeOnFailure,
                At::BeforeOnFailure => {
                    let asked = !matches!(conclusion, Conclusion::Cancelled)
                        || planted(Mutation::OnFailureAfterCancel);
                    match self.flow.on_failure().cloned().filter(|_| asked) {
                        Some(graph) => return self.handle(graph, Root::OnFailure),
                        None => At::BeforeFinally,
                    }
                }
                At::BeforeFinally => {
                    // Where an output was lost, it comes here twice.
                    let done = self.is_finished && !planted(Mutation::FinallyTwice);
                    match self.flow.finally().cloned().filter(|_| !done) {
                        Some(graph) => return self.handle(graph, Root::Finally),
                        None => At::Over,
                    }
                }
                At::OnFailure(_) | At::Finally(_) => return,
                At::Over => return self.unwound(),
            };
            self.unwound_to(next);
        }
    }

    fn unwound_to(&mut self, at: At) {
        if let Phase::Unwinding(unwinding) = &mut self.phase {
            unwinding.at = at;
        }
    }

    /// Runs a handler.
    fn handle(&mut self, graph: Arc<Graph>, root: Root) {
        let report = self.report();
        // The frame's place is known before anything in it can end.
        let ix = self.free.last().copied().unwrap_or(self.frames.len());
        self.unwound_to(match root {
            Root::OnFailure => At::OnFailure(ix),
            _ => At::Finally(ix),
        });
        self.open_root(graph, root, report);
    }

    fn report(&self) -> Given {
        let Phase::Unwinding(unwinding) = &self.phase else {
            return Given::Empty;
        };
        let error = self.error_of(&unwinding.conclusion);
        let report = Report {
            request: self.request.to_string(),
            flow: self.flow.name().as_str(),
            status: match unwinding.conclusion {
                Conclusion::Succeeded(_) => "succeeded",
                Conclusion::Failed(_) => "failed",
                Conclusion::TimedOut => "timed_out",
                Conclusion::Cancelled => "cancelled",
            },
            error: error.as_deref(),
        };
        match Value::encode(&report) {
            Ok(value) => Given::value(&ValueRef::Inline(value.envelope().clone())),
            Err(_) => Given::Empty,
        }
    }

    pub(super) fn error_of(&self, conclusion: &Conclusion) -> Option<Arc<Trouble>> {
        let flow = StepPath::from(self.flow.name().as_str());
        match conclusion {
            Conclusion::Succeeded(_) => None,
            Conclusion::Failed(error) => Some(Arc::clone(error)),
            Conclusion::TimedOut => {
                let text = "the request took longer than the flow's timeout";
                Some(trouble(&flow, text, Cause::Timeout))
            }
            Conclusion::Cancelled => {
                let text = "the request was cancelled";
                Some(trouble(&flow, text, Cause::Permanent))
            }
        }
    }

    /// What went wrong, for the steps of a handler.
    pub(super) fn handled_error(&self, root: Root) -> Option<Arc<Trouble>> {
        match &self.phase {
            Phase::Unwinding(unwinding) if root != Root::Flow => {
                self.error_of(&unwinding.conclusion)
            }
            _ => None,
        }
    }

    /// A graph without an owner came to its end.
    pub(super) fn root_done(&mut self, root: Root, output: Given) {
        if root == Root::Flow {
            self.conclude(Conclusion::Succeeded(output));
        } else {
            self.handled();
        }
    }

    pub(super) fn root_failed(&mut self, root: Root, error: Arc<Trouble>) {
        if root == Root::Flow {
            if matches!(self.phase, Phase::Unwinding(_)) {
                // The end is decided already: it is one of those that are awaited.
                self.trouble.push(Trouble::clone(&error));
                self.awaited();
            } else {
                self.conclude(Conclusion::Failed(error));
            }
            return;
        }
        let Phase::Unwinding(unwinding) = &mut self.phase else {
            return;
        };
        if root == Root::Finally && matches!(unwinding.conclusion, Conclusion::Succeeded(_)) {
            unwinding.conclusion = Conclusion::Failed(error);
        } else {
            self.trouble.push(Trouble::clone(&error));
        }
        self.handled();
    }

    fn handled(&mut self) {
        let Phase::Unwinding(unwinding) = &self.phase else {
            return;
        };
        let (frame, next) = match unwinding.at {
            At::OnFailure(frame) => (frame, At::BeforeFinally),
            At::Finally(frame) => {
                self.is_finished = true;
                (frame, At::Over)
            }
            _ => return,
        };
        self.drop_frame(frame);
        self.unwound_to(next);
        self.unwind();
    }

    /// Unwinding took too long: what is not done is recorded, and the request ends.
    pub(super) fn give_up_unwinding(&mut self) {
        let text = "it was not come to, since unwinding took longer than the flow's timeout";
        // Where it succeeded, nothing was to be undone.
        let undoes = matches!(&self.phase, Phase::Unwinding(unwinding)
            if !matches!(unwinding.conclusion, Conclusion::Succeeded(_)));
        for record in &mut self.undo {
            if undoes && record.is_due() {
                record.give_up();
                let step = record.step.compensation();
                if let Some(attempt) = record.attempt.take() {
                    self.stopped.push((step.clone(), attempt.number));
                }
                self.trouble
                    .push(Trouble::clone(&trouble(&step, text, Cause::Timeout)));
            }
        }
        if let Phase::Unwinding(unwinding) = &self.phase
            && let At::OnFailure(frame) | At::Finally(frame) = unwinding.at
        {
            self.is_finished |= matches!(unwinding.at, At::Finally(_));
            self.drop_frame(frame);
            let step = StepPath::from("~handler");
            self.trouble
                .push(Trouble::clone(&trouble(&step, text, Cause::Timeout)));
        }
        // Ends of calls that must not be repeated are taken still.
        self.open.retain(|_, slot| !matches!(slot, Slot::Undo(_)));
        self.timers.clear();
        self.unwound();
    }

    /// It is told how the request ends.
    fn unwound(&mut self) {
        if let Phase::Unwinding(unwinding) = &self.phase {
            let (conclusion, told) = (unwinding.conclusion.clone(), false);
            self.phase = Phase::Ending { conclusion, told };
            self.fresh.clear();
            self.recorded.clear();
            self.parked.clear();
        }
    }

    /// A start ended that had to be awaited though its body is gone; nothing where its outcome
    /// stays unknown.
    pub(super) fn stray_ended(&mut self, step: &StepPath, end: Option<&StepEnd>) {
        if let Some(Slot::Stray(Stray { undone: true, .. })) = self.open.remove(step) {
            match end {
                Some(StepEnd::Succeeded { value }) => {
                    self.undo_learns(step, Some(&Given::value(value)), None);
                }
                Some(StepEnd::Failed { cause, .. }) => self.undo_learns(step, None, Some(*cause)),
                Some(StepEnd::Lost { .. }) => self.undo_learns(step, None, Some(Cause::Permanent)),
                _ => self.undo_learns(step, None, Some(Cause::Unknown)),
            }
        }
        self.awaited();
    }
}
