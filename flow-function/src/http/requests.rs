//! `/requests`: lists, status, result, control.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::json;
use turlough_sdk::{Digest, FlowName, RequestId, Value, ValueRef};
use turlough_statestore::event::Outcome;
use turlough_statestore::{Event, Record};

use super::extract::{Path, Query};
use super::problem::Problem;
use crate::engine::{ControlError, Engine};
use crate::index::Filter;
use crate::view;

/// Most requests in one answer, and how many where the caller does not say.
const LIST_MAX: usize = 1_000;
const LIST_DEFAULT: usize = 100;

/// What a request's status may be.
const STATUSES: [&str; 5] = ["running", "succeeded", "failed", "timed_out", "cancelled"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    flow: Option<String>,
    status: Option<String>,
    limit: Option<usize>,
    before: Option<String>,
}

impl ListQuery {
    fn filter(self) -> Result<Filter, Problem> {
        let wrong = |name: &str, found: &str, write: &str| {
            let found: String = found.chars().take(80).collect();
            let text = format!("{name} {found:?} is unknown; write {write}");
            Problem::new(StatusCode::BAD_REQUEST, &text)
        };
        let before = self.before.as_deref().map(|text| {
            let id = text.parse::<RequestId>();
            id.map_err(|_| wrong("before", text, "the id where the last list ended"))
        });
        if let Some(status) = &self.status
            && !STATUSES.contains(&status.as_str())
        {
            return Err(wrong("status", status, &STATUSES.join(", ")));
        }
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
            status: self.status,
            before: before.transpose()?,
            limit: self.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX),
        })
    }
}

/// Newest first; `before=<id>` goes on where a list ended.
pub(super) async fn list(
    State(engine): State<Engine>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter()?;
    let limit = filter.limit;
    let found = engine.shared.index.list(&filter);
    let next = (found.len() == limit)
        .then(|| found.last().map(|(id, _)| id.to_string()))
        .flatten();
    let requests: Vec<_> = found
        .iter()
        .map(|(id, summary)| view::summary(*id, summary))
        .collect();
    Ok(axum::Json(json!({ "requests": requests, "next": next })).into_response())
}

pub(super) async fn show(
    State(engine): State<Engine>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let records = engine.records(id).await?;
    let summary = engine.summary(id).ok_or(ControlError::Unknown(id))?;
    let flow = engine.flow(summary.flow.as_str()).ok();
    // A log of 10,000 steps takes the processor for a while.
    let view = tokio::task::spawn_blocking(move || view::request(id, &summary, flow, &records));
    let view = view.await.map_err(|error| {
        let text = format!("the request cannot be shown: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &text).with("request_id", id.to_string())
    })?;
    Ok(axum::Json(view).into_response())
}

pub(super) async fn result(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let records = engine.records(id).await?;
    let ended = events(&records).find_map(|event| match event {
        Event::Ended { outcome, .. } => Some(outcome),
        _ => None,
    });
    let Some(outcome) = ended else {
        let summary = engine.summary(id).ok_or(ControlError::Unknown(id))?;
        let place = [(header::LOCATION, location(&engine, id, &headers))];
        let status = axum::Json(view::summary(id, &summary));
        return Ok((StatusCode::ACCEPTED, place, status).into_response());
    };
    let output = match outcome {
        Outcome::Succeeded {
            output: Some(at), ..
        } => Some(kept(id, at, &records)?),
        _ => None,
    };
    Ok(answer(id, outcome, output.as_ref(), &headers).await)
}

pub(super) async fn cancel(
    State(engine): State<Engine>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    engine.cancel(id).await?;
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(json!({ "id": id.to_string() })),
    )
        .into_response())
}

/// What a caller gets at the end: the output, or why there is none.
pub(super) async fn answer(
    request: RequestId,
    outcome: &Outcome,
    output: Option<&Value>,
    headers: &HeaderMap,
) -> Response {
    let problem = |status, text: &str| {
        Problem::new(status, text)
            .with("request_id", request.to_string())
            .with("outcome", outcome.status())
    };
    let problem = match outcome {
        Outcome::Succeeded { size, .. } => {
            let Some(output) = output else {
                let text = format!(
                    "the output, {size} bytes, was too large to keep (TURLOUGH_DURABLE_BYTES_MAX); \
                     a synchronous caller gets it at any size"
                );
                return problem(StatusCode::GONE, &text).into_response();
            };
            let accept = headers
                .get(header::ACCEPT)
                .and_then(|value| value.to_str().ok());
            let msgpack = accept.is_some_and(|accept| accept.contains("msgpack"));
            let output = output.clone();
            // A large output takes the processor for a while.
            let leaving = tokio::task::spawn_blocking(move || output.leaving(msgpack)).await;
            match leaving
                .map_err(|error| error.to_string())
                .and_then(|l| l.map_err(|e| e.to_string()))
            {
                Ok((_, body)) if body.is_empty() => return StatusCode::OK.into_response(),
                Ok((media, body)) => {
                    return ([(header::CONTENT_TYPE, media.as_str())], body).into_response();
                }
                Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
            }
        }
        Outcome::Failed {
            step,
            message,
            cause,
        } => {
            let text = format!("step {step}: {message}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, &text)
                .with("step", step.as_str())
                .with("cause", serde_json::to_value(cause).unwrap_or_default())
        }
        Outcome::TimedOut => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "the request took longer than the flow's timeout",
        ),
        Outcome::Cancelled => problem(StatusCode::CONFLICT, "the request was cancelled"),
    };
    problem.into_response()
}

/// A request's own path, as the caller reaches it: behind a gateway below `/function/<name>`.
pub(super) fn location(engine: &Engine, request: RequestId, headers: &HeaderMap) -> String {
    let behind_gateway = headers.contains_key("x-forwarded-host");
    let function = &engine.shared.settings.function;
    let prefix = if behind_gateway {
        format!("/function/{function}")
    } else {
        String::new()
    };
    format!("{prefix}/requests/{request}")
}

pub(super) fn parse(id: &str) -> Result<RequestId, Problem> {
    id.parse().map_err(|_| {
        let text = format!(
            "no request {:?} here",
            id.chars().take(80).collect::<String>()
        );
        Problem::new(StatusCode::NOT_FOUND, &text)
    })
}

fn events(records: &[Record]) -> impl Iterator<Item = &Event> {
    records.iter().flat_map(|record| &record.append.events)
}

/// A value that the log keeps.
fn kept(id: RequestId, at: &ValueRef, records: &[Record]) -> Result<Value, Problem> {
    let envelope = match at {
        ValueRef::Inline(envelope) => envelope.clone(),
        ValueRef::Parts {
            upload,
            size,
            digest,
            ..
        } => {
            let mut envelope = BytesMut::with_capacity(usize::try_from(*size).unwrap_or(0));
            for event in events(records) {
                if let Event::Part {
                    upload: of, bytes, ..
                } = event
                    && of == upload
                {
                    envelope.extend_from_slice(bytes);
                }
            }
            if Digest::of(&envelope) != *digest {
                let text = "the output's parts in the log are not what was put there";
                let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text);
                return Err(problem.with("request_id", id.to_string()));
            }
            envelope.freeze()
        }
        ValueRef::Stored { .. } => bytes::Bytes::new(),
    };
    Value::from_envelope(envelope).map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
            .with("request_id", id.to_string())
    })
}
