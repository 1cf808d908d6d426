//! Nodes with a body: per item, and again and again.

use std::collections::BTreeMap;
use std::rc::Rc;

use indexmap::IndexMap;

use super::Scope;
use super::formula::{Formula, IntoCondition, IntoFormula};
use super::handle::{Always, Each, Given, Node, Presence, Vertex, Whole};
use super::input::Arg;
use crate::draft::{DraftGraph, DraftNode, DraftOperation, DraftSource};
use crate::report::{Collected, CollectedMap};

/// What a `for_each` can go over: a list, or a map from text.
#[diagnostic::on_unimplemented(
    message = "a for_each goes over a list or a map, and `{Self}` is neither",
    note = "give it a handle of a `Vec<T>`, a `BTreeMap<String, T>` or an `IndexMap<String, T>`"
)]
pub trait Items {
    /// One item.
    type Item;
    /// The results, in the items' order or under their keys.
    type Results<O>: Results;
}

/// What a `for_each` gives.
pub trait Results {
    /// What it gives where it collects errors.
    type Collected;
}

impl<T> Items for Vec<T> {
    type Item = T;
    type Results<O> = Vec<O>;
}

impl<T> Items for BTreeMap<String, T> {
    type Item = T;
    type Results<O> = BTreeMap<String, O>;
}

impl<T> Items for IndexMap<String, T> {
    type Item = T;
    type Results<O> = IndexMap<String, O>;
}

impl<O> Results for Vec<O> {
    type Collected = Collected<O>;
}

impl<O> Results for BTreeMap<String, O> {
    type Collected = CollectedMap<O>;
}

impl<O> Results for IndexMap<String, O> {
    type Collected = CollectedMap<O>;
}

/// The handle of a `for_each` over `L` whose body gives an `O`.
pub type EachOf<L, O, P, Q> = Node<<L as Items>::Results<<Q as Presence>::Arg<O>>, P, Each<Arg<L>>>;

impl Scope {
    /// A body graph per item of a list or a map, in parallel, the results in the items' order or
    /// under their keys. The body may use handles from outside it.
    pub fn for_each<L: Items, P, K, O, Q, N>(
        &self,
        id: &str,
        items: &Node<L, P, K>,
        body: impl FnOnce(&Self, &Node<L::Item, Always, Given>) -> Node<O, Q, N>,
    ) -> EachOf<L, O, P, Q>
    where
        P: Presence,
        Q: Presence,
        N: Vertex,
    {
        let operation = DraftOperation::ForEach {
            items: None,
            body: self.body(id, body),
            parallel_max: None,
            collect: false,
        };
        self.node(DraftNode::new(id, operation, vec![items.edge()]))
    }

    /// A body graph again and again, from a state to the next, while a condition holds on the state
    /// (jq or a closure `|state: &T| -> bool`), asked before each iteration. It gives the last state;
    /// where the condition still holds after `iterations_max`, it fails.
    pub fn repeat_while<T, P, K, N, M>(
        &self,
        id: &str,
        state: &Node<T, P, K>,
        again: impl IntoCondition<Arg<T>, M>,
        iterations_max: u32,
        body: impl FnOnce(&Self, &Node<T, Always, Given>) -> Node<T, Always, N>,
    ) -> Node<T, P, Whole<Arg<T>>>
    where
        P: Presence,
        N: Vertex,
    {
        let Formula(again) = again.into_condition(1);
        let operation = DraftOperation::Loop {
            body: self.body(id, body),
            again,
            iterations_max: Some(iterations_max),
        };
        self.node(DraftNode::new(id, operation, vec![state.edge()]))
    }

    fn body<T, O, Q, N: Vertex>(
        &self,
        id: &str,
        body: impl FnOnce(&Self, &Node<T, Always, Given>) -> Node<O, Q, N>,
    ) -> DraftGraph {
        let scope = self.inner(Some(id));
        let depth = scope.work.owners.len();
        let item = Node::given(&scope.work, DraftSource::Input(depth), None);
        let result = body(&scope, &item);
        let mut graph = scope.work.graph.take();
        graph.output = result.name().map(Into::into);
        graph
    }

    /// A graph of its own: the body of `owner`, or one that begins anew.
    pub(super) fn inner(&self, owner: Option<&str>) -> Self {
        let mut owners = self.work.owners.clone();
        owners.extend(owner.map(str::to_owned));
        Self {
            work: Rc::new(super::handle::Work {
                owners,
                mistakes: Rc::clone(&self.work.mistakes),
                ..super::handle::Work::default()
            }),
        }
    }
}

impl<T, P, S> Node<T, P, Each<S>> {
    /// Most items in progress at once; 64 by default.
    pub fn max_parallel(self, items: usize) -> Self {
        self.change(|node| {
            if let DraftOperation::ForEach { parallel_max, .. } = &mut node.operation {
                *parallel_max = Some(items);
            }
        })
    }

    /// An item that fails does not fail the node: the results hold `None` in its place, and the
    /// error stands beside them.
    pub fn collect(self) -> Node<T::Collected, P, Each<S>>
    where
        T: Results,
    {
        let node = self.change(|node| {
            if let DraftOperation::ForEach { collect, .. } = &mut node.operation {
                *collect = true;
            }
        });
        node.retyped()
    }

    /// What the node gives, made of its results by jq or a closure.
    pub fn aggregate<O, M>(self, formula: impl IntoFormula<T, O, M>) -> Node<O, P, Whole<S>> {
        let Formula(formula) = formula.into_formula(self.version);
        self.change(|node| node.aggregate = Some(formula)).retyped()
    }
}
