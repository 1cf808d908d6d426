//! Functions and endpoints that answer later, by a callback.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../platform/mod.rs"]
mod platform;

mod calls;
mod refusals;

use platform::endpoint::{Endpoint, Received};
use platform::{Platform, soon};
use serde_json::Value as Json;
use turlough_sdk::read_yaml;

const LATER: &str = "
flow: later
nodes:
  work: { apply: WORK, mode: async, timeout: 60s }
  then: { after: [work], pass: . }
";
/// Stays open after the callback.
const OPEN: &str = "
flow: open
nodes:
  work: { http: URL, callback: true, idempotent: true, timeout: 60s }
  ask: { after: [work], wait: { signal: go } }
output: work
";

fn at(flow: &str, endpoint: &Endpoint) -> String {
    flow.replace("URL", &endpoint.url)
}

/// A platform whose flows may call this machine.
async fn outward(flows: &[&str]) -> Platform {
    let flows = flows.iter().map(|text| read_yaml(text).unwrap()).collect();
    Platform::with(flows, |settings| {
        settings.http_allow = "127.0.0.1".parse().unwrap();
    })
    .await
}

async fn view(platform: &Platform, id: &str) -> Json {
    platform.json(&format!("/requests/{id}")).await
}

fn token(call: &Received) -> String {
    let url = call.callback();
    url.rsplit('/').next().unwrap().to_owned()
}

/// A request that sleeps, and of which nothing is in memory.
async fn asleep(platform: &Platform, id: &str) -> Json {
    let view = platform.stands(id, "sleeping").await;
    soon(async {
        while platform.engine.driving() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    view
}
