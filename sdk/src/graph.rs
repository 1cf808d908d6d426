//! The flow model: an immutable, validated graph.
//!
//! Invariants: node indexes are in range and edges form a DAG; a flow is made only by validation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::closure::Closure;
use crate::expression::Expression;
use crate::ids::{FlowName, FunctionName, NodeId, SignalName};
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

/// What a node does.
#[derive(Debug)]
pub enum Operation {
    /// Calls an OpenFaaS function through the gateway.
    Apply(Apply),
    /// Runs a Rust closure.
    Map(Map),
    /// Calls any endpoint.
    Http(Http),
    /// Transforms by a jq expression.
    Pass(Expression),
    /// Takes one way of several, or all that hold.
    Switch(Switch),
    /// Runs a body graph per item.
    ForEach(ForEach),
    /// Runs a body graph again and again.
    Loop(Loop),
    /// Runs a graph that is made for this request.
    Expand(Expand),
    /// Runs another flow as a request of its own.
    Flow(FlowName),
    /// Waits for a signal or a time.
    Wait(Wait),
}

impl Operation {
    /// The operation's name in YAML.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Map(_) => "map",
            Self::Http(_) => "http",
            Self::Pass(_) => "pass",
            Self::Switch(_) => "switch",
            Self::ForEach(_) => "for_each",
            Self::Loop(_) => "loop",
            Self::Expand(_) => "expand",
            Self::Flow(_) => "flow",
            Self::Wait(_) => "wait",
        }
    }

    fn has_closures(&self) -> bool {
        let closure = |formula: &Formula| matches!(formula, Formula::Closure(_));
        match self {
            Self::Map(_) => true,
            Self::Switch(switch) => {
                let conditions = switch.cases.iter().filter_map(|case| case.when.as_ref());
                conditions.into_iter().any(closure)
            }
            Self::ForEach(each) => each.body.nodes.iter().any(Vertex::has_closures),
            Self::Loop(looped) => {
                closure(&looped.again) || looped.body.nodes.iter().any(Vertex::has_closures)
            }
            Self::Expand(expand) => expand.by.has_closures(),
            _ => false,
        }
    }

    /// Why it cannot set variables, where it cannot: nothing of ours sees its output.
    pub(crate) const fn sets_nothing(&self) -> Option<&'static str> {
        match self {
            Self::Expand(_) => Some("its output is that of the graph that it makes"),
            Self::Wait(_) => Some("a wait computes nothing"),
            operation if operation.is_remote() => Some("somebody else gives its output"),
            _ => None,
        }
    }

    /// Whether somebody else completes it, by a callback or as another request, while nothing of
    /// ours runs.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        match self {
            Self::Apply(apply) => apply.asynchronous,
            Self::Http(http) => http.callback,
            Self::Flow(_) => true,
            _ => false,
        }
    }
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Apply {
    /// The function.
    pub function: FunctionName,
    /// HTTP method, `POST` by default.
    pub method: String,
    /// Path after the function's name: empty, or beginning with `/` or `?`.
    pub path: Text,
    /// Query parameters, added to those of the path.
    pub query: Vec<(String, Text)>,
    /// Headers sent besides the platform's own.
    pub headers: Vec<(String, Text)>,
    /// Whether what a closure made is sent as MessagePack instead of JSON.
    pub msgpack: bool,
    /// Whether the function is called asynchronously and answers by a callback.
    pub asynchronous: bool,
}

/// A call of any endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Absolute URL, `http` or `https`.
    pub url: Text,
    /// HTTP method, `POST` by default.
    pub method: String,
    /// Query parameters, added to those of the URL.
    pub query: Vec<(String, Text)>,
    /// Headers sent besides the platform's own.
    pub headers: Vec<(String, Text)>,
    /// Whether what a closure made is sent as MessagePack instead of JSON.
    pub msgpack: bool,
    /// Whether the endpoint answers by a callback to the `X-Callback-Url` that it is sent.
    pub callback: bool,
}

/// A closure and the version that its author declares for it.
#[derive(Debug, Clone)]
pub struct Map {
    /// The closure.
    pub closure: Closure,
    /// Declared version, 1 by default; part of the flow's version.
    pub version: u32,
}

/// A choice among cases.
#[derive(Debug)]
pub struct Switch {
    /// The cases, in order. The default, where there is one, is the last; it is taken when no other is.
    pub cases: Vec<Case>,
    /// Whether all cases that hold are taken, instead of the first.
    pub all: bool,
}

/// One case of a switch.
#[derive(Debug)]
pub struct Case {
    /// Its condition; `None` for the default.
    pub when: Option<Formula>,
}

/// A body graph per item of a list or a map.
#[derive(Debug)]
pub struct ForEach {
    /// What gives the list of items from the node's input; `None` takes the input itself.
    pub items: Option<Expression>,
    /// What runs per item.
    pub body: Arc<Graph>,
    /// Most items in progress at once.
    pub parallel_max: usize,
    /// Whether an item that fails is put into the output, instead of failing the node.
    pub collect: bool,
}

/// A body graph from a state to the next, while a condition holds on the state.
#[derive(Debug)]
pub struct Loop {
    /// What runs again and again: its input is the state, its output the next one.
    pub body: Arc<Graph>,
    /// It goes on while this holds on the state; asked before each iteration.
    pub again: Formula,
    /// Most iterations; the node fails where the condition still holds after them.
    pub iterations_max: u32,
}

/// A graph that is made for the request.
#[derive(Debug)]
pub struct Expand {
    /// What makes it: the operation's output is a graph in the notation of YAML, as JSON or text.
    pub by: Box<Operation>,
}

/// What a `wait` waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// A signal of this name; its payload is the node's output.
    Signal(SignalName),
    /// A time span; the node's output is its input.
    Duration(Duration),
    /// A point in time, RFC 3339 or Unix seconds, from jq on the node's input; the output is the
    /// input.
    Until(Expression),
}
