//! A closed loop: so many senders, each with one request in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::exchange::{Exchange, Flaw};
use crate::statistics;

/// When it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// So many requests were sent.
    Requests(u64),
    /// So much time has passed; what was sent by then is awaited.
    Elapsed(Duration),
}

/// What came of it. Latencies are from sending to the last byte of the answer, in ns.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) right: u64,
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    pub(crate) first_problem: Option<String>,
    pub(crate) latency_ns: Histogram<u64>,
    pub(crate) took: Duration,
}

/// Request number n, from 1 on, is `exchange(n)`.
pub(crate) async fn run<F>(
    http: &reqwest::Client,
    until: Until,
    concurrency: u64,
    exchange: F,
) -> Outcome
where
    F: Fn(u64) -> Exchange + Clone + Send + 'static,
{
    let begin = Instant::now();
    let next = Arc::new(AtomicU64::new(1));
    let mut senders = JoinSet::new();
    for _ in 0..concurrency {
        let (http, exchange, next) = (http.clone(), exchange.clone(), Arc::clone(&next));
        senders.spawn(async move {
            let mut outcome = Outcome::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let over = match until {
                    Until::Requests(requests) => n > requests,
                    Until::Elapsed(limit) => begin.elapsed() >= limit,
                };
                if over {
                    return outcome;
                }
                let (took, result) = exchange(n).make(&http).await;
                outcome.add(took, result);
            }
        });
    }
    let mut all = Outcome::new();
    for outcome in senders.join_all().await {
        all.merge(outcome);
    }
    all.took = begin.elapsed();
    all
}

impl Outcome {
    fn new() -> Self {
        Self {
            right: 0,
            wrong: 0,
            failed: 0,
            first_problem: None,
            latency_ns: statistics::histogram(),
            took: Duration::ZERO,
        }
    }

    fn add(&mut self, took: Duration, result: Result<(), Flaw>) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.saturating_record(took);
        let problem = match result {
            Ok(()) => {
                self.right += 1;
                return;
            }
            Err(Flaw::Wrong(text)) => {
                self.wrong += 1;
                text
            }
            Err(Flaw::Failed(text)) => {
                self.failed += 1;
                text
            }
        };
        self.first_problem.get_or_insert(problem);
    }

    fn merge(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.failed += other.failed;
        self.first_problem = self.first_problem.take().or(other.first_problem);
        // It cannot fail: both have the same bounds.
        let _ = self.latency_ns.add(other.latency_ns);
    }

    pub(crate) fn report(&self) -> Json {
        let quantile = |q: f64| self.latency_ns.value_at_quantile(q) as f64 / 1e6;
        let seconds = self.took.as_secs_f64();
        json!({
            "right": self.right,
            "wrong": self.wrong,
            "failed": self.failed,
            "seconds": seconds,
            "requests_per_second": self.right as f64 / seconds,
            "latency_ms": {
                "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99),
                "max": quantile(1.0),
            },
            "first_problem": self.first_problem,
        })
    }
}
