//! The keeper's HTTP API.
//!
//! Invariants: every error is a problem document; nothing here changes a request, but for the deletion
//! of settled ones.

mod problem;
mod requests;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

pub(crate) use problem::Problem;

use crate::keeper::Keeper;

pub(crate) fn router(keeper: Keeper) -> Router {
    Router::new()
        .route("/requests", get(requests::list))
        .route(
            "/requests/{id}",
            get(requests::show).delete(requests::delete),
        )
        .route("/dead-letters", get(requests::dead_letters))
        .route("/_/health", get(|| async { "OK" }))
        .route("/_/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "no such path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "the path does not take this method",
            )
        })
        .with_state(keeper)
}

/// What is answered while there is no state yet: why not.
pub(crate) fn waiting_router(why: watch::Receiver<String>) -> Router {
    let not_ready = move || {
        let reason = why.borrow().clone();
        async move { Problem::new(StatusCode::SERVICE_UNAVAILABLE, &reason).retry_after(1) }
    };
    Router::new()
        .route("/_/health", get(|| async { "OK" }))
        .fallback(not_ready)
}

async fn ready(State(keeper): State<Keeper>) -> Response {
    let link = *keeper.shared.state.link.borrow();
    let behind = keeper.behind();
    let reason = if keeper.shared.stop.is_cancelled() {
        "shutting down".to_owned()
    } else if !link.is_up {
        "the connection to the state is lost; it comes back by itself once a server answers"
            .to_owned()
    } else if let Some(obstacle) = keeper.shared.obstacle() {
        obstacle
    } else if !behind.is_caught_up {
        let age_s = behind.age.as_secs();
        format!(
            "reading the logs: at append {}, {age_s} s behind",
            behind.seq
        )
    } else {
        return "OK".into_response();
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, &reason)
        .retry_after(1)
        .into_response()
}

async fn metrics(State(keeper): State<Keeper>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, keeper.metrics()).into_response()
}
