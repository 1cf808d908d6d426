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

mod attribute;
mod body;
mod call;
mod formula;
mod handle;
mod input;
mod place;
mod scope;
mod step;
mod switch;

pub use body::{EachOf, Items, Results};
pub use call::Sends;
pub use formula::{Compiled, Formula, IntoCondition, IntoFormula, Jq, Text, jq, secret};
pub use handle::{
    Always, Call, Each, Endpoint, Given, Maybe, Node, Plain, Presence, Runs, Step, Transformed,
    Untransformed, Vertex, Whole,
};
pub use input::{
    After, Arg, Arrives, ContextInput, FromValue, Input, Joined, Member, Members, Nothing,
    RequestInput, Wiring, after,
};
pub use place::{Place, Undo};
pub use scope::Scope;
pub use step::{Asynchronous, Blocking, IntoClosure, IntoValue};
pub use switch::Switch;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use crate::draft::{DraftFlow, DraftGraph, DraftSource, Located};
use crate::error::{FlowError, Problems};
use crate::graph::{Flow, Map};
use crate::report::Report;
use crate::validate::validate;

/// A flow under construction. Made by [`Flow::builder`]; what can stand in it are the methods of
/// [`Scope`]. Mistakes that the compiler cannot see are reported, all of them, by `build`.
#[derive(Debug)]
pub struct FlowBuilder {
    name: String,
    timeout: Option<Duration>,
    scope: Scope,
    on_failure: Option<DraftGraph>,
    finally: Option<DraftGraph>,
    concurrency: Option<usize>,
    headers: Vec<Located>,
    is_signed: bool,
    closures: BTreeMap<String, Map>,
}

impl Flow {
    /// Begins a flow.
    #[must_use]
    pub fn builder(name: &str) -> FlowBuilder {
        FlowBuilder {
            name: name.to_owned(),
            timeout: None,
            scope: Scope::default(),
            on_failure: None,
            finally: None,
            concurrency: None,
            headers: Vec::new(),
            is_signed: false,
            closures: BTreeMap::new(),
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

    /// Most requests of this flow that a replica drives at once; those that sleep do not count.
    #[must_use]
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.concurrency = Some(requests);
        self
    }

    /// A header of the caller that is recorded with the request, for closures and expressions.
    #[must_use]
    pub fn header(mut self, name: &str) -> Self {
        self.headers.push(name.into());
        self
    }

    /// Takes signed calls alone (RFC 9421), by keys that are secrets of the function: see [`signature`].
    ///
    /// [`signature`]: crate::signature
    #[must_use]
    pub fn signed(mut self) -> Self {
        self.is_signed = true;
        self
    }

    /// A closure that a graph made at run time may name, by `map: NAME`. What arrives there by
    /// several edges it takes as a map.
    #[must_use]
    pub fn closure<T, O, M>(self, name: &str, closure: impl IntoClosure<Joined<T>, O, M>) -> Self
    where
        T: FromValue,
    {
        self.closure_of_version(name, 1, closure)
    }

    /// [`FlowBuilder::closure`] of a declared version, which is part of the flow's version.
    #[must_use]
    pub fn closure_of_version<T, O, M>(
        mut self,
        name: &str,
        version: u32,
        closure: impl IntoClosure<Joined<T>, O, M>,
    ) -> Self
    where
        T: FromValue,
    {
        let closure = closure.into_closure();
        let map = Map { closure, version };
        if self.closures.insert(name.to_owned(), map).is_some() {
            let text = format!("closure {name:?} is registered twice; rename one");
            self.scope.work.mistakes.borrow_mut().push((None, text));
        }
        self
    }

    /// The input of a request: what the caller sent, JSON or MessagePack by its content type.
    #[must_use]
    pub fn input<T>(&self) -> Node<T, Always, Given> {
        Node::given(&self.scope.work, DraftSource::Input(0), None)
    }

    /// Names the node whose value is the flow's output; without it, it is the single sink, or a map
    /// of the sinks.
    #[must_use]
    pub fn output<T, P, K: Vertex>(self, node: &Node<T, P, K>) -> Self {
        self.scope.work.graph.borrow_mut().output = node.name().map(Into::into);
        self
    }

    /// What runs when a request failed or took too long, after compensation: a graph of its own,
    /// whose input is a [`Report`].
    #[must_use]
    pub fn on_failure<R>(
        mut self,
        body: impl FnOnce(&Scope, &Node<Report, Always, Given>) -> R,
    ) -> Self {
        self.on_failure = Some(self.unwinding(body));
        self
    }

    /// What runs at the end of every request, however it ended: a graph of its own, whose input is a
    /// [`Report`].
    #[must_use]
    pub fn finally<R>(
        mut self,
        body: impl FnOnce(&Scope, &Node<Report, Always, Given>) -> R,
    ) -> Self {
        self.finally = Some(self.unwinding(body));
        self
    }

    fn unwinding<R>(
        &self,
        body: impl FnOnce(&Scope, &Node<Report, Always, Given>) -> R,
    ) -> DraftGraph {
        let scope = self.scope.inner(None);
        let report = Node::given(&scope.work, DraftSource::Input(0), None);
        body(&scope, &report);
        scope.work.graph.take()
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
        let graph = self.scope.work.graph.take();
        let mut problems = Problems::new(None, &self.name);
        for (node, message) in self.scope.work.mistakes.take() {
            problems.add(None, node.as_deref(), || message);
        }
        let draft = DraftFlow {
            name: self.name.as_str().into(),
            timeout: self.timeout,
            graph,
            on_failure: self.on_failure,
            finally: self.finally,
            concurrency: self.concurrency,
            headers: self.headers,
            is_signed: self.is_signed,
            closures: self.closures,
        };
        validate(draft, problems)
    }
}

#[cfg(test)]
mod tests;
