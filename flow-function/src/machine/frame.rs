//! A graph in execution: the flow's own, a body for one item or iteration, a graph made at run time,
//! or a handler.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use turlough_sdk::{Edge, Flow, Graph, NodeId, Operation, Place, Source, StepPath};

pub(super) use super::body::{Body, Each, Item, Loop};
use super::given::Given;
use super::per_node::PerNode;
use super::sparse::Sparse;

pub(crate) type FrameIx = usize;

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) graph: Arc<Graph>,
    /// None for the flow's own graph and for handlers.
    pub(super) owner: Option<Owner>,
    /// What steps' paths begin with, where there is no owner.
    pub(super) root: Root,
    pub(super) input: Given,
    pub(super) states: PerNode<State>,
    /// By node, the last attempt number that was used.
    pub(super) attempts: PerNode<u32>,
    /// Nodes that are neither done nor skipped.
    pub(super) unresolved: u32,
    /// Edges of the owning node that are dead.
    pub(super) outer_dead: Sparse<()>,
    /// What nodes with bodies have come to.
    pub(super) bodies: Sparse<Body>,
    /// For nodes with bodies: after which attempt number those in the body begin, and the highest
    /// one used in it.
    pub(super) numbers: Sparse<(u32, u32)>,
    /// By node, how many calls that must not be repeated were begun in it since it was last reset.
    pub(super) once: Sparse<u32>,
    /// The innermost graph made at run time that this one is, or stands in.
    pub(super) made: Option<Arc<Made>>,
}

/// A graph that was made at run time: enough to read it again.
#[derive(Debug)]
pub(super) struct Made {
    /// The step that made it.
    pub(super) step: StepPath,
    /// The graph, in the notation of YAML.
    pub(super) text: String,
    /// Whose closures it names.
    pub(super) flow: Arc<Flow>,
    /// How many such graphs stand in one another here, from 1.
    pub(super) depth: u32,
}

/// Which graph of a flow a frame without an owner runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Root {
    Flow,
    OnFailure,
    Finally,
}

impl Root {
    /// What the steps of a handler stand in.
    pub(super) fn path(self) -> Option<StepPath> {
        match self {
            Self::Flow => None,
            Self::OnFailure => Some(StepPath::from("~on_failure")),
            Self::Finally => Some(StepPath::from("~finally")),
        }
    }
}

/// The node whose body a frame runs.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) frame: FrameIx,
    pub(super) node: usize,
    /// None for a graph made at run time.
    pub(super) place: Option<Place>,
    pub(super) path: StepPath,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Waiting {
        unresolved: u32,
        live: bool,
    },
    /// An attempt is open: it runs, or waits for its time or for somebody else.
    Open(Attempt),
    /// Its body runs.
    Body,
    Done(Given),
    Took(Box<[u32]>, Given),
    Skipped,
    Failed,
}

#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) stage: Stage,
    pub(super) number: u32,
    /// Failures of this stage so far: at most as many as `retry` allows attempts.
    pub(super) failures: u16,
    pub(super) not_before_us: u64,
    pub(super) begun: Begun,
    /// When a `wait` is over; 0 where it does not know.
    pub(super) until_us: u64,
    /// When it is given up, or its wait is over; 0 for never.
    pub(super) due_us: u64,
    /// Whether the driver was told of it.
    pub(super) told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    When,
    Run,
    /// It waits for a time or a signal; nothing runs.
    Sleep,
    Ask,
    Gather,
    Fallback,
}

impl Attempt {
    /// Whether its start may be recorded under this claim: for the first time, or by who knows that it was
    /// never called under an earlier one.
    pub(super) const fn may_start(&self, epoch: u64) -> bool {
        match self.begun {
            Begun::No => true,
            Begun::Started(earlier) => earlier < epoch,
            Begun::Called => false,
        }
    }
}

/// How far the outside world has come to know of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Begun {
    No,
    /// Its start is recorded, under this epoch.
    Started(u64),
    /// Somebody else took it on.
    Called,
}

/// How far a node has come, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepState {
    pub(crate) node: NodeId,
    pub(crate) operation: &'static str,
    pub(crate) status: &'static str,
    /// Items that ended, and all items, where it is a `for_each` in progress.
    pub(crate) items: Option<(usize, usize)>,
    /// Iterations that began, where it is a loop in progress.
    pub(crate) iteration: Option<u32>,
}

impl State {
    /// Whether an edge from a node in this state is live, where it leaves by a case of a switch.
    pub(super) fn lights(&self, case: Option<usize>) -> bool {
        match (self, case) {
            (Self::Done(_) | Self::Took(..), None) => true,
            (Self::Took(taken, _), Some(case)) => taken.iter().any(|taken| *taken as usize == case),
            _ => false,
        }
    }

    pub(super) const fn value(&self) -> Option<&Given> {
        match self {
            Self::Done(given) | Self::Took(_, given) => Some(given),
            _ => None,
        }
    }

    /// Whether two resolved states give the same data, in the same directions.
    pub(super) fn same_data(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Done(a), Self::Done(b)) => a.same_data(b),
            (Self::Took(cases, a), Self::Took(others, b)) => cases == others && a.same_data(b),
            (Self::Skipped, Self::Skipped) => true,
            _ => false,
        }
    }
}

impl Attempt {
    pub(super) fn failures(&self) -> u32 {
        u32::from(self.failures)
    }

    pub(super) fn fail(&mut self, failures: u32) {
        self.failures = u16::try_from(failures).unwrap_or(u16::MAX);
    }

    pub(super) const fn new(stage: Stage, number: u32) -> Self {
        Self {
            stage,
            number,
            failures: 0,
            not_before_us: 0,
            begun: Begun::No,
            until_us: 0,
            due_us: 0,
            told: false,
        }
    }
}

/// Nodes of a graph are far fewer.
fn count(nodes: usize) -> u32 {
    u32::try_from(nodes).unwrap_or(u32::MAX)
}

impl Frame {
    pub(super) fn new(
        graph: Arc<Graph>,
        (owner, root): (Option<Owner>, Root),
        input: Given,
        outer_dead: Sparse<()>,
        (floor, made): (u32, Option<Arc<Made>>),
    ) -> Self {
        let nodes = graph.nodes.len();
        let mut frame = Self {
            graph,
            owner,
            root,
            input,
            states: PerNode::default(),
            attempts: std::iter::repeat_n(floor, nodes).collect(),
            unresolved: count(nodes),
            outer_dead,
            bodies: Sparse::new(),
            numbers: Sparse::new(),
            once: Sparse::new(),
            made,
        };
        let waiting = (0..nodes).map(|node| frame.waiting(node, |_| false));
        frame.states = waiting.collect();
        if floor > 0 {
            for node in 0..nodes {
                let inner = matches!(
                    frame.graph.nodes[node].operation,
                    Operation::ForEach(_) | Operation::Loop(_) | Operation::Expand(_)
                );
                if inner {
                    frame.numbers.insert(node, (floor, floor));
                }
            }
        }
        frame
    }

    /// The state of a node that waits, where `resolved` tells which nodes of the graph are.
    pub(super) fn waiting(&self, node: usize, resolved: impl Fn(usize) -> bool) -> State {
        let (mut unresolved, mut live) = (0, false);
        for edge in &self.graph.nodes[node].edges {
            match edge.from {
                Source::Node(from) if !resolved(from) => unresolved += 1,
                _ => live |= !edge.capture && self.is_live(edge),
            }
        }
        State::Waiting { unresolved, live }
    }

    /// What a node waits for is counted anew; `told` is a node that is resolved, but of which the
    /// others are not told yet.
    pub(super) fn recount(&mut self, told: Option<usize>) {
        let resolved: Vec<_> = self.states.iter().map(Self::is_resolved).collect();
        self.unresolved = count(resolved.iter().filter(|resolved| !**resolved).count());
        self.unresolved += u32::from(told.is_some());
        for at in 0..resolved.len() {
            if matches!(self.states[at], State::Waiting { .. }) {
                self.states[at] = self.waiting(at, |from| resolved[from] && Some(from) != told);
            }
        }
    }

    /// How many calls that must not be repeated were begun in a node since it was last reset.
    pub(super) fn calls(&self, node: usize) -> u32 {
        self.once.get(&node).copied().unwrap_or(0)
    }

    pub(super) fn set_calls(&mut self, node: usize, calls: u32) {
        if calls == 0 {
            self.once.remove(&node);
        } else {
            self.once.insert(node, calls);
        }
    }

    pub(super) const fn is_resolved(state: &State) -> bool {
        matches!(state, State::Done(_) | State::Took(..) | State::Skipped)
    }

    /// Nodes that wait for no other node of the graph.
    pub(super) fn unblocked(&self) -> Vec<usize> {
        let nodes = 0..self.states.len();
        nodes.filter(|node| self.is_unblocked(*node)).collect()
    }

    pub(super) fn is_unblocked(&self, node: usize) -> bool {
        matches!(self.states[node], State::Waiting { unresolved: 0, .. })
    }

    pub(super) fn path(&self, node: usize) -> StepPath {
        let id = &self.graph.nodes[node].id;
        match &self.owner {
            Some(owner) => owner.path.inside(owner.place, id),
            None => match self.root.path() {
                None => StepPath::root(id),
                Some(handler) => handler.inside(None, id),
            },
        }
    }

    /// Whether an edge whose source is resolved brings life.
    pub(super) fn is_live(&self, edge: &Edge) -> bool {
        match edge.from {
            Source::Input => true,
            Source::Outer(edge) => !self.outer_dead.contains_key(&edge),
            Source::Node(node) => match self.states.get(node) {
                Some(state) => state.lights(edge.case),
                None => false,
            },
        }
    }

    pub(super) fn step_states(&self) -> Vec<StepState> {
        let state = |(node, state): (usize, &State)| {
            let (mut items, mut iteration) = (None, None);
            match self.bodies.get(&node) {
                Some(Body::Each(each)) => items = Some(each.ended()),
                Some(Body::Loop(looped)) => iteration = Some(looped.iteration),
                _ => {}
            }
            let status = match state {
                State::Waiting { .. } => "waiting",
                State::Open(attempt) if attempt.stage == Stage::Sleep => "sleeping",
                State::Open(attempt) if attempt.begun == Begun::Called => "sleeping",
                State::Open(_) | State::Body => "running",
                State::Done(_) | State::Took(..) => "succeeded",
                State::Skipped => "skipped",
                State::Failed => "failed",
            };
            let vertex = &self.graph.nodes[node];
            StepState {
                node: vertex.id.clone(),
                operation: vertex.operation.name(),
                status,
                items: items.filter(|_| status == "running"),
                iteration: iteration.filter(|_| status == "running"),
            }
        };
        self.states.iter().enumerate().map(state).collect()
    }
}
