//! Where graphs come from: the definition of a flow, and texts that were made at run time.

use std::collections::HashMap;
use std::sync::Arc;

use turlough_sdk::{Flow, Graph, Operation, StepPath};

use super::RestoreError;
use super::saved::SavedMade;
use crate::machine::Versions;
use crate::machine::frame::{Made, Root};
use turlough_sdk::read_graph;

/// A graph that was made at run time, and what it was made of.
type MadeGraph = (Arc<Made>, Arc<Graph>);

/// The graphs that a snapshot names.
pub(super) struct Origins {
    versions: Versions,
    /// The flow in the version on which the request runs.
    pub(super) flow: Arc<Flow>,
    others: HashMap<String, Arc<Flow>>,
    made: Vec<MadeGraph>,
}

impl Origins {
    pub(super) fn new(
        versions: Versions,
        name: &str,
        version: &str,
        made: Vec<SavedMade>,
    ) -> Result<Self, RestoreError> {
        let found = (versions.0)(version).filter(|flow| flow.name().as_str() == name);
        let flow = found.ok_or_else(|| RestoreError::NoVersion {
            flow: name.to_owned(),
            version: version.to_owned(),
        })?;
        let mut origins = Self {
            versions,
            flow,
            others: HashMap::new(),
            made: Vec::with_capacity(made.len()),
        };
        for made in made {
            let flow = origins.version(&made.version);
            let graph = read_graph(&made.text, flow.closures());
            let graph = graph.map_err(|error| RestoreError::Graph {
                step: made.step.to_string(),
                reason: error.to_string(),
            })?;
            let made = Made {
                step: made.step,
                text: made.text,
                flow,
                depth: made.depth,
            };
            origins.made.push((Arc::new(made), Arc::new(graph)));
        }
        Ok(origins)
    }

    /// A version of the flow. Of one that is not here any more, what the request still needs stands in
    /// the current one as well: what had changed was reset.
    pub(super) fn version(&mut self, version: &str) -> Arc<Flow> {
        if version == self.flow.version().as_str() {
            return Arc::clone(&self.flow);
        }
        let (versions, current) = (&self.versions, &self.flow);
        let found = self.others.entry(version.to_owned()).or_insert_with(|| {
            let found = (versions.0)(version).filter(|flow| flow.name() == current.name());
            found.unwrap_or_else(|| Arc::clone(current))
        });
        Arc::clone(found)
    }

    pub(super) fn made(&self, at: Option<u32>) -> Result<Option<&MadeGraph>, RestoreError> {
        let Some(at) = at else { return Ok(None) };
        let made = self.made.get(at as usize).map(Some);
        made.ok_or_else(|| RestoreError::Broken(format!("graph {at} is not in its table")))
    }

    /// The graph that a step stands in, and its place there.
    pub(super) fn of_step(
        step: &StepPath,
        flow: &Flow,
        made: Option<&MadeGraph>,
    ) -> Result<(Arc<Graph>, usize), RestoreError> {
        let lost = || RestoreError::Broken(format!("step {step} is in no graph of its flow"));
        let text = step.as_str();
        let (mut graph, rest) = match made {
            Some((made, graph)) => {
                let rest = text.strip_prefix(made.step.as_str());
                let rest = rest.and_then(|rest| rest.strip_prefix('/'));
                (Arc::clone(graph), rest.ok_or_else(lost)?)
            }
            None => {
                let handler = text
                    .split_once('/')
                    .filter(|(first, _)| first.starts_with('~'));
                match handler {
                    Some(("~on_failure", rest)) => (root(flow, Root::OnFailure)?, rest),
                    Some((_, rest)) => (root(flow, Root::Finally)?, rest),
                    None => (root(flow, Root::Flow)?, text),
                }
            }
        };
        let segments = StepPath::from(rest).segments().map_err(|_| lost())?;
        for (depth, (id, _)) in segments.iter().enumerate() {
            let node = graph.nodes.iter().position(|node| node.id == *id);
            let node = node.ok_or_else(lost)?;
            if depth + 1 == segments.len() {
                return Ok((graph, node));
            }
            graph = body(&graph, node).ok_or_else(lost)?;
        }
        Err(lost())
    }
}

/// A graph that a flow begins with.
pub(super) fn root(flow: &Flow, root: Root) -> Result<Arc<Graph>, RestoreError> {
    let graph = match root {
        Root::Flow => Some(flow.graph()),
        Root::OnFailure => flow.on_failure(),
        Root::Finally => flow.finally(),
    };
    let missing = || RestoreError::Broken(format!("the flow has no graph for {root:?}"));
    graph.cloned().ok_or_else(missing)
}

/// The body of a node, as the flow defines it.
pub(super) fn body(graph: &Graph, node: usize) -> Option<Arc<Graph>> {
    match &graph.nodes.get(node)?.operation {
        Operation::ForEach(each) => Some(Arc::clone(&each.body)),
        Operation::Loop(looped) => Some(Arc::clone(&looped.body)),
        _ => None,
    }
}
