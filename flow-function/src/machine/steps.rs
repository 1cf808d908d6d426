//! Steps: from readiness to their starts.

use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::{Cause, Digest, Fallback, Operation, StepPath, Vertex, Wait};

use super::action::{Action, Run, Work};
use super::frame::{Attempt, Begun, FrameIx, Stage, State};
use super::mutation::{Mutation, planted};
use super::timers::{after, micros};
use super::{Consequence, Execution, Phase, ROOM_KEPT, Slot};
use crate::fault::{self, Fault};

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
        while self.runs()
            && let Some(consequence) = consequences.pop()
        {
            match consequence {
                Consequence::Resolved(frame, node) => {
                    self.tell_successors(frame, node, &mut consequences);
                }
                Consequence::FrameDone(frame) => self.frame_done(frame, &mut consequences),
            }
        }
        if consequences.capacity() <= ROOM_KEPT {
            consequences.clear();
            self.room = consequences;
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
            // Where it is not skipped the next time, it begins anew.
            self.not_remade(ix, node);
            if !planted(Mutation::SkipStops) {
                consequences.push(Consequence::Resolved(ix, node));
            }
        }
    }

    /// A new attempt of a node begins, at a stage of it.
    pub(super) fn open_stage(&mut self, ix: FrameIx, node: usize, stage: Stage) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let is_kept = frame.attempts[node] > 0 && fault::planted(Fault::NumberKept);
        frame.attempts[node] += u32::from(!is_kept);
        frame.states[node] = State::Open(Attempt::new(stage, frame.attempts[node]));
        let path = frame.path(node);
        let begins = match stage {
            Stage::Sleep => true,
            Stage::Ask => !frame.bodies.contains_key(&node),
            _ => false,
        };
        if let Some(Slot::Stray(stray)) = self.open.insert(path.clone(), Slot::Node(ix, node)) {
            // It runs again before its earlier call has ended: nobody waits for that any more.
            if stray.undone {
                self.undo_learns(&path, None, Some(Cause::Unknown));
            }
            self.stopped.push((path.clone(), stray.attempt));
        }
        let wait = match self.vertex(ix, node).map(|vertex| &vertex.operation) {
            Some(Operation::Wait(Wait::Duration(wait))) if stage == Stage::Sleep => Some(*wait),
            _ => None,
        };
        if wait.is_some() && matches!(self.remade.get(&path), Some((_, Some(_)))) {
            // It has waited already; only its value is made again.
            let given = self.own_input(ix, node);
            self.later.push((path, ix, node, State::Done(given)));
            return;
        }
        if begins {
            // Nothing is called, and so no start is recorded: it follows from what is.
            self.undo_later(&path, ix, node);
        }
        if stage == Stage::Sleep {
            self.sleep(ix, node, wait.map(|wait| after(self.now_us, wait)));
        } else {
            self.fresh.push_back(path);
        }
    }

    /// The same stage again.
    pub(super) fn open_again(&mut self, ix: FrameIx, node: usize, failures: u32, from_us: u64) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        frame.attempts[node] += u32::from(!planted(Mutation::NumberTwice));
        let number = frame.attempts[node];
        if let State::Open(attempt) = &mut frame.states[node] {
            let stage = attempt.stage;
            *attempt = Attempt::new(stage, number);
            attempt.fail(failures);
            attempt.not_before_us = from_us;
            self.fresh.push_back(frame.path(node));
        }
    }

    pub(super) fn tell_node(&mut self, step: StepPath, ix: FrameIx, node: usize) -> Option<Action> {
        let frame = self.frame(ix)?;
        let vertex = &frame.graph.nodes[node];
        let State::Open(attempt) = &frame.states[node] else {
            return None;
        };
        if attempt.told || attempt.stage == Stage::Sleep {
            return None;
        }
        let number = attempt.number;
        let told_before = match attempt.begun {
            Begun::Started(at) => {
                let once = is_once(vertex, attempt.stage) && !planted(Mutation::OnceAgain);
                let once = once && !fault::planted(Fault::OnceAgain);
                at < self.epoch && (once || fault::planted(Fault::NotCalledAgain))
            }
            Begun::Called => true,
            Begun::No => false,
        };
        if told_before {
            return None;
        }
        if self.is_remaking(frame, vertex) {
            self.parked.push(step);
            return None;
        }
        if commits_start(vertex, attempt.stage) && attempt.begun == Begun::No {
            return Some(Action::Start {
                step,
                attempt: number,
            });
        }
        let run = self.run_of(step, ix, node)?;
        if let Some(State::Open(attempt)) = self.state_mut(ix, node) {
            attempt.told = true;
        }
        Some(Action::Run(Box::new(run)))
    }

    fn run_of(&self, step: StepPath, ix: FrameIx, node: usize) -> Option<Run> {
        let frame = self.frame(ix)?;
        let State::Open(attempt) = &frame.states[node] else {
            return None;
        };
        let work = match attempt.stage {
            Stage::When => Work::When,
            Stage::Run | Stage::Sleep => Work::Operation,
            Stage::Fallback => Work::Fallback,
            Stage::Ask => Work::Ask(self.loop_state(ix, node)),
            Stage::Gather => Work::Gather(self.gathered(ix, node)?),
        };
        let error = match attempt.stage {
            Stage::Fallback => self.failures.get(&step).cloned(),
            _ => self.handled_error(frame.root),
        };
        Some(Run {
            inputs: self.inputs(frame, &frame.graph.nodes[node]),
            graph: Arc::clone(&frame.graph),
            node,
            generation: self.reset_in(&step),
            step,
            attempt: attempt.number,
            not_before_us: attempt.not_before_us,
            until_us: self.bound_us(),
            work,
            variables: Arc::clone(&self.variables),
            error,
        })
    }

    /// The start of an attempt is recorded.
    pub(super) fn started(&mut self, step: &StepPath, number: u32, at_us: u64) {
        self.see(at_us);
        let (ix, node) = match self.open.get(step).copied() {
            Some(Slot::Node(ix, node)) => (ix, node),
            Some(Slot::Undo(at)) => return self.undo_started(step, at, number),
            Some(Slot::Stray(_)) | None => return,
        };
        let (epoch, bound_us) = (self.epoch, self.bound_us());
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let graph = Arc::clone(&frame.graph);
        let vertex = &graph.nodes[node];
        let State::Open(attempt) = &mut frame.states[node] else {
            return;
        };
        let stage = attempt.stage;
        let may_start = attempt.may_start(epoch) && commits_start(vertex, stage);
        if attempt.number != number || !may_start {
            return;
        }
        let is_again = attempt.begun != Begun::No;
        attempt.begun = Begun::Started(epoch);
        let was_due_us = std::mem::take(&mut attempt.due_us);
        self.timers.remove(&(was_due_us, step.clone()));
        if vertex.operation.is_remote() && stage == Stage::Run {
            // A lost callback is a timeout.
            let due_us = vertex.timeout.map_or(bound_us, |limit| after(at_us, limit));
            attempt.due_us = due_us;
            self.timers.insert((due_us, step.clone()));
        }
        if is_again {
            self.run_recorded(step);
            if !self.runs() {
                self.not_awaited(vec![step.clone()]);
            }
            return;
        }
        if is_once(vertex, stage) {
            self.count_calls(ix, node, 1);
        }
        if stage == Stage::Run {
            self.undo_later(step, ix, node);
        }
        self.run_recorded(step);
    }

    /// An attempt whose start is recorded runs, even where nothing new starts.
    pub(super) fn run_recorded(&mut self, step: &StepPath) {
        if let Some(Action::Run(run)) = self.tell(step.clone()) {
            // A fold of a long log does not keep what has ended.
            if self.recorded.len() >= 256 && self.recorded.len().is_power_of_two() {
                let recorded = std::mem::take(&mut self.recorded).into_iter();
                let open = recorded.filter(|run| self.awaits(&run.step, run.attempt));
                self.recorded = open.collect();
            }
            self.recorded.push(*run);
        }
    }

    /// Counts calls that must not be repeated, at a node and at all that it stands in.
    pub(super) fn count_calls(&mut self, mut ix: FrameIx, mut node: usize, more: i32) {
        while let Some(frame) = self.frame_mut(ix) {
            let calls = frame.calls(node).saturating_add_signed(more);
            frame.set_calls(node, calls);
            let Some(owner) = &frame.owner else { return };
            (ix, node) = (owner.frame, owner.node);
        }
    }

    /// Somebody else took an attempt on.
    pub(super) fn called(&mut self, step: &StepPath, number: u32, at_us: u64) {
        self.see(at_us);
        match self.open.get_mut(step) {
            Some(Slot::Stray(stray)) if stray.attempt == number => stray.called = true,
            Some(Slot::Node(ix, node)) => {
                let (ix, node) = (*ix, *node);
                if let Some(State::Open(attempt)) = self.state_mut(ix, node)
                    && attempt.number == number
                    && matches!(attempt.begun, Begun::Started(_))
                {
                    attempt.begun = Begun::Called;
                }
            }
            _ => {}
        }
    }

    pub(super) fn state_mut(&mut self, ix: FrameIx, node: usize) -> Option<&mut State> {
        self.frame_mut(ix)?.states.get_mut(node)
    }

    /// Whether an attempt runs that is awaited to its end: its call must not be repeated, or must be
    /// undone.
    pub(super) fn must_end(&self, ix: FrameIx, node: usize) -> bool {
        let Some(frame) = self.frame(ix) else {
            return false;
        };
        let State::Open(attempt) = &frame.states[node] else {
            return false;
        };
        let vertex = &frame.graph.nodes[node];
        let must = match attempt.stage {
            Stage::Run => !vertex.idempotent || vertex.compensate.is_some(),
            stage => is_once(vertex, stage),
        };
        must && match attempt.begun {
            Begun::No => false,
            // Where it waits for a value that is made again, it was not called.
            Begun::Started(at) => attempt.told || at < self.epoch && is_once(vertex, attempt.stage),
            Begun::Called => true,
        }
    }
}

/// What runs at a stage of a node: the node, or what takes its place.
pub(super) fn part(vertex: &Vertex, stage: Stage) -> &Vertex {
    match (stage, &vertex.fallback) {
        (Stage::Fallback, Some(Fallback::Node(part))) => part,
        _ => vertex,
    }
}

/// Whether the start of a stage is recorded before its call.
pub(super) fn commits_start(vertex: &Vertex, stage: Stage) -> bool {
    matches!(stage, Stage::Run | Stage::Fallback)
        && part(vertex, stage).commits_start()
        && !fault::planted(Fault::StartUnrecorded)
}

/// Whether a stage must not be repeated.
pub(super) fn is_once(vertex: &Vertex, stage: Stage) -> bool {
    matches!(stage, Stage::Run | Stage::Fallback) && !part(vertex, stage).idempotent
}

/// How long an attempt of a stage may take, in µs; 0 where it does not say.
pub(super) fn limit_us(vertex: &Vertex, stage: Stage) -> u64 {
    part(vertex, stage)
        .timeout
        .map_or(0, |limit: Duration| micros(limit))
}

/// Where a node begins that runs.
pub(super) fn first_stage(vertex: &Vertex) -> Stage {
    match &vertex.operation {
        Operation::Loop(_) => Stage::Ask,
        Operation::Wait(Wait::Signal(_) | Wait::Duration(_)) => Stage::Sleep,
        _ => Stage::Run,
    }
}

/// 0 to 1, the same for the same attempt of the same step: waits spread without a random number.
pub(super) fn jitter(step: &StepPath, attempt: u32) -> f64 {
    let digest = Digest::of(format!("{step}#{attempt}").as_bytes());
    (digest.0 as u32) as f64 / f64::from(u32::MAX)
}
