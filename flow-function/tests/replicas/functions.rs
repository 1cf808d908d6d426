//! Functions behind a gateway of the test's own: they answer what they are asked, and count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::post;
use tokio::net::TcpListener;

/// How often each function was called, by idempotency key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<HashMap<(String, String), u32>>>);

impl Calls {
    /// The most calls that one key of a function had.
    pub(crate) fn most(&self, function: &str) -> u32 {
        let calls = self.0.lock().unwrap();
        let of = calls.iter().filter(|((name, _), _)| name == function);
        of.map(|(_, count)| *count).max().unwrap_or(0)
    }

    pub(crate) fn keys(&self, function: &str) -> usize {
        let calls = self.0.lock().unwrap();
        calls.keys().filter(|(name, _)| name == function).count()
    }
}

/// Stands for the gateway: `/function/<name>` answers with its input, some a while later.
pub(crate) async fn serve() -> (String, Calls) {
    let calls = Calls::default();
    let router = Router::new()
        .route("/function/{name}", post(answer))
        .with_state(calls.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}

async fn answer(
    State(calls): State<Calls>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Bytes {
    let key = headers["x-turlough-idempotency-key"].to_str().unwrap();
    let key = (name.clone(), key.to_owned());
    *calls.0.lock().unwrap().entry(key).or_default() += 1;
    let wait = match name.as_str() {
        "quick" => Duration::from_millis(5),
        _ => Duration::from_millis(150),
    };
    tokio::time::sleep(wait).await;
    body
}
