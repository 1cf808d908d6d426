//! Bodies: the items of a `for_each`, the iterations of a loop, graphs made at run time.

use std::sync::Arc;

use turlough_sdk::{Cause, Edge, Graph, Operation, Place, StepPath, ValueRef, read_graph};
use turlough_statestore::event::Trouble;

use super::action::{Results, trouble};
use super::frame::{Body, Each, Frame, FrameIx, Item, Loop, Made, Owner, Root, Stage, State};
use super::given::Given;
use super::mutation::{Mutation, planted};
use super::sparse::Sparse;
use super::{Consequence, Execution};

/// Graphs made at run time within one another, at most.
pub(crate) const EXPANSIONS_MAX: u32 = 16;
/// Nodes of all graphs made at run time in a request, at most.
pub(crate) const EXPANDED_NODES_MAX: usize = 100_000;

impl Execution {
    /// Runs a graph without an owner: the flow's own, or a handler.
    pub(super) fn open_root(&mut self, graph: Arc<Graph>, root: Root, input: Given) -> FrameIx {
        // A handler that runs again after a restart uses no number twice.
        let floor = if root == Root::Flow { 0 } else { self.handled };
        let frame = Frame::new(graph, (None, root), input, Sparse::new(), (floor, None));
        let mut consequences = Vec::new();
        let ix = self.add_frame(frame, &mut consequences);
        self.follow(consequences);
        ix
    }

    /// Runs a body of a node. What comes of it is added to `consequences`.
    fn open_body(
        &mut self,
        graph: Arc<Graph>,
        owner: Owner,
        made: Option<Arc<Made>>,
        input: Given,
        consequences: &mut Vec<Consequence>,
    ) -> Option<FrameIx> {
        let outer = self.frame(owner.frame)?;
        let edges = &outer.graph.nodes[owner.node].edges;
        let live = |edge: &Edge| outer.is_live(edge) || self.was_live(outer, edge);
        let dead = edges.iter().enumerate().filter(|(_, edge)| !live(edge));
        let outer_dead = dead.map(|(at, _)| (at, ())).collect();
        let (floor, _) = outer.numbers.get(&owner.node).copied().unwrap_or_default();
        let floor = if planted(Mutation::PathsShared) {
            0
        } else {
            floor
        };
        let made = made.or_else(|| outer.made.clone());
        let root = outer.root;
        let frame = Frame::new(graph, (Some(owner), root), input, outer_dead, (floor, made));
        Some(self.add_frame(frame, consequences))
    }

    fn add_frame(&mut self, frame: Frame, consequences: &mut Vec<Consequence>) -> FrameIx {
        let ix = self.free.pop().unwrap_or_else(|| {
            self.frames.push(None);
            self.frames.len() - 1
        });
        let nodes = frame.states.len();
        self.frames[ix] = Some(Box::new(frame));
        for node in 0..nodes {
            // One does not release another here: what follows is worked off later.
            if self.frame(ix).is_some_and(|frame| frame.is_unblocked(node)) {
                self.release_node(ix, node, consequences);
            }
        }
        ix
    }

    /// The items of a `for_each` are listed.
    pub(super) fn open_each(
        &mut self,
        ix: FrameIx,
        node: usize,
        items: u32,
        manifest: Arc<ValueRef>,
    ) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        if items == 0 && planted(Mutation::EmptyEachFails) {
            let path = frame.path(node);
            return self.node_failed(ix, node, trouble(&path, "empty", Cause::Permanent));
        }
        frame.states[node] = State::Body;
        let each = Body::Each(Box::new(Each::new(items, manifest)));
        frame.bodies.insert(node, each);
        if !self.runs() {
            return self.awaited();
        }
        let mut consequences = Vec::new();
        self.open_items(ix, node, &mut consequences);
        self.follow(consequences);
    }

    /// Starts items for as long as there is room, or their gathering when all have ended.
    pub(super) fn open_items(
        &mut self,
        ix: FrameIx,
        node: usize,
        consequences: &mut Vec<Consequence>,
    ) {
        loop {
            let Some(frame) = self.frames[ix].as_mut() else {
                return;
            };
            let graph = Arc::clone(&frame.graph);
            let Operation::ForEach(operation) = &graph.nodes[node].operation else {
                return;
            };
            let Some(Body::Each(each)) = frame.bodies.get_mut(&node) else {
                return;
            };
            if each.is_done() {
                self.open_stage(ix, node, Stage::Gather);
                return;
            }
            let Some(item) = each.start_next(operation.parallel_max) else {
                return;
            };
            let input = Given::Item {
                manifest: Arc::clone(&each.manifest),
                index: item,
            };
            // Taken before its frame is opened: what is skipped through may end at once.
            each.set(item, Item::Running(FrameIx::MAX));
            let shared = each.path.clone();
            let path = shared.unwrap_or_else(|| frame.path(node));
            if let Some(Body::Each(each)) = frame.bodies.get_mut(&node) {
                each.path.get_or_insert_with(|| path.clone());
            }
            let owner = Owner {
                frame: ix,
                node,
                place: Some(Place::Item(item)),
                path,
            };
            let body = Arc::clone(&operation.body);
            let opened = self.open_body(body, owner, None, input, consequences);
            if let (Some(opened), Some(Body::Each(each))) = (opened, self.body_mut(ix, node)) {
                each.set(item, Item::Running(opened));
            }
        }
    }

    pub(super) fn gathered(&self, ix: FrameIx, node: usize) -> Option<Arc<Results>> {
        match self.frame(ix)?.bodies.get(&node)? {
            Body::Each(each) => Some(Arc::new(each.results())),
            _ => None,
        }
    }

    /// The state that a loop asks about; none for the node's own input.
    pub(super) fn loop_state(&self, ix: FrameIx, node: usize) -> Option<Given> {
        match self.frame(ix)?.bodies.get(&node)? {
            Body::Loop(looped) => looped.state.clone(),
            _ => None,
        }
    }

    /// A loop asked its condition.
    pub(super) fn asked(
        &mut self,
        step: &StepPath,
        ix: FrameIx,
        node: usize,
        again: bool,
        input: Option<&ValueRef>,
    ) {
        let own = match self.loop_state(ix, node) {
            Some(state) => state,
            None => input.map_or_else(|| self.own_input(ix, node), Given::value),
        };
        if !again {
            self.resolve(step, ix, node, State::Done(own));
            return;
        }
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let graph = Arc::clone(&frame.graph);
        let Operation::Loop(operation) = &graph.nodes[node].operation else {
            return;
        };
        let iteration = match frame.bodies.get(&node) {
            Some(Body::Loop(looped)) => looped.iteration + 1,
            _ => 1,
        };
        self.open.remove(step);
        let iterations_max = operation.iterations_max + u32::from(planted(Mutation::LoopOneMore));
        if iteration > iterations_max {
            // A restart begins it anew: from its last state it would fail again.
            self.drop_body(ix, node);
            let limit = operation.iterations_max;
            let text = format!(
                "loop reached its bound of {limit} iterations, and its condition still holds; \
                 raise max_iterations, or give it a fallback"
            );
            self.node_failed(ix, node, trouble(step, text, Cause::Permanent));
            return;
        }
        let path = frame.path(node);
        frame.states[node] = State::Body;
        let looped = Loop {
            state: Some(own.clone()),
            iteration,
            frame: None,
        };
        frame.bodies.insert(node, Body::Loop(looped));
        let owner = Owner {
            frame: ix,
            node,
            place: Some(Place::Iteration(iteration)),
            path,
        };
        self.enter(ix, node, Arc::clone(&operation.body), (owner, None), own);
    }

    /// A graph was made for the request: it is run in the node's place.
    pub(super) fn expand(
        &mut self,
        step: &StepPath,
        ix: FrameIx,
        node: usize,
        text: &str,
        input: Option<&ValueRef>,
    ) {
        let given = input.map_or_else(|| self.own_input(ix, node), Given::value);
        let outer = self.frame(ix).and_then(|frame| frame.made.as_ref());
        let expansions = outer.map_or(0, |made| made.depth);
        let refused = |text: String| trouble(step, text, Cause::Permanent);
        let graph = match read_graph(text, self.flow.closures()) {
            _ if expansions >= EXPANSIONS_MAX => Err(refused(format!(
                "graphs made at run time stand {EXPANSIONS_MAX} deep in one another, the limit; \
                 flatten them"
            ))),
            Ok(graph) if self.expanded + size(&graph) > EXPANDED_NODES_MAX => {
                let found = self.expanded + size(&graph);
                Err(refused(format!(
                    "graphs made at run time have {found} nodes in this request, limit \
                     {EXPANDED_NODES_MAX}; make smaller ones, or use for_each"
                )))
            }
            Ok(graph) => Ok(Arc::new(graph)),
            Err(error) => Err(refused(format!(
                "graph made at run time is refused: {error}"
            ))),
        };
        self.open.remove(step);
        let graph = match graph {
            Ok(graph) => graph,
            Err(error) => {
                self.undo_known(step, (ix, node), None, Some(Cause::Permanent));
                return self.node_failed(ix, node, error);
            }
        };
        self.expanded += size(&graph);
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        frame.states[node] = State::Body;
        frame.bodies.insert(node, Body::Expand { frame: None });
        let made = Arc::new(Made {
            step: step.clone(),
            text: text.to_owned(),
            flow: Arc::clone(&self.flow),
            depth: expansions + 1,
        });
        let owner = Owner {
            frame: ix,
            node,
            place: None,
            path: step.clone(),
        };
        self.enter(ix, node, graph, (owner, Some(made)), given);
    }

    /// Opens the one body that a node runs now, and notes where it is.
    fn enter(
        &mut self,
        ix: FrameIx,
        node: usize,
        graph: Arc<Graph>,
        (owner, made): (Owner, Option<Arc<Made>>),
        input: Given,
    ) {
        let mut consequences = Vec::new();
        let opened = self.open_body(graph, owner, made, input, &mut consequences);
        match self.body_mut(ix, node) {
            Some(Body::Loop(looped)) => looped.frame = opened,
            Some(Body::Expand { frame }) => *frame = opened,
            _ => {}
        }
        self.follow(consequences);
    }

    fn body_mut(&mut self, ix: FrameIx, node: usize) -> Option<&mut Body> {
        self.frame_mut(ix)?.bodies.get_mut(&node)
    }

    /// All nodes of a graph are done or skipped.
    pub(super) fn frame_done(&mut self, ix: FrameIx, consequences: &mut Vec<Consequence>) {
        let Some(frame) = self.frame(ix) else { return };
        let output = Self::output(frame);
        if frame.owner.is_none() {
            self.root_done(frame.root, output);
            return;
        }
        let Some(owner) = self.forget_frame(ix) else {
            return;
        };
        match (owner.place, self.body_mut(owner.frame, owner.node)) {
            (Some(Place::Item(item)), Some(Body::Each(each))) => {
                each.end(item, output);
                self.open_items(owner.frame, owner.node, consequences);
            }
            (Some(Place::Iteration(_)), Some(Body::Loop(looped))) => {
                (looped.state, looped.frame) = (Some(output), None);
                self.open_stage(owner.frame, owner.node, Stage::Ask);
            }
            (None, Some(Body::Expand { .. })) => {
                self.later
                    .push((owner.path, owner.frame, owner.node, State::Done(output)));
            }
            _ => {}
        }
    }

    /// A node in a body is out of attempts: whether its item alone fails.
    pub(super) fn item_failed(&mut self, owner: &Owner, ix: FrameIx, error: &Arc<Trouble>) -> bool {
        let collects = self.vertex(owner.frame, owner.node).is_some_and(
            |vertex| matches!(&vertex.operation, Operation::ForEach(each) if each.collect),
        );
        let Some(Place::Item(item)) = owner.place else {
            return false;
        };
        if !collects {
            return false;
        }
        self.drop_frame(ix);
        if let Some(Body::Each(each)) = self.body_mut(owner.frame, owner.node) {
            each.fail(item, Arc::clone(error));
        }
        let mut consequences = Vec::new();
        self.open_items(owner.frame, owner.node, &mut consequences);
        self.follow(consequences);
        true
    }
}

/// Nodes of a graph, with those in bodies.
fn size(graph: &Graph) -> usize {
    let mut found = 0;
    let mut left = vec![graph];
    while let Some(graph) = left.pop() {
        found += graph.nodes.len();
        left.extend(graph.nodes.iter().filter_map(|node| match &node.operation {
            Operation::ForEach(each) => Some(&*each.body),
            Operation::Loop(looped) => Some(&*looped.body),
            _ => None,
        }));
    }
    found
}
