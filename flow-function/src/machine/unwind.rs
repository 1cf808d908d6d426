//! The way to a request's end: what must be awaited is, what was done is undone in reverse, then the
//! handlers have their turn.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use turlough_sdk::{Cause, Flow, Graph, StepPath, Value, ValueRef};
use turlough_statestore::event::{StepEnd, StepEnded, Trouble};

use super::action::{Action, Conclusion, Run, Work, trouble};
use super::frame::{Attempt, Begun, FrameIx, Made, Root, Stage, State};
use super::given::Given;
use super::steps::jitter;
use super::timers::after;
use super::{Execution, Phase, Slot};

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

/// A step that is undone if the flow fails.
#[derive(Debug, Clone)]
pub(super) struct Undo {
    pub(super) step: StepPath,
    pub(super) graph: Arc<Graph>,
    /// Where the graph comes from, so that a snapshot can name it.
    pub(super) flow: Arc<Flow>,
    pub(super) made: Option<Arc<Made>>,
    pub(super) node: usize,
    pub(super) inputs: Vec<(Arc<str>, Option<Given>)>,
    pub(super) output: Option<Given>,
    pub(super) done: Done,
    /// Its compensation, while that is open.
    pub(super) attempt: Option<Attempt>,
    /// The last attempt number of its compensation.
    pub(super) number: u32,
}

/// Whether a step that can be undone was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Done {
    /// An attempt runs, or nobody knows how one ended.
    Perhaps {
        unsure: bool,
    },
    Yes,
    No,
    Undone,
    /// Its compensation is out of attempts.
    Stuck,
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
        let slots: Vec<_> = self.open.iter().map(|(p, s)| (p.clone(), *s)).collect();
        for (path, slot) in slots {
            let Slot::Node(ix, node) = slot else { continue };
            let Some(frame) = self.frame(ix) else {
                continue;
            };
            let State::Open(attempt) = &frame.states[node] else {
                continue;
            };
            let vertex = &frame.graph.nodes[node];
            let must = !vertex.idempotent || vertex.compensate.is_some();
            if must && attempt.stage == Stage::Run && attempt.begun != Begun::No {
                // Awaited to its end or timeout: where nothing else bounds it, the unwinding does.
                continue;
            }
            if attempt.told || attempt.begun == Begun::Called {
                self.stopped.push((path.clone(), attempt.number));
            }
            self.open.remove(&path);
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
            && unwinding.at == At::Awaiting
        {
            self.unwind();
        }
    }

    fn unwind(&mut self) {
        loop {
            let Phase::Unwinding(unwinding) = &self.phase else {
                return;
            };
            let conclusion = unwinding.conclusion.clone();
            let succeeds = matches!(conclusion, Conclusion::Succeeded(_));
            let at = unwinding.at;
            let next = match at {
                At::Awaiting if !self.open.is_empty() => return,
                At::Awaiting if succeeds => At::BeforeFinally,
                At::Awaiting => At::Undoing,
                At::Undoing if self.undo_next() => return,
                At::Undoing => At::BeforeOnFailure,
                At::BeforeOnFailure => {
                    let asked = !matches!(conclusion, Conclusion::Cancelled);
                    match self.flow.on_failure().cloned().filter(|_| asked) {
                        Some(graph) => return self.handle(graph, Root::OnFailure),
                        None => At::BeforeFinally,
                    }
                }
                At::BeforeFinally => match self.flow.finally().cloned() {
                    Some(graph) => return self.handle(graph, Root::Finally),
                    None => At::Over,
                },
                At::OnFailure(_) | At::Finally(_) => return,
                At::Over => {
                    let told = false;
                    self.phase = Phase::Ending { conclusion, told };
                    self.fresh.clear();
                    return;
                }
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

    fn error_of(&self, conclusion: &Conclusion) -> Option<Arc<Trouble>> {
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
            self.conclude(Conclusion::Failed(error));
            // Where the end is decided already, it was one of those that are awaited.
            self.awaited();
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
            At::Finally(frame) => (frame, At::Over),
            _ => return,
        };
        self.drop_frame(frame);
        self.unwound_to(next);
        self.unwind();
    }

    /// Unwinding took too long: what is not done is recorded, and the request ends.
    pub(super) fn give_up_unwinding(&mut self) {
        let text = "it was not come to, since unwinding took longer than the flow's timeout";
        for record in &mut self.undo {
            if record.is_due() {
                record.done = Done::Stuck;
                let step = record.step.compensation();
                self.trouble
                    .push(Trouble::clone(&trouble(&step, text, Cause::Timeout)));
            }
        }
        let open: Vec<_> = self.open.drain().collect();
        for (step, slot) in open {
            if let Some(number) = self.attempt_number(slot) {
                self.stopped.push((step, number));
            }
        }
        if let Phase::Unwinding(unwinding) = &self.phase
            && let At::OnFailure(frame) | At::Finally(frame) = unwinding.at
        {
            self.drop_frame(frame);
            let step = StepPath::from("~handler");
            self.trouble
                .push(Trouble::clone(&trouble(&step, text, Cause::Timeout)));
        }
        self.timers.clear();
        self.unwound_to(At::Over);
        self.unwind();
    }

    /// Opens the compensation of the latest start that is not undone. False where there is none.
    fn undo_next(&mut self) -> bool {
        let Some(at) = self.undo.iter().rposition(Undo::is_due) else {
            return false;
        };
        let record = &mut self.undo[at];
        if record.attempt.is_none() {
            record.number += 1;
            record.attempt = Some(Attempt::new(Stage::Run, record.number));
            let path = record.step.compensation();
            self.open.insert(path.clone(), Slot::Undo(at));
            self.fresh.push_back(path);
        }
        true
    }

    /// A start is recorded of a step that can be undone.
    pub(super) fn undo_later(&mut self, step: &StepPath, ix: FrameIx, node: usize) {
        if let Some(at) = self.undo_at.get(step) {
            let record = &mut self.undo[*at];
            if record.done == Done::No {
                record.done = Done::Perhaps { unsure: false };
            }
            return;
        }
        let Some(frame) = self.frame(ix) else { return };
        let record = Undo {
            step: step.clone(),
            graph: Arc::clone(&frame.graph),
            flow: Arc::clone(&self.flow),
            made: frame.made.clone(),
            node,
            inputs: self.inputs(frame, &frame.graph.nodes[node]),
            output: None,
            done: Done::Perhaps { unsure: false },
            attempt: None,
            number: 0,
        };
        self.undo_at.insert(step.clone(), self.undo.len());
        self.undo.push(record);
    }

    /// How an attempt of a step that can be undone ended.
    pub(super) fn undo_known(
        &mut self,
        step: &StepPath,
        output: Option<&Given>,
        cause: Option<Cause>,
    ) {
        let Some(at) = self.undo_at.get(step) else {
            return;
        };
        self.undo[*at].learn(output, cause);
    }

    pub(super) fn tell_undo(&mut self, step: StepPath, at: usize) -> Option<Action> {
        let error = match &self.phase {
            Phase::Unwinding(unwinding) => self.error_of(&unwinding.conclusion),
            _ => return None,
        };
        let variables = Arc::clone(&self.variables);
        let record = &mut self.undo[at];
        let attempt = record.attempt.as_mut().filter(|attempt| !attempt.told)?;
        attempt.told = true;
        Some(Action::Run(Box::new(Run {
            step,
            attempt: attempt.number,
            not_before_us: attempt.not_before_us,
            graph: Arc::clone(&record.graph),
            node: record.node,
            work: Work::Compensate(record.output.clone()),
            inputs: record.inputs.clone(),
            variables,
            error,
        })))
    }

    pub(super) fn undo_ended(&mut self, ended: &StepEnded, at: usize) {
        let now_us = self.now_us;
        let record = &mut self.undo[at];
        let Some(attempt) = record.attempt.take() else {
            return;
        };
        self.open.remove(&ended.step);
        match &ended.end {
            StepEnd::Succeeded { .. } => record.done = Done::Undone,
            StepEnd::Failed { message, cause } => {
                let failures = attempt.failures + 1;
                let vertex = record.graph.nodes[record.node].compensate.as_ref();
                let retry = vertex.map(|vertex| &vertex.retry);
                if let Some(retry) = retry.filter(|retry| retry.applies(failures, *cause)) {
                    record.number += 1;
                    let wait = retry.wait_after(failures, jitter(&ended.step, failures));
                    let mut again = Attempt::new(Stage::Run, record.number);
                    again.failures = failures;
                    again.not_before_us = after(now_us, wait);
                    record.attempt = Some(again);
                    self.open.insert(ended.step.clone(), Slot::Undo(at));
                    self.fresh.push_back(ended.step.clone());
                    return;
                }
                record.done = Done::Stuck;
                let error = trouble(&ended.step, message.as_str(), *cause);
                self.trouble.push(Trouble::clone(&error));
            }
            StepEnd::Lost { .. } => {
                record.done = Done::Stuck;
                let text = "a value that it needs is lost";
                self.trouble.push(Trouble::clone(&trouble(
                    &ended.step,
                    text,
                    Cause::Permanent,
                )));
            }
            _ => record.attempt = Some(attempt),
        }
        self.unwind();
    }

    /// A start ended that had to be awaited though its body is gone; nothing where its outcome
    /// stays unknown.
    pub(super) fn stray_ended(
        &mut self,
        step: &StepPath,
        undo: Option<usize>,
        end: Option<&StepEnd>,
    ) {
        self.open.remove(step);
        if let Some(at) = undo {
            match end {
                Some(StepEnd::Succeeded { value }) => {
                    self.undo[at].learn(Some(&Given::value(value)), None);
                }
                Some(StepEnd::Failed { cause, .. }) => self.undo[at].learn(None, Some(*cause)),
                _ => self.undo[at].learn(None, Some(Cause::Unknown)),
            }
        }
        self.awaited();
    }
}

impl Undo {
    const fn is_due(&self) -> bool {
        matches!(self.done, Done::Perhaps { .. } | Done::Yes)
    }

    fn learn(&mut self, output: Option<&Given>, cause: Option<Cause>) {
        let Done::Perhaps { unsure } = self.done else {
            return;
        };
        self.done = match cause {
            None => {
                self.output = output.cloned();
                Done::Yes
            }
            // One attempt that may have been made is enough.
            Some(cause) if cause.is_known() && !unsure => Done::No,
            Some(_) => Done::Perhaps { unsure: true },
        };
    }
}
