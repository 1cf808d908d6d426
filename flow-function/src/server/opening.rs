//! Opening the state, which may be away when a process begins: then the process waits, healthy and not
//! ready, instead of ending and being started again and again.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use turlough_statestore::State;

use super::ServeError;
use crate::http;
use crate::settings::Settings;

/// How long to wait before the state is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The state, once it is there; the listener is lent out meanwhile, and comes back.
pub(super) async fn open(
    listener: TcpListener,
    settings: &Settings,
) -> Result<(TcpListener, State), ServeError> {
    let url = &settings.state.url;
    let options = settings.state.options(&settings.tenant, &settings.function);
    let wrong = |source| ServeError::State {
        url: url.clone(),
        source,
    };
    let mut error = match State::open(url, &options).await {
        Ok(state) => return Ok((listener, state)),
        Err(error) if error.passes() => error,
        Err(error) => return Err(wrong(error)),
    };
    let opened = CancellationToken::new();
    let reason = format!("waiting for the state at {url}: {error}");
    let waiting = tokio::spawn(serve(listener, reason, opened.clone()));
    let state = loop {
        warn!(%error, "the state is away; this function is not ready, and waits");
        tokio::time::sleep(AGAIN).await;
        match State::open(url, &options).await {
            Ok(state) => break state,
            Err(again) if again.passes() => error = again,
            Err(error) => return Err(wrong(error)),
        }
    };
    info!(%url, "the state is there");
    opened.cancel();
    let listener = waiting.await.map_err(|error| ServeError::Listen {
        address: settings.address(),
        source: std::io::Error::other(error),
    })?;
    Ok((listener, state))
}

async fn serve(listener: TcpListener, reason: String, opened: CancellationToken) -> TcpListener {
    let away = move || {
        let problem = http::Problem::new(StatusCode::SERVICE_UNAVAILABLE, &reason);
        std::future::ready(problem.retry_after(1).into_response())
    };
    let router = Router::new()
        .route("/_/health", get(|| async { "OK" }))
        .fallback(away);
    http::serve_router(listener, router, opened).await
}
