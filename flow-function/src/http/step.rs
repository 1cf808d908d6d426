//! `POST /_/step`: steps that another replica of this function drives, and asks to be run here.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use turlough_sdk::Producer;

use super::body::{self, Limit};
use super::problem::Problem;
use crate::engine::Engine;
use crate::spread::{Batch, Refusal};

/// Above all that a replica sends at once.
const BATCH_LIMIT: Limit = Limit {
    bytes: 64 << 20,
    remedy: "send fewer steps at once",
    within: None,
};

pub(super) async fn run(
    State(engine): State<Engine>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let shared = &engine.shared;
    if shared.draining.is_cancelled() {
        let text = "shutting down; ask another replica";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let value = body::untouched(&headers, body, BATCH_LIMIT, Producer::Platform).await?;
    let batch = Batch::decode(&value.body()).map_err(|error| {
        let text = format!("body is no batch of steps of this version: {error}");
        Problem::new(StatusCode::BAD_REQUEST, &text)
    })?;
    let ends = shared.run_for_another(batch).await.map_err(|refusal| {
        let status = match refusal {
            Refusal::Own | Refusal::Full => StatusCode::TOO_MANY_REQUESTS,
            Refusal::NoVersion { .. } | Refusal::NoStep { .. } => StatusCode::CONFLICT,
        };
        Problem::new(status, &refusal.to_string())
    })?;
    let answer = rmp_serde::to_vec_named(&ends).map_err(|error| {
        let text = format!("what the steps came to cannot be encoded: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &text)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/msgpack")], answer).into_response())
}
