//! What the machine wants done.

use std::collections::BTreeMap;
use std::sync::Arc;

use turlough_sdk::{Cause, Fallback, Graph, StepPath, ValueRef, Vertex};
use turlough_statestore::event::Trouble;

use super::given::Given;

/// Something to do.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Record the start of an attempt (`step_started`), and ask again.
    Start { step: StepPath, attempt: u32 },
    /// Run an attempt of a step.
    Run(Box<Run>),
    /// Stop an attempt: nobody waits for its end any more.
    Stop { step: StepPath, attempt: u32 },
    /// End the request.
    End(Conclusion),
}

/// An attempt to run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) step: StepPath,
    /// From 1.
    pub(crate) attempt: u32,
    /// The generation in which the step was last reset: what was called in it is known by that.
    pub(crate) generation: u32,
    /// When it may begin, Unix time in µs; 0 for at once.
    pub(crate) not_before_us: u64,
    /// When what runs now is over at the latest, Unix time in µs: the flow's time, or the unwinding's.
    pub(crate) until_us: u64,
    /// The node is `graph.nodes[node]`.
    pub(crate) graph: Arc<Graph>,
    pub(crate) node: usize,
    pub(crate) work: Work,
    /// By data edge; nothing where the edge is dead.
    pub(crate) inputs: Vec<(Arc<str>, Option<Given>)>,
    /// Variables of the request as they stand now.
    pub(crate) variables: Variables,
    /// What went wrong, for a fallback, a compensation and a handler.
    pub(crate) error: Option<Arc<Trouble>>,
}

/// Variables of a request, by name.
pub(crate) type Variables = Arc<BTreeMap<String, ValueRef>>;

/// What an attempt does.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Asks the node's `when`: it ends by `went` or `skipped`.
    When,
    /// The node's operation; of a `for_each` the listing of its items, of an `expand` the making of
    /// its graph, of a `wait` the reading of its time.
    Operation,
    /// Asks whether a loop goes on from this state; none for the node's input.
    Ask(Option<Given>),
    /// Puts the results of a `for_each` together, in order.
    Gather(Arc<Results>),
    /// The operation that stands in for the node.
    Fallback,
    /// The operation that undoes the node, with its output where that is known.
    Compensate(Option<Given>),
}

/// What the items of a `for_each` came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Results {
    /// Names the items, and their keys.
    pub(crate) manifest: Arc<ValueRef>,
    /// By item; nothing for one that failed.
    pub(crate) given: Vec<Option<Given>>,
    /// Items that failed, in their order.
    pub(crate) errors: Vec<(u32, Arc<Trouble>)>,
}

/// How a request ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Conclusion {
    Succeeded(Given),
    Failed(Arc<Trouble>),
    TimedOut,
    Cancelled,
}

impl Run {
    /// The node itself.
    pub(crate) fn node(&self) -> &Vertex {
        &self.graph.nodes[self.node]
    }

    /// What runs: the node, or what stands in for it or undoes it.
    pub(crate) fn vertex(&self) -> &Vertex {
        let node = self.node();
        let part = match (&self.work, &node.fallback, &node.compensate) {
            (Work::Fallback, Some(Fallback::Node(part)), _) => Some(part),
            (Work::Compensate(_), _, Some(part)) => Some(part),
            _ => None,
        };
        part.map_or(node, |part| part)
    }
}

/// An error that the machine itself finds.
pub(super) fn trouble(step: &StepPath, message: impl Into<String>, cause: Cause) -> Arc<Trouble> {
    Arc::new(Trouble {
        step: step.clone(),
        message: message.into(),
        cause,
    })
}
