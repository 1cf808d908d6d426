//! A request as people see it: a projection of its log.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use turlough_sdk::{Flow, RequestId, StepPath, ValueRef};
use turlough_statestore::event::{Outcome, StepEnd, StepEnded};
use turlough_statestore::{Event, Record};

use crate::index::Summary;
use crate::machine::{Execution, StepState};

/// A request in a list.
pub(crate) fn summary(request: RequestId, summary: &Summary) -> Json {
    let mut view = json!({
        "id": request.to_string(),
        "flow": summary.flow.as_str(),
        "version": summary.version,
        "status": summary.status(),
        "accepted_at": time(summary.accepted_us),
    });
    if let Some(ended) = &summary.ended {
        view["ended_at"] = time(ended.at_us).into();
        view["duration_ms"] = millis(summary.accepted_us, ended.at_us);
        view["settled"] = ended.settled.into();
        if let Some(error) = &ended.error {
            view["error"] = error.as_str().into();
        }
    }
    view
}

/// A request with its steps: those that ended, by their events, then those that have not.
pub(crate) fn request(
    id: RequestId,
    about: &Summary,
    flow: Option<Arc<Flow>>,
    records: &[Record],
) -> Json {
    let mut steps = Steps::default();
    for event in records.iter().flat_map(|record| &record.append.events) {
        if let Event::StepEnded(ended) = event {
            steps.add_ended(ended);
        }
    }
    if let Some(flow) = flow.filter(|flow| flow.version().as_str() == about.version) {
        let mut execution = Execution::new(flow);
        for record in records {
            execution.fold(&record.append);
        }
        for state in execution.root_states() {
            steps.add_state(&state, about.ended.is_some());
        }
    }
    let mut view = summary(id, about);
    view["steps"] = Json::Array(steps.rows);
    view
}

/// Rows of steps in the order in which they first ended, and where each stands.
#[derive(Default)]
struct Steps {
    rows: Vec<Json>,
    places: HashMap<StepPath, Place>,
}

struct Place {
    row: usize,
    begin_us: u64,
}

impl Steps {
    /// A later event of a step takes the place of the earlier one: another attempt, or the gathering
    /// of a for_each, which began when its items were listed.
    fn add_ended(&mut self, ended: &StepEnded) {
        let mut row = step(ended);
        match self.places.entry(ended.step.clone()) {
            Entry::Occupied(place) => {
                let place = place.get();
                let old = &mut self.rows[place.row];
                if let Some(items) = old.get("items") {
                    row["items"] = items.clone();
                    row["begin"] = old["begin"].clone();
                    row["duration_ms"] = millis(place.begin_us, ended.end_us);
                }
                *old = row;
            }
            Entry::Vacant(place) => {
                let at = self.rows.len();
                place.insert(Place {
                    row: at,
                    begin_us: ended.begin_us,
                });
                self.rows.push(row);
            }
        }
    }

    fn add_state(&mut self, state: &StepState, request_ended: bool) {
        let status = match (request_ended, state.status) {
            (true, "waiting") => "not_reached",
            (true, "running") => "abandoned",
            (_, status) => status,
        };
        let Some(place) = self.places.get(&StepPath::root(&state.node)) else {
            self.rows.push(json!({
                "step": state.node.as_str(),
                "operation": state.operation,
                "status": status,
            }));
            return;
        };
        let row = &mut self.rows[place.row];
        if state.status == "running" && row["status"] == "failed" && !request_ended {
            row["status"] = "retrying".into();
        }
        if let Some((ended, all)) = state.items {
            row["status"] = status.into();
            row["items_ended"] = ended.into();
            row["items"] = all.into();
        }
    }
}

fn step(ended: &StepEnded) -> Json {
    let mut row = json!({
        "step": ended.step.as_str(),
        "status": status(&ended.end),
        "attempt": ended.attempt,
        "begin": time(ended.begin_us),
        "end": time(ended.end_us),
        "duration_ms": millis(ended.begin_us, ended.end_us),
        "replica": ended.replica.to_string(),
    });
    match &ended.end {
        StepEnd::Succeeded { value } => {
            row["bytes"] = value.size().into();
            row["data"] = place(value).into();
        }
        StepEnd::Took { case } => row["case"] = json!(case),
        StepEnd::Split { items, .. } => row["items"] = json!(items),
        StepEnd::Failed { message, cause } => {
            row["error"] = message.as_str().into();
            row["cause"] = json!(cause);
        }
    }
    row
}

const fn status(end: &StepEnd) -> &'static str {
    match end {
        StepEnd::Succeeded { .. } | StepEnd::Took { .. } => "succeeded",
        StepEnd::Split { .. } => "running",
        StepEnd::Failed { .. } => "failed",
    }
}

const fn place(value: &ValueRef) -> &'static str {
    match value {
        ValueRef::Inline(_) => "event",
        ValueRef::Stored { .. } => "store",
        ValueRef::Parts { .. } => "log",
    }
}

/// An event as the event stream shows it, without payloads; none for what only the log needs.
pub(crate) fn event(event: &Event) -> Option<(&'static str, Json)> {
    Some(match event {
        Event::Part { .. } => return None,
        Event::Accepted {
            flow,
            version,
            tenant,
            input,
            at_us,
        } => (
            "accepted",
            json!({
                "flow": flow.as_str(),
                "version": version,
                "tenant": tenant.as_str(),
                "bytes": input.size(),
                "at": time(*at_us),
            }),
        ),
        Event::Claimed {
            replica,
            epoch,
            at_us,
        } => (
            "claimed",
            json!({ "replica": replica.to_string(), "epoch": epoch, "at": time(*at_us) }),
        ),
        Event::StepEnded(ended) => ("step_ended", step(ended)),
        Event::CancelAsked { at_us } => ("cancel_asked", json!({ "at": time(*at_us) })),
        Event::DeadlinePassed { at_us } => ("deadline_passed", json!({ "at": time(*at_us) })),
        Event::Ended { outcome, at_us } => {
            let mut view = json!({ "status": outcome.status(), "at": time(*at_us) });
            if let Outcome::Failed { step, message, .. } = outcome {
                view["step"] = step.as_str().into();
                view["error"] = message.as_str().into();
            }
            ("ended", view)
        }
        Event::Closing { at_us } => ("closing", json!({ "at": time(*at_us) })),
        Event::Settled { at_us } => ("settled", json!({ "at": time(*at_us) })),
    })
}

fn millis(from_us: u64, to_us: u64) -> Json {
    json!(to_us.saturating_sub(from_us) as f64 / 1e3)
}

/// RFC 3339 in UTC, to the microsecond.
fn time(at_us: u64) -> String {
    i64::try_from(at_us)
        .ok()
        .and_then(|at| jiff::Timestamp::from_microsecond(at).ok())
        .map_or_else(String::new, |at| at.to_string())
}
