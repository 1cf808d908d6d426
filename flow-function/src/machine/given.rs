//! Values as far as the machine knows them: where they lie, and how they are put together.

use std::sync::Arc;

use turlough_sdk::{Edge, Output, Source, ValueRef, Vertex};

use super::Execution;
use super::frame::{Frame, State};
use super::mutation::{Mutation, planted};

/// A value, as far as the machine knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// Nothing was returned.
    Empty,
    /// It lies there.
    Value(Arc<ValueRef>),
    /// One of the items that a manifest lists.
    Item { manifest: Arc<ValueRef>, index: u32 },
    /// A map of several.
    Map(Arc<Vec<(Arc<str>, Given)>>),
}

impl Given {
    pub(crate) fn value(at: &ValueRef) -> Self {
        Self::Value(Arc::new(at.clone()))
    }

    /// Several inputs as one: the single one as it is, otherwise a map without the dead. Cases of
    /// one switch are one input, as in `Inputs::joined`.
    pub(crate) fn join(inputs: Vec<(Arc<str>, Option<Self>)>) -> Self {
        let first = inputs.first().map(|(name, _)| name);
        if inputs.iter().all(|(name, _)| Some(name) == first) {
            let only = inputs.into_iter().find_map(|(_, given)| given);
            return only.unwrap_or(Self::Empty);
        }
        let live = inputs
            .into_iter()
            .filter_map(|(name, given)| Some((name, given?)));
        Self::Map(Arc::new(live.collect()))
    }

    /// Whether reading it reads what lies at `at`.
    pub(super) fn reads(&self, at: &ValueRef) -> bool {
        match self {
            Self::Empty => false,
            Self::Value(value) => **value == *at,
            // Items are told by their own places, which only the manifest knows.
            Self::Item { manifest, .. } => {
                **manifest == *at || matches!(at, ValueRef::Stored { .. })
            }
            Self::Map(members) => members.iter().any(|(_, given)| given.reads(at)),
        }
    }

    /// Whether two values hold the same data, wherever they lie.
    pub(super) fn same_data(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(a), Self::Value(b)) => a.digest() == b.digest(),
            (Self::Map(a), Self::Map(b)) => {
                let mut pairs = a.iter().zip(b.iter());
                a.len() == b.len() && pairs.all(|((m, x), (n, y))| m == n && x.same_data(y))
            }
            (a, b) => a == b,
        }
    }
}

impl Execution {
    /// What a graph returns.
    pub(super) fn output(frame: &Frame) -> Given {
        match &frame.graph.output {
            Output::Node(node) => Self::value_of(frame, *node).unwrap_or(Given::Empty),
            Output::Sinks(sinks) => {
                let member = |node: &usize| {
                    let name = Arc::from(frame.graph.nodes[*node].id.as_str());
                    Some((name, Self::value_of(frame, *node)?))
                };
                Given::Map(Arc::new(sinks.iter().filter_map(member).collect()))
            }
        }
    }

    pub(super) fn value_of(frame: &Frame, node: usize) -> Option<Given> {
        frame.states[node].value().cloned()
    }

    /// What a node is given, by data edge.
    pub(super) fn inputs(&self, frame: &Frame, vertex: &Vertex) -> Vec<(Arc<str>, Option<Given>)> {
        let edges = vertex
            .edges
            .iter()
            .filter(|edge| (edge.data || planted(Mutation::OrderGivesData)) && !edge.capture);
        let mut inputs = Vec::with_capacity(vertex.edges.len());
        inputs.extend(edges.map(|edge| (Arc::clone(&edge.name), self.given(frame, edge))));
        inputs
    }

    /// What an edge brings; while it is made again, what it brought.
    pub(super) fn given<'a>(&'a self, mut frame: &'a Frame, mut edge: &'a Edge) -> Option<Given> {
        while let Source::Outer(outer_edge) = edge.from {
            let owner = frame.owner.as_ref()?;
            frame = self.frame(owner.frame)?;
            edge = &frame.graph.nodes[owner.node].edges[outer_edge];
        }
        let Source::Node(node) = edge.from else {
            return Some(frame.input.clone());
        };
        let state = match &frame.states[node] {
            state if Frame::is_resolved(state) || self.remade.is_empty() => state,
            _ => self.remade.get(&frame.path(node))?.1.as_ref()?,
        };
        state.value().filter(|_| state.lights(edge.case)).cloned()
    }

    /// Whether an edge was live that is being made again.
    pub(super) fn was_live(&self, frame: &Frame, edge: &Edge) -> bool {
        !self.remade.is_empty() && self.given(frame, edge).is_some()
    }

    /// Whether something that a node is given is being made again.
    pub(super) fn is_remaking(&self, frame: &Frame, vertex: &Vertex) -> bool {
        if self.remade.is_empty() {
            return false;
        }
        vertex.edges.iter().any(|edge| {
            let (mut frame, mut edge) = (frame, edge);
            while let Source::Outer(outer_edge) = edge.from {
                let owner = frame.owner.as_ref();
                let Some((owner, outer)) =
                    owner.and_then(|owner| Some((owner, self.frame(owner.frame)?)))
                else {
                    return false;
                };
                (frame, edge) = (outer, &outer.graph.nodes[owner.node].edges[outer_edge]);
            }
            match edge.from {
                Source::Node(node) => {
                    let state = &frame.states[node];
                    !Frame::is_resolved(state) && !matches!(state, State::Failed)
                }
                _ => false,
            }
        })
    }
}
