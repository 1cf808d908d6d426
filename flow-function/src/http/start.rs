//! `POST /` and `POST /<flow>`: start a flow, and wait for its end or not.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use turlough_keeper::{Summary, summary_json};
use turlough_sdk::RequestId;

use super::answer;
use super::body::{self, Limit};
use super::call::{CALLBACK_URL, Pairs, call};
use super::extract::{Key, Path, Query};
use super::problem::Problem;
use super::requests::{location, standing};
use super::signed;
use crate::engine::{Engine, Started};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-turlough-request-id");
/// Says that an earlier request with the same key was found, and that its answer is this one.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Says to our gateway that it need not call back: the request does, at its end.
const CALLBACK: HeaderName = HeaderName::from_static("x-turlough-callback");

/// The only flow here.
pub(super) async fn only(
    State(engine): State<Engine>,
    Query(query): Query<Pairs>,
    key: Key,
    uri: Uri,
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
    start(engine, (&name, &uri), (query, key), &headers, body).await
}

pub(super) async fn named(
    State(engine): State<Engine>,
    Path(flow): Path<String>,
    Query(query): Query<Pairs>,
    key: Key,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    start(engine, (&flow, &uri), (query, key), &headers, body).await
}

async fn start(
    engine: Engine,
    (flow, uri): (&str, &Uri),
    (query, key): (Pairs, Key),
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let flow = engine.newest(flow).await?;
    let settings = &engine.shared.settings;
    let signed = match flow.is_signed() {
        true => Some(signed::check(&engine, &flow, uri, headers).await?),
        false => None,
    };
    let mut call = call(&flow, query, key, headers, &settings.http_allow)?;
    let is_delivered = call.delivery.is_some();
    let limit = Limit::of_values(settings);
    let input = body::value(headers, body, limit).await?;
    if let Some(signed) = signed {
        call.key = Some(signed.key(&input.body())?);
    }
    let Started {
        request,
        is_new,
        calls_back,
        mut finished,
    } = engine.start(flow, input, call).await?;
    // A queue waits only for what it has to pass on: that the request stands is all that it need know.
    let is_waited_for = !is_delivered || (headers.contains_key(CALLBACK_URL) && !calls_back);
    let mut response = if prefers_async(headers) || !is_waited_for {
        begun(&engine, request, headers).await
    } else {
        // While its caller waits, this replica waits with its end.
        let _task = engine.shared.tasks.token();
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
                Ok(end) => answer::outcome(request, &end.outcome, end.output, headers).await,
                Err(_) => {
                    let text = "the request's driver stopped; see its status";
                    problem(StatusCode::INTERNAL_SERVER_ERROR, text)
                }
            },
            () = tokio::time::sleep(engine.shared.settings.sync_wait()) => {
                begun(&engine, request, headers).await
            }
            // Another process goes on with it.
            () = engine.shared.closing.cancelled() => match settings.is_forgotten() {
                false => begun(&engine, request, headers).await,
                true => {
                    let text = "the function was shut down before the request's end, and keeps nothing";
                    problem(StatusCode::SERVICE_UNAVAILABLE, text)
                }
            },
        }
    };
    let id = HeaderValue::from_str(&request.to_string());
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.unwrap_or(HeaderValue::from_static("")));
    if calls_back {
        headers.insert(CALLBACK, HeaderValue::from_static("taken"));
    }
    if !is_new {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The request was taken on: where it is, and how it stands.
pub(super) fn accepted(
    engine: &Engine,
    (request, standing): (RequestId, &Summary),
    headers: &HeaderMap,
) -> Response {
    let place = [(header::LOCATION, place(engine, request, headers))];
    let view = axum::Json(summary_json(request, standing));
    (StatusCode::ACCEPTED, place, view).into_response()
}

/// A request that has begun, just now or under its key. It goes on though its log may not be readable at
/// the moment, so that whoever asked is told where it is.
async fn begun(engine: &Engine, request: RequestId, headers: &HeaderMap) -> Response {
    if let Ok(standing) = standing(engine, request).await {
        return accepted(engine, (request, &standing), headers);
    }
    let place = [(header::LOCATION, place(engine, request, headers))];
    let view = axum::Json(json!({ "id": request.to_string() }));
    (StatusCode::ACCEPTED, place, view).into_response()
}

fn place(engine: &Engine, request: RequestId, headers: &HeaderMap) -> String {
    location(engine, &format!("requests/{request}"), headers)
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
