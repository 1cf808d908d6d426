//! Steps: from readiness to their ends.

use std::sync::Arc;

use turlough_sdk::{Cause, Digest, Fallback, Operation, Retry, StepPath, Vertex, Wait};
use turlough_statestore::Kind;
use turlough_statestore::event::{StepEnd, StepEnded, Trouble};

use super::action::{Action, Run, Work, trouble};
use super::frame::{Attempt, Begun, Body, FrameIx, Stage, State};
use super::given::Given;
use super::timers::after;
use super::{Consequence, Execution, Phase, Slot};

impl Execution {
    /// Whether nodes that become ready open.
    pub(super) fn runs(&self) -> bool {
        match &self.phase {
            Phase::Open => true,
            Phase::Unwinding(unwinding) => unwinding.runs_handler(),
            _ => false,
        }
    }

    /// Works off what follows from what, without recursion: a chain of 10,000 skipped nodes is deep.
    pub(super) fn follow(&mut self, mut consequences: Vec<Consequence>) {
        while let Some(consequence) = consequences.pop() {
            if !self.runs() {
                return;
            }
            match consequence {
                Consequence::Resolved(frame, node) => {
                    self.tell_successors(frame, node, &mut consequences);
                }
                Consequence::FrameDone(frame) => self.frame_done(frame, &mut consequences),
            }
        }
    }

    fn tell_successors(&mut self, ix: FrameIx, node: usize, consequences: &mut Vec<Consequence>) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let graph = Arc::clone(&frame.graph);
        frame.unresolved -= 1;
        let done = frame.unresolved == 0;
        for (successor, edge) in &graph.successors[node] {
            let Some(frame) = self.frames[ix].as_mut() else {
                return;
            };
            let edge = &graph.nodes[*successor].edges[*edge];
            let live = frame.is_live(edge);
            let State::Waiting {
                unresolved,
                live: any,
            } = &mut frame.states[*successor]
            else {
                continue;
            };
            *unresolved -= 1;
            *any |= live && !edge.capture;
            if *unresolved == 0 {
                self.release_node(ix, *successor, consequences);
            }
        }
        if done {
            consequences.push(Consequence::FrameDone(ix));
        }
    }

    /// All in-edges of a node are resolved: it opens, or is skipped.
    pub(super) fn release_node(
        &mut self,
        ix: FrameIx,
        node: usize,
        consequences: &mut Vec<Consequence>,
    ) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        if matches!(frame.states[node], State::Waiting { live: true, .. }) {
            let stage = match &frame.graph.nodes[node] {
                Vertex { when: Some(_), .. } => Stage::When,
                vertex => first_stage(vertex),
            };
            self.open_stage(ix, node, stage);
        } else {
            frame.states[node] = State::Skipped;
            consequences.push(Consequence::Resolved(ix, node));
        }
    }

    /// A new attempt of a node begins, at a stage of it.
    pub(super) fn open_stage(&mut self, ix: FrameIx, node: usize, stage: Stage) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        frame.attempts[node] += 1;
        frame.states[node] = State::Open(Attempt::new(stage, frame.attempts[node]));
        let path = frame.path(node);
        self.open.insert(path.clone(), Slot::Node(ix, node));
        if stage != Stage::Sleep {
            self.fresh.push_back(path);
            return;
        }
        let now_us = self.now_us;
        let until = match self.vertex(ix, node).map(|vertex| &vertex.operation) {
            Some(Operation::Wait(Wait::Duration(wait))) => Some(after(now_us, *wait)),
            _ => None,
        };
        self.sleep(ix, node, until);
    }

    /// The same stage again, after a failure.
    fn open_again(&mut self, ix: FrameIx, node: usize, failures: u32, not_before_us: u64) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        frame.attempts[node] += 1;
        let number = frame.attempts[node];
        if let State::Open(attempt) = &mut frame.states[node] {
            let stage = attempt.stage;
            *attempt = Attempt::new(stage, number);
            attempt.failures = failures;
            attempt.not_before_us = not_before_us;
            self.fresh.push_back(frame.path(node));
        }
    }

    pub(super) fn tell_node(&mut self, step: StepPath, ix: FrameIx, node: usize) -> Option<Action> {
        let epoch = self.epoch;
        let frame = self.frames[ix].as_mut()?;
        let graph = Arc::clone(&frame.graph);
        let vertex = &graph.nodes[node];
        let State::Open(attempt) = &mut frame.states[node] else {
            return None;
        };
        if attempt.told || attempt.stage == Stage::Sleep {
            return None;
        }
        let (stage, number) = (attempt.stage, attempt.number);
        if stage == Stage::Run && vertex.commits_start() {
            match attempt.begun {
                Begun::No => {
                    return Some(Action::Start {
                        step,
                        attempt: number,
                    });
                }
                Begun::Started(at) if at < epoch && !vertex.idempotent => return None,
                Begun::Called => return None,
                Begun::Started(_) => {}
            }
        }
        attempt.told = true;
        let not_before_us = attempt.not_before_us;
        let work = match stage {
            Stage::When => Work::When,
            Stage::Run | Stage::Sleep => Work::Operation,
            Stage::Fallback => Work::Fallback,
            Stage::Ask => Work::Ask(self.loop_state(ix, node)),
            Stage::Gather => Work::Gather(self.gathered(ix, node)?),
        };
        let frame = self.frame(ix)?;
        let error = match stage {
            Stage::Fallback => self.failures.get(&step).cloned(),
            _ => self.handled_error(frame.root),
        };
        Some(Action::Run(Box::new(Run {
            inputs: self.inputs(frame, vertex),
            graph,
            node,
            step,
            attempt: number,
            not_before_us,
            work,
            variables: Arc::clone(&self.variables),
            error,
        })))
    }

    /// The start of an attempt is recorded.
    pub(super) fn started(&mut self, step: &StepPath, number: u32, at_us: u64) {
        self.see(at_us);
        let Some(Slot::Node(ix, node)) = self.open.get(step).copied() else {
            return;
        };
        let (epoch, deadline_us) = (self.epoch, self.deadline_us);
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let graph = Arc::clone(&frame.graph);
        let vertex = &graph.nodes[node];
        let State::Open(attempt) = &mut frame.states[node] else {
            return;
        };
        if attempt.number != number || attempt.begun != Begun::No {
            return;
        }
        attempt.begun = Begun::Started(epoch);
        if vertex.operation.is_remote() {
            // A lost callback is a timeout.
            let due_us = vertex
                .timeout
                .map_or(deadline_us, |limit| after(at_us, limit));
            attempt.due_us = due_us;
            self.timers.insert((due_us, step.clone()));
        }
        self.fresh.push_back(step.clone());
        if vertex.compensate.is_some() {
            self.undo_later(step, ix, node);
        }
    }

    /// Somebody else took an attempt on.
    pub(super) fn called(&mut self, step: &StepPath, number: u32, at_us: u64) {
        self.see(at_us);
        let Some(Slot::Node(ix, node)) = self.open.get(step).copied() else {
            return;
        };
        if let Some(frame) = self.frames[ix].as_mut()
            && let State::Open(attempt) = &mut frame.states[node]
            && attempt.number == number
            && matches!(attempt.begun, Begun::Started(_))
        {
            attempt.begun = Begun::Called;
        }
    }

    pub(super) fn step_ended(&mut self, ended: &StepEnded, kind: Kind) {
        self.see(ended.end_us);
        let Some(slot) = self.open.get(&ended.step).copied() else {
            return;
        };
        if !self.counts(ended, slot, kind) {
            return;
        }
        match slot {
            Slot::Node(ix, node) => self.node_ended(ended, ix, node),
            Slot::Undo(at) => self.undo_ended(ended, at),
            Slot::Stray { undo, .. } => self.stray_ended(&ended.step, undo, Some(&ended.end)),
        }
    }

    /// Whether an end is that of the open attempt: under the newest claim, or, where its start is
    /// recorded and somebody else may know how it ended, from whoever holds the answer.
    fn counts(&self, ended: &StepEnded, slot: Slot, kind: Kind) -> bool {
        if ended.generation != self.generation || self.attempt_number(slot) != Some(ended.attempt) {
            return false;
        }
        if ended.epoch == self.epoch && kind == Kind::Driver {
            return true;
        }
        match slot {
            Slot::Node(ix, node) => match self.frame(ix).map(|frame| &frame.states[node]) {
                Some(State::Open(attempt)) => kind == Kind::External && attempt.begun != Begun::No,
                _ => false,
            },
            Slot::Stray { .. } => kind == Kind::External,
            Slot::Undo(_) => false,
        }
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
        match (&ended.end, stage, operation) {
            (StepEnd::Failed { message, cause }, ..) => {
                self.attempt_failed(step, ix, node, message, *cause);
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
                self.resolve(step, ix, node, State::Took(cases.clone().into(), given));
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
                let given = Given::value(value);
                self.undo_known(step, Some(&given), None);
                self.resolve(step, ix, node, State::Done(given));
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
        ix: FrameIx,
        node: usize,
        message: &str,
        cause: Cause,
    ) {
        let Some(frame) = self.frames[ix].as_ref() else {
            return;
        };
        let graph = Arc::clone(&frame.graph);
        let vertex = &graph.nodes[node];
        let State::Open(attempt) = frame.states[node].clone() else {
            return;
        };
        let (stage, failures) = (attempt.stage, attempt.failures + 1);
        if stage == Stage::Run {
            self.undo_known(step, None, Some(cause));
        }
        let retry: &Retry = match (&vertex.fallback, stage) {
            (Some(Fallback::Node(part)), Stage::Fallback) => &part.retry,
            _ => &vertex.retry,
        };
        if stage != Stage::Sleep && retry.applies(failures, cause) && self.runs() {
            let wait = retry.wait_after(failures, jitter(step, failures));
            let not_before_us = after(self.now_us, wait);
            if attempt.told && attempt.begun == Begun::Called {
                self.stopped.push((step.clone(), attempt.number));
            }
            self.open_again(ix, node, failures, not_before_us);
            return;
        }
        if attempt.begun == Begun::Called {
            self.stopped.push((step.clone(), attempt.number));
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
            if let Some(fallback) = fallback.filter(|_| !fell_back && self.runs()) {
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
        self.failures.remove(path);
        if let Some(frame) = self.frames[ix].as_mut() {
            frame.states[node] = state;
            if !matches!(frame.bodies.get(&node), Some(Body::Each(each)) if each.failed_any()) {
                frame.bodies.remove(&node);
            }
        }
        if !self.runs() {
            self.awaited();
            return;
        }
        if !self.made_again(path, ix, node) {
            return;
        }
        self.follow(vec![Consequence::Resolved(ix, node)]);
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

/// Where a node begins that runs.
pub(super) fn first_stage(vertex: &Vertex) -> Stage {
    match &vertex.operation {
        Operation::Loop(_) => Stage::Ask,
        Operation::Wait(Wait::Signal(_)) => Stage::Sleep,
        Operation::Wait(Wait::Duration(_)) => Stage::Sleep,
        _ => Stage::Run,
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

/// 0 to 1, the same for the same attempt of the same step: waits spread without a random number.
pub(super) fn jitter(step: &StepPath, attempt: u32) -> f64 {
    let digest = Digest::of(format!("{step}#{attempt}").as_bytes());
    (digest.0 as u32) as f64 / f64::from(u32::MAX)
}
