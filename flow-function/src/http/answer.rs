//! Values as they leave: a request's output, a step's input or output.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use turlough_sdk::{RequestId, Value};
use turlough_statestore::event::Outcome;

use super::problem::Problem;
use crate::shared::status_of;

/// What a caller gets at the end: the output, or why there is none.
pub(super) async fn outcome(
    request: RequestId,
    outcome: &Outcome,
    output: Option<Value>,
    headers: &HeaderMap,
) -> Response {
    let of_outcome = |status, text: &str| {
        Problem::new(status, text)
            .with("request_id", request.to_string())
            .with("outcome", outcome.status())
    };
    let problem = |text: &str| of_outcome(status_of(outcome), text);
    let problem = match outcome {
        Outcome::Succeeded { size, .. } => {
            let Some(output) = output else {
                let text = format!(
                    "the output, {size} bytes, was too large to keep (TURLOUGH_DURABLE_BYTES_MAX); \
                     a synchronous caller gets it at any size"
                );
                return of_outcome(StatusCode::GONE, &text).into_response();
            };
            match value(output, headers).await {
                Ok(response) => return response,
                Err(error) => of_outcome(StatusCode::INTERNAL_SERVER_ERROR, &error),
            }
        }
        Outcome::Failed {
            step,
            message,
            cause,
        } => {
            let text = format!("step {step}: {message}");
            problem(&text)
                .with("step", step.as_str())
                .with("cause", serde_json::to_value(cause).unwrap_or_default())
        }
        Outcome::TimedOut => problem("the request took longer than the flow's timeout"),
        Outcome::Dead { message } => problem(message),
        Outcome::Cancelled => problem("the request was cancelled"),
    };
    problem.into_response()
}

/// A value, in the form that `Accept` asks for.
pub(super) async fn value(value: Value, headers: &HeaderMap) -> Result<Response, String> {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let msgpack = accept.is_some_and(|accept| accept.contains("msgpack"));
    // A large value takes the processor for a while.
    let leaving = tokio::task::spawn_blocking(move || value.leaving(msgpack)).await;
    let leaving = leaving.map_err(|error| error.to_string())?;
    let (media, body) = leaving.map_err(|error| error.to_string())?;
    if body.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    // What a function said about its bytes may be no header.
    let media = HeaderValue::from_str(media.as_str());
    let media = media.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    Ok(([(header::CONTENT_TYPE, media)], body).into_response())
}

/// Data of others that is looked at: in a browser it is no page of this function's, whatever type it
/// says it has.
pub(super) fn shown(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox"),
    );
    response
}
