//! Sends spans to a collector: OTLP over HTTP, as protobuf.
//!
//! Invariants: nobody waits for it; what is held is bounded, and what is not taken in time is counted and
//! gone. A collector that is away, hangs or answers nonsense costs that and a line of the log.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use http_body_util::{BodyExt as _, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use reqwest::Method;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::settings::Collector;
use crate::metrics::SpanCounts;
use crate::outside::{HttpAllow, Outside, chain};

/// Spans that wait: at some 1 KiB each, 16 MiB.
const QUEUE_SPANS: usize = 16 * 1_024;
/// Spans of one batch; collectors take 4 MiB and more.
const BATCH_SPANS: usize = 1_024;
/// How long a batch is waited for to fill.
const FILL_TIME: Duration = Duration::from_millis(200);
/// Tries of one batch, and the waits between them, which double.
const TRIES: u32 = 4;
const AGAIN_MIN: Duration = Duration::from_millis(500);
/// Longest wait that a collector may ask for.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// What is read of a collector's answer.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// Takes spans. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Exporter {
    queue: mpsc::Sender<Span>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    counts: SpanCounts,
}

#[derive(Debug)]
struct Task {
    queue: mpsc::Receiver<Span>,
    flushes: mpsc::Receiver<oneshot::Sender<()>>,
    collector: Collector,
    outside: Outside,
    resource: Resource,
    counts: SpanCounts,
    is_failing: bool,
}

/// What came of sending a batch.
enum Sent {
    /// All but so many, which the collector refused.
    But(u64, String),
    Again(Option<Duration>, String),
    Refused(String),
}

impl Exporter {
    /// # Errors
    /// An HTTP client that cannot be made.
    pub(super) fn start(
        collector: Collector,
        resource: Resource,
        counts: SpanCounts,
    ) -> Result<Self, reqwest::Error> {
        let (queue, spans) = mpsc::channel(QUEUE_SPANS);
        let (flushes, asked) = mpsc::channel(1);
        let task = Task {
            queue: spans,
            flushes: asked,
            collector,
            // Whoever starts the process says where it is.
            outside: Outside::new(&HttpAllow::all())?,
            resource,
            counts: counts.clone(),
            is_failing: false,
        };
        tokio::spawn(task.run());
        Ok(Self {
            queue,
            flushes,
            counts,
        })
    }

    pub(crate) fn send(&self, spans: impl IntoIterator<Item = Span>) {
        for span in spans {
            if self.queue.try_send(span).is_err() {
                self.counts.lost("full", 1);
            }
        }
    }

    /// Sends what waits, for so long.
    pub(crate) async fn flush(&self, within: Duration) {
        let (done, is_done) = oneshot::channel();
        let flushed = async {
            if self.flushes.send(done).await.is_ok() {
                // Where the task is gone, there is nothing to wait for.
                let _ = is_done.await;
            }
        };
        if timeout(within, flushed).await.is_err() {
            warn!(?within, "spans were not all sent before the end");
        }
    }
}

impl Task {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        loop {
            let mut flushed = None;
            tokio::select! {
                received = self.queue.recv_many(&mut batch, BATCH_SPANS) => {
                    if received == 0 {
                        return;
                    }
                }
                Some(done) = self.flushes.recv() => flushed = Some(done),
            }
            match flushed {
                None => {
                    self.fill(&mut batch).await;
                    self.post(std::mem::take(&mut batch)).await;
                }
                Some(done) => {
                    while let Ok(span) = self.queue.try_recv() {
                        batch.push(span);
                        if batch.len() == BATCH_SPANS {
                            self.post(std::mem::take(&mut batch)).await;
                        }
                    }
                    self.post(std::mem::take(&mut batch)).await;
                    // Who asked may have stopped waiting.
                    let _ = done.send(());
                }
            }
        }
    }

    /// Waits a moment for more.
    async fn fill(&mut self, batch: &mut Vec<Span>) {
        let until = Instant::now() + FILL_TIME;
        while batch.len() < BATCH_SPANS && self.flushes.is_empty() {
            let room = BATCH_SPANS - batch.len();
            match timeout_at(until, self.queue.recv_many(batch, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    async fn post(&mut self, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let body = self.body(spans);
        let mut wait = AGAIN_MIN;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.send(body.clone()).await {
                Sent::But(lost, why) => {
                    self.counts.sent(count.saturating_sub(lost));
                    self.counts.lost("refused", lost.min(count));
                    self.note((lost > 0).then_some(why));
                    return;
                }
                Sent::Again(asked, _) if tries < TRIES => {
                    sleep(asked.unwrap_or(wait).min(AGAIN_MAX)).await;
                    wait *= 2;
                }
                Sent::Again(_, why) => {
                    self.counts.lost("unreachable", count);
                    self.note(Some(why));
                    return;
                }
                Sent::Refused(why) => {
                    self.counts.lost("refused", count);
                    self.note(Some(why));
                    return;
                }
            }
        }
    }

    fn body(&self, spans: Vec<Span>) -> bytes::Bytes {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            ..InstrumentationScope::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        request.encode_to_vec().into()
    }

    async fn send(&self, body: bytes::Bytes) -> Sent {
        let limit = self.collector.timeout;
        let call = self
            .outside
            .request(Method::POST, self.collector.url.as_str())
            .headers(self.collector.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .timeout(limit)
            .body(body);
        let exchange = async {
            let answer = match self.outside.send(call).await {
                Ok(answer) => answer,
                Err(error) => return Sent::Again(None, chain(&error)),
            };
            let (status, headers) = (answer.status(), answer.headers().clone());
            let why = || format!("it answered {}", status.as_u16());
            match status {
                _ if status.is_success() => refused_of(answer).await,
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => {
                    let asked = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
                    let asked = asked.and_then(|it| it.trim().parse().ok());
                    Sent::Again(asked.map(Duration::from_secs), why())
                }
                _ => Sent::Refused(why()),
            }
        };
        let sent = timeout(limit, exchange).await;
        sent.unwrap_or_else(|_| Sent::Again(None, format!("no answer within {limit:?}")))
    }

    /// Says once that spans are lost, and once that they are not any more.
    fn note(&mut self, why: Option<String>) {
        // Without what may be a secret in its query.
        let mut collector = self.collector.url.clone();
        collector.set_query(None);
        match (why, self.is_failing) {
            (Some(why), false) => {
                warn!(%collector, error = %why, "spans are lost; look at the collector, or at OTEL_EXPORTER_OTLP_ENDPOINT");
                self.is_failing = true;
            }
            (None, true) => {
                info!(%collector, "spans are taken again");
                self.is_failing = false;
            }
            _ => {}
        }
    }
}

/// How many spans a collector did not take. An answer that cannot be read says nothing.
async fn refused_of(answer: reqwest::Response) -> Sent {
    let body = Limited::new(reqwest::Body::from(answer), ANSWER_BYTES_MAX);
    let read = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let read = read
        .ok()
        .and_then(|it| ExportTraceServiceResponse::decode(it).ok());
    let refused = read.and_then(|it| it.partial_success).unwrap_or_default();
    let count = u64::try_from(refused.rejected_spans).unwrap_or(0);
    Sent::But(
        count,
        format!("it refused {count} spans: {}", refused.error_message),
    )
}
