//! The flow model: an immutable, validated graph.
//!
//! Invariants: node indexes are in range and edges form a DAG; a flow is made only by validation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::closure::Closure;
use crate::expression::Expression;
use crate::ids::{FlowName, FunctionName, NodeId};
use crate::retry::Retry;

/// Index of a node in its graph's `nodes`.
pub type NodeIx = usize;

/// Hash of a flow's graph and of its closures' declared versions, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FlowVersion(pub(crate) Arc<str>);

impl FlowVersion {
    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FlowVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pipeline: a valid graph with a name, a version and a time limit.
#[derive(Debug, Clone)]
pub struct Flow {
    pub(crate) name: FlowName,
    pub(crate) version: FlowVersion,
    pub(crate) timeout: Duration,
    pub(crate) graph: Arc<Graph>,
}

impl Flow {
    /// The flow's name.
    #[must_use]
    pub const fn name(&self) -> &FlowName {
        &self.name
    }

    /// The flow's version.
    #[must_use]
    pub const fn version(&self) -> &FlowVersion {
        &self.version
    }

    /// How long a request may take in all.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The flow's graph.
    #[must_use]
    pub const fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }
}

/// Nodes and edges: a flow's own graph, or the body of a node.
#[derive(Debug)]
pub struct Graph {
    /// The nodes, in the order in which they were declared.
    pub nodes: Vec<Vertex>,
    /// For each node, the nodes that wait for it: (successor, index into its `edges`).
    pub successors: Vec<Vec<(NodeIx, usize)>>,
    /// What the graph returns.
    pub output: Output,
}

/// What a graph returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The value of one node.
    Node(NodeIx),
    /// A map of the sinks, from name to value.
    Sinks(Vec<NodeIx>),
}

/// A node of a graph.
#[derive(Debug)]
pub struct Vertex {
    /// Its name, unique in the flow.
    pub id: NodeId,
    /// What it does.
    pub operation: Operation,
    /// What it waits for, in order.
    pub edges: Vec<Edge>,
    /// How often it is tried.
    pub retry: Retry,
    /// How long one attempt may take; without one, what is left of the flow's time.
    pub timeout: Option<Duration>,
}

/// An edge into a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Where it comes from.
    pub from: Source,
    /// The case of the switch `from` on which it is live; `None` for a plain edge.
    pub case: Option<usize>,
    /// The name under which its value arrives: the node's, `input`, `item`, or for the item of an
    /// enclosing body the name of the node that owns it.
    pub name: Arc<str>,
    /// Whether it only makes the value visible to the body, and takes no part in readiness.
    pub capture: bool,
}

/// Where an edge comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The graph's input: the flow's, or in a body the item.
    Input,
    /// A node of the same graph.
    Node(NodeIx),
    /// A value from outside the body: index of the edge of the node that owns the body.
    Outer(usize),
}

/// What a node does.
#[derive(Debug)]
pub enum Operation {
    /// Calls an OpenFaaS function through the gateway.
    Apply(Apply),
    /// Runs a Rust closure.
    Map(Map),
    /// Transforms by a jq expression.
    Pass(Expression),
    /// Takes one way of several.
    Switch(Switch),
    /// Runs a body graph per item.
    ForEach(ForEach),
}

impl Operation {
    /// The operation's name in YAML.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Map(_) => "map",
            Self::Pass(_) => "pass",
            Self::Switch(_) => "switch",
            Self::ForEach(_) => "for_each",
        }
    }
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    /// The function.
    pub function: FunctionName,
    /// HTTP method, `POST` by default.
    pub method: String,
    /// Path and query after the function's name: empty, or beginning with `/` or `?`.
    pub path: String,
    /// Headers sent besides the platform's own.
    pub headers: Vec<(String, String)>,
    /// Whether what a closure made is sent as MessagePack instead of JSON.
    pub msgpack: bool,
}

/// A closure and the version that its author declares for it.
#[derive(Debug)]
pub struct Map {
    /// The closure.
    pub closure: Closure,
    /// Declared version, 1 by default; part of the flow's version.
    pub version: u32,
}

/// A choice among cases; the first that holds is taken, otherwise the default.
#[derive(Debug)]
pub struct Switch {
    /// The cases, in order. The default, where there is one, is the last.
    pub cases: Vec<Case>,
}

/// One case of a switch.
#[derive(Debug)]
pub struct Case {
    /// Its condition; `None` for the default.
    pub when: Option<Expression>,
}

/// A body graph per item.
#[derive(Debug)]
pub struct ForEach {
    /// What gives the list of items from the node's input; `None` takes the input itself.
    pub items: Option<Expression>,
    /// What runs per item.
    pub body: Arc<Graph>,
    /// Most items in progress at once.
    pub parallel_max: usize,
}
