//! The flow model: an immutable, validated graph.
//!
//! Invariants: node indexes are in range and edges form a DAG; a flow is made only by validation.

mod operation;

pub use operation::{Apply, Case, Expand, ForEach, Http, Loop, Map, Operation, Switch, Wait};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::expression::Expression;
use crate::ids::{FlowName, NodeId};
use crate::retry::Retry;
use crate::value::Value;

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
    pub(crate) on_failure: Option<Arc<Graph>>,
    pub(crate) finally: Option<Arc<Graph>>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) headers: Arc<[String]>,
    pub(crate) is_signed: bool,
    pub(crate) closures: Arc<BTreeMap<String, Map>>,
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

    /// What runs when a request failed or took too long, after compensation.
    #[must_use]
    pub const fn on_failure(&self) -> Option<&Arc<Graph>> {
        self.on_failure.as_ref()
    }

    /// What runs at the end of every request, however it ended.
    #[must_use]
    pub const fn finally(&self) -> Option<&Arc<Graph>> {
        self.finally.as_ref()
    }

    /// Most requests of this flow that a replica drives at once; none for no limit of its own.
    #[must_use]
    pub const fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    /// Lower-case names of the caller's headers that are recorded with a request.
    #[must_use]
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Whether it takes signed calls alone.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// Whether a program has to bring closures with it.
    #[must_use]
    pub fn has_closures(&self) -> bool {
        let handlers = [&self.on_failure, &self.finally];
        let mut graphs = handlers.into_iter().flatten().chain([&self.graph]);
        !self.closures.is_empty()
            || graphs.any(|graph| graph.nodes.iter().any(Vertex::has_closures))
    }

    /// Closures that a graph made at run time may name.
    #[must_use]
    pub fn closures(&self) -> &BTreeMap<String, Map> {
        &self.closures
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

/// A node of a graph; or what stands in for a node that failed (`fallback`) or undoes it
/// (`compensate`), which has no edges of its own and takes the node's place.
#[derive(Debug)]
pub struct Vertex {
    /// Its name, unique in the flow.
    pub id: NodeId,
    /// What it does.
    pub operation: Operation,
    /// What it waits for, in order.
    pub edges: Vec<Edge>,
    /// What is made of its joined inputs before the operation; of a `for_each`, of its results.
    pub aggregate: Option<Formula>,
    /// It is skipped unless this holds on its input.
    pub when: Option<Formula>,
    /// How often it is tried.
    pub retry: Retry,
    /// How long one attempt may take; without one, what is left of the flow's time.
    pub timeout: Option<Duration>,
    /// Whether it may be called more than once on one input. Otherwise its start is recorded before
    /// the call, and a call whose outcome is unknown is never repeated.
    pub idempotent: bool,
    /// Whether a call leaves no trace: it may start before what released it is recorded.
    pub pure: bool,
    /// What takes its place when it is out of attempts.
    pub fallback: Option<Fallback>,
    /// What undoes it when the flow fails later.
    pub compensate: Option<Box<Vertex>>,
    /// Variables of the request that its output sets: name, and jq on the output.
    pub set: Vec<(String, Expression)>,
}

impl Vertex {
    /// Whether its start is recorded before it is made: what must not be repeated or must be undone,
    /// and what somebody else completes.
    #[must_use]
    pub const fn commits_start(&self) -> bool {
        !self.idempotent || self.compensate.is_some() || self.operation.is_remote()
    }

    fn has_closures(&self) -> bool {
        let closure = |formula: &Formula| matches!(formula, Formula::Closure(_));
        let transforms = self.edges.iter().filter_map(|edge| edge.transform.as_ref());
        let formulas = self.aggregate.iter().chain(&self.when).chain(transforms);
        let fallback = match &self.fallback {
            Some(Fallback::Node(part)) => part.has_closures(),
            _ => false,
        };
        let compensate = self.compensate.as_ref();
        self.operation.has_closures()
            || formulas.into_iter().any(closure)
            || fallback
            || compensate.is_some_and(|part| part.has_closures())
    }
}

/// What takes the place of a node that is out of attempts.
#[derive(Debug)]
pub enum Fallback {
    /// A value.
    Constant(Value),
    /// Another operation on the same input.
    Node(Box<Vertex>),
}

/// An edge into a node.
#[derive(Debug, Clone)]
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
    /// Whether it brings its value; otherwise it is order alone.
    pub data: bool,
    /// What is made of the value on its way.
    pub transform: Option<Formula>,
}

/// Where an edge comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The graph's input: the flow's; in a body the item, or the state of the loop.
    Input,
    /// A node of the same graph.
    Node(NodeIx),
    /// A value from outside the body: index of the edge of the node that owns the body.
    Outer(usize),
}

/// A small computation on a value: a condition, a transform, an aggregate.
#[derive(Debug, Clone)]
pub enum Formula {
    /// A jq expression.
    Jq(Expression),
    /// A closure; its input has one member.
    Closure(Map),
}

/// A text that is sent: as it stands, computed, or secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// As it stands.
    Literal(String),
    /// What jq makes of the node's input; a string, a number or a boolean.
    Jq(Expression),
    /// The content of a secret, read at each call and never recorded.
    Secret(String),
}
