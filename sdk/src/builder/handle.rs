//! Handles: what a node gives, and what may be said of it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use crate::draft::{
    DraftApply, DraftEdge, DraftFormula, DraftGraph, DraftNode, DraftOperation, DraftSource,
    DraftText,
};
use crate::retry::Retry;

/// Whether a node's value is there: [`Always`], or [`Maybe`] where a switch is upstream.
pub trait Presence: 'static {
    /// How a value arrives in a join.
    type Arg<T>;
    /// The presence of a join of this with `Q`.
    type Or<Q: Presence>: Presence;
    /// The argument that stands for a value; `None` where one is missing that must be there.
    fn arg<T>(value: Option<T>) -> Option<Self::Arg<T>>;
}

/// The node runs in every request that comes so far.
#[derive(Debug)]
pub struct Always;

/// The node may be skipped; it arrives in a join as an `Option`.
#[derive(Debug)]
pub struct Maybe;

impl Presence for Always {
    type Arg<T> = T;
    type Or<Q: Presence> = Self;
    fn arg<T>(value: Option<T>) -> Option<T> {
        value
    }
}

impl Presence for Maybe {
    type Arg<T> = Option<T>;
    type Or<Q: Presence> = Q;
    fn arg<T>(value: Option<T>) -> Option<Option<T>> {
        Some(value)
    }
}

/// Kind of a handle: an input, an item, or a case of a switch.
#[derive(Debug)]
pub struct Given;
/// Kind of a handle: a step.
#[derive(Debug)]
pub struct Step;
/// Kind of a handle: a call of a function.
#[derive(Debug)]
pub struct Call;
/// Kind of a handle: a `for_each`.
#[derive(Debug)]
pub struct Each;

/// A kind that is a node of the graph, and so can be its output.
#[diagnostic::on_unimplemented(
    message = "an input, an item or a case of a switch is no node, and so cannot be an output",
    note = "give it to a step, such as `pass` with the expression `.`, and name that"
)]
pub trait Vertex {}
impl Vertex for Step {}
impl Vertex for Call {}
impl Vertex for Each {}

/// A kind that runs, and so has retries and a timeout.
pub trait Runs {}
impl Runs for Step {}
impl Runs for Call {}

/// Types without values of them.
type Types<T, P, K> = PhantomData<fn() -> (T, P, K)>;

/// A handle of something that gives a `T`.
#[derive(Debug)]
pub struct Node<T, P = Always, K = Step> {
    pub(super) graph: Rc<RefCell<DraftGraph>>,
    pub(super) index: Option<usize>,
    pub(super) source: DraftSource,
    pub(super) case: Option<usize>,
    pub(super) types: Types<T, P, K>,
}

impl<T, P, K> Node<T, P, K> {
    pub(super) fn edge(&self) -> DraftEdge {
        DraftEdge::new(self.source.clone(), self.case, None)
    }

    pub(super) fn name(&self) -> Option<&str> {
        match &self.source {
            DraftSource::Node(name) => Some(name),
            DraftSource::Input(_) => None,
        }
    }

    fn set(self, change: impl FnOnce(&mut DraftNode)) -> Self {
        if let Some(ix) = self.index {
            // A handle may outlive its graph's being built; then there is nothing left to say.
            if let Some(node) = self.graph.borrow_mut().nodes.get_mut(ix) {
                change(node);
            }
        }
        self
    }
}

impl<T, P, K: Runs> Node<T, P, K> {
    /// How often the step is tried.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        self.set(|node| node.retry = Some(retry))
    }

    /// How long one attempt may take.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|node| node.timeout = Some(timeout))
    }

    /// The version of the closure: raise it when a request that began with the old one must not go
    /// on with this one. 1 by default.
    #[must_use]
    pub fn version(self, version: u32) -> Self {
        self.set(|node| {
            if let DraftOperation::Map(map) = &mut node.operation {
                map.version = version;
            }
        })
    }
}

impl<T, P> Node<T, P, Call> {
    fn call(self, change: impl FnOnce(&mut DraftApply)) -> Self {
        self.set(|node| {
            if let DraftOperation::Apply(apply) = &mut node.operation {
                change(apply);
            }
        })
    }

    /// HTTP method; POST by default.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.call(|apply| apply.method = Some(method.to_owned()))
    }

    /// Path and query after the function's name, beginning with `/` or `?`.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        self.call(|apply| apply.path = Some(DraftText::Literal(path.to_owned())))
    }

    /// A header to send.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        let value = DraftText::Literal(value.to_owned());
        self.call(|apply| apply.headers.push((name.to_owned(), value)))
    }

    /// How a value that a closure made is sent: `application/json` (the default) or
    /// `application/msgpack`.
    #[must_use]
    pub fn content_type(self, content_type: &str) -> Self {
        self.call(|apply| apply.content_type = Some(content_type.to_owned()))
    }
}

impl<T, P> Node<T, P, Each> {
    /// Most items in progress at once; 64 by default.
    #[must_use]
    pub fn max_parallel(self, items: usize) -> Self {
        self.set(|node| {
            if let DraftOperation::ForEach { parallel_max, .. } = &mut node.operation {
                *parallel_max = Some(items);
            }
        })
    }
}

/// A switch under construction. The first case that holds is taken; where none does, the default;
/// where there is none, everything that hangs on the switch alone is skipped.
#[derive(Debug)]
pub struct Switch<T> {
    pub(super) node: Node<T, Always, Step>,
}

impl<T> Switch<T> {
    /// A case with a jq condition; its value is the switch's input.
    #[must_use]
    pub fn when(&self, jq: &str) -> Node<T, Maybe, Given> {
        self.case(Some(jq))
    }

    /// The default; declare it last.
    #[must_use]
    pub fn otherwise(&self) -> Node<T, Maybe, Given> {
        self.case(None)
    }

    fn case(&self, when: Option<&str>) -> Node<T, Maybe, Given> {
        let mut graph = self.node.graph.borrow_mut();
        let node = self.node.index.and_then(|ix| graph.nodes.get_mut(ix));
        let case = match node.map(|node| &mut node.operation) {
            Some(DraftOperation::Switch { cases, .. }) => {
                cases.push(when.map(|jq| DraftFormula::Jq(jq.into())));
                cases.len() - 1
            }
            _ => 0,
        };
        Node {
            graph: Rc::clone(&self.node.graph),
            index: None,
            source: self.node.source.clone(),
            case: Some(case),
            types: PhantomData,
        }
    }
}
