//! Health, readiness and metrics, on a port of their own.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::server::{Shared, now_ms};

#[derive(Clone)]
struct Served {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// `stop` says that the store is about to end.
pub(crate) fn router(shared: Arc<Shared>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/_/health", get(|| async { "OK" }))
        .route("/_/ready", get(ready))
        .route("/metrics", get(text))
        .with_state(Served { shared, stop })
}

async fn ready(State(served): State<Served>) -> Response {
    if served.stop.is_cancelled() {
        let why = "the store is shutting down";
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
            why,
        )
            .into_response();
    }
    "OK".into_response()
}

async fn text(State(served): State<Served>) -> Response {
    let text = metrics::text(&served.shared, now_ms());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
