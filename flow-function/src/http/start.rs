//! `POST /` and `POST /<flow>`: start a flow, and wait for its end or not.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use turlough_sdk::value::ValueWriter;
use turlough_sdk::{ContentType, Producer, RequestId, Value};

use super::extract::Path;
use super::problem::Problem;
use super::requests::{answer, location};
use crate::data::typed;
use crate::engine::{Engine, Started};
use crate::view;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-turlough-request-id");

/// How long a body may pause: a caller who sends nothing holds a connection and what it has sent.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Room that is reserved because a caller says that it will send as much.
const BODY_ROOM_MAX: u64 = 1 << 20;
/// Bodies up to this size are looked into on the spot: some 100 µs.
const INLINE_WORK_BYTES_MAX: usize = 64 * 1024;

/// The only flow here.
pub(super) async fn only(
    State(engine): State<Engine>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let flows = engine.flows();
    let [flow] = &flows[..] else {
        let names: Vec<_> = flows.iter().map(|flow| flow.name().as_str()).collect();
        let text = if names.is_empty() {
            "no flows are served here".to_owned()
        } else {
            let (count, names) = (names.len(), names.join(", /"));
            format!("{count} flows are served here; post to one: /{names}")
        };
        return Err(Problem::new(StatusCode::NOT_FOUND, &text));
    };
    let name = flow.name().to_string();
    start(engine, &name, &headers, body).await
}

pub(super) async fn named(
    State(engine): State<Engine>,
    Path(flow): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    start(engine, &flow, &headers, body).await
}

async fn start(
    engine: Engine,
    flow: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let flow = engine.flow(flow)?;
    let input = read(headers, body, engine.shared.settings.body_bytes_max).await?;
    let Started {
        request,
        mut finished,
    } = engine.start(flow, input).await?;
    let mut response = if prefers_async(headers) {
        accepted(&engine, request, headers)
    } else {
        let problem = |status, text| {
            let problem = Problem::new(status, text);
            problem
                .with("request_id", request.to_string())
                .into_response()
        };
        tokio::select! {
            // In order: an end that is there is told, whatever else is true.
            biased;
            end = &mut finished => match end {
                Ok(end) => answer(request, &end.outcome, end.output.as_ref(), headers).await,
                Err(_) => {
                    let text = "the request's driver stopped; see its status";
                    problem(StatusCode::INTERNAL_SERVER_ERROR, text)
                }
            },
            () = tokio::time::sleep(engine.shared.settings.sync_wait) => {
                accepted(&engine, request, headers)
            }
            () = engine.shared.closing.cancelled() => {
                let text = "the function was shut down before the request's end";
                problem(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    };
    let id = HeaderValue::from_str(&request.to_string());
    response
        .headers_mut()
        .insert(REQUEST_ID, id.unwrap_or(HeaderValue::from_static("")));
    Ok(response)
}

fn accepted(engine: &Engine, request: RequestId, headers: &HeaderMap) -> Response {
    let location = location(engine, request, headers);
    let status = engine
        .summary(request)
        .map(|summary| view::summary(request, &summary));
    let body = status.unwrap_or_default().to_string();
    let media = (header::CONTENT_TYPE, "application/json".to_owned());
    (
        StatusCode::ACCEPTED,
        [media, (header::LOCATION, location)],
        body,
    )
        .into_response()
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let prefer = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok());
    prefer.flat_map(|text| text.split(',')).any(|text| {
        let name = text.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("respond-async")
    })
}

async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Value, Problem> {
    let too_large = |size: u64| {
        let text =
            format!("body is {size} bytes or more, limit {limit}; raise TURLOUGH_BODY_BYTES_MAX");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, &text)
            .with("size", size)
            .with("limit", limit)
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = announced
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_large(announced));
    }
    let said = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let said = said.unwrap_or_default();
    let room = usize::try_from(announced.min(BODY_ROOM_MAX)).unwrap_or(0);
    let mut writer = ValueWriter::new(ContentType::new(said), Producer::Caller, room);
    loop {
        let frame = tokio::time::timeout(BODY_PAUSE_MAX, body.frame()).await;
        let frame = frame.map_err(|_| {
            let read = writer.body_bytes();
            let text = format!("body paused for {BODY_PAUSE_MAX:?} after {read} bytes");
            Problem::new(StatusCode::REQUEST_TIMEOUT, &text)
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            let text = format!(
                "body broke off after {} bytes: {error}",
                writer.body_bytes()
            );
            Problem::new(StatusCode::BAD_REQUEST, &text)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let size = writer.body_bytes() + data.len();
        if size > limit {
            return Err(too_large(size as u64));
        }
        writer.put(&data);
    }
    let value = writer.finish();
    if value.envelope().len() <= INLINE_WORK_BYTES_MAX {
        return examine(value);
    }
    let examined = tokio::task::spawn_blocking(move || examine(value)).await;
    examined.map_err(|error| {
        let text = format!("body could not be read: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &text)
    })?
}

/// A body that says it is JSON must be; one that says nothing is JSON if it reads as JSON.
fn examine(value: Value) -> Result<Value, Problem> {
    if value.content_type().is_json() && !value.is_empty() {
        let read = serde_json::from_slice::<serde::de::IgnoredAny>(&value.body());
        read.map_err(|error| {
            let text = format!("body is not the JSON that its content type says: {error}");
            Problem::new(StatusCode::BAD_REQUEST, &text)
        })?;
    }
    Ok(typed(value))
}
