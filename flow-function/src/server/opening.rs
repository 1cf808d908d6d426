//! Opening the state and the stores, which may be away when a process begins, or not fit: then the process
//! waits, healthy and not ready, instead of ending and being started again and again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Known;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use turlough_datastore::data;
use turlough_datastore::{DataStore, DataUrl};
use turlough_statestore::{State, Use};

use super::ServeError;
use crate::data::{Durable, Stores};
use crate::http;
use crate::settings::Settings;

/// How often a store is asked that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// The state and the stores, once they are there; the listener is lent out meanwhile, and comes back.
pub(super) async fn open(
    listener: TcpListener,
    settings: &Settings,
) -> Result<(TcpListener, State, Stores), ServeError> {
    let (waits, mut why) = watch::channel(String::new());
    let mut opening = std::pin::pin!(open_all(settings, &waits));
    tokio::select! {
        biased; // most are there at once, and nobody is told that these were waited for
        opened = &mut opening => {
            let (state, stores) = opened?;
            return Ok((listener, state, stores));
        }
        // It does not close: `waits` is here.
        _ = why.changed() => {}
    }
    let opened = CancellationToken::new();
    let waiting = tokio::spawn(serve(listener, why, opened.clone()));
    let (state, stores) = opening.await?;
    opened.cancel();
    let listener = waiting.await.map_err(|error| ServeError::Listen {
        address: settings.address(),
        source: std::io::Error::other(error),
    })?;
    Ok((listener, state, stores))
}

async fn open_all(
    settings: &Settings,
    waits: &watch::Sender<String>,
) -> Result<(State, Stores), ServeError> {
    let url = &settings.state.url;
    let options = settings.state.options(&settings.tenant, &settings.function);
    let state = State::open_once_fit(url, &options, Use::Drive, waits).await;
    let state = state.map_err(|source| ServeError::State {
        url: url.clone(),
        source,
    })?;
    let options = settings.data_options();
    let own = open_store(&settings.data, &options, waits).await;
    let durable = match &settings.durable {
        Some(url) => Some(Durable {
            store: open_store(url, &settings.durable_options(), waits).await,
            lease: settings.state.max_age,
        }),
        None => None,
    };
    Ok((state, Stores::new(own, durable, settings.data_lease)))
}

/// A store, once it is there and takes this tenant.
async fn open_store(
    url: &DataUrl,
    options: &data::Options,
    waits: &watch::Sender<String>,
) -> Arc<dyn DataStore> {
    let mut told = None;
    loop {
        let reason = match data::open(url, options).await {
            Ok(store) => return store,
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&reason) {
            warn!(%url, %reason, "the store cannot be used yet; it is asked again and again");
            waits.send_replace(format!("waiting for the store at {url}: {reason}"));
            told = Some(reason);
        }
        tokio::time::sleep(AGAIN).await;
    }
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
