//! Operations without edges of their own: what stands in for a node, undoes it, or makes a graph.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use super::Scope;
use super::formula::Text;
use super::handle::{Always, Call, Endpoint, Maybe, Node, Step, Types, Vertex};
use super::input::{Arg, Arrives, FromValue, Members};
use super::step::IntoClosure;
use crate::closure::{Closure, Inputs, StepError};
use crate::draft::{DraftApply, DraftHttp, DraftNode, DraftOperation};
use crate::graph::Map;
use crate::report::Compensation;
use crate::value::Value;

/// A place for one operation that is given `S`; calls in it give a `T`.
#[derive(Debug)]
pub struct Place<S, T> {
    scope: Scope,
    version: u32,
    /// Of a compensation: the names of the node's inputs.
    undone: Option<Vec<Arc<str>>>,
    types: Types<(S, T)>,
}

impl<S, T> Place<S, T> {
    /// The operation that `choose` puts in a place beside `node`.
    pub(super) fn fill<A, P, K, R, L>(
        node: &Node<A, P, K>,
        undone: Option<Vec<Arc<str>>>,
        choose: impl FnOnce(&Self) -> Node<R, Always, L>,
    ) -> Option<DraftNode> {
        let beside = Scope {
            work: std::rc::Rc::clone(&node.work),
        };
        Self::filled(&beside, node.version, undone, choose)
    }

    pub(super) fn filled<R, L>(
        beside: &Scope,
        version: u32,
        undone: Option<Vec<Arc<str>>>,
        choose: impl FnOnce(&Self) -> Node<R, Always, L>,
    ) -> Option<DraftNode> {
        let place = Self {
            scope: beside.inner(None),
            version,
            undone,
            types: PhantomData,
        };
        let chosen = choose(&place);
        let mut graph = chosen.work.graph.take();
        let ix = chosen.index?;
        (ix < graph.nodes.len()).then(|| graph.nodes.swap_remove(ix))
    }

    fn put<O, K>(&self, operation: DraftOperation) -> Node<O, Always, K> {
        let mut node = self.scope.node(DraftNode::new("", operation, Vec::new()));
        node.version = self.version;
        node
    }

    /// Runs a closure, as [`Scope::map`] does.
    pub fn map<O, M>(&self, closure: impl IntoClosure<S, O, M>) -> Node<O, Always, Step<S>>
    where
        S: Arrives,
    {
        let closure = closure.into_closure();
        let closure = match &self.undone {
            Some(names) => undoing(closure, names.clone()),
            None => closure,
        };
        let version = self.version;
        self.put(DraftOperation::Map(Map { closure, version }))
    }

    /// Calls an OpenFaaS function, as [`Scope::apply`] does.
    pub fn apply(&self, function: &str) -> Node<T, Always, Call<S>> {
        self.put(DraftOperation::Apply(DraftApply::of(function)))
    }

    /// Calls an endpoint, as [`Scope::http`] does.
    pub fn http(&self, url: impl Into<Text>) -> Node<T, Always, Endpoint<S>> {
        let Text(url) = url.into();
        self.put(DraftOperation::Http(DraftHttp::of(url)))
    }

    /// Transforms by a jq expression, as [`Scope::pass`] does.
    pub fn pass(&self, jq: &str) -> Node<T, Always, Step<S>> {
        self.put(DraftOperation::Pass(jq.into()))
    }
}

/// A [`Compensation`] of a node that was given `S` and gave an `O`.
#[derive(Debug)]
pub struct Undo<S, O>(Types<(S, O)>);

impl<S: Arrives, O: FromValue> Arrives for Undo<S, O> {
    type Value = Compensation<S::Value, O>;

    fn read(members: &mut Members<'_>) -> Result<Self::Value, StepError> {
        let input = S::read(members)?;
        let output = Arg::<O, Maybe>::read(members)?;
        Ok(Compensation { input, output })
    }
}

impl<T, P, K: Vertex> Node<T, P, K> {
    /// The names under which the node's inputs arrive.
    pub(super) fn members(&self) -> Vec<Arc<str>> {
        let graph = self.work.graph.borrow();
        let node = self.index.and_then(|ix| graph.nodes.get(ix));
        let edges = node.map_or(&[][..], |node| &node.edges);
        let data = edges.iter().filter(|edge| edge.data);
        data.map(|edge| Arc::from(self.work.name(&edge.from)))
            .collect()
    }
}

/// The closure on `{input, output}`: the input is taken apart into the members that it was joined
/// from, and the output comes after them.
fn undoing(closure: Closure, names: Vec<Arc<str>>) -> Closure {
    match closure {
        Closure::Sync(run) => Closure::Sync(Arc::new(move |inputs| run(&parted(inputs, &names)?))),
        Closure::Async(run) => {
            Closure::Async(Arc::new(move |inputs| match parted(inputs, &names) {
                Ok(inputs) => run(&inputs),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }))
        }
    }
}

fn parted(inputs: &Inputs, names: &[Arc<str>]) -> Result<Inputs, StepError> {
    let whole = inputs.joined().map_err(StepError::permanent)?;
    let mut whole = members(&whole)?;
    let input = whole.remove("input").unwrap_or_else(Value::empty);
    let one = names.iter().all(|name| *name == names[0]);
    let mut parts = if one {
        HashMap::new()
    } else {
        members(&input)?
    };
    let mut member = |name: &Arc<str>| {
        let value = if one {
            Some(input.clone())
        } else {
            parts.remove(&**name)
        };
        (Arc::clone(name), value)
    };
    let mut members: Vec<_> = names.iter().map(&mut member).collect();
    members.push((Arc::from("output"), whole.remove("output")));
    Ok(Inputs {
        context: inputs.context.clone(),
        members,
    })
}

fn members(value: &Value) -> Result<HashMap<String, Value>, StepError> {
    let members = value.members().map_err(StepError::permanent)?;
    Ok(members.into_iter().collect())
}
