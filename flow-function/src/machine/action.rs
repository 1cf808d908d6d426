//! What the machine wants done.

use std::sync::Arc;

use turlough_sdk::{Cause, Graph, StepPath, ValueRef};

/// Something to do.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Run an attempt of a step.
    Run(Run),
    /// End the request.
    End(Conclusion),
}

/// An attempt to run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) step: StepPath,
    /// From 1.
    pub(crate) attempt: u32,
    /// When it may begin, Unix time in µs; 0 for at once.
    pub(crate) not_before_us: u64,
    /// The node is `graph.nodes[node]`.
    pub(crate) graph: Arc<Graph>,
    pub(crate) node: usize,
    pub(crate) work: Work,
    /// By data edge; nothing where the edge is dead.
    pub(crate) inputs: Vec<(Arc<str>, Option<Given>)>,
}

/// What an attempt does.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// The node's operation; of a `for_each`, the listing of its items.
    Operation,
    /// Puts the results of a `for_each` into one list, in order.
    Gather(Arc<Vec<Given>>),
}

/// A value, as far as the machine knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// Nothing was returned.
    Empty,
    /// It lies there.
    Value(ValueRef),
    /// One of the items that a manifest lists.
    Item { manifest: ValueRef, index: u32 },
    /// A map of several.
    Map(Arc<Vec<(Arc<str>, Given)>>),
}

impl Given {
    /// Several inputs as one: the single one as it is, otherwise a map without the dead. Cases of
    /// one switch are one input, as in `Inputs::joined`.
    pub(crate) fn join(inputs: Vec<(Arc<str>, Option<Self>)>) -> Self {
        let first = inputs.first().map(|(name, _)| name);
        if inputs.iter().all(|(name, _)| Some(name) == first) {
            let only = inputs.into_iter().find_map(|(_, given)| given);
            return only.unwrap_or(Self::Empty);
        }
        let live = inputs
            .into_iter()
            .filter_map(|(name, given)| Some((name, given?)));
        Self::Map(Arc::new(live.collect()))
    }
}

/// How a request ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Conclusion {
    Succeeded(Given),
    Failed {
        step: StepPath,
        message: String,
        cause: Cause,
    },
    TimedOut,
    Cancelled,
}
