//! What must not be left: hints in the work queue, requests that a keeper lists as open, drivers and
//! values in replicas.

use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::platform::Platform;

/// What a replica counts that must be nothing in the end.
const GAUGES: [&str; 3] = [
    "turlough_requests_driving",
    "turlough_store_bytes",
    "turlough_closures_abandoned",
];
const OPEN: [&str; 4] = ["running", "sleeping", "paused", "unwinding"];

/// Waits until nothing is left: a hint that was with a replica when it was killed comes again half a
/// minute later, and is dropped.
pub(crate) async fn nothing(platform: &Platform, patience: Duration, wrong: &mut Vec<String>) {
    let until = Instant::now() + patience;
    loop {
        let left = left(platform).await;
        if left.is_empty() {
            return;
        }
        if Instant::now() > until {
            wrong.extend(left);
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn left(platform: &Platform) -> Vec<String> {
    let mut left = Vec::new();
    match platform.state.queue.depth("flows").await {
        Ok(0) => {}
        Ok(hints) => left.push(format!("{hints} hints are left in the work queue")),
        Err(error) => left.push(format!("the work queue does not answer: {error}")),
    }
    for keeper in 0..platform.keepers.len() {
        for status in OPEN {
            let url = format!("{}/requests?status={status}", platform.keeper_url(keeper));
            let listed = get(platform, &url).await;
            let listed = listed.and_then(|text| serde_json::from_str::<Json>(&text).ok());
            let listed = listed.and_then(|json| Some(json["requests"].as_array()?.len()));
            if listed != Some(0) {
                left.push(format!(
                    "keeper {keeper} lists {listed:?} {status} requests"
                ));
            }
        }
    }
    for replica in platform.processes("flows") {
        let url = format!("http://127.0.0.1:{}/metrics", replica.port);
        let text = get(platform, &url).await.unwrap_or_default();
        for line in text.lines() {
            let is_gauge = GAUGES.iter().any(|gauge| line.starts_with(gauge));
            if is_gauge && !line.ends_with(" 0") {
                left.push(format!("replica {} has {line}", replica.id));
            }
        }
        if !text.contains(GAUGES[0]) {
            left.push(format!("replica {} does not tell what it has", replica.id));
        }
    }
    left
}

async fn get(platform: &Platform, url: &str) -> Option<String> {
    let call = platform.http.get(url).timeout(Duration::from_secs(5));
    let answer = call.send().await.ok()?;
    answer.text().await.ok()
}
