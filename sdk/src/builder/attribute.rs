//! What may be said of every node.

use std::time::Duration;

use super::formula::{Formula, IntoCondition};
use super::handle::{Always, Maybe, Node, Runs, Vertex};
use super::input::Arrives;
use super::place::Place;
use super::step::IntoValue;
use crate::draft::{DraftFallback, DraftFormula, DraftNode, DraftOperation};
use crate::retry::Retry;

impl<T, P, K: Vertex> Node<T, P, K> {
    /// How often the node is tried.
    pub fn retry(self, retry: Retry) -> Self {
        self.change(|node| node.retry = Some(retry))
    }

    /// How long one attempt may take.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.change(|node| node.timeout = Some(timeout))
    }

    /// The node is skipped unless this holds on its input: jq, or where one value arrives a closure
    /// `|value: &T| -> bool`.
    pub fn when<M>(self, condition: impl IntoCondition<K::Args, M>) -> Node<T, Maybe, K> {
        let Formula(condition) = condition.into_condition(self.version);
        self.change(|node| node.when = Some(condition)).retyped()
    }

    /// A value that takes the node's place when it is out of attempts.
    pub fn fallback(self, value: T) -> Self
    where
        T: IntoValue,
    {
        match value.into_value() {
            Ok(value) => self.change(|node| node.fallback = Some(DraftFallback::Constant(value))),
            Err(error) => {
                let mistake = format!("its fallback: {error}");
                let name = self.name().map(str::to_owned);
                self.work.mistakes.borrow_mut().push((name, mistake));
                self
            }
        }
    }

    /// What takes the node's place, on the same input, when it is out of attempts:
    /// `.fallback_with(|other| other.apply("plan-b"))`. It may have `retry` and `timeout` of its own.
    pub fn fallback_with<L: Runs>(
        self,
        other: impl FnOnce(&Place<K::Args, T>) -> Node<T, Always, L>,
    ) -> Self
    where
        K::Args: Arrives,
    {
        let other = Place::fill(&self, None, other);
        self.change(|node| node.fallback = other.map(|node| DraftFallback::Node(Box::new(node))))
    }

    /// What undoes the node when the flow fails later: `.compensate(|undo| undo.map(refund))`. A
    /// closure takes a [`Compensation`](crate::Compensation), a function or an expression
    /// `{input, output}`.
    pub fn compensate<R, L: Runs>(
        self,
        undo: impl FnOnce(&Place<super::place::Undo<K::Args, T>, ()>) -> Node<R, Always, L>,
    ) -> Self {
        let names = self.members();
        let undo = Place::fill(&self, Some(names), undo);
        self.change(|node| node.compensate = undo.map(Box::new))
    }

    /// A variable of the request that the node's output sets, by jq.
    pub fn set(self, name: &str, jq: &str) -> Self {
        self.change(|node| node.set.push((name.to_owned(), jq.into())))
    }

    /// The version of the node's closures: raise it when a request that began with the old ones must
    /// not go on with these. 1 by default.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self.change(|node| set_version(node, version))
    }
}

impl<T, K: Vertex> Node<T, Always, K> {
    /// What has to come first, besides what gives the node its input. Not for what may be skipped:
    /// that would make it run without its input.
    pub fn after<U, Q, L>(self, node: &Node<U, Q, L>) -> Self {
        let mut edge = node.edge();
        edge.data = false;
        self.change(|node| node.edges.push(edge))
    }
}

impl<T, P, K: Runs> Node<T, P, K> {
    /// It is called at most once on one input, however the call ends.
    pub fn at_most_once(self) -> Self {
        self.change(|node| node.idempotent = Some(false))
    }

    /// It may be called more than once on one input: to be said of an `http` that is no GET.
    pub fn idempotent(self) -> Self {
        self.change(|node| node.idempotent = Some(true))
    }

    /// A call leaves no trace, and so may start before what released it is recorded.
    pub fn pure(self) -> Self {
        self.change(|node| node.pure = Some(true))
    }
}

/// Of all closures that the node has so far, but for those of its bodies.
fn set_version(node: &mut DraftNode, version: u32) {
    let formulas = [&mut node.when, &mut node.aggregate];
    for formula in formulas.into_iter().flatten() {
        set_formula(formula, version);
    }
    if let Some(DraftFallback::Node(other)) = &mut node.fallback {
        set_version(other, version);
    }
    if let Some(undo) = &mut node.compensate {
        set_version(undo, version);
    }
    match &mut node.operation {
        DraftOperation::Map(map) => map.version = version,
        DraftOperation::Loop { again, .. } => set_formula(again, version),
        DraftOperation::Switch { cases, .. } => {
            for case in cases.iter_mut().flatten() {
                set_formula(case, version);
            }
        }
        DraftOperation::Expand(by) => {
            if let DraftOperation::Map(map) = &mut **by {
                map.version = version;
            }
        }
        _ => {}
    }
}

fn set_formula(formula: &mut DraftFormula, version: u32) {
    if let DraftFormula::Closure(map) = formula {
        map.version = version;
    }
}
