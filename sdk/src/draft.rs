//! A flow as its author wrote it, by the builder or in YAML, before validation.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::graph::Map;
use crate::retry::Retry;
use crate::value::Value;

#[derive(Debug)]
pub(crate) struct DraftFlow {
    pub(crate) name: Located,
    pub(crate) timeout: Option<Duration>,
    pub(crate) graph: DraftGraph,
    pub(crate) on_failure: Option<DraftGraph>,
    pub(crate) finally: Option<DraftGraph>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) headers: Vec<Located>,
    pub(crate) is_signed: bool,
    /// Closures that a graph made at run time may name.
    pub(crate) closures: BTreeMap<String, Map>,
}

/// A text, and the line where it stands.
#[derive(Debug, Clone)]
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
    pub(crate) aggregate: Option<DraftFormula>,
    pub(crate) when: Option<DraftFormula>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: Option<bool>,
    pub(crate) pure: Option<bool>,
    pub(crate) fallback: Option<DraftFallback>,
    /// Without edges of its own; its name is not used.
    pub(crate) compensate: Option<Box<DraftNode>>,
    pub(crate) set: Vec<(String, Located)>,
}

impl DraftNode {
    pub(crate) fn new(id: &str, operation: DraftOperation, edges: Vec<DraftEdge>) -> Self {
        Self {
            id: id.to_owned(),
            line: None,
            operation,
            edges,
            aggregate: None,
            when: None,
            retry: None,
            timeout: None,
            idempotent: None,
            pure: None,
            fallback: None,
            compensate: None,
            set: Vec::new(),
        }
    }
}

#[derive(Debug)]
pub(crate) enum DraftFallback {
    Constant(Value),
    /// Without edges of its own; its name is not used.
    Node(Box<DraftNode>),
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
    /// Whether it brings its value; otherwise it is order alone.
    pub(crate) data: bool,
    pub(crate) transform: Option<DraftFormula>,
}

impl DraftEdge {
    /// An edge that brings its value as it is.
    pub(crate) const fn new(from: DraftSource, case: Option<usize>, line: Option<u64>) -> Self {
        Self {
            from,
            case,
            line,
            data: true,
            transform: None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum DraftFormula {
    Jq(Located),
    Closure(Map),
}

#[derive(Debug)]
pub(crate) enum DraftText {
    Literal(String),
    Jq(Located),
    Secret(String),
}

#[derive(Debug)]
pub(crate) enum DraftOperation {
    Apply(DraftApply),
    Map(Map),
    /// A closure that is registered with the flow, by its name: in graphs made at run time.
    Named(Located),
    Http(DraftHttp),
    Pass(Located),
    Switch {
        /// The condition of each case; `None` is the default.
        cases: Vec<Option<DraftFormula>>,
        all: bool,
    },
    ForEach {
        items: Option<Located>,
        body: DraftGraph,
        parallel_max: Option<usize>,
        collect: bool,
    },
    Loop {
        body: DraftGraph,
        again: DraftFormula,
        iterations_max: Option<u32>,
    },
    /// By an `Apply`, a `Map` or a `Pass`.
    Expand(Box<DraftOperation>),
    Flow(Located),
    Wait(DraftWait),
}

#[derive(Debug)]
pub(crate) enum DraftWait {
    Signal(Located),
    Duration(Duration),
    Until(Located),
}

#[derive(Debug, Default)]
pub(crate) struct DraftApply {
    pub(crate) function: String,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<DraftText>,
    pub(crate) query: Vec<(String, DraftText)>,
    pub(crate) headers: Vec<(String, DraftText)>,
    pub(crate) content_type: Option<String>,
    pub(crate) asynchronous: bool,
    pub(crate) by_reference: bool,
}

#[derive(Debug)]
pub(crate) struct DraftHttp {
    pub(crate) url: DraftText,
    pub(crate) method: Option<String>,
    pub(crate) query: Vec<(String, DraftText)>,
    pub(crate) headers: Vec<(String, DraftText)>,
    pub(crate) content_type: Option<String>,
    pub(crate) callback: bool,
}
