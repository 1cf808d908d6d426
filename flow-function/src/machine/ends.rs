//! The ends of steps, and what follows from them: retries, fallbacks, failure.

use std::sync::Arc;

use turlough_sdk::{Cause, Fallback, Operation, StepPath};
use turlough_statestore::Kind;
use turlough_statestore::event::{StepEnd, StepEnded, Trouble};

use super::action::trouble;
use super::frame::{Attempt, Begun, Body, FrameIx, Stage, State};
use super::given::Given;
use super::mutation::{Mutation, planted};
use super::steps::{first_stage, jitter, part};
use super::timers::after;
use super::{Consequence, Execution, Slot};
use crate::fault::{self, Fault};

impl Execution {
    pub(super) fn step_ended(&mut self, ended: &StepEnded, kind: Kind) {
        self.see(ended.end_us);
        let Some(slot) = self.open.get(&ended.step).copied() else {
            if planted(Mutation::JoinCountsEnds)
                && let Some((ix, node)) = self.find(&ended.step)
            {
                self.follow(vec![Consequence::Resolved(ix, node)]);
            }
            return;
        };
        if !self.counts(ended, slot, kind) {
            return;
        }
        match slot {
            Slot::Node(ix, node) => self.node_ended(ended, ix, node),
            Slot::Undo(at) => self.undo_ended(ended, at),
            Slot::Stray(_) => self.stray_ended(&ended.step, Some(&ended.end)),
        }
    }

    /// Whether an end is that of the open attempt: under the newest claim, or, where its start is
    /// recorded and somebody else may know how it ended, from whoever holds the answer.
    fn counts(&self, ended: &StepEnded, slot: Slot, kind: Kind) -> bool {
        let any = fault::planted(Fault::EndOfAnyAttempt);
        if ended.generation != self.generation && !any {
            return false;
        }
        let same = self.attempt_number(slot) == Some(ended.attempt);
        if !same && !any && !planted(Mutation::AttemptUnchecked) {
            return false;
        }
        let driven = ended.epoch == self.epoch || planted(Mutation::EpochUnchecked);
        if driven && kind == Kind::Driver {
            return true;
        }
        let begun = match slot {
            Slot::Node(ix, node) => match self.frame(ix).map(|frame| &frame.states[node]) {
                Some(State::Open(attempt)) => attempt.begun != Begun::No,
                _ => false,
            },
            Slot::Stray(_) => true,
            Slot::Undo(at) => {
                let attempt = self.undo[at].attempt.as_ref();
                attempt.is_some_and(|attempt| attempt.begun != Begun::No)
            }
        };
        kind == Kind::External && (begun || fault::planted(Fault::UnstartedEnds))
    }

    /// Whether somebody else may complete this attempt now.
    pub(super) fn is_completable(&self, ended: &StepEnded) -> bool {
        let slot = self.open.get(&ended.step).copied();
        slot.is_some_and(|slot| self.counts(ended, slot, Kind::External))
    }

    fn node_ended(&mut self, ended: &StepEnded, ix: FrameIx, node: usize) {
        let Some(frame) = self.frames[ix].as_ref() else {
            return;
        };
        let State::Open(attempt) = &frame.states[node] else {
            return;
        };
        let (stage, step) = (attempt.stage, &ended.step);
        let graph = Arc::clone(&frame.graph);
        let operation = &graph.nodes[node].operation;
        if !matches!(ended.end, StepEnd::Failed { .. } | StepEnd::Lost { .. }) {
            self.set_variables(&ended.set);
        }
        if let StepEnd::Expanded { .. } | StepEnd::Waits { .. } = &ended.end
            && !self.runs()
        {
            // Nothing new starts; a restart begins it anew.
            self.open.remove(step);
            if let Some(state) = self.state_mut(ix, node) {
                *state = State::Failed;
            }
            return self.awaited();
        }
        match (&ended.end, stage, operation) {
            (StepEnd::Failed { message, cause }, ..) => {
                self.attempt_failed(step, (ix, node), message, *cause, ended.again_us);
            }
            (StepEnd::Lost { .. }, ..) if fault::planted(Fault::LostIsFailure) => {
                self.attempt_failed(step, (ix, node), "a value is lost", Cause::Transient, None);
            }
            (StepEnd::Lost { value }, ..) => self.value_lost(step, ix, node, value),
            (StepEnd::Went, Stage::When, _) => {
                self.open.remove(step);
                self.open_stage(ix, node, first_stage(&graph.nodes[node]));
            }
            (StepEnd::Skipped, Stage::When, _) => self.resolve(step, ix, node, State::Skipped),
            (StepEnd::Split { items, manifest }, Stage::Run, Operation::ForEach(_)) => {
                self.open.remove(step);
                let manifest = self.place_of(manifest);
                self.open_each(ix, node, *items, manifest);
            }
            (StepEnd::Took { cases, input }, Stage::Run, Operation::Switch(_)) => {
                let given = match input {
                    Some(at) => Given::value(at),
                    None => self.own_input(ix, node),
                };
                let alone = planted(Mutation::FirstCaseAlone);
                let taken = if alone {
                    cases.len().min(1)
                } else {
                    cases.len()
                };
                self.resolve(step, ix, node, State::Took(cases[..taken].into(), given));
            }
            (StepEnd::Asked { again, input }, Stage::Ask, Operation::Loop(_)) => {
                self.asked(step, ix, node, *again, input.as_ref());
            }
            (StepEnd::Expanded { graph, input }, Stage::Run, Operation::Expand(_)) => {
                self.expand(step, ix, node, graph, input.as_ref());
            }
            (StepEnd::Waits { until_us }, Stage::Run, Operation::Wait(_)) => {
                self.sleep(ix, node, Some(*until_us));
            }
            (StepEnd::Succeeded { value }, Stage::Run | Stage::Gather | Stage::Fallback, _)
                if stage != Stage::Run || gives_value(operation) =>
            {
                self.resolve(step, ix, node, State::Done(Given::value(value)));
            }
            // An end that its operation cannot have; a log that holds one was not written by us.
            _ => {}
        }
    }

    /// A node's own input, joined, where no formula changes it.
    pub(super) fn own_input(&self, ix: FrameIx, node: usize) -> Given {
        let Some(frame) = self.frame(ix) else {
            return Given::Empty;
        };
        Given::join(self.inputs(frame, &frame.graph.nodes[node]))
    }

    pub(super) fn attempt_failed(
        &mut self,
        step: &StepPath,
        (ix, node): (FrameIx, usize),
        message: &str,
        cause: Cause,
        again_us: Option<u64>,
    ) {
        let Some(frame) = self.frames[ix].as_ref() else {
            return;
        };
        let graph = Arc::clone(&frame.graph);
        let vertex = &graph.nodes[node];
        let State::Open(attempt) = frame.states[node].clone() else {
            return;
        };
        let (stage, failures) = (attempt.stage, attempt.failures() + 1);
        let retry = &part(vertex, stage).retry;
        let again = retry.applies(failures, cause)
            || planted(Mutation::UnknownRetried) && cause == Cause::Unknown
            || planted(Mutation::RetryOneMore) && retry.applies(failures - 1, cause);
        let again = again && stage != Stage::Sleep && self.runs();
        let own = match stage {
            Stage::Run | Stage::Sleep => true,
            // Nothing of the loop was done before its first iteration; asked again, it begins still.
            Stage::Ask => !again && self.loop_state(ix, node).is_none(),
            _ => false,
        };
        if own {
            self.undo_known(step, (ix, node), None, Some(cause));
        }
        if attempt.begun == Begun::Called {
            self.stopped.push((step.clone(), attempt.number));
        }
        if again {
            let wait = retry.wait_after(failures, jitter(step, failures));
            let from_us = after(self.now_us, wait).max(again_us.unwrap_or(0));
            self.open_again(ix, node, failures, from_us);
            return;
        }
        self.open.remove(step);
        self.node_failed(ix, node, trouble(step, message, cause));
    }

    /// A node is out of attempts, or its body failed: its fallback has its turn, then the nodes that
    /// it stands in, then the request.
    pub(super) fn node_failed(&mut self, mut ix: FrameIx, mut node: usize, error: Arc<Trouble>) {
        loop {
            let Some(frame) = self.frames[ix].as_mut() else {
                return;
            };
            let path = frame.path(node);
            let fell_back = matches!(
                &frame.states[node],
                State::Open(attempt) if attempt.stage == Stage::Fallback
            );
            let graph = Arc::clone(&frame.graph);
            let fallback = graph.nodes[node].fallback.as_ref();
            if let Some(fallback) =
                fallback.filter(|_| (!fell_back || planted(Mutation::FallbackTwice)) && self.runs())
            {
                self.drop_body(ix, node);
                self.fall_back(ix, node, fallback, error);
                return;
            }
            let Some(frame) = self.frames[ix].as_mut() else {
                return;
            };
            if !matches!(frame.states[node], State::Body) {
                frame.states[node] = State::Failed;
            }
            self.failures.remove(&path);
            let Some(owner) = frame.owner.clone() else {
                let root = frame.root;
                self.root_failed(root, error);
                return;
            };
            if self.runs() && self.item_failed(&owner, ix, &error) {
                return;
            }
            (ix, node) = (owner.frame, owner.node);
        }
    }

    fn fall_back(&mut self, ix: FrameIx, node: usize, fallback: &Fallback, error: Arc<Trouble>) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let path = frame.path(node);
        match fallback {
            Fallback::Constant(value) => {
                let at = turlough_sdk::ValueRef::Inline(value.envelope().clone());
                // The node itself gave nothing that could be undone by it.
                frame.states[node] = State::Open(Attempt::new(Stage::Fallback, 0));
                self.resolve(&path, ix, node, State::Done(Given::value(&at)));
            }
            Fallback::Node(_) => {
                self.failures.insert(path, error);
                self.open_stage(ix, node, Stage::Fallback);
            }
        }
    }

    pub(super) fn resolve(&mut self, path: &StepPath, ix: FrameIx, node: usize, state: State) {
        self.open.remove(path);
        if !self.failures.is_empty() {
            self.failures.remove(path);
        }
        if let Some(frame) = self.frames[ix].as_mut() {
            let stood_in = matches!(
                &frame.states[node],
                State::Open(attempt) if attempt.stage == Stage::Fallback
            );
            let undone = !stood_in && !self.undo_at.is_empty();
            let output = state.value().filter(|_| undone).cloned();
            frame.states[node] = state;
            // What items came to is kept: a restart runs again only those that it must.
            if !matches!(frame.bodies.get(&node), Some(Body::Each(_))) {
                frame.bodies.remove(&node);
            }
            if let Some(output) = output {
                self.undo_known(path, (ix, node), Some(&output), None);
            }
        }
        if !self.runs() {
            self.awaited();
            return;
        }
        if !self.made_again(path, ix, node) {
            return;
        }
        let mut consequences = std::mem::take(&mut self.room);
        consequences.push(Consequence::Resolved(ix, node));
        self.follow(consequences);
    }

    fn set_variables(&mut self, set: &[(String, turlough_sdk::ValueRef)]) {
        if set.is_empty() {
            return;
        }
        let variables = Arc::make_mut(&mut self.variables);
        for (name, value) in set {
            variables.insert(name.clone(), value.clone());
        }
    }
}

/// Whether a node's own attempt ends with its value.
const fn gives_value(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Apply(_)
            | Operation::Map(_)
            | Operation::Http(_)
            | Operation::Pass(_)
            | Operation::Flow(_)
    )
}
