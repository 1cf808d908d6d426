//! Steps that run again: after a restart, and where a value was lost.

use std::collections::HashMap;
use std::sync::Arc;

use crate::shim as picture;
use turlough_sdk::{Cause, Flow, NodeIx, Operation, Place, Source, StepPath, ValueRef, Vertex};

use super::action::{Conclusion, trouble};
use super::frame::{Body, Frame, FrameIx, Root, Stage, State};
use super::steps::first_stage;
use super::unwind::Done;
use super::{Consequence, Execution, Phase};

/// How often a step is made again because its value was lost.
const REMADE_MAX: u32 = 3;

/// Where a step that is to run again stands.
enum Found {
    /// Here.
    Step(FrameIx, usize),
    /// In an item of this node that has ended.
    Item(FrameIx, usize, u32),
    /// In a body of this node that has ended.
    Within(FrameIx, usize),
}

impl Execution {
    /// The request goes on in the next generation.
    pub(super) fn restart(
        &mut self,
        from: Option<&StepPath>,
        version: Option<&str>,
        deadline_us: u64,
    ) {
        if !matches!(
            self.phase,
            Phase::Ended {
                restartable: true,
                ..
            }
        ) {
            return;
        }
        self.generation += 1;
        self.phase = Phase::Open;
        self.deadline_us = deadline_us;
        self.paused = false;
        self.trouble.clear();
        self.failures.clear();
        self.remade.clear();
        self.stopped.clear();
        self.open.clear();
        if let Some(flow) = version.and_then(|version| self.version(version).ok()) {
            self.switch_to(flow);
        }
        let undone = self.undo.iter().filter(|undo| undo.done == Done::Undone);
        let again: Vec<_> = undone.map(|undo| undo.step.clone()).collect();
        for step in &again {
            self.run_again(step, false);
        }
        if let Some(step) = from {
            self.run_again(step, true);
        }
        self.undo
            .retain(|undo| !matches!(undo.done, Done::Undone | Done::No));
        let places = self.undo.iter().enumerate();
        self.undo_at = places.map(|(at, undo)| (undo.step.clone(), at)).collect();
        self.reopen();
    }

    /// A step and its descendants run again.
    fn run_again(&mut self, step: &StepPath, named: bool) {
        match self.locate(step) {
            None => {}
            Some(Found::Step(ix, node)) => {
                let kept = self.frame(ix).and_then(|frame| frame.bodies.get(&node));
                let failed = matches!(kept, Some(Body::Each(each)) if each.failed_any());
                if named && failed {
                    self.reset(ix, node, false);
                    if let Some(frame) = self.frame_mut(ix)
                        && let Some(Body::Each(each)) = frame.bodies.get_mut(&node)
                    {
                        each.failed_again();
                        frame.states[node] = State::Body;
                        raise_floor(frame, node);
                    }
                    return;
                }
                self.reset(ix, node, true);
            }
            Some(Found::Item(ix, node, item)) => {
                if let Some(frame) = self.frame_mut(ix) {
                    if let Some(Body::Each(each)) = frame.bodies.get_mut(&node) {
                        each.again(item);
                    }
                    raise_floor(frame, node);
                }
            }
            Some(Found::Within(ix, node)) => self.reset(ix, node, true),
        }
    }

    /// The node of the flow's own graph that a step stands in, and whether it is the step itself.
    pub(super) fn find_ancestor(&self, step: &StepPath) -> Option<(NodeIx, bool)> {
        let segments = step.segments().ok()?;
        let (first, rest) = segments.split_first()?;
        let graph = &self.frame(0)?.graph;
        let node = graph.nodes.iter().position(|node| node.id == first.0)?;
        Some((node, rest.is_empty()))
    }

    /// Where a step stands, if its frame is there.
    pub(super) fn find(&self, step: &StepPath) -> Option<(FrameIx, usize)> {
        match self.locate(step)? {
            Found::Step(ix, node) => Some((ix, node)),
            _ => None,
        }
    }

    fn locate(&self, step: &StepPath) -> Option<Found> {
        let segments = step.segments().ok()?;
        let mut ix = 0;
        for (depth, (id, place)) in segments.iter().enumerate() {
            let frame = self.frame(ix)?;
            let node = frame.graph.nodes.iter().position(|node| node.id == *id)?;
            if depth + 1 == segments.len() {
                return Some(Found::Step(ix, node));
            }
            let next = match (frame.bodies.get(&node), place) {
                (Some(Body::Each(each)), Some(Place::Item(item))) => match each.running.get(item) {
                    Some(next) => Some(*next),
                    None if matches!(frame.states[node], State::Body) => {
                        return Some(Found::Item(ix, node, *item));
                    }
                    None => None,
                },
                (Some(Body::Loop(looped)), Some(Place::Iteration(number))) => {
                    looped.frame.filter(|_| looped.iteration == *number)
                }
                (Some(Body::Expand { frame }), None) => *frame,
                _ => None,
            };
            match next {
                Some(next) => ix = next,
                None => return Some(Found::Within(ix, node)),
            }
        }
        None
    }

    /// A node, where `itself`, and everything after it wait again.
    fn reset(&mut self, ix: FrameIx, node: usize, itself: bool) {
        let Some(frame) = self.frame(ix) else { return };
        let graph = Arc::clone(&frame.graph);
        let mut seen = vec![false; graph.nodes.len()];
        let mut left = vec![node];
        while let Some(node) = left.pop() {
            if std::mem::replace(&mut seen[node], true) {
                continue;
            }
            left.extend(
                graph.successors[node]
                    .iter()
                    .map(|(successor, _)| *successor),
            );
        }
        for (at, reached) in seen.into_iter().enumerate() {
            if reached && (itself || at != node) {
                self.unmake(ix, at);
            }
        }
    }

    /// What a node has come to is void.
    fn unmake(&mut self, ix: FrameIx, node: usize) {
        self.stop(ix, node);
        self.drop_body(ix, node);
        if let Some(frame) = self.frame_mut(ix) {
            raise_floor(frame, node);
            frame.states[node] = waiting();
        }
    }

    /// After a restart: in every graph, what is not done waits, and what is ready opens.
    fn reopen(&mut self) {
        let mut consequences = Vec::new();
        let mut bodies = Vec::new();
        for ix in 0..self.frames.len() {
            let Some(frame) = self.frames[ix].as_mut() else {
                continue;
            };
            for node in 0..frame.states.len() {
                let body = frame.bodies.get(&node);
                match (&frame.states[node], body) {
                    (State::Failed | State::Open(_), Some(Body::Each(_) | Body::Loop(_))) => {
                        frame.states[node] = State::Body;
                        bodies.push((ix, node));
                    }
                    (State::Failed | State::Open(_), _) => frame.states[node] = waiting(),
                    (State::Body, Some(Body::Each(_))) => bodies.push((ix, node)),
                    _ => {}
                }
            }
            let resolved: Vec<_> = frame.states.iter().map(Frame::is_resolved).collect();
            frame.unresolved = resolved.iter().filter(|resolved| !**resolved).count();
            for node in 0..resolved.len() {
                if matches!(frame.states[node], State::Waiting { .. }) {
                    frame.states[node] = frame.waiting(node, |from| resolved[from]);
                }
            }
            if frame.unresolved == 0 {
                consequences.push(Consequence::FrameDone(ix));
            }
            for node in self.frames[ix]
                .as_ref()
                .map(Frame::unblocked)
                .unwrap_or_default()
            {
                self.release_node(ix, node, &mut consequences);
            }
        }
        for (ix, node) in bodies {
            match self.frame(ix).and_then(|frame| frame.bodies.get(&node)) {
                Some(Body::Each(_)) => self.open_items(ix, node, &mut consequences),
                Some(Body::Loop(looped)) if looped.frame.is_none() => {
                    self.open_stage(ix, node, Stage::Ask);
                }
                _ => {}
            }
        }
        self.follow(consequences);
    }

    /// Goes on with another version of the flow: nodes that did not change keep what they have.
    fn switch_to(&mut self, flow: Arc<Flow>) {
        let (old, new) = (Arc::clone(self.flow.graph()), Arc::clone(flow.graph()));
        let mut kept = HashMap::new();
        for (to, vertex) in new.nodes.iter().enumerate() {
            let from = old.nodes.iter().position(|node| node.id == vertex.id);
            let same = |from: &usize| {
                picture::node_fingerprint(&old, *from) == picture::node_fingerprint(&new, to)
            };
            if let Some(from) = from.filter(same) {
                kept.insert(from, to);
            }
        }
        for node in 0..old.nodes.len() {
            if !kept.contains_key(&node) {
                self.drop_body(0, node);
            }
        }
        let Some(mut before) = self.frames.first_mut().and_then(Option::take) else {
            return;
        };
        let mut frame = Frame::new(
            Arc::clone(&new),
            (None, Root::Flow),
            before.input.clone(),
            Box::default(),
            (0, None),
        );
        for (from, to) in &kept {
            frame.states[*to] = std::mem::replace(&mut before.states[*from], State::Skipped);
            frame.attempts[*to] = before.attempts[*from];
            if let Some(body) = before.bodies.remove(from) {
                frame.bodies.insert(*to, body);
            }
            if let Some(numbers) = before.numbers.get(from) {
                frame.numbers.insert(*to, *numbers);
            }
        }
        for (from, vertex) in old.nodes.iter().enumerate() {
            // A changed node's attempts are numbered on.
            let to = new.nodes.iter().position(|node| node.id == vertex.id);
            if let Some(to) = to.filter(|_| !kept.contains_key(&from)) {
                frame.attempts[to] = before.attempts[from];
                let high = before.numbers.get(&from).map_or(0, |numbers| numbers.1);
                frame.numbers.insert(to, (high, high));
            }
        }
        self.frames[0] = Some(frame);
        for inner in self.frames.iter_mut().flatten() {
            if let Some(owner) = inner.owner.as_mut().filter(|owner| owner.frame == 0) {
                owner.node = kept.get(&owner.node).copied().unwrap_or(owner.node);
            }
        }
        self.flow = flow;
        for to in 0..new.nodes.len() {
            if !kept.values().any(|kept| *kept == to) {
                self.reset(0, to, true);
            }
        }
    }

    /// A value that a step needs is gone: what made it makes it again, and the step waits for that.
    pub(super) fn value_lost(&mut self, step: &StepPath, ix: FrameIx, node: usize, at: &ValueRef) {
        self.undo_known(step, None, Some(Cause::Permanent));
        let (mut ix, mut node, mut own) = (ix, node, true);
        let mut edge = None;
        loop {
            let Some(frame) = self.frame(ix) else { return };
            let vertex = &frame.graph.nodes[node];
            let edges = vertex.edges.iter().enumerate();
            let wanted = edges.filter(|(place, e)| match edge {
                Some(wanted) => *place == wanted,
                None => own && self.given(frame, e).is_some_and(|given| given.reads(at)),
            });
            let sources: Vec<_> = wanted.map(|(_, edge)| edge.from).collect();
            let makers: Vec<_> = sources
                .iter()
                .filter_map(|source| match source {
                    Source::Node(maker) => Some(*maker),
                    _ => None,
                })
                .collect();
            if !makers.is_empty() {
                self.make_again(ix, node, &makers);
                return;
            }
            let outer = sources.iter().find_map(|source| match source {
                Source::Outer(edge) => Some(*edge),
                _ => None,
            });
            let input = sources.iter().any(|source| matches!(source, Source::Input));
            let owner = frame.owner.clone();
            match (outer, input, owner) {
                // The node itself made it, of what its body gave.
                (None, false, _) => return self.make_whole(ix, node),
                (None, true, Some(owner)) => {
                    (ix, node, own, edge) = (owner.frame, owner.node, false, None)
                }
                (Some(outer), _, Some(owner)) => {
                    (ix, node, own, edge) = (owner.frame, owner.node, true, Some(outer));
                }
                (_, _, None) => {
                    let text = "the request's input is lost, and cannot be made again";
                    let error = trouble(step, text, Cause::Permanent);
                    self.conclude(Conclusion::Failed(error));
                    return;
                }
            }
        }
    }

    /// A node runs again from its beginning, since a value that it made inside is gone.
    fn make_whole(&mut self, ix: FrameIx, node: usize) {
        if !self.may_make_again(ix, node) {
            return;
        }
        self.unmake(ix, node);
        self.open_first(ix, node);
    }

    /// Makers run again; the node that needs what they make waits for them.
    fn make_again(&mut self, ix: FrameIx, node: usize, makers: &[usize]) {
        for maker in makers {
            let resolved = self
                .frame(ix)
                .is_some_and(|frame| Frame::is_resolved(&frame.states[*maker]));
            if resolved && !self.may_make_again(ix, *maker) {
                return;
            }
        }
        self.unmake(ix, node);
        for maker in makers {
            let Some(frame) = self.frames[ix].as_mut() else {
                return;
            };
            let old = Self::value_of(frame, *maker);
            if old.is_none() {
                continue;
            }
            let path = frame.path(*maker);
            let graph = Arc::clone(&frame.graph);
            frame.unresolved += 1;
            for (successor, _) in &graph.successors[*maker] {
                if let State::Waiting { unresolved, .. } = &mut frame.states[*successor] {
                    *unresolved += 1;
                }
            }
            self.remade.entry(path).or_default().1 = old;
            self.unmake(ix, *maker);
            self.open_first(ix, *maker);
        }
        if let Some(frame) = self.frames[ix].as_mut() {
            let resolved: Vec<_> = frame.states.iter().map(Frame::is_resolved).collect();
            frame.states[node] = frame.waiting(node, |from| resolved[from]);
        }
    }

    fn open_first(&mut self, ix: FrameIx, node: usize) {
        let stage = match self.vertex(ix, node) {
            Some(Vertex { when: Some(_), .. }) => Stage::When,
            Some(vertex) => first_stage(vertex),
            None => return,
        };
        self.open_stage(ix, node, stage);
    }

    /// Whether a node may run again; otherwise the request fails.
    fn may_make_again(&mut self, ix: FrameIx, node: usize) -> bool {
        let Some(frame) = self.frame(ix) else {
            return false;
        };
        let path = frame.path(node);
        let repeatable = is_repeatable(&frame.graph.nodes[node]);
        let made = self.remade.entry(path.clone()).or_default();
        made.0 += 1;
        let text = if !repeatable {
            "its value is lost, and a step that is not idempotent would have to run again"
                .to_owned()
        } else if made.0 > REMADE_MAX {
            format!("its value was lost again after it was made {REMADE_MAX} times more")
        } else {
            return true;
        };
        let error = trouble(&path, text, Cause::Permanent);
        self.conclude(Conclusion::Failed(error));
        false
    }

    /// A step was made again: where it gives other data now, what used the old is void. False where
    /// the request fails by that.
    pub(super) fn made_again(&mut self, path: &StepPath, ix: FrameIx, node: usize) -> bool {
        let Some(old) = self.remade.get_mut(path).and_then(|made| made.1.take()) else {
            return true;
        };
        let Some(frame) = self.frame(ix) else {
            return true;
        };
        if Self::value_of(frame, node).is_some_and(|new| new.same_data(&old)) {
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
                let state = self.frame(ix).map(|frame| &frame.states[*successor]);
                if !matches!(state, Some(State::Waiting { .. }) | None) {
                    used.push(*successor);
                }
            }
        }
        if let Some(once) = used.iter().find(|at| !is_repeatable(&graph.nodes[**at])) {
            let once = &graph.nodes[*once].id;
            let text = format!(
                "data diverged: made again, it gives other data, and {once} used the old and must not run again"
            );
            self.conclude(Conclusion::Failed(trouble(path, text, Cause::Permanent)));
            return false;
        }
        self.void(ix, node, &used);
        true
    }

    fn void(&mut self, ix: FrameIx, node: usize, used: &[usize]) {
        for at in used {
            let Some(frame) = self.frames[ix].as_mut() else {
                return;
            };
            frame.unresolved += usize::from(Frame::is_resolved(&frame.states[*at]));
            self.unmake(ix, *at);
        }
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let resolved: Vec<_> = frame.states.iter().map(Frame::is_resolved).collect();
        for at in 0..resolved.len() {
            if matches!(frame.states[at], State::Waiting { .. }) {
                // The node itself is told of in a moment.
                frame.states[at] = frame.waiting(at, |from| resolved[from] && from != node);
            }
        }
    }
}

/// A state that is made out when all of its graph is known.
const fn waiting() -> State {
    State::Waiting {
        unresolved: u32::MAX,
        live: false,
    }
}

/// Attempts in a node's body are numbered on.
fn raise_floor(frame: &mut Frame, node: usize) {
    if let Some((floor, high)) = frame.numbers.get_mut(&node) {
        *floor = *high;
    }
}

/// Whether a node, and everything in its bodies, may be called more than once.
fn is_repeatable(vertex: &Vertex) -> bool {
    vertex.idempotent
        && match &vertex.operation {
            Operation::ForEach(each) => each.body.nodes.iter().all(is_repeatable),
            Operation::Loop(looped) => looped.body.nodes.iter().all(is_repeatable),
            _ => true,
        }
}
