//! Handles: what a node gives, whether it is there, and what kind of node it is.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use super::formula::{Formula, IntoFormula};
use crate::draft::{DraftEdge, DraftFormula, DraftGraph, DraftNode, DraftSource};

/// Whether a node's value is there: [`Always`], or [`Maybe`] where a switch or a `when` is upstream.
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

/// Types without values of them.
pub(super) type Types<T> = PhantomData<fn() -> T>;

/// Kind of a handle: an input, an item, or a case of a switch.
#[derive(Debug)]
pub struct Given;
/// Kind of a handle: a value that is transformed on its way.
#[derive(Debug)]
pub struct Transformed;
/// Kind of a handle: a closure or an expression that is given `S`.
#[derive(Debug)]
pub struct Step<S>(Types<S>);
/// Kind of a handle: a call of a function that is given `S`.
#[derive(Debug)]
pub struct Call<S>(Types<S>);
/// Kind of a handle: a call of an endpoint that is given `S`.
#[derive(Debug)]
pub struct Endpoint<S>(Types<S>);
/// Kind of a handle: a `for_each` that is given `S`.
#[derive(Debug)]
pub struct Each<S>(Types<S>);
/// Kind of a handle: a node that waits, or is made of others, and is given `S`.
#[derive(Debug)]
pub struct Whole<S>(Types<S>);

/// Kind of a handle: a node of whatever kind; see [`Node::plain`].
#[derive(Debug)]
pub struct Plain;

/// A kind that is a node of the graph, and so can be its output and has attributes.
#[diagnostic::on_unimplemented(
    message = "an input, an item or a case of a switch is no node, and so cannot be an output",
    note = "give it to a step, such as `pass` with the expression `.`, and name that"
)]
pub trait Vertex {
    /// What the node is given.
    type Args;
}

/// A kind that is called itself, and so says how often it may be.
pub trait Runs: Vertex {}

/// A kind whose value can be transformed on its way; once.
pub trait Untransformed {}

macro_rules! kinds {
    ($($trait:ident: $($kind:ident)+;)+) => { $($(kinds!(@ $trait $kind);)+)+ };
    (@ Vertex $kind:ident) => { impl<S> Vertex for $kind<S> { type Args = S; } };
    (@ $trait:ident Given) => { impl $trait for Given {} };
    (@ $trait:ident $kind:ident) => { impl<S> $trait for $kind<S> {} };
}
kinds! {
    Vertex: Step Call Endpoint Each Whole;
    Runs: Step Call Endpoint;
    Untransformed: Given Step Call Endpoint Each Whole;
}
impl Vertex for Plain {
    type Args = ();
}
impl Untransformed for Plain {}

/// A node, where one is to blame, and what is wrong with it.
pub(super) type Mistake = (Option<String>, String);

/// A graph under construction, and where it stands.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) graph: RefCell<DraftGraph>,
    /// The nodes whose bodies it is in, outermost first.
    pub(super) owners: Vec<String>,
    /// What the flow's author did wrong that only building the flow can tell.
    pub(super) mistakes: Rc<RefCell<Vec<Mistake>>>,
}

impl Work {
    /// The name under which a value from `source` arrives.
    pub(super) fn name<'a>(&'a self, source: &'a DraftSource) -> &'a str {
        match source {
            DraftSource::Input(0) => "input",
            DraftSource::Input(depth) if *depth < self.owners.len() => &self.owners[*depth - 1],
            DraftSource::Input(_) => "item",
            DraftSource::Node(name) => name,
        }
    }
}

/// A handle of something that gives a `T`. `P` says whether it is always there, `K` what it is.
#[derive(Debug)]
pub struct Node<T, P = Always, K = Plain> {
    pub(super) work: Rc<Work>,
    pub(super) index: Option<usize>,
    pub(super) source: DraftSource,
    pub(super) case: Option<usize>,
    pub(super) transform: Option<DraftFormula>,
    /// Declared version of the node's closures.
    pub(super) version: u32,
    pub(super) types: Types<(T, P, K)>,
}

impl<T, P, K> Node<T, P, K> {
    /// A value that is no node of its own.
    pub(super) fn given(work: &Rc<Work>, source: DraftSource, case: Option<usize>) -> Self {
        Self {
            work: Rc::clone(work),
            index: None,
            source,
            case,
            transform: None,
            version: 1,
            types: PhantomData,
        }
    }

    pub(super) fn edge(&self) -> DraftEdge {
        DraftEdge {
            transform: self.transform.clone(),
            ..DraftEdge::new(self.source.clone(), self.case, None)
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        match &self.source {
            DraftSource::Node(name) => Some(name),
            DraftSource::Input(_) => None,
        }
    }

    /// The same node, said to be of other types.
    pub(super) fn retyped<T2, P2, K2>(self) -> Node<T2, P2, K2> {
        Node {
            work: self.work,
            index: self.index,
            source: self.source,
            case: self.case,
            transform: self.transform,
            version: self.version,
            types: PhantomData,
        }
    }

    pub(super) fn change(self, change: impl FnOnce(&mut DraftNode)) -> Self {
        if let Some(ix) = self.index {
            // A handle may outlive its graph's being built; then there is nothing left to say.
            if let Some(node) = self.work.graph.borrow_mut().nodes.get_mut(ix) {
                change(node);
            }
        }
        self
    }
}

impl<T, P, K: Vertex> Node<T, P, K> {
    /// The handle without the types of what the node is given: for signatures of functions, which
    /// then say `Node<T>`, and for lists of handles. Say what takes the node's place, and what undoes
    /// it, before.
    #[must_use]
    pub fn plain(self) -> Node<T, P> {
        self.retyped()
    }
}

impl<T, P, K: Untransformed> Node<T, P, K> {
    /// The value as a jq expression or a closure transforms it on its way to another node.
    #[must_use]
    pub fn via<O, M>(&self, transform: impl IntoFormula<T, O, M>) -> Node<O, P, Transformed> {
        let Formula(transform) = transform.into_formula(self.version);
        Node {
            transform: Some(transform),
            ..Node::given(&self.work, self.source.clone(), self.case)
        }
    }
}
