//! A flow as its author wrote it, by the builder or in YAML, before validation.

use std::time::Duration;

use crate::graph::Map;
use crate::retry::Retry;

#[derive(Debug)]
pub(crate) struct DraftFlow {
    pub(crate) name: Located,
    pub(crate) timeout: Option<Duration>,
    pub(crate) graph: DraftGraph,
}

/// A text, and the line where it stands.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) text: String,
    pub(crate) line: Option<u64>,
}

impl From<&str> for Located {
    fn from(text: &str) -> Self {
        let text = text.to_owned();
        Self { text, line: None }
    }
}

#[derive(Debug, Default)]
pub(crate) struct DraftGraph {
    pub(crate) nodes: Vec<DraftNode>,
    pub(crate) output: Option<Located>,
}

#[derive(Debug)]
pub(crate) struct DraftNode {
    pub(crate) id: String,
    pub(crate) line: Option<u64>,
    pub(crate) operation: DraftOperation,
    pub(crate) edges: Vec<DraftEdge>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Duration>,
}

impl DraftNode {
    pub(crate) fn new(id: &str, operation: DraftOperation, edges: Vec<DraftEdge>) -> Self {
        Self {
            id: id.to_owned(),
            line: None,
            operation,
            edges,
            retry: None,
            timeout: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum DraftSource {
    /// The input of the graph at this depth: 0 is the flow, 1 the body of a node of it.
    Input(usize),
    Node(String),
}

#[derive(Debug, Clone)]
pub(crate) struct DraftEdge {
    pub(crate) from: DraftSource,
    pub(crate) case: Option<usize>,
    pub(crate) line: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum DraftOperation {
    Apply(DraftApply),
    Map(Map),
    Pass(Located),
    /// The condition of each case; `None` is the default.
    Switch(Vec<Option<Located>>),
    ForEach {
        items: Option<Located>,
        body: DraftGraph,
        parallel_max: Option<usize>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct DraftApply {
    pub(crate) function: String,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content_type: Option<String>,
}
