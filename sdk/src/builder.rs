//! Flows in Rust: a handle per node, which carries the type of the node's output, so that a wrong
//! edge does not compile.
//!
//! ```
//! use std::time::Duration;
//! use turlough_sdk::{Flow, FlowError, Retry, StepError};
//!
//! fn words(text: String) -> Result<Vec<String>, StepError> {
//!     Ok(text.split_whitespace().map(str::to_owned).collect())
//! }
//! fn length(word: String) -> Result<usize, StepError> {
//!     Ok(word.len())
//! }
//! fn sum((text, lengths): (String, Vec<usize>)) -> Result<String, StepError> {
//!     Ok(format!("{text}: {}", lengths.iter().sum::<usize>()))
//! }
//!
//! fn letters() -> Result<Flow, FlowError> {
//!     let flow = Flow::builder("letters").timeout(Duration::from_secs(30));
//!     let text = flow.input::<String>();
//!     let words = flow.map("words", &text, words);
//!     let lengths = flow
//!         .for_each("lengths", &words, |body, word| body.map("length", word, length))
//!         .max_parallel(4);
//!     let sum = flow
//!         .map("sum", (&text, &lengths), sum)
//!         .retry(Retry::exponential(3, Duration::from_millis(100)..Duration::from_secs(5)));
//!     flow.output(&sum).build()
//! }
//! assert!(letters().is_ok());
//! ```

mod handle;
mod input;
mod step;

pub use handle::{Always, Call, Each, Given, Maybe, Node, Presence, Step, Switch, Vertex};
pub use input::{FromValue, Input, Members, RequestInput, Wiring};
pub use step::{Asynchronous, Blocking, IntoClosure, IntoValue};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use crate::draft::{DraftApply, DraftFlow, DraftGraph, DraftNode, DraftOperation, DraftSource};
use crate::error::{FlowError, Problems};
use crate::graph::{Flow, Map};
use crate::validate::validate;

/// A graph under construction: a flow's own, or the body of a `for_each`.
#[derive(Debug)]
pub struct Scope {
    graph: Rc<RefCell<DraftGraph>>,
    depth: usize,
}

/// A flow under construction. Made by [`Flow::builder`]; what can stand in it are the methods of
/// [`Scope`]. Mistakes that the compiler cannot see are reported, all of them, by `build`.
#[derive(Debug)]
pub struct FlowBuilder {
    name: String,
    timeout: Option<Duration>,
    scope: Scope,
}

impl Flow {
    /// Begins a flow.
    #[must_use]
    pub fn builder(name: &str) -> FlowBuilder {
        let scope = Scope {
            graph: Rc::default(),
            depth: 0,
        };
        FlowBuilder {
            name: name.to_owned(),
            timeout: None,
            scope,
        }
    }
}

impl Deref for FlowBuilder {
    type Target = Scope;
    fn deref(&self) -> &Scope {
        &self.scope
    }
}

impl FlowBuilder {
    /// How long a request may take in all; 10 minutes by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The input of a request: what the caller sent, JSON or MessagePack by its content type.
    #[must_use]
    pub fn input<T>(&self) -> Node<T, Always, Given> {
        self.scope.given(DraftSource::Input(0), None)
    }

    /// The id of the request, as an input of a closure.
    #[must_use]
    pub fn request(&self) -> RequestInput {
        RequestInput(())
    }

    /// Names the node whose value is the flow's output; without it, it is the single sink, or a map
    /// of the sinks.
    #[must_use]
    pub fn output<T, P, K: Vertex>(self, node: &Node<T, P, K>) -> Self {
        self.scope.graph.borrow_mut().output = node.name().map(Into::into);
        self
    }

    /// Validates the flow.
    ///
    /// # Errors
    /// Every problem that was found.
    pub fn build(self) -> Result<Flow, FlowError> {
        self.build_counted().0
    }

    /// `build`, with the number of nodes and edges that validation visited.
    pub(crate) fn build_counted(self) -> (Result<Flow, FlowError>, u64) {
        let graph = self.scope.graph.take();
        let problems = Problems::new(None, &self.name);
        let draft = DraftFlow {
            name: self.name.as_str().into(),
            timeout: self.timeout,
            graph,
            on_failure: None,
            finally: None,
            concurrency: None,
            headers: Vec::new(),
            closures: BTreeMap::new(),
        };
        validate(draft, problems)
    }
}

impl Scope {
    /// A step that runs a Rust closure on what its inputs gave: a plain function `fn(I) -> Result<O, E>`,
    /// which runs on the blocking pool, or an `async fn` of the same shape. A tuple of handles arrives
    /// as a tuple of values. Errors are retried where the node has `retry`, but for
    /// [`StepError::permanent`](crate::StepError::permanent).
    pub fn map<I, O, M, F>(&self, id: &str, input: I, closure: F) -> Node<O, I::Presence, Step>
    where
        I: Input,
        F: IntoClosure<I, O, M>,
    {
        let map = Map {
            closure: closure.into_closure(),
            version: 1,
        };
        self.node(id, DraftOperation::Map(map), &input)
    }

    /// A step that calls an OpenFaaS function, `name` or `name.namespace`, and reads its answer as `O`:
    /// `flow.apply::<Hours, _>("weather", &tables, "clean-weather")`.
    pub fn apply<O, I: Input>(
        &self,
        id: &str,
        input: I,
        function: &str,
    ) -> Node<O, I::Presence, Call> {
        let function = function.to_owned();
        let apply = DraftApply {
            function,
            ..DraftApply::default()
        };
        self.node(id, DraftOperation::Apply(apply), &input)
    }

    /// A step that transforms by a jq expression, and reads its first output as `O`.
    pub fn pass<O, I: Input>(&self, id: &str, input: I, jq: &str) -> Node<O, I::Presence, Step> {
        self.node(id, DraftOperation::Pass(jq.into()), &input)
    }

    /// A choice by conditions on `input`; add its cases with [`Switch::when`] and [`Switch::otherwise`].
    pub fn switch<T, P, K>(&self, id: &str, input: &Node<T, P, K>) -> Switch<T> {
        let switch = DraftOperation::Switch {
            cases: Vec::new(),
            all: false,
        };
        let node: Node<T, Always, Step> = self.node(id, switch, &Untyped(input));
        Switch { node }
    }

    /// A body graph per item of a list, in parallel, the results in the items' order. The body may use
    /// handles from outside it.
    pub fn for_each<T, P, K, O, Q, L>(
        &self,
        id: &str,
        list: &Node<Vec<T>, P, K>,
        body: impl FnOnce(&Scope, &Node<T, Always, Given>) -> Node<O, Q, L>,
    ) -> Node<Vec<Q::Arg<O>>, P, Each>
    where
        P: Presence,
        Q: Presence,
        L: Vertex,
    {
        let scope = Scope {
            graph: Rc::default(),
            depth: self.depth + 1,
        };
        let item = scope.given(DraftSource::Input(scope.depth), None);
        let result = body(&scope, &item);
        let mut graph = scope.graph.take();
        graph.output = result.name().map(Into::into);
        let operation = DraftOperation::ForEach {
            items: None,
            body: graph,
            parallel_max: None,
            collect: false,
        };
        self.node(id, operation, &Untyped(list))
    }

    fn given<T, P>(&self, source: DraftSource, case: Option<usize>) -> Node<T, P, Given> {
        Node {
            graph: Rc::clone(&self.graph),
            index: None,
            source,
            case,
            types: PhantomData,
        }
    }

    fn node<T, P, K>(
        &self,
        id: &str,
        operation: DraftOperation,
        input: &impl Wired,
    ) -> Node<T, P, K> {
        let node = DraftNode::new(id, operation, input.wiring().0);
        let mut graph = self.graph.borrow_mut();
        graph.nodes.push(node);
        Node {
            graph: Rc::clone(&self.graph),
            index: Some(graph.nodes.len() - 1),
            source: DraftSource::Node(id.to_owned()),
            case: None,
            types: PhantomData,
        }
    }
}

/// What has edges, with or without a type that a closure could take.
trait Wired {
    fn wiring(&self) -> Wiring;
}

impl<I: Input> Wired for I {
    fn wiring(&self) -> Wiring {
        Input::wiring(self)
    }
}

struct Untyped<'a, T, P, K>(&'a Node<T, P, K>);

impl<T, P, K> Wired for Untyped<'_, T, P, K> {
    fn wiring(&self) -> Wiring {
        Wiring(vec![self.0.edge()])
    }
}

#[cfg(test)]
mod tests;
