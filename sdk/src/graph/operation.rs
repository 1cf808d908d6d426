//! What nodes do.

use std::sync::Arc;
use std::time::Duration;

use super::{Formula, Graph, Text, Vertex};
use crate::closure::Closure;
use crate::expression::Expression;
use crate::ids::{FlowName, FunctionName, SignalName};

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

    pub(super) fn has_closures(&self) -> bool {
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
    /// Whether the function is told where its input lies instead of being sent it, and says where its
    /// output lies.
    pub by_reference: bool,
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
