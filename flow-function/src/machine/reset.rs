//! Steps that run again after a restart.

use std::collections::HashSet;
use std::sync::Arc;

use turlough_sdk::picture;
use turlough_sdk::{Flow, NodeIx, Place, StepPath};

use super::frame::{Begun, Body, Frame, FrameIx, Root, Stage, State};
use super::mutation::{Mutation, planted};
use super::sparse::Sparse;
use super::undo::{Done, Undo};
use super::{Consequence, Execution, HashMap, Phase};

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
        self.is_finished = false;
        self.stopped.clear();
        self.open.clear();
        self.timers.clear();
        self.signals.waiting.clear();
        self.drop_open();
        for handler in [Root::OnFailure, Root::Finally] {
            self.resets
                .extend(handler.path().map(|path| (path, self.generation)));
        }
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
        self.reopen_undo();
        self.reopen();
    }

    /// What is undone already is so no more, and what could not be is tried again. One record of each
    /// step stays in any case, since it holds the last number of its compensation.
    fn reopen_undo(&mut self) {
        let newest = std::mem::take(&mut self.undo_at);
        self.undo.iter_mut().for_each(Undo::reopen);
        let due = self.undo.iter().filter(|undo| undo.is_due());
        let due: HashSet<_> = due.map(|undo| undo.step.clone()).collect();
        let number = |(step, at): (&StepPath, &usize)| (step.clone(), self.undo[*at].number);
        let numbers: HashMap<_, _> = newest.iter().map(number).collect();
        let mut at = 0..self.undo.len();
        self.undo.retain(|undo| {
            let newest = newest.get(&undo.step).copied() == at.next();
            undo.is_due() || newest && !due.contains(&undo.step)
        });
        let places = self.undo.iter().enumerate();
        self.undo_at = places.map(|(at, undo)| (undo.step.clone(), at)).collect();
        for (step, at) in &self.undo_at {
            self.undo[*at].number = numbers.get(step).copied().unwrap_or(0);
        }
    }

    /// What was left open in the generation that is over: handlers that did not come to their end, and
    /// attempts whose end may not be told any more.
    fn drop_open(&mut self) {
        for ix in 0..self.frames.len() {
            let handles = self
                .frame(ix)
                .is_some_and(|frame| frame.owner.is_none() && frame.root != Root::Flow);
            if handles {
                self.drop_frame(ix);
            }
        }
        // What was open is known of no more.
        let states = self.frames.iter_mut().flatten();
        for state in states.flat_map(|frame| frame.states.iter_mut()) {
            if let State::Open(attempt) = state {
                (attempt.begun, attempt.told) = (Begun::No, false);
            }
        }
        self.open.clear();
        self.stopped.clear();
    }

    /// A step and its descendants run again.
    fn run_again(&mut self, step: &StepPath, named: bool) {
        match self.locate(step) {
            None => {}
            Some(Found::Step(ix, node)) => {
                let kept = self.frame(ix).and_then(|frame| frame.bodies.get(&node));
                let failed = match kept {
                    Some(Body::Each(each)) => each.errors.iter().map(|(item, _)| *item).collect(),
                    _ => Vec::new(),
                };
                if named && !failed.is_empty() {
                    self.items_again(ix, node, &failed);
                } else {
                    self.reset(ix, node, true);
                }
            }
            Some(Found::Item(ix, node, item)) => self.items_again(ix, node, &[item]),
            Some(Found::Within(ix, node)) => self.reset(ix, node, true),
        }
    }

    /// Items of a `for_each` that had ended run again, and all that comes after it.
    fn items_again(&mut self, ix: FrameIx, node: usize, items: &[u32]) {
        self.reset(ix, node, false);
        let generation = self.generation;
        let Some(frame) = self.frame_mut(ix) else {
            return;
        };
        let path = frame.path(node);
        if let Some(Body::Each(each)) = frame.bodies.get_mut(&node) {
            items.iter().for_each(|item| each.again(*item));
            frame.states[node] = State::Body;
        }
        if let Some((floor, high)) = frame.numbers.get_mut(&node) {
            *floor = *high;
        }
        let items = items.iter().map(|item| format!("{path}[{item}]"));
        let resets = items.map(|item| (StepPath::from(item.as_str()), generation));
        self.resets.extend(resets);
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
                (Some(Body::Each(each)), Some(Place::Item(item))) => match each.frame_of(*item) {
                    Some(next) => Some(next),
                    None if each.has_ended(*item) => {
                        return Some(Found::Item(ix, node, *item));
                    }
                    // It has not begun.
                    None => return None,
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
        let itself: &[usize] = if itself { &[node] } else { &[] };
        self.reset_after(ix, &[node], itself);
    }

    /// Everything after some nodes waits again, and so do some of themselves.
    fn reset_after(&mut self, ix: FrameIx, nodes: &[usize], themselves: &[usize]) {
        let Some(frame) = self.frame(ix) else { return };
        let graph = Arc::clone(&frame.graph);
        let mut after = vec![false; graph.nodes.len()];
        let mut left = nodes.to_vec();
        if planted(Mutation::DescendantsKept) {
            left.clear();
        }
        while let Some(node) = left.pop() {
            for (successor, _) in &graph.successors[node] {
                if !std::mem::replace(&mut after[*successor], true) {
                    left.push(*successor);
                }
            }
        }
        for node in themselves {
            after[*node] = true;
        }
        for (node, reached) in after.into_iter().enumerate() {
            if reached {
                self.unmake(ix, node);
                let path = self.frame(ix).map(|frame| frame.path(node));
                self.resets.extend(path.map(|path| (path, self.generation)));
            }
        }
    }

    /// The generation in which a step was last reset, by itself or with a step that it stands in.
    pub(super) fn reset_in(&self, step: &StepPath) -> u32 {
        if self.resets.is_empty() {
            return 0;
        }
        let text = step.as_str();
        let outer = text.match_indices(['/', '[', '#']).map(|(at, _)| at);
        let paths = outer.chain([text.len()]).map(|end| &text[..end]);
        let known = paths.filter_map(|path| self.resets.get(&StepPath::from(path)));
        known.copied().max().unwrap_or(0)
    }

    /// What a node has come to is void.
    pub(super) fn unmake(&mut self, ix: FrameIx, node: usize) {
        self.stop(ix, node);
        self.drop_body(ix, node);
        let Some(frame) = self.frame_mut(ix) else {
            return;
        };
        frame.states[node] = waiting();
        let calls = i32::try_from(frame.calls(node)).unwrap_or(i32::MAX);
        self.count_calls(ix, node, -calls);
    }

    /// After a restart: in every graph, what is not done waits, and what is ready opens.
    fn reopen(&mut self) {
        let mut consequences = Vec::new();
        let mut bodies = Vec::new();
        for ix in 0..self.frames.len() {
            let Some(frame) = self.frames[ix].as_mut() else {
                continue;
            };
            let (mut unresolved, mut again) = (Vec::new(), Vec::new());
            for node in 0..frame.states.len() {
                let goes_on =
                    matches!(frame.bodies.get(&node), Some(Body::Each(_) | Body::Loop(_)));
                match &frame.states[node] {
                    State::Failed | State::Open(_) if goes_on => frame.states[node] = State::Body,
                    State::Failed | State::Open(_) => again.push(node),
                    State::Body => {}
                    _ => continue,
                }
                unresolved.push(node);
            }
            // Where one of them was made again, what came after it had ended.
            self.reset_after(ix, &unresolved, &again);
            let Some(frame) = self.frames[ix].as_mut() else {
                continue;
            };
            frame.recount(None);
            if frame.unresolved == 0 {
                consequences.push(Consequence::FrameDone(ix));
            }
            let unblocked = frame.unblocked();
            let in_progress = |node: &usize| matches!(frame.states[*node], State::Body);
            bodies.extend(
                (0..frame.states.len())
                    .filter(in_progress)
                    .map(|node| (ix, node)),
            );
            for node in unblocked {
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
        let mut kept = HashMap::default();
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
            Sparse::new(),
            (0, None),
        );
        for (from, to) in &kept {
            frame.states[*to] = std::mem::replace(&mut before.states[*from], State::Skipped);
            frame.attempts[*to] = before.attempts[*from];
            frame.set_calls(*to, before.calls(*from));
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
        self.frames[0] = Some(Box::new(frame));
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
}

/// A state that is made out when all of its graph is known.
const fn waiting() -> State {
    State::Waiting {
        unresolved: u32::MAX,
        live: false,
    }
}
