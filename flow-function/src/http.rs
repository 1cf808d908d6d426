//! The flow-function's HTTP API.
//!
//! Invariants: starting a flow is open like any function, and so is the answer to a callback, which
//! its token names; everything else that shows or changes a request, or changes a flow, needs the
//! bearer token, or comes from this machine; every error is a problem document.

mod access;
mod answer;
mod body;
mod call;
mod connection;
mod control;
mod events;
mod extract;
mod flows;
mod in_flight;
mod problem;
mod requests;
mod signed;
mod start;
mod step;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use connection::Until;
pub(crate) use in_flight::InFlight;
pub(crate) use problem::Problem;
#[cfg(test)]
pub(crate) use requests::standing;

/// Connections while the state or the store is waited for.
const CONNECTIONS_WAITING: usize = 1_024;

/// Serves until the engine closes.
pub(crate) async fn serve(listener: TcpListener, engine: &Engine) {
    let shared = &engine.shared;
    let until = Until {
        leaving: shared.leaving.clone(),
        closing: shared.closing.clone(),
    };
    let most = shared.in_flight.connections();
    let open = connection::serve(&listener, router(engine.clone()), most, until).await;
    // Whoever comes now is refused, and goes to another replica.
    drop(listener);
    connection::finish(open).await;
}

/// Serves other routes until `closing`, and gives the listener back.
pub(crate) async fn serve_router(
    listener: TcpListener,
    router: Router,
    closing: CancellationToken,
) -> TcpListener {
    let until = Until {
        leaving: closing.clone(),
        closing,
    };
    let open = connection::serve(&listener, router, CONNECTIONS_WAITING, until).await;
    connection::finish(open).await;
    listener
}

/// The routes of a flow-function.
pub(crate) fn router(engine: Engine) -> Router {
    let guarded = Router::new()
        .route("/requests", get(requests::list))
        .route("/requests/{id}", get(requests::show))
        .route("/requests/{id}/result", get(requests::result))
        .route("/requests/{id}/steps/{*path}", get(requests::step))
        .route("/requests/{id}/events", get(events::stream))
        .route("/requests/{id}/pause", post(control::pause))
        .route("/requests/{id}/resume", post(control::resume))
        .route("/requests/{id}/cancel", post(control::cancel))
        .route("/requests/{id}/restart", post(control::restart))
        .route("/requests/{id}/signals/{name}", post(control::signal))
        .route("/flows/{flow}", put(flows::put))
        .route_layer(from_fn_with_state(engine.clone(), access::guard));
    let others = Router::new()
        .route("/flows", get(flows::list))
        .route("/flows/{flow}", get(flows::show))
        .route("/callbacks/{token}", post(control::callback))
        .merge(guarded)
        .route_layer(from_fn_with_state(engine.clone(), in_flight::others));
    let step = Router::new()
        .route("/_/step", post(step::run))
        .route_layer(from_fn_with_state(engine.clone(), access::guard));
    let starts = Router::new()
        .route("/", post(start::only).get(flows::list))
        .route("/{flow}", post(start::named))
        .merge(step)
        .route_layer(from_fn_with_state(engine.clone(), in_flight::starts));
    Router::new()
        .merge(others)
        .merge(starts)
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
        .with_state(engine)
}

async fn ready(State(engine): State<Engine>) -> Response {
    if engine.shared.leaving.is_cancelled() || engine.shared.draining.is_cancelled() {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting down").into_response();
    }
    if let Some(reason) = engine.shared.absence() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, &reason);
        return problem.retry_after(1).into_response();
    }
    if let Err(error) = engine.shared.refuse_abandoned() {
        return Problem::from(error).into_response();
    }
    if engine.shared.in_flight.is_full() {
        let text = "as many calls are worked on as may be; another replica should take the next";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, text);
        return problem.retry_after(1).into_response();
    }
    "OK".into_response()
}

async fn metrics(State(engine): State<Engine>) -> Response {
    let calls = i64::try_from(engine.shared.in_flight.now()).unwrap_or(i64::MAX);
    engine.shared.metrics.calls_in_flight.set(calls);
    let held = engine.shared.stores.held().unwrap_or_default();
    if let Some(keeper) = engine.shared.keeper.get() {
        keeper.read_metrics();
    }
    let text = engine.shared.metrics.text(held.bytes, held.refusals);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
