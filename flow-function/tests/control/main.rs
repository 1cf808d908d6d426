//! What may be asked of requests, and what comes of it, over HTTP.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../platform/mod.rs"]
mod platform;

mod callback;
mod restart;
mod signals;
mod signed;
mod states;
mod subflows;
mod unwinding;
mod values;
mod word;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use platform::Platform;
use platform::endpoint::Endpoint;
use serde_json::Value as Json;
use tokio::sync::Semaphore;
use turlough_sdk::read_yaml;

/// A platform that keeps what failed, and whose flows may call this machine.
async fn keeping(flows: &[&str]) -> Platform {
    let flows = flows.iter().map(|text| read_yaml(text).unwrap()).collect();
    Platform::with(flows, |settings| {
        settings.keep_failed = Duration::from_secs(600);
        settings.http_allow = "127.0.0.1".parse().unwrap();
    })
    .await
}

/// A function that answers with what it is sent once it is let, each time by one permit.
async fn gated() -> (Endpoint, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let shut = Arc::clone(&gate);
    let endpoint = Endpoint::start(move |call| {
        let gate = Arc::clone(&shut);
        async move {
            gate.acquire().await.unwrap().forget();
            ([("content-type", "application/json")], call.body).into_response()
        }
    });
    (endpoint.await, gate)
}

/// A function that refuses bodies which satisfy `bad`, and answers with all others.
async fn picky(bad: impl Fn(&Json) -> bool + Send + Sync + Clone + 'static) -> Endpoint {
    Endpoint::start(move |call| {
        let bad = bad.clone();
        async move {
            if bad(&call.json()) {
                return (StatusCode::UNPROCESSABLE_ENTITY, "it is bad").into_response();
            }
            ([("content-type", "application/json")], call.body).into_response()
        }
    })
    .await
}

async fn show(platform: &Platform, id: &str) -> Json {
    platform.json(&format!("/requests/{id}")).await
}

/// A request that has come to its end, whether or not it can be restarted.
async fn over(platform: &Platform, id: &str) -> Json {
    let over = |view: &Json| !view["ended_at"].is_null();
    platform.until(&format!("/requests/{id}"), over).await
}

/// The steps of a request with their statuses.
fn steps(view: &Json) -> Vec<String> {
    let rows = view["steps"].as_array().unwrap().iter();
    let text = |row: &Json, name: &str| row[name].as_str().unwrap().to_owned();
    rows.map(|row| format!("{} {}", text(row, "step"), text(row, "status")))
        .collect()
}
