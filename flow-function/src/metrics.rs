//! Prometheus metrics of a flow-function.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder, exponential_buckets,
};
use turlough_sdk::{Flow, TenantId};
use turlough_statestore::event::{StepEnd, StepEnded};

/// Metrics, each with the labels of the design. Nodes are those of registered flows, so that labels
/// are bounded.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    tenant: String,
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
}

/// 50 µs to about an hour.
fn buckets() -> Vec<f64> {
    exponential_buckets(0.000_05, 2.5, 20).unwrap_or_else(|_| prometheus::DEFAULT_BUCKETS.to_vec())
}

impl Metrics {
    #[allow(
        clippy::unwrap_used,
        reason = "names and labels are constants, registered once"
    )]
    pub(crate) fn new(tenant: &TenantId) -> Self {
        let registry = Registry::new();
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets());
            HistogramVec::new(opts, labels).unwrap()
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).unwrap()
        };
        let metrics = Self {
            tenant: tenant.to_string(),
            requests: counter(
                "turlough_requests_total",
                "Requests that ended, by outcome",
                &["tenant", "flow", "outcome"],
            ),
            request_duration: histogram(
                "turlough_request_duration_seconds",
                "From acceptance to end",
                &["tenant", "flow"],
            ),
            step_duration: histogram(
                "turlough_step_duration_seconds",
                "Attempts of steps, by outcome",
                &["tenant", "flow", "node", "outcome"],
            ),
            step_attempts: counter(
                "turlough_step_attempts_total",
                "Attempts of steps that ended",
                &["tenant", "flow", "node"],
            ),
            append_duration: Histogram::with_opts(
                HistogramOpts::new("turlough_log_append_duration_seconds", "Appends to logs")
                    .buckets(exponential_buckets(0.000_001, 4.0, 12).unwrap()),
            )
            .unwrap(),
            driving: IntGauge::new("turlough_requests_driving", "Requests driven now").unwrap(),
            calls_in_flight: IntGauge::new(
                "turlough_calls_in_flight",
                "Calls over HTTP that are worked on now",
            )
            .unwrap(),
            calls_refused: IntCounter::new(
                "turlough_calls_refused_total",
                "Calls over HTTP that were answered 429, since too many were worked on",
            )
            .unwrap(),
            closures_abandoned: IntGauge::new(
                "turlough_closures_abandoned",
                "Closures that run on after their attempt was given up",
            )
            .unwrap(),
            store_bytes: IntGauge::with_opts(
                Opts::new("turlough_store_bytes", "Bytes held by the ephemeral store")
                    .const_label("tenant", tenant.as_str()),
            )
            .unwrap(),
            store_refusals: IntCounter::with_opts(
                Opts::new(
                    "turlough_store_quota_refusals_total",
                    "Puts that the ephemeral store had no room for",
                )
                .const_label("tenant", tenant.as_str()),
            )
            .unwrap(),
            registry,
        };
        metrics.register();
        metrics
    }

    #[allow(clippy::unwrap_used, reason = "each name is registered once")]
    fn register(&self) {
        let collectors: [Box<dyn prometheus::core::Collector>; 11] = [
            Box::new(self.requests.clone()),
            Box::new(self.request_duration.clone()),
            Box::new(self.step_duration.clone()),
            Box::new(self.step_attempts.clone()),
            Box::new(self.append_duration.clone()),
            Box::new(self.driving.clone()),
            Box::new(self.closures_abandoned.clone()),
            Box::new(self.calls_in_flight.clone()),
            Box::new(self.calls_refused.clone()),
            Box::new(self.store_bytes.clone()),
            Box::new(self.store_refusals.clone()),
        ];
        for collector in collectors {
            self.registry.register(collector).unwrap();
        }
    }

    pub(crate) fn request(&self, flow: &Flow, outcome: &str, took: Duration) {
        let (tenant, flow) = (self.tenant.as_str(), flow.name().as_str());
        self.requests
            .with_label_values(&[tenant, flow, outcome])
            .inc();
        self.request_duration
            .with_label_values(&[tenant, flow])
            .observe(took.as_secs_f64());
    }

    pub(crate) fn step(&self, flow: &Flow, ended: &StepEnded) {
        let path = ended.step.as_str();
        let node = path.rsplit('/').next().unwrap_or(path);
        let outcome = if matches!(ended.end, StepEnd::Failed { .. }) {
            "failed"
        } else {
            "succeeded"
        };
        let (tenant, flow) = (self.tenant.as_str(), flow.name().as_str());
        let took = Duration::from_micros(ended.end_us.saturating_sub(ended.begin_us));
        let labels = [tenant, flow, node, outcome];
        self.step_duration
            .with_label_values(&labels)
            .observe(took.as_secs_f64());
        self.step_attempts
            .with_label_values(&[tenant, flow, node])
            .inc();
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
        let mut text = Vec::new();
        // Writing into a vector cannot fail, and the families are our own.
        drop(TextEncoder::new().encode(&self.registry.gather(), &mut text));
        text
    }
}
