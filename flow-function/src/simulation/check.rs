//! What must be true of a request once nothing is left to do for it.

use futures_util::FutureExt as _;
use tokio::runtime::{Builder, Runtime};
use turlough_sdk::{Cause, RequestId, Value};
use turlough_statestore::event::Outcome;
use turlough_statestore::{Event, Record};

use super::flows::Kind;
use super::functions::Functions;
use super::world::World;
use crate::engine::Engine;
use crate::machine::Execution;

/// Reads logs as a replica does that was not there.
#[derive(Debug)]
pub(super) struct Reader {
    engine: Engine,
    _runtime: Runtime,
}

/// A request's log, as it counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) ends: usize,
    pub(super) is_settled: bool,
    pub(super) outcome: Option<Outcome>,
    pub(super) output: Option<u64>,
}

impl Reader {
    pub(super) fn of(world: &World) -> Self {
        let mut settings = crate::settings::Settings::from_environment();
        settings.gateway_url = "http://127.0.0.1:9".to_owned();
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let engine = {
            let _entered = runtime.enter();
            Engine::new(settings).expect("an engine")
        };
        for flow in super::flows::all(&world.functions) {
            engine.register(flow).expect("a flow");
        }
        Self {
            engine,
            _runtime: runtime,
        }
    }

    /// Nothing where there is no log, or none that can be folded.
    pub(super) fn standing(&self, request: RequestId, records: &[Record]) -> Option<Standing> {
        let shared = &self.engine.shared;
        let execution = shared.execution(request, records).ok()?;
        let events = || records.iter().flat_map(|record| &record.append.events);
        let flow = events().find_map(|event| match event {
            Event::Accepted(accepted) => Some(accepted.flow.clone()),
            _ => None,
        });
        let is_end = |event: &&Event| matches!(event, Event::Ended { .. });
        let mut ends = events().filter(is_end).count();
        if let Some(flow) = flow {
            // Of a log that has its head it can be said which appends count.
            let (current, versions) = (
                shared.registry.current(&flow)?,
                shared.registry.versions(&flow),
            );
            let mut counting = Execution::new(request, current, versions);
            let counts = |record: &&Record| counting.fold(&record.append);
            let counted = records.iter().filter(counts);
            let counted = counted.flat_map(|record| &record.append.events);
            ends = counted.filter(is_end).count();
        }
        let finished = shared.end_in_log(request, records).now_or_never();
        let finished = finished.expect("nothing is away");
        let output = finished.as_ref().and_then(|it| it.output.as_ref());
        Some(Standing {
            ends,
            is_settled: execution.is_settled(),
            output: output.and_then(number),
            outcome: finished.map(|finished| finished.outcome),
        })
    }
}

/// A number, or how long a text is.
fn number(value: &Value) -> Option<u64> {
    let text = || value.decode::<String>().ok();
    let number = value.decode().ok();
    number.or_else(|| text().map(|text| text.len() as u64))
}

impl Standing {
    /// Whether nobody knows what a call of it came to: it had no answer in its time.
    pub(super) fn is_unanswered(&self) -> bool {
        let cause = match &self.outcome {
            Some(Outcome::Failed { cause, .. }) => *cause,
            _ => return false,
        };
        matches!(cause, Cause::Unknown | Cause::Timeout)
    }
}

/// What is wrong with the end of a request.
pub(super) fn wrong(
    (kind, n): (Kind, u64),
    standing: Option<&Standing>,
    functions: &Functions,
    (harmed, lost): (bool, usize),
) -> Option<String> {
    let Some(standing) = standing else {
        return Some("there is no log".to_owned());
    };
    if standing.ends != 1 || !standing.is_settled {
        return Some(format!("it ended {} times", standing.ends));
    }
    let Some(outcome) = &standing.outcome else {
        return Some("it ended without an outcome".to_owned());
    };
    if kind == Kind::Once {
        let calls = functions.calls("pay", n);
        if calls > 1 {
            return Some(format!("it paid {calls} times"));
        }
        if standing.is_unanswered() && harmed {
            return None;
        }
        if calls == 0 {
            return Some("it did not pay".to_owned());
        }
    }
    if kind == Kind::Parent
        && lost > 0
        && matches!(outcome, Outcome::Failed { message, .. } if message.contains("was cancelled"))
    {
        // Its own log was lost, and it began again when its sub-flow had found that nobody waits for it.
        return None;
    }
    match (kind.gives(n), outcome) {
        (Some(gives), Outcome::Succeeded { .. }) if standing.output == Some(gives) => None,
        (None, Outcome::Failed { message, .. }) if message.contains("as it must") => {
            let undone = functions.calls("undo", n);
            (undone == 0).then(|| "what it booked was not undone".to_owned())
        }
        _ => Some(format!(
            "it ended as {outcome:?} with {:?}",
            standing.output
        )),
    }
}
