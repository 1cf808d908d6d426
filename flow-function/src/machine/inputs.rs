//! What a node is given, and what a graph returns, read off the states of its frames.

use std::sync::Arc;

use turlough_sdk::{Output, Source, Vertex};

use super::Execution;
use super::action::Given;
use super::frame::{Frame, FrameIx, State};

impl Execution {
    pub(super) fn output(&self, frame: &Frame) -> Given {
        match &frame.graph.output {
            Output::Node(node) => self.value(frame, *node).unwrap_or(Given::Empty),
            Output::Sinks(sinks) => {
                let member = |node: &usize| {
                    let name = Arc::from(frame.graph.nodes[*node].id.as_str());
                    Some((name, self.value(frame, *node)?))
                };
                Given::Map(Arc::new(sinks.iter().filter_map(member).collect()))
            }
        }
    }

    fn value(&self, frame: &Frame, node: usize) -> Option<Given> {
        match &frame.states[node] {
            State::Done(value) => Some(Given::Value(value.clone())),
            State::Took(_, input) => Some(input.clone()),
            _ => None,
        }
    }

    pub(super) fn inputs_of(&self, frame: FrameIx, node: usize) -> Vec<(Arc<str>, Option<Given>)> {
        let Some(frame) = self.frame(frame) else {
            return Vec::new();
        };
        self.inputs(frame, &frame.graph.nodes[node])
    }

    /// What a node is given, by edge, without what it only makes visible to its body.
    pub(super) fn inputs(&self, frame: &Frame, vertex: &Vertex) -> Vec<(Arc<str>, Option<Given>)> {
        let edges = vertex.edges.iter().filter(|edge| !edge.capture);
        edges
            .map(|edge| (Arc::clone(&edge.name), self.given(frame, edge)))
            .collect()
    }

    fn given(&self, frame: &Frame, edge: &turlough_sdk::Edge) -> Option<Given> {
        match edge.from {
            Source::Node(node) if frame.is_live(edge) => self.value(frame, node),
            Source::Node(_) => None,
            Source::Input => match &frame.owner {
                None => self.input.clone().map(Given::Value),
                Some(owner) => {
                    let outer = self.frame(owner.frame)?;
                    let State::Each(items) = &outer.states[owner.node] else {
                        return None;
                    };
                    Some(Given::Item {
                        manifest: items.manifest.clone(),
                        index: owner.item,
                    })
                }
            },
            Source::Outer(edge) => {
                let owner = frame.owner.as_ref()?;
                let outer = self.frame(owner.frame)?;
                self.given(outer, &outer.graph.nodes[owner.node].edges[edge])
            }
        }
    }
}
