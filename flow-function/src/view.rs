//! A request as people see it: a projection of its log, as it stands now or stood at any event.
//!
//! Absent: payloads. What a step was given and gave is asked for by its path.

mod attempt;
mod event;
mod nodes;
mod order;
mod steps;
mod story;
mod waits;

use std::sync::Arc;

use serde_json::{Value as Json, json};
use turlough_keeper::{Summary, summary_json};
use turlough_sdk::{ContentType, Flow, RequestId, Value, ValueRef};
use turlough_statestore::event::{Accepted, Delivery, Recipient, Trouble};
use turlough_statestore::{Record, Seq};

use crate::machine::{Execution, Versions};

pub(crate) use event::event;
pub(crate) use nodes::{Nodes, node_path};
use story::Story;

/// Largest variable that is shown with its value, in bytes.
const VARIABLE_BYTES_MAX: usize = 4 * 1024;

/// What a view of a request is made of.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) request: RequestId,
    pub(crate) records: Vec<Record>,
    pub(crate) begins: Begins,
    /// Its sub-flows.
    pub(crate) children: Vec<Json>,
}

/// Where the telling of a request begins.
#[derive(Debug)]
pub(crate) enum Begins {
    /// At the head of its log: with the flow in the version that the request began with, and where
    /// others are found. Without it only what the events say is shown.
    Head(Option<(Arc<Flow>, Versions)>),
    /// At the newest snapshot, since its log has lost its head: with what stood there, and where
    /// flows are found.
    Snapshot(Box<Accepted>, Versions),
}

/// How a request stands; none where it was not accepted yet.
pub(crate) fn standing(subject: &Subject) -> Option<Summary> {
    story(subject).summary()
}

fn story(subject: &Subject) -> Story<'_> {
    let (request, records) = (subject.request, &subject.records);
    let (mut story, after) = match &subject.begins {
        Begins::Head(definition) => {
            let begin = |(flow, versions): &(Arc<Flow>, Versions)| {
                Execution::new(request, Arc::clone(flow), versions.clone())
            };
            (Story::new(definition.as_ref().map(begin)), Seq::START)
        }
        Begins::Snapshot(accepted, versions) => {
            match Execution::restore_newest(request, versions, records) {
                Ok((execution, of)) => (Story::of_snapshot(execution, accepted), of),
                // No snapshot stands there yet, and nothing is known.
                Err(_) => (Story::new(None), Seq::START),
            }
        }
    };
    for record in records.iter().filter(|record| record.seq > after) {
        story.fold(record);
    }
    story
}

/// A request with its steps; none where it was not accepted yet.
pub(crate) fn request(subject: &Subject) -> Option<Json> {
    let story = story(subject);
    let accepted = story.accepted?;
    let summary = story.summary()?;
    let mut view = summary_json(subject.request, &summary);
    begun(&mut view, accepted);
    if let Some(execution) = &story.execution
        && summary.ended.is_none()
    {
        view["deadline"] = time(execution.deadline_us()).into();
        if let Some(at_us) = execution.wake_at_us() {
            view["wakes_at"] = time(at_us).into();
        }
    }
    let variables = story.variables.iter();
    let shown = variables.map(|(name, at)| (name.clone(), variable(at)));
    view["variables"] = Json::Object(shown.collect());
    let flow = story.execution.as_ref().map(|e| Arc::clone(e.flow()));
    let nodes = Nodes::of(flow.as_deref());
    let waits = waits::waits(&story, &nodes);
    view["waits_for"] = waits.iter().map(waits::Wait::json).collect();
    let lists = [
        (
            "trouble",
            story.trouble().iter().map(told_trouble).collect::<Vec<_>>(),
        ),
        (
            "owed",
            story.owed.iter().map(|owed| owed_to(owed)).collect(),
        ),
        (
            "given_up",
            story
                .given_up
                .iter()
                .map(|(to, why)| {
                    let mut view = owed_to(to);
                    view["error"] = (*why).into();
                    view
                })
                .collect(),
        ),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            view[name] = list.into();
        }
    }
    view["children"] = subject.children.clone().into();
    view["steps"] = steps::steps(&story, &nodes, &waits);
    Some(view)
}

/// How it began.
fn begun(view: &mut Json, accepted: &Accepted) {
    view["bytes"] = accepted.input.size().into();
    if let Some(parent) = &accepted.parent {
        view["parent_step"] = parent.step.as_str().into();
        view["parent_attempt"] = parent.attempt.into();
    }
    let pairs = |pairs: &[(String, String)]| json!(pairs);
    if !accepted.query.is_empty() {
        view["query"] = pairs(&accepted.query);
    }
    if !accepted.headers.is_empty() {
        view["headers"] = pairs(&accepted.headers);
    }
}

fn told_trouble(trouble: &Trouble) -> Json {
    json!({
        "step": trouble.step.as_str(),
        "error": trouble.message,
        "cause": trouble.cause,
    })
}

fn owed_to(delivery: &Delivery) -> Json {
    match &delivery.to {
        Recipient::Url(url) | Recipient::OpenFaasUrl(url) => json!({ "url": url }),
        Recipient::Parent(parent) => json!({ "request": parent.request.to_string() }),
    }
}

/// A variable, with its value where that is small data in the event that set it.
fn variable(at: &ValueRef) -> Json {
    let mut view = json!({ "bytes": at.size(), "data": place(at) });
    if let ValueRef::Inline(envelope) = at
        && envelope.len() <= VARIABLE_BYTES_MAX
        && let Ok(value) = Value::from_envelope(envelope.clone())
        && (value.content_type().is_json() || *value.content_type() == ContentType::MSGPACK)
        && let Ok(data) = value.decode::<Json>()
    {
        view["value"] = data;
    }
    view
}

pub(super) const fn place(value: &ValueRef) -> &'static str {
    match value {
        ValueRef::Inline(_) => "event",
        ValueRef::Stored { .. } => "store",
        ValueRef::Parts { .. } => "log",
    }
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

#[cfg(test)]
mod tests;
