//! The operations that a graph can hold; those with a body are in `body`.

use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use super::formula::Text;
use super::handle::{Always, Call, Endpoint, Node, Runs, Step, Whole, Work};
use super::input::{Arg, ContextInput, Input, RequestInput};
use super::place::Place;
use super::step::IntoClosure;
use super::switch::Switch;
use crate::draft::{DraftApply, DraftHttp, DraftNode, DraftOperation, DraftSource, DraftWait};
use crate::graph::Map;

/// A graph under construction: a flow's own, or the body of a node.
#[derive(Debug, Default)]
pub struct Scope {
    pub(super) work: Rc<Work>,
}

impl Scope {
    /// The id of the request, as an input of a closure.
    #[must_use]
    pub fn request(&self) -> RequestInput {
        RequestInput(())
    }

    /// What is known of the request, as an input of a closure: a [`Context`](crate::Context).
    #[must_use]
    pub fn context(&self) -> ContextInput {
        ContextInput(())
    }

    /// A step that runs a Rust closure on what its inputs gave: a plain function `fn(I) -> Result<O, E>`,
    /// which runs on the blocking pool, or an `async fn` of the same shape. A tuple of handles arrives
    /// as a tuple of values. Errors are retried where the node has `retry`, but for
    /// [`StepError::permanent`](crate::StepError::permanent).
    pub fn map<I, O, M, F>(
        &self,
        id: &str,
        input: I,
        closure: F,
    ) -> Node<O, I::Presence, Step<I::Args>>
    where
        I: Input,
        F: IntoClosure<I::Args, O, M>,
    {
        let map = Map {
            closure: closure.into_closure(),
            version: 1,
        };
        self.step(id, DraftOperation::Map(map), &input)
    }

    /// A step that calls an OpenFaaS function, `name` or `name.namespace`, and reads its answer as `O`:
    /// `flow.apply::<Hours, _>("weather", &tables, "clean-weather")`.
    pub fn apply<O, I: Input>(
        &self,
        id: &str,
        input: I,
        function: &str,
    ) -> Node<O, I::Presence, Call<I::Args>> {
        let apply = DraftApply::of(function);
        self.step(id, DraftOperation::Apply(apply), &input)
    }

    /// A step that calls any endpoint, and reads its answer as `O`. Unless its method is GET or HEAD,
    /// say whether it is [`idempotent`](Node::idempotent) or called
    /// [`at_most_once`](Node::at_most_once).
    pub fn http<O, I: Input>(
        &self,
        id: &str,
        input: I,
        url: impl Into<Text>,
    ) -> Node<O, I::Presence, Endpoint<I::Args>> {
        let http = DraftHttp::of(url.into().0);
        self.step(id, DraftOperation::Http(http), &input)
    }

    /// A step that transforms by a jq expression, and reads its first output as `O`.
    pub fn pass<O, I: Input>(
        &self,
        id: &str,
        input: I,
        jq: &str,
    ) -> Node<O, I::Presence, Step<I::Args>> {
        self.step(id, DraftOperation::Pass(jq.into()), &input)
    }

    /// A choice by conditions on `input`; add its cases with [`Switch::when`] and [`Switch::otherwise`].
    pub fn switch<T, P, K>(&self, id: &str, input: &Node<T, P, K>) -> Switch<T> {
        let switch = DraftOperation::Switch {
            cases: Vec::new(),
            all: false,
        };
        let node = self.node(DraftNode::new(id, switch, vec![input.edge()]));
        Switch { node }
    }

    /// A graph that is made for the request, and run in the node's place; the output of the graph is
    /// read as `O`. What makes it gives the notation of YAML, as a value or as text:
    /// `flow.expand::<u32, _, _, _>("build", &order, |by| by.map(plan))`.
    pub fn expand<O, I: Input, R, L: Runs>(
        &self,
        id: &str,
        input: I,
        by: impl FnOnce(&Place<I::Args, ()>) -> Node<R, Always, L>,
    ) -> Node<O, I::Presence, Whole<I::Args>> {
        // What is said of the call is said of the node.
        let by = Place::filled(self, 1, None, by);
        let mut node =
            by.unwrap_or_else(|| DraftNode::new(id, DraftOperation::Pass("".into()), Vec::new()));
        node.id = id.to_owned();
        node.edges = input.wiring().0;
        node.operation = DraftOperation::Expand(Box::new(node.operation));
        self.node(node)
    }

    /// Another flow as a step: a request of its own, whose output is read as `O`.
    pub fn subflow<O, I: Input>(
        &self,
        id: &str,
        input: I,
        flow: &str,
    ) -> Node<O, I::Presence, Step<I::Args>> {
        self.step(id, DraftOperation::Flow(flow.into()), &input)
    }

    /// Waits for a time span; gives what it was given.
    pub fn wait<T, P, K>(
        &self,
        id: &str,
        input: &Node<T, P, K>,
        time: Duration,
    ) -> Node<T, P, Whole<Arg<T>>> {
        let wait = DraftOperation::Wait(DraftWait::Duration(time));
        self.node(DraftNode::new(id, wait, vec![input.edge()]))
    }

    /// Waits until a point in time, RFC 3339 or Unix seconds, from jq on its input; gives what it was
    /// given.
    pub fn wait_until<T, P, K>(
        &self,
        id: &str,
        input: &Node<T, P, K>,
        jq: &str,
    ) -> Node<T, P, Whole<Arg<T>>> {
        let wait = DraftOperation::Wait(DraftWait::Until(jq.into()));
        self.node(DraftNode::new(id, wait, vec![input.edge()]))
    }

    /// Waits for a signal, and reads its payload as `O`.
    pub fn signal<O, I: Input>(
        &self,
        id: &str,
        input: I,
        name: &str,
    ) -> Node<O, I::Presence, Whole<I::Args>> {
        let wait = DraftOperation::Wait(DraftWait::Signal(name.into()));
        self.step(id, wait, &input)
    }

    fn step<T, P, K>(
        &self,
        id: &str,
        operation: DraftOperation,
        input: &impl Input,
    ) -> Node<T, P, K> {
        self.node(DraftNode::new(id, operation, input.wiring().0))
    }

    pub(super) fn node<T, P, K>(&self, node: DraftNode) -> Node<T, P, K> {
        let source = DraftSource::Node(node.id.clone());
        let mut graph = self.work.graph.borrow_mut();
        graph.nodes.push(node);
        Node {
            work: Rc::clone(&self.work),
            index: Some(graph.nodes.len() - 1),
            source,
            case: None,
            transform: None,
            version: 1,
            types: PhantomData,
        }
    }
}

impl DraftApply {
    pub(super) fn of(function: &str) -> Self {
        Self {
            function: function.to_owned(),
            ..Self::default()
        }
    }
}

impl DraftHttp {
    pub(super) const fn of(url: crate::draft::DraftText) -> Self {
        Self {
            url,
            method: None,
            query: Vec::new(),
            headers: Vec::new(),
            content_type: None,
            callback: false,
        }
    }
}
