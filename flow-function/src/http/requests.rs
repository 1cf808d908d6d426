//! `/requests`: lists, status, result, values of steps.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use turlough_keeper::{Filter, STATUSES, Status, Summary};
use turlough_sdk::{FlowName, RequestId, StepPath};
use turlough_statestore::event::Accepted;
use turlough_statestore::{Event, Record, Seq};

use super::answer;
use super::extract::{Path, Query, shortened};
use super::problem::Problem;
use super::start::accepted;
use crate::engine::{ControlError, Engine, Which, is_open};
use crate::lists::Page;
use crate::view::{self, Begins, Subject};

/// Most requests in one answer, and how many where the caller does not say.
const LIST_MAX: usize = 1_000;
const LIST_DEFAULT: usize = 100;
/// Most sub-flows that are shown with a request; `?parent=` lists all of them.
const CHILDREN_MAX: usize = 100;
/// Longest path of a step: deeper than graphs stand in one another.
pub(super) const STEP_BYTES_MAX: usize = 8 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    flow: Option<String>,
    status: Option<String>,
    parent: Option<String>,
    call_id: Option<String>,
    limit: Option<usize>,
    before: Option<String>,
}

impl ListQuery {
    fn filter(self) -> Result<Filter, Problem> {
        let id = |name: &str, text: Option<String>, write: &str| {
            let id = text.map(|text| {
                text.parse::<RequestId>()
                    .map_err(|_| wrong(name, &text, write))
            });
            id.transpose()
        };
        let status = self.status.as_deref().map(|text| {
            let known = || STATUSES.map(Status::name).join(", ");
            Status::of_name(text).ok_or_else(|| wrong("status", text, &known()))
        });
        if let Some(flow) = &self.flow
            && flow.parse::<FlowName>().is_err()
        {
            return Err(wrong("flow", flow, "the name of a flow"));
        }
        if self.limit == Some(0) {
            return Err(wrong("limit", "0", "1 to 1000"));
        }
        Ok(Filter {
            flow: self.flow,
            status: status.transpose()?,
            function: None,
            parent: id("parent", self.parent, "the id of a request")?,
            call_id: self.call_id,
            before: id("before", self.before, BEFORE)?,
            limit: self.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX),
        })
    }
}

const BEFORE: &str = "the id where the last list ended";

fn wrong(name: &str, found: &str, write: &str) -> Problem {
    let text = format!("{name} {:?} is unknown; write {write}", shortened(found));
    Problem::new(StatusCode::BAD_REQUEST, &text)
}

/// Newest first; `before=<id>` goes on where a list ended.
pub(super) async fn list(
    State(engine): State<Engine>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter()?;
    let Page { requests, next } = engine.shared.list(&filter).await?;
    Ok(axum::Json(json!({ "requests": requests, "next": next })).into_response())
}

pub(super) async fn show(
    State(engine): State<Engine>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let records = engine.records(id).await?;
    let view = whole(&engine, id, records, None).await?;
    Ok(axum::Json(view).into_response())
}

/// A request as its records tell, up to one of them or up to now.
pub(super) async fn whole(
    engine: &Engine,
    id: RequestId,
    records: Vec<Record>,
    at: Option<Seq>,
) -> Result<Json, Problem> {
    let children = match at {
        Some(_) => Vec::new(),
        None => engine.shared.children(id, CHILDREN_MAX).await,
    };
    let subject = subject(engine, id, (records, children), at)?;
    let view = projected(id, move || view::request(&subject)).await?;
    view.ok_or_else(|| {
        let text = format!("request {id} was not accepted yet at that event");
        Problem::new(StatusCode::NOT_FOUND, &text).with("request_id", id.to_string())
    })
}

/// How a request stands now, by its log.
pub(crate) async fn standing(engine: &Engine, id: RequestId) -> Result<Summary, Problem> {
    let records = engine.records(id).await?;
    let subject = subject(engine, id, (records, Vec::new()), None)?;
    let standing = projected(id, move || view::standing(&subject)).await?;
    Ok(standing.ok_or(ControlError::Unknown(id))?)
}

/// Off the reactor: a log of 10,000 steps takes the processor for a while.
async fn projected<T: Send + 'static>(
    id: RequestId,
    project: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(project).await.map_err(|error| {
        let text = format!("the request cannot be shown: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &text).with("request_id", id.to_string())
    })
}

fn subject(
    engine: &Engine,
    id: RequestId,
    (mut records, children): (Vec<Record>, Vec<Json>),
    at: Option<Seq>,
) -> Result<Subject, Problem> {
    let registry = &engine.shared.registry;
    let begins = if let Some(accepted) = accepted_in(&records) {
        let flow = &accepted.flow;
        let definition = engine.definition(flow, &accepted.version);
        Begins::Head(definition.map(|definition| (definition, registry.versions(flow))))
    } else {
        let execution = engine.shared.execution(id, &records);
        let execution = execution.map_err(ControlError::from)?;
        let accepted = execution.accepted().ok_or(ControlError::Unknown(id))?;
        let versions = registry.versions(&accepted.flow);
        Begins::Snapshot(Box::new(accepted.clone()), versions)
    };
    if let Some(at) = at {
        records.retain(|record| record.seq <= at);
    }
    Ok(Subject {
        request: id,
        records,
        begins,
        children,
    })
}

fn accepted_in(records: &[Record]) -> Option<&Accepted> {
    let mut events = records.iter().flat_map(|record| &record.append.events);
    events.find_map(|event| match event {
        Event::Accepted(accepted) => Some(accepted),
        _ => None,
    })
}

/// The output; 202 while the request has not ended, or runs again.
pub(super) async fn result(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let records = engine.records(id).await?;
    if is_open(&records) {
        let standing = standing(&engine, id).await?;
        return Ok(accepted(&engine, (id, &standing), &headers));
    }
    let finished = engine.shared.end_to_show(id, &records).await?;
    let answer = answer::outcome(id, &finished.outcome, finished.output, &headers).await;
    Ok(answer::shown(answer))
}

/// `/requests/<id>/steps/<path>/input` and `…/output`, while the data is held.
pub(super) async fn step(
    State(engine): State<Engine>,
    Path((id, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let (step, which) =
        step_value(&path).map_err(|problem| problem.with("request_id", id.to_string()))?;
    let value = engine.step_value(id, &step, which).await?;
    let response = answer::value(value, &headers).await.map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &error).with("request_id", id.to_string())
    })?;
    Ok(answer::shown(response))
}

/// The step that a path names, and which of its values.
fn step_value(path: &str) -> Result<(StepPath, Which), Problem> {
    let wrong = || {
        let text = format!(
            "{:?} names no value of a step; write the step's path, then /input or /output",
            shortened(path)
        );
        Problem::new(StatusCode::NOT_FOUND, &text)
    };
    let (step, which) = path.rsplit_once('/').ok_or_else(wrong)?;
    let which = match which {
        "input" => Which::Input,
        "output" => Which::Output,
        _ => return Err(wrong()),
    };
    if step.is_empty() || step.len() > STEP_BYTES_MAX {
        return Err(wrong());
    }
    Ok((StepPath::from(step), which))
}

/// A path of this function as the caller reaches it: behind a gateway below `/function/<name>`.
pub(super) fn location(engine: &Engine, path: &str, headers: &HeaderMap) -> String {
    let behind_gateway = headers.contains_key("x-forwarded-host");
    let function = &engine.shared.settings.function;
    if behind_gateway {
        format!("/function/{function}/{path}")
    } else {
        format!("/{path}")
    }
}

pub(super) fn parse(id: &str) -> Result<RequestId, Problem> {
    id.parse().map_err(|_| {
        let text = format!("no request {:?} here", shortened(id));
        Problem::new(StatusCode::NOT_FOUND, &text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_filters_and_what_is_unknown_is_refused_by_name() {
        let query = |name: &str, text: &str| -> ListQuery {
            let pairs = [(name, text)];
            serde_json::from_value(json!(std::collections::HashMap::from(pairs))).unwrap()
        };
        for status in STATUSES {
            let filter = query("status", status.name()).filter().unwrap();
            assert_eq!((filter.status, filter.limit), (Some(status), 100));
        }
        let id = "0190a1b2-0000-7000-8000-000000000000";
        let filter = query("parent", id).filter().unwrap();
        assert_eq!(filter.parent.unwrap().to_string(), id);
        let long = "é".repeat(10_000);
        for (name, bad) in [
            ("status", "done"),
            ("status", ""),
            ("flow", "a/b"),
            ("parent", "x"),
            ("before", "../.."),
            ("before", &long),
        ] {
            let problem = query(name, bad).filter().unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{name}");
            let detail = problem.body()["detail"].as_str().unwrap();
            assert!(detail.starts_with(name) && detail.len() < 1_000, "{detail}");
        }
        let all = ListQuery {
            limit: Some(usize::MAX),
            ..ListQuery::default()
        };
        assert_eq!(all.filter().unwrap().limit, LIST_MAX);
        let none = ListQuery {
            limit: Some(0),
            ..ListQuery::default()
        };
        assert_eq!(none.filter().unwrap_err().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_value_is_named_by_the_last_segment_whatever_stands_before_it() {
        let long = format!("{}/input", "x".repeat(STEP_BYTES_MAX + 1));
        for (path, step, which) in [
            ("load/input", "load", Which::Input),
            ("months[3]/clean/output", "months[3]/clean", Which::Output),
            ("poll#2/get/input", "poll#2/get", Which::Input),
            ("output/output", "output", Which::Output),
            ("book/~compensate/input", "book/~compensate", Which::Input),
            ("a//\n/../input", "a//\n/..", Which::Input),
        ] {
            let found = step_value(path).unwrap();
            assert_eq!(found, (StepPath::from(step), which), "{path}");
        }
        for bad in [
            "",
            "/",
            "input",
            "/input",
            "load",
            "load/Input",
            "load/input/",
            &long,
        ] {
            let problem = step_value(bad).unwrap_err();
            assert_eq!(problem.status(), StatusCode::NOT_FOUND, "{bad}");
        }
    }
}
