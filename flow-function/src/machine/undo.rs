//! What undoes steps when the flow fails: in the reverse order of their starts, one after the other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use turlough_sdk::{Cause, Flow, Graph, StepPath};
use turlough_statestore::event::{StepEnd, StepEnded, Trouble};

use super::action::{Action, Run, Work, trouble};
use super::frame::{Attempt, Begun, FrameIx, Made, Root, Stage};
use super::given::Given;
use super::mutation::{Mutation, planted};
use super::steps::jitter;
use super::timers::after;
use super::{Execution, Phase, Slot};

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
    /// Its compensation is out of attempts, or was not come to. `unsure`: it was done, or nobody knows
    /// how an attempt ended.
    Stuck {
        unsure: bool,
    },
}

impl Execution {
    /// Opens the compensation of the latest start that is not undone. False where there is none.
    pub(super) fn undo_next(&mut self) -> bool {
        let found = if planted(Mutation::UndoForward) {
            let open = self.undo.iter().position(|undo| undo.attempt.is_some());
            open.or_else(|| self.undo.iter().position(Undo::is_due))
        } else {
            self.undo.iter().rposition(Undo::is_due)
        };
        let Some(at) = found else {
            return false;
        };
        if self.undo[at].attempt.is_none() {
            self.open_undo(at, 0, 0);
        }
        true
    }

    fn open_undo(&mut self, at: usize, failures: u32, not_before_us: u64) {
        let path = self.undo[at].step.compensation();
        // A step that was done on two inputs is undone twice, and no number is used twice.
        let newest = self.undo_at.get(&self.undo[at].step).copied().unwrap_or(at);
        self.undo[newest].number += 1;
        let mut attempt = Attempt::new(Stage::Run, self.undo[newest].number);
        attempt.fail(failures);
        attempt.not_before_us = not_before_us;
        self.undo[at].attempt = Some(attempt);
        self.open.insert(path.clone(), Slot::Undo(at));
        self.fresh.push_back(path);
    }

    /// A step begins that can be undone.
    pub(super) fn undo_later(&mut self, step: &StepPath, ix: FrameIx, node: usize) {
        let Some(frame) = self.frame(ix) else { return };
        let vertex = &frame.graph.nodes[node];
        if vertex.compensate.is_none() || frame.root != Root::Flow {
            return;
        }
        let inputs = self.inputs(frame, vertex);
        let mut number = 0;
        if let Some(at) = self.undo_at.get(step).copied() {
            let last = at + 1 == self.undo.len();
            let record = &self.undo[at];
            let same = record.begins_again(&inputs)
                && same_graph(record.made.as_ref(), frame.made.as_ref());
            if same && (record.is_due() || last) {
                let begun = match record.done {
                    Done::No => (Done::Perhaps { unsure: false }, None),
                    // Nobody heard how the attempt before it ended.
                    Done::Perhaps { .. } => (Done::Perhaps { unsure: true }, record.output.clone()),
                    done => (done, record.output.clone()),
                };
                let (graph, made) = (Arc::clone(&frame.graph), frame.made.clone());
                let flow = Arc::clone(&self.flow);
                let record = &mut self.undo[at];
                (record.graph, record.made, record.flow, record.node) = (graph, made, flow, node);
                (record.done, record.output) = begun;
                return;
            }
            let record = &self.undo[at];
            // Otherwise what was done on the other input is undone by itself, and at its own place.
            number = record.number;
        }
        let record = Undo {
            step: step.clone(),
            graph: Arc::clone(&frame.graph),
            flow: Arc::clone(&self.flow),
            made: frame.made.clone(),
            node,
            inputs,
            output: None,
            done: Done::Perhaps { unsure: false },
            attempt: None,
            number,
        };
        self.undo_at.insert(step.clone(), self.undo.len());
        self.undo.push(record);
    }

    /// How an attempt of a node ended, where that is undone if the flow fails.
    pub(super) fn undo_known(
        &mut self,
        step: &StepPath,
        (ix, node): (FrameIx, usize),
        output: Option<&Given>,
        cause: Option<Cause>,
    ) {
        if self.is_undone(step, ix, node) {
            self.undo_learns(step, output, cause);
        }
    }

    /// How the newest start of a step ended.
    pub(super) fn undo_learns(
        &mut self,
        step: &StepPath,
        output: Option<&Given>,
        cause: Option<Cause>,
    ) {
        if let Some(at) = self.undo_at.get(step) {
            self.undo[*at].learn(output, cause);
        }
    }

    /// Whether the newest record of a step is of this node: another graph that was made at run time
    /// in the same place may name its nodes alike.
    pub(super) fn is_undone(&self, step: &StepPath, ix: FrameIx, node: usize) -> bool {
        let Some(frame) = self.frame(ix) else {
            return false;
        };
        if frame.graph.nodes[node].compensate.is_none() {
            return false;
        }
        let at = self.undo_at.get(step);
        at.is_some_and(|at| same_graph(self.undo[*at].made.as_ref(), frame.made.as_ref()))
    }

    pub(super) fn tell_undo(&mut self, step: StepPath, at: usize) -> Option<Action> {
        let error = match &self.phase {
            Phase::Unwinding(unwinding) => self.error_of(&unwinding.conclusion),
            _ => return None,
        };
        let (variables, epoch) = (Arc::clone(&self.variables), self.epoch);
        let (generation, until_us) = (self.reset_in(&step), self.bound_us());
        let record = &mut self.undo[at];
        let part = record.graph.nodes[record.node].compensate.as_deref();
        let once = part.is_some_and(|part| !part.idempotent);
        let attempt = record.attempt.as_mut().filter(|attempt| !attempt.told)?;
        match attempt.begun {
            Begun::No if once => {
                return Some(Action::Start {
                    step,
                    attempt: attempt.number,
                });
            }
            Begun::Started(at) if once && at < epoch => return None,
            _ => {}
        }
        attempt.told = true;
        Some(Action::Run(Box::new(Run {
            step,
            attempt: attempt.number,
            generation,
            not_before_us: attempt.not_before_us,
            until_us,
            graph: Arc::clone(&record.graph),
            node: record.node,
            work: Work::Compensate(record.output.clone()),
            inputs: record.inputs.clone(),
            variables,
            error,
        })))
    }

    /// Whether the start of a compensation has to be recorded, and is not.
    pub(super) fn undo_lacks_start(&self, at: usize) -> bool {
        let record = &self.undo[at];
        let part = record.graph.nodes[record.node].compensate.as_deref();
        let attempt = record.attempt.as_ref();
        part.is_some_and(|part| !part.idempotent)
            && attempt.is_some_and(|attempt| attempt.begun == Begun::No)
    }

    /// The start of a compensation is recorded.
    pub(super) fn undo_started(&mut self, step: &StepPath, at: usize, number: u32) {
        let epoch = self.epoch;
        let attempt = self.undo[at].attempt.as_mut();
        if let Some(attempt) = attempt.filter(|attempt| attempt.number == number)
            && attempt.may_start(epoch)
        {
            attempt.begun = Begun::Started(epoch);
            let was_due_us = std::mem::take(&mut attempt.due_us);
            self.timers.remove(&(was_due_us, step.clone()));
            self.run_recorded(step);
        }
    }

    pub(super) fn undo_ended(&mut self, ended: &StepEnded, at: usize) {
        match &ended.end {
            StepEnd::Succeeded { .. } => {
                self.open.remove(&ended.step);
                self.undo[at].attempt = None;
                self.undo[at].done = Done::Undone;
                self.unwind();
            }
            StepEnd::Failed { message, cause } => {
                self.undo_failed(&ended.step, at, message, *cause, ended.again_us);
            }
            StepEnd::Lost { .. } => {
                let text = "a value that it needs is lost";
                self.undo_failed(&ended.step, at, text, Cause::Permanent, None);
            }
            _ => {}
        }
    }

    pub(super) fn undo_failed(
        &mut self,
        step: &StepPath,
        at: usize,
        message: &str,
        cause: Cause,
        again_us: Option<u64>,
    ) {
        self.open.remove(step);
        let now_us = self.now_us;
        let record = &mut self.undo[at];
        let failures = record
            .attempt
            .take()
            .map_or(1, |attempt| attempt.failures() + 1);
        let part = record.graph.nodes[record.node].compensate.as_deref();
        if let Some(retry) = part.map(|part| &part.retry)
            && retry.applies(failures, cause)
        {
            let wait = retry.wait_after(failures, jitter(step, failures));
            let from_us = after(now_us, wait).max(again_us.unwrap_or(0));
            self.open_undo(at, failures, from_us);
            return;
        }
        record.give_up();
        let error = trouble(step, message, cause);
        self.trouble.push(Trouble::clone(&error));
        self.unwind();
    }
}

/// Whether two frames run the same graph, as far as it was made at run time.
fn same_graph(a: Option<&Arc<Made>>, b: Option<&Arc<Made>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.text == b.text,
        (a, b) => a.is_none() && b.is_none(),
    }
}

impl Undo {
    /// In the next generation, what was undone is over, and what could not be is tried again.
    pub(super) fn reopen(&mut self) {
        self.attempt = None;
        match self.done {
            Done::Undone if planted(Mutation::UndoneTwice) => self.done = Done::Yes,
            Done::Undone => self.done = Done::No,
            Done::Stuck { .. } => self.done = Done::Perhaps { unsure: true },
            Done::Perhaps { .. } | Done::Yes | Done::No => {}
        }
    }

    /// It could not be undone.
    pub(super) const fn give_up(&mut self) {
        let unsure = !matches!(self.done, Done::Perhaps { unsure: false });
        self.done = Done::Stuck { unsure };
    }

    pub(super) const fn is_due(&self) -> bool {
        matches!(self.done, Done::Perhaps { .. } | Done::Yes)
    }

    /// Whether it would begin on the same input as before.
    fn begins_again(&self, inputs: &[(Arc<str>, Option<Given>)]) -> bool {
        let same = |a: &Option<Given>, b: &Option<Given>| match (a, b) {
            (Some(a), Some(b)) => a.same_data(b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let mut pairs = self.inputs.iter().zip(inputs);
        self.inputs.len() == inputs.len() && pairs.all(|((m, a), (n, b))| m == n && same(a, b))
    }

    fn learn(&mut self, output: Option<&Given>, cause: Option<Cause>) {
        self.done = match (self.done, cause) {
            (Done::Yes | Done::Perhaps { .. }, None) => Done::Yes,
            (Done::Stuck { .. }, None) => Done::Stuck { unsure: true },
            (Done::Stuck { unsure: false }, Some(cause)) if cause.is_known() => Done::No,
            (Done::Stuck { .. }, Some(_)) => Done::Stuck { unsure: true },
            // One attempt that may have been made is enough.
            (Done::Perhaps { unsure: false }, Some(cause))
                if cause.is_known() && !planted(Mutation::UndoKnownFailed)
                    || planted(Mutation::UnknownNotUndone) =>
            {
                Done::No
            }
            (Done::Perhaps { .. }, Some(_)) => Done::Perhaps { unsure: true },
            _ => return,
        };
        if let Some(output) = output {
            self.output = Some(output.clone());
        }
    }
}
