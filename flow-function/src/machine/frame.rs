//! A graph in execution: the flow's own, or a body for one item.

use std::collections::HashMap;
use std::sync::Arc;

use turlough_sdk::{Edge, Graph, NodeId, Source, StepPath, ValueRef};

use super::action::Given;

pub(crate) type FrameIx = usize;

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) graph: Arc<Graph>,
    pub(super) owner: Option<Owner>,
    pub(super) states: Vec<State>,
    /// Nodes that are neither done nor skipped.
    pub(super) unresolved: usize,
    /// For each edge of the owning node, whether it is live.
    outer_live: Vec<bool>,
    /// Results of a `for_each` that are being gathered, by node.
    gathering: HashMap<usize, Arc<Vec<Given>>>,
}

/// The node whose body a frame runs.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) frame: FrameIx,
    pub(super) node: usize,
    pub(super) item: u32,
    pub(super) path: StepPath,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Waiting {
        unresolved: usize,
        live: bool,
    },
    Open {
        attempt: u32,
        not_before_us: u64,
        stage: Stage,
    },
    Each(Box<Items>),
    Done(ValueRef),
    Took(Option<u32>, Given),
    Skipped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Run,
    Gather,
}

/// The items of a `for_each` in progress.
#[derive(Debug, Clone)]
pub(super) struct Items {
    pub(super) attempt: u32,
    pub(super) manifest: ValueRef,
    results: Vec<Option<Given>>,
    next: u32,
    running: usize,
}

/// How far a node has come, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepState {
    pub(crate) node: NodeId,
    pub(crate) operation: &'static str,
    pub(crate) status: &'static str,
    /// Items that ended, and all items, where it is a `for_each` in progress.
    pub(crate) items: Option<(usize, usize)>,
}

impl Items {
    pub(super) fn new(attempt: u32, count: u32, manifest: ValueRef) -> Self {
        let results = vec![None; count as usize];
        Self {
            attempt,
            manifest,
            results,
            next: 0,
            running: 0,
        }
    }

    /// The next item to start, if one may.
    pub(super) fn start_next(&mut self, parallel_max: usize) -> Option<u32> {
        let may = self.running < parallel_max && (self.next as usize) < self.results.len();
        may.then(|| {
            self.running += 1;
            self.next += 1;
            self.next - 1
        })
    }

    pub(super) fn end(&mut self, item: u32, output: Given) {
        self.running -= 1;
        self.results[item as usize] = Some(output);
    }

    pub(super) fn is_done(&self) -> bool {
        self.running == 0 && self.next as usize == self.results.len()
    }
}

impl Frame {
    pub(super) fn new(graph: Arc<Graph>, owner: Option<Owner>, outer_live: Vec<bool>) -> Self {
        let live = |edge: &Edge| match edge.from {
            Source::Input => true,
            Source::Node(_) => false,
            Source::Outer(edge) => outer_live.get(edge).copied().unwrap_or(false),
        };
        let waiting = |edges: &[Edge]| State::Waiting {
            unresolved: edges
                .iter()
                .filter(|e| matches!(e.from, Source::Node(_)))
                .count(),
            live: edges.iter().any(|edge| !edge.capture && live(edge)),
        };
        let states: Vec<_> = graph
            .nodes
            .iter()
            .map(|node| waiting(&node.edges))
            .collect();
        let unresolved = states.len();
        Self {
            graph,
            owner,
            states,
            unresolved,
            outer_live,
            gathering: HashMap::new(),
        }
    }

    /// Nodes that wait for no other node of the graph.
    pub(super) fn unblocked(&self) -> Vec<usize> {
        let free = |state: &State| matches!(state, State::Waiting { unresolved: 0, .. });
        (0..self.states.len())
            .filter(|node| free(&self.states[*node]))
            .collect()
    }

    pub(super) fn path(&self, node: usize) -> StepPath {
        let id = &self.graph.nodes[node].id;
        match &self.owner {
            None => StepPath::root(id),
            Some(owner) => owner.path.item(owner.item as usize, id),
        }
    }

    /// Whether an edge whose source is resolved brings a value.
    pub(super) fn is_live(&self, edge: &Edge) -> bool {
        match edge.from {
            Source::Input => true,
            Source::Outer(edge) => self.outer_live.get(edge).copied().unwrap_or(false),
            Source::Node(node) => match (&self.states[node], edge.case) {
                (State::Done(_) | State::Took(..), None) => true,
                (State::Took(taken, _), Some(case)) => *taken == u32::try_from(case).ok(),
                _ => false,
            },
        }
    }

    /// Moves the results of a `for_each` whose items have all ended to where its gathering finds them.
    pub(super) fn keep_gathered(&mut self, node: usize) {
        if let State::Each(items) = &mut self.states[node] {
            let results = items
                .results
                .drain(..)
                .map(|given| given.unwrap_or(Given::Empty));
            self.gathering.insert(node, Arc::new(results.collect()));
        }
    }

    pub(super) fn end(&mut self, node: usize, state: State) {
        self.gathering.remove(&node);
        self.states[node] = state;
    }

    pub(super) fn gathered(&self, node: usize) -> Arc<Vec<Given>> {
        self.gathering.get(&node).cloned().unwrap_or_default()
    }

    pub(super) fn step_states(&self) -> Vec<StepState> {
        let state = |(node, state): (usize, &State)| {
            let (status, items) = match state {
                State::Waiting { .. } => ("waiting", None),
                State::Open { .. } => ("running", None),
                State::Each(items) => {
                    let ended = items.next as usize - items.running;
                    ("running", Some((ended, items.results.len())))
                }
                State::Done(_) | State::Took(..) => ("succeeded", None),
                State::Skipped => ("skipped", None),
            };
            let vertex = &self.graph.nodes[node];
            StepState {
                node: vertex.id.clone(),
                operation: vertex.operation.name(),
                status,
                items,
            }
        };
        self.states.iter().enumerate().map(state).collect()
    }
}
