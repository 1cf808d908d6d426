//! Steps that are made again because a value was lost.
//!
//! The step that needs the value stays open, and is told of again when what made it has made it again.
//! Where that gives other data, all that used the old is void.

use std::sync::Arc;

use turlough_sdk::{Cause, Operation, Output, Source, StepPath, ValueRef, Vertex, Wait};
use turlough_statestore::event::Trouble;

use super::action::{Conclusion, trouble};
use super::frame::{Begun, Frame, FrameIx, Root, Stage, State};
use super::mutation::{Mutation, planted};
use super::steps::first_stage;
use super::{Execution, Phase, Slot};

/// How often a step is made again because its value was lost.
const REMADE_MAX: u32 = 3;

/// What made a value.
enum Makers {
    Nodes(FrameIx, Vec<usize>),
    /// The node itself, of what its body gave.
    Whole(FrameIx, usize),
    /// The caller.
    Input,
}

impl Execution {
    /// A value that a step needs is gone: what made it makes it again, and the step waits for that.
    pub(super) fn value_lost(&mut self, step: &StepPath, ix: FrameIx, node: usize, at: &ValueRef) {
        self.not_called(step, ix, node);
        if let Some(State::Open(attempt)) = self.state_mut(ix, node) {
            // It is over.
            (attempt.begun, attempt.told) = (Begun::No, false);
        }
        if !self.runs() {
            if let Some(State::Open(_)) = self.state_mut(ix, node) {
                let text = "a value that it needs is lost";
                self.open.remove(step);
                self.node_failed(ix, node, trouble(step, text, Cause::Permanent));
            }
            return;
        }
        let makers = self.makers(ix, node, at);
        let Some(waits) = self.make_all_again(step, ix, makers, at) else {
            return;
        };
        let failures = match self.state_mut(ix, node) {
            Some(State::Open(attempt)) => attempt.failures(),
            _ => return,
        };
        self.open_again(ix, node, failures, 0);
        self.refresh(waits);
    }

    /// A value that the flow's output is made of is gone: what made it makes it again, and the request
    /// comes to its end once more.
    pub(super) fn output_lost(&mut self, at: &ValueRef, at_us: u64) {
        self.see(at_us);
        let root = self.frames.iter().position(|frame| {
            let frame = frame.as_deref();
            frame.is_some_and(|frame| frame.owner.is_none() && frame.root == Root::Flow)
        });
        let (Some(ix), true) = (root, self.has_succeeded()) else {
            return;
        };
        let makers = self.frame(ix).map_or_else(Vec::new, |frame| {
            let outputs = match &frame.graph.output {
                Output::Node(node) => std::slice::from_ref(node),
                Output::Sinks(sinks) => sinks,
            };
            let reads = |node: &&usize| {
                let value = frame.states[**node].value();
                value.is_some_and(|given| given.reads(at))
            };
            outputs.iter().filter(reads).copied().collect()
        });
        if makers.is_empty() {
            let text = "a value of it is lost, and no step made it";
            return self.output_failed(text, Cause::Permanent, at_us);
        }
        self.not_over();
        let (step, makers) = (StepPath::from("output"), Makers::Nodes(ix, makers));
        if let Some(waits) = self.make_all_again(&step, ix, makers, at) {
            self.refresh(waits);
        }
    }

    /// The flow's output cannot be put together: the request fails.
    pub(super) fn output_failed(&mut self, message: &str, cause: Cause, at_us: u64) {
        self.see(at_us);
        if self.has_succeeded() {
            self.not_over();
            let error = trouble(&StepPath::from("output"), message, cause);
            self.conclude(Conclusion::Failed(error));
        }
    }

    /// It is not over: where its unwinding had been given up, it is due again by when what is awaited
    /// still has to end.
    fn not_over(&mut self) {
        self.phase = Phase::Open;
        for (step, slot) in &self.open {
            if let Slot::Stray(stray) = slot
                && stray.due_us > 0
            {
                self.timers.insert((stray.due_us, step.clone()));
            }
        }
    }

    /// Whether it is told that the request succeeded.
    const fn has_succeeded(&self) -> bool {
        matches!(
            self.phase,
            Phase::Ending {
                conclusion: Conclusion::Succeeded(_),
                ..
            }
        )
    }

    /// Has values made again that a step in a frame needs, or fails for them. The waits whose values are
    /// made again; none where the request, or its handler, fails.
    fn make_all_again(
        &mut self,
        step: &StepPath,
        ix: FrameIx,
        first: Makers,
        at: &ValueRef,
    ) -> Option<Vec<(FrameIx, usize)>> {
        let (mut left, mut waits) = (vec![first], Vec::new());
        while let Some(makers) = left.pop() {
            match makers {
                // What a wait passes on was made again before.
                Makers::Whole(ix, node) if waits.contains(&(ix, node)) => {}
                Makers::Input => {
                    let text = "the request's input is lost, and cannot be made again";
                    self.not_waited(&waits);
                    self.give_up((ix, None), trouble(step, text, Cause::Permanent));
                    return None;
                }
                Makers::Whole(ix, node) => {
                    // They stand in its body.
                    self.not_waited(&waits);
                    self.make_whole(ix, node);
                    return None;
                }
                Makers::Nodes(ix, makers) => {
                    for maker in makers {
                        match self.make_again(ix, maker) {
                            Again::Runs => {}
                            Again::Never(error) => {
                                self.not_waited(&waits);
                                self.give_up((ix, Some(maker)), error);
                                return None;
                            }
                            Again::Waits => {
                                left.push(self.makers(ix, maker, at));
                                waits.push((ix, maker));
                            }
                        }
                    }
                }
            }
        }
        Some(waits)
    }

    /// Who made a value that an open or unmade node is given.
    fn makers(&self, mut ix: FrameIx, mut node: usize, at: &ValueRef) -> Makers {
        let (mut own, mut edge) = (true, None);
        while let Some(frame) = self.frame(ix) {
            let edges = frame.graph.nodes[node].edges.iter().enumerate();
            let wanted = edges.filter(|(place, e)| match edge {
                Some(wanted) => *place == wanted,
                None => own && self.given(frame, e).is_some_and(|given| given.reads(at)),
            });
            let sources: Vec<_> = wanted.map(|(_, edge)| edge.from).collect();
            let nodes = sources.iter().filter_map(|source| match source {
                Source::Node(maker) => Some(*maker),
                _ => None,
            });
            let nodes: Vec<_> = nodes.collect();
            if !nodes.is_empty() {
                return Makers::Nodes(ix, nodes);
            }
            let outer = sources.iter().find_map(|source| match source {
                Source::Outer(edge) => Some(*edge),
                _ => None,
            });
            match (outer, sources.is_empty(), &frame.owner) {
                (None, true, _) => return Makers::Whole(ix, node),
                (None, false, Some(owner)) => {
                    (ix, node, own, edge) = (owner.frame, owner.node, false, None);
                }
                (Some(outer), _, Some(owner)) => {
                    (ix, node, own, edge) = (owner.frame, owner.node, true, Some(outer));
                }
                (_, _, None) => return Makers::Input,
            }
        }
        Makers::Input
    }

    /// A step whose value is lost, and that runs already where that was told before.
    fn make_again(&mut self, ix: FrameIx, maker: usize) -> Again {
        let Some(frame) = self
            .frame(ix)
            .filter(|frame| Frame::is_resolved(&frame.states[maker]))
        else {
            return Again::Runs;
        };
        let (path, old) = (frame.path(maker), frame.states[maker].clone());
        let vertex = &frame.graph.nodes[maker];
        let only_waits = matches!(vertex.operation, Operation::Wait(Wait::Duration(_)));
        if let Err(error) = self.may_make_again(ix, maker) {
            return Again::Never(error);
        }
        self.remade.entry(path).or_default().1.get_or_insert(old);
        self.unmake(ix, maker);
        if let Some(frame) = self.frame_mut(ix) {
            frame.recount(None);
        }
        if only_waits {
            // Its value is its input: that is made again.
            return Again::Waits;
        }
        self.open_first(ix, maker);
        Again::Runs
    }

    /// Waits whose value was to be made again, and cannot be: a restart begins them anew.
    fn not_waited(&mut self, waits: &[(FrameIx, usize)]) {
        for (ix, node) in waits {
            if let Some(state) = self.state_mut(*ix, *node) {
                *state = State::Failed;
            }
        }
    }

    /// A node in a graph that is gone, or that is skipped, is not made again any more.
    pub(super) fn not_remade(&mut self, ix: FrameIx, node: usize) {
        if self.remade.is_empty() {
            return;
        }
        let path = self.frame(ix).map(|frame| frame.path(node));
        if let Some(made) = path.and_then(|path| self.remade.get_mut(&path)) {
            made.1 = None;
        }
    }

    /// Waits whose input is made again; where it is not, it is there.
    fn refresh(&mut self, waits: Vec<(FrameIx, usize)>) {
        let mut consequences = Vec::new();
        for (ix, node) in waits {
            let state = self.frame(ix).map(|frame| &frame.states[node]);
            if matches!(state, Some(State::Waiting { unresolved: 0, .. })) {
                self.release_node(ix, node, &mut consequences);
            }
        }
        self.follow(consequences);
    }

    /// A node runs again from its beginning, since a value that it made inside is gone.
    fn make_whole(&mut self, ix: FrameIx, node: usize) {
        if let Err(error) = self.may_make_again(ix, node) {
            return self.give_up((ix, Some(node)), error);
        }
        self.unmake(ix, node);
        self.open_first(ix, node);
    }

    fn open_first(&mut self, ix: FrameIx, node: usize) {
        let stage = match self.vertex(ix, node) {
            Some(Vertex { when: Some(_), .. }) => Stage::When,
            Some(vertex) => first_stage(vertex),
            None => return,
        };
        self.open_stage(ix, node, stage);
    }

    /// What was lost cannot be had again: the request fails, or its handler.
    fn give_up(&mut self, (ix, node): (FrameIx, Option<usize>), error: Arc<Trouble>) {
        let lost = node.and_then(|node| {
            let frame = self.frame_mut(ix)?;
            let path = frame.path(node);
            let state = &mut frame.states[node];
            // A restart makes it again, and all that comes after it.
            let resolved = Frame::is_resolved(state);
            resolved.then(|| (path, std::mem::replace(state, State::Failed)))
        });
        if let Some((path, state)) = lost {
            // What has begun on it is given it still.
            self.remade.entry(path).or_default().1.get_or_insert(state);
        }
        match self.frame(ix).map_or(Root::Flow, |frame| frame.root) {
            Root::Flow if matches!(self.phase, Phase::Open) => {
                self.conclude(Conclusion::Failed(error));
            }
            root => self.root_failed(root, error),
        }
    }

    /// Whether a node may run again; otherwise why the request fails.
    fn may_make_again(&mut self, ix: FrameIx, node: usize) -> Result<(), Arc<Trouble>> {
        let Some(frame) = self.frame(ix) else {
            return Ok(());
        };
        let path = frame.path(node);
        let signal = matches!(
            frame.graph.nodes[node].operation,
            Operation::Wait(Wait::Signal(_))
        );
        let once = frame.calls(node) > 0 && !planted(Mutation::OnceRemade);
        let repeatable = !once && !signal;
        let made = self.remade.entry(path.clone()).or_default();
        made.0 += 1;
        let text = if !repeatable {
            "its value is lost, and a step that is not idempotent would have to run again"
                .to_owned()
        } else if made.0 > REMADE_MAX && !planted(Mutation::RemadeForEver) {
            format!("its value was lost again after it was made {REMADE_MAX} times more")
        } else {
            return Ok(());
        };
        Err(trouble(&path, text, Cause::Permanent))
    }

    /// A step was made again: where it gives other data now, what used the old is void. False where
    /// the request fails by that.
    pub(super) fn made_again(&mut self, path: &StepPath, ix: FrameIx, node: usize) -> bool {
        if self.remade.is_empty() {
            return true;
        }
        let Some(old) = self.remade.get_mut(path).and_then(|made| made.1.take()) else {
            return true;
        };
        let Some(frame) = self.frame(ix) else {
            return true;
        };
        if frame.states[node].same_data(&old) || planted(Mutation::DivergedKept) {
            self.unpark();
            return true;
        }
        let graph = Arc::clone(&frame.graph);
        let (mut seen, mut left) = (vec![false; graph.nodes.len()], vec![node]);
        let mut used = Vec::new();
        while let Some(at) = left.pop() {
            for (successor, _) in &graph.successors[at] {
                if std::mem::replace(&mut seen[*successor], true) {
                    continue;
                }
                left.push(*successor);
                if !matches!(frame.states[*successor], State::Waiting { .. }) {
                    used.push(*successor);
                }
            }
        }
        if let Some(once) = used.iter().find(|at| frame.calls(**at) > 0) {
            let once = &graph.nodes[*once].id;
            let text = format!(
                "data diverged: made again, it gives other data, and {once} used the old and must not run again"
            );
            self.remade.entry(path.clone()).or_default().1 = Some(old);
            self.give_up((ix, Some(node)), trouble(path, text, Cause::Permanent));
            return false;
        }
        for at in used {
            self.unmake(ix, at);
        }
        self.unpark();
        if let Some(frame) = self.frame_mut(ix) {
            // The node itself is told of in a moment.
            frame.recount(Some(node));
        }
        true
    }

    /// Steps that waited for a value that was made again look anew.
    fn unpark(&mut self) {
        for step in std::mem::take(&mut self.parked) {
            let slot = self.open.get(&step).copied();
            let begun = match slot {
                Some(Slot::Node(ix, node)) => match self.frame(ix).map(|f| &f.states[node]) {
                    Some(State::Open(attempt)) => attempt.begun != Begun::No,
                    _ => false,
                },
                _ => false,
            };
            if begun {
                self.run_recorded(&step);
            } else {
                self.fresh.push_back(step);
            }
        }
    }
}

/// How a step is made again.
enum Again {
    Runs,
    /// It only waited, and has done so.
    Waits,
    Never(Arc<Trouble>),
}
