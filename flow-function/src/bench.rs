//! The machine alone, for the benchmarks: behind the feature `bench`, and no part of the library.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use turlough_sdk::{Flow, Operation, ReplicaId, RequestId, ValueRef};
use turlough_statestore::event::{Accepted, StepEnd, StepEnded};
use turlough_statestore::{Event, Seq};
use uuid::Uuid;

use crate::machine::{Action, Execution, Run, Versions, Work};

/// A request's machine.
#[derive(Debug)]
pub struct Machine(Execution);

/// What a machine wanted done.
#[derive(Debug)]
pub struct Wanted(Vec<Action>);

impl Machine {
    /// One that nothing happened to.
    #[must_use]
    pub fn new(flow: &Arc<Flow>) -> Self {
        let held = Arc::clone(flow);
        let versions = Versions(Arc::new(move |_| Some(Arc::clone(&held))));
        Self(Execution::new(request(), Arc::clone(flow), versions))
    }

    /// Applies an event.
    pub fn apply(&mut self, event: &Event) {
        self.0.apply(event);
    }

    /// What is to be done now.
    #[must_use]
    pub fn wanted(&mut self) -> Wanted {
        Wanted(self.0.next_actions())
    }

    /// The machine as bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot(Seq::START).unwrap_or_default()
    }

    /// A machine from its bytes.
    #[must_use]
    pub fn restore(flow: &Arc<Flow>, bytes: &[u8]) -> Option<Self> {
        let held = Arc::clone(flow);
        let versions = Versions(Arc::new(move |_| Some(Arc::clone(&held))));
        let restored = Execution::restore(request(), versions, bytes).ok();
        restored.map(|(execution, _)| Self(execution))
    }

    /// Whether the request's end is reached.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.0.is_concluded()
    }
}

/// The events of a request from its acceptance to its end, all steps succeeding in the order of their
/// starts. A `for_each` has `items` items.
#[must_use]
pub fn log(flow: &Arc<Flow>, items: u32) -> Vec<Event> {
    let mut machine = Machine::new(flow);
    let accepted = Accepted {
        flow: flow.name().clone(),
        version: flow.version().to_string(),
        tenant: "default"
            .parse()
            .unwrap_or_else(|_| unreachable!("it is a label")),
        input: value(),
        query: Vec::new(),
        headers: Vec::new(),
        parent: None,
        callbacks: Vec::new(),
        call_id: None,
        delivery: None,
        trace: None,
        deadline_us: u64::MAX,
        at_us: 1,
    };
    let claimed = Event::Claimed {
        replica: replica(),
        epoch: 1,
        at_us: 1,
    };
    let mut events = vec![Event::Accepted(accepted), claimed];
    events.iter().for_each(|event| machine.apply(event));
    let mut running = VecDeque::new();
    loop {
        for action in machine.wanted().0 {
            if let Action::Run(run) = action {
                running.push_back(run);
            }
        }
        let Some(run) = running.pop_front() else {
            return events;
        };
        let event = ended(&run, items);
        machine.apply(&event);
        events.push(event);
    }
}

fn ended(run: &Run, items: u32) -> Event {
    let end = match (&run.work, &run.node().operation) {
        (Work::Operation, Operation::ForEach(_)) => StepEnd::Split {
            items,
            manifest: value(),
        },
        _ => StepEnd::Succeeded { value: value() },
    };
    Event::StepEnded(StepEnded {
        step: run.step.clone(),
        generation: 0,
        attempt: run.attempt,
        epoch: 1,
        replica: replica(),
        begin_us: 1,
        end_us: 2,
        end,
        set: Vec::new(),
        again_us: None,
    })
}

fn value() -> ValueRef {
    ValueRef::Inline(Bytes::from_static(b"\x01"))
}

const fn replica() -> ReplicaId {
    ReplicaId::from_uuid(Uuid::from_u128(7))
}

const fn request() -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(1))
}
