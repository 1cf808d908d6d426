//! Opening the state, which may be away when a process begins, or not fit: then the process waits,
//! healthy and not ready, instead of ending and being started again and again.

use axum::Router;
use axum::extract::State as Known;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turlough_statestore::{State, Use};

use super::ServeError;
use crate::http;
use crate::settings::Settings;

/// The state, once it is there; the listener is lent out meanwhile, and comes back.
pub(super) async fn open(
    listener: TcpListener,
    settings: &Settings,
) -> Result<(TcpListener, State), ServeError> {
    let url = &settings.state.url;
    let options = settings.state.options(&settings.tenant, &settings.function);
    let (waits, mut why) = watch::channel(String::new());
    let mut opening = std::pin::pin!(State::open_once_fit(url, &options, Use::Drive, &waits));
    let wrong = |source| ServeError::State {
        url: url.clone(),
        source,
    };
    tokio::select! {
        biased; // most states are there at once, and nobody is told that this one was waited for
        state = &mut opening => return Ok((listener, state.map_err(wrong)?)),
        // It does not close: `waits` is here.
        _ = why.changed() => {}
    }
    let opened = CancellationToken::new();
    let waiting = tokio::spawn(serve(listener, why, opened.clone()));
    let state = opening.await.map_err(wrong)?;
    opened.cancel();
    let listener = waiting.await.map_err(|error| ServeError::Listen {
        address: settings.address(),
        source: std::io::Error::other(error),
    })?;
    Ok((listener, state))
}

async fn serve(
    listener: TcpListener,
    why: watch::Receiver<String>,
    opened: CancellationToken,
) -> TcpListener {
    let router = Router::new()
        .route("/_/health", get(|| async { "OK" }))
        .fallback(away)
        .with_state(why);
    http::serve_router(listener, router, opened).await
}

async fn away(Known(why): Known<watch::Receiver<String>>) -> Response {
    let problem = http::Problem::new(StatusCode::SERVICE_UNAVAILABLE, &why.borrow());
    problem.retry_after(1).into_response()
}
