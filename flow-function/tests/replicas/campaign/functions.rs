//! The function of the campaign, as a process: it does what its path says, and writes down each call.

use std::path::Path as File;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use super::counters::{Counter, Line};
use super::now_us;

/// How long the work behind a call takes that is not quick.
const WORK: Duration = Duration::from_millis(150);
/// How often a caller is called back at most: some 20 s in all.
const CALLBACKS_MAX: usize = 100;

pub(crate) async fn serve(folder: &File, port: u16) {
    let counter = Arc::new(Counter::open(folder));
    let router = Router::new()
        .route("/_/health", get(|| async { "OK" }))
        .route("/{path}", post(answer))
        .with_state(counter);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, router).await.unwrap();
}

async fn answer(
    State(counter): State<Arc<Counter>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let begin = Line {
        at_us: now_us(),
        ends: false,
        path: path.clone(),
        key: text("x-turlough-idempotency-key"),
        request: text("x-turlough-request-id"),
        step: text("x-turlough-step"),
    };
    counter.write(&begin);
    if path == "hook" {
        let url = text("x-callback-url");
        tokio::spawn(async move {
            tokio::time::sleep(WORK).await;
            end(&counter, begin);
            call_back(&url, body).await;
        });
        return StatusCode::ACCEPTED.into_response();
    }
    match path.as_str() {
        "quick" => {}
        // In flight for long enough to be met by a blow.
        "once" => tokio::time::sleep(2 * WORK).await,
        _ => tokio::time::sleep(WORK).await,
    }
    end(&counter, begin);
    let json = [(header::CONTENT_TYPE, "application/json")];
    match path.as_str() {
        "refuse" => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        "more" => {
            let number: u64 = std::str::from_utf8(&body).unwrap().parse().unwrap();
            (json, (number + 10).to_string()).into_response()
        }
        _ => (json, body).into_response(),
    }
}

fn end(counter: &Counter, begin: Line) {
    counter.write(&Line {
        at_us: now_us(),
        ends: true,
        ..begin
    });
}

/// Calls back until somebody takes it, or says that nobody ever will.
async fn call_back(url: &str, body: Bytes) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..CALLBACKS_MAX {
        let call = http.post(url).header("content-type", "application/json");
        let call = call.timeout(Duration::from_secs(5)).body(body.clone());
        if let Ok(answer) = call.send().await
            && !answer.status().is_server_error()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
