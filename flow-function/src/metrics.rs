//! Prometheus metrics of a flow-function. Nodes are those of registered flows, so that labels are bounded.

use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::{Flow, TenantId};
use turlough_statestore::event::{StepEnd, StepEnded};
use turlough_telemetry::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, WAIT_BUCKETS,
};

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Arc<Registry>,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    step_duration: HistogramVec,
    step_attempts: IntCounterVec,
    append_duration: Histogram,
    pub(crate) driving: IntGauge,
    pub(crate) closures_abandoned: IntGauge,
    pub(crate) calls_in_flight: IntGauge,
    pub(crate) calls_refused: IntCounter,
    store_bytes: IntGauge,
    store_refusals: IntCounter,
    pub(crate) spans: SpanCounts,
}

/// What became of spans.
#[derive(Debug, Clone)]
pub(crate) struct SpanCounts {
    sent: IntCounter,
    lost: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new(tenant: &TenantId) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let registry = Registry::of_tenant("turlough-flow-function", version, tenant.as_str());
        Self {
            requests: registry.counters(
                "turlough_requests_total",
                "Requests that ended, by outcome",
                &["flow", "outcome"],
            ),
            request_duration: registry.histograms(
                "turlough_request_duration_seconds",
                "From a request's acceptance to its end",
                &["flow"],
                WAIT_BUCKETS,
            ),
            step_duration: registry.histograms(
                "turlough_step_duration_seconds",
                "Attempts of steps, by outcome",
                &["flow", "node", "outcome"],
                WAIT_BUCKETS,
            ),
            step_attempts: registry.counters(
                "turlough_step_attempts_total",
                "Attempts of steps that ended",
                &["flow", "node"],
            ),
            append_duration: registry.histogram(
                "turlough_log_append_duration_seconds",
                "Appends to logs, from when they are sent until they stand",
                APPEND_BUCKETS,
            ),
            driving: registry.int_gauge(
                "turlough_requests_driving",
                "Requests that are driven here now",
            ),
            calls_in_flight: registry.int_gauge(
                "turlough_calls_in_flight",
                "Calls over HTTP that are worked on now",
            ),
            calls_refused: registry.counter(
                "turlough_calls_refused_total",
                "Calls over HTTP that were answered 429, since too many were worked on",
            ),
            closures_abandoned: registry.int_gauge(
                "turlough_closures_abandoned",
                "Closures that run on after their attempt was given up",
            ),
            store_bytes: registry.int_gauge(
                "turlough_store_bytes",
                "Bytes that the ephemeral store of this process holds, where it is in memory",
            ),
            store_refusals: registry.counter(
                "turlough_store_quota_refusals_total",
                "Puts that the ephemeral store of this process had no room for",
            ),
            spans: SpanCounts::new(&registry),
            registry: Arc::new(registry),
        }
    }

    pub(crate) fn request(&self, flow: &Flow, outcome: &str, took: Duration) {
        let flow = flow.name().as_str();
        self.requests.with_label_values(&[flow, outcome]).inc();
        self.request_duration
            .with_label_values(&[flow])
            .observe(took.as_secs_f64());
    }

    pub(crate) fn step(&self, flow: &Flow, ended: &StepEnded) {
        let path = ended.step.as_str();
        let node = match ended.step.is_expanded() {
            false => path.rsplit('/').next().unwrap_or(path),
            // A closure or a function chose its name.
            true => "~expanded",
        };
        let outcome = if matches!(ended.end, StepEnd::Failed { .. }) {
            "failed"
        } else {
            "succeeded"
        };
        let flow = flow.name().as_str();
        let took = Duration::from_micros(ended.end_us.saturating_sub(ended.begin_us));
        let labels = [flow, node, outcome];
        self.step_duration
            .with_label_values(&labels)
            .observe(took.as_secs_f64());
        self.step_attempts.with_label_values(&[flow, node]).inc();
    }

    pub(crate) fn append(&self, took: Duration) {
        self.append_duration.observe(took.as_secs_f64());
    }

    /// The metrics in Prometheus's text format.
    pub(crate) fn text(&self, store_bytes: u64, store_refusals: u64) -> Vec<u8> {
        let told = self.store_refusals.get();
        self.store_refusals
            .inc_by(store_refusals.saturating_sub(told));
        self.store_bytes
            .set(i64::try_from(store_bytes).unwrap_or(i64::MAX));
        self.registry.text()
    }
}

impl SpanCounts {
    fn new(registry: &Registry) -> Self {
        let counts = Self {
            sent: registry.counter(
                "turlough_spans_sent_total",
                "Spans that the collector of traces took",
            ),
            lost: registry.counters(
                "turlough_spans_lost_total",
                "Spans that it did not: too many waited, it was not reached, it refused them",
                &["why"],
            ),
        };
        for why in ["full", "unreachable", "refused"] {
            counts.lost.with_label_values(&[why]);
        }
        counts
    }

    pub(crate) fn sent(&self, spans: u64) {
        self.sent.inc_by(spans);
    }

    /// `why` is `full`, `unreachable` or `refused`.
    pub(crate) fn lost(&self, why: &str, spans: u64) {
        if spans > 0 {
            self.lost.with_label_values(&[why]).inc_by(spans);
        }
    }
}

/// Upper bounds in seconds: a memory's append takes microseconds, one that waits for its server minutes.
const APPEND_BUCKETS: &[f64] = &[
    0.000_001, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001,
    0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_what_is_there() {
        let metrics = Metrics::new(&"acme".parse().unwrap());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let process = "turlough-flow-function";
        let checked = turlough_telemetry::check_document(path.as_ref(), process, &metrics.registry);
        assert_eq!(checked, Ok(()));
    }
}
