//! A closed loop: so many senders, each with one request in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::Value as Json;
use tokio::task::JoinSet;

use crate::scenario::Scenario;

/// What came of it. Latencies are from sending to the last byte of the answer, in µs.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) right: u64,
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    pub(crate) first_problem: Option<String>,
    pub(crate) latency_us: Histogram<u64>,
    pub(crate) took: Duration,
}

enum Answer {
    Right,
    Wrong(String),
    Failed(String),
}

pub(crate) async fn run(
    http: &reqwest::Client,
    url: &str,
    scenario: Scenario,
    requests: u64,
    concurrency: u64,
) -> Outcome {
    let begin = Instant::now();
    let next = Arc::new(AtomicU64::new(1));
    let mut senders = JoinSet::new();
    for _ in 0..concurrency {
        let (http, url, next) = (http.clone(), url.to_owned(), Arc::clone(&next));
        senders.spawn(async move {
            let mut answers = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n > requests {
                    return answers;
                }
                let sent = Instant::now();
                let answer = send(&http, &url, scenario, n).await;
                answers.push((answer, sent.elapsed()));
            }
        });
    }
    let answers = senders.join_all().await;
    let mut outcome = Outcome {
        right: 0,
        wrong: 0,
        failed: 0,
        first_problem: None,
        latency_us: histogram(),
        took: begin.elapsed(),
    };
    for (answer, took) in answers.into_iter().flatten() {
        outcome
            .latency_us
            .saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let problem = match answer {
            Answer::Right => {
                outcome.right += 1;
                continue;
            }
            Answer::Wrong(text) => {
                outcome.wrong += 1;
                text
            }
            Answer::Failed(text) => {
                outcome.failed += 1;
                text
            }
        };
        outcome.first_problem.get_or_insert(problem);
    }
    outcome
}

async fn send(http: &reqwest::Client, url: &str, scenario: Scenario, n: u64) -> Answer {
    let (body, expected) = scenario.exchange(n);
    let exchange = async {
        let answer = http.post(url).json(&body).send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.bytes().await?))
    };
    match exchange.await {
        Ok((status, bytes)) if status == 200 => match serde_json::from_slice::<Json>(&bytes) {
            Ok(found) if found == expected => Answer::Right,
            _ => {
                let found = String::from_utf8_lossy(&bytes).into_owned();
                Answer::Wrong(format!("{body} gave {found}, expected {expected}"))
            }
        },
        Ok((status, bytes)) => Answer::Failed(format!(
            "{body} gave {status}: {}",
            String::from_utf8_lossy(&bytes)
        )),
        Err(error) => Answer::Failed(format!("{body}: {error:?}")),
    }
}

/// Three significant digits, up to a minute.
#[allow(
    clippy::unwrap_used,
    reason = "the bounds are constants that the crate accepts"
)]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()
}
