//! Every metric of the gateway, under OpenFaaS's names, and their own server.
//!
//! `function_name` is `name.namespace` and only ever a registered function;
//! `code` is an HTTP status. A call pays for atomic additions, not for a lookup
//! of label values: each function holds its handles by status.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use turlough_telemetry::{
    Counter, CounterVec, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry, WAIT_BUCKETS,
};

use crate::asynchronous::AsyncCalls;
use crate::usage::Meter;

/// Statuses 100 to 599, whose handles are kept once they were seen.
const KEPT_CODES: usize = 500;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    seconds: HistogramVec,
    invocations: IntCounterVec,
    started: IntCounterVec,
    replicas: IntGaugeVec,
    cpu: CounterVec,
    memory_peak: IntGaugeVec,
    asynchronous: AsyncMetrics,
}

/// Those of asynchronous calls. Without a label: a call may name any function, known or not.
#[derive(Clone, Debug)]
pub(crate) struct AsyncMetrics {
    pub(crate) queued: IntGauge,
    pub(crate) oldest: Gauge,
    pub(crate) retries: IntCounter,
    pub(crate) dead: IntCounter,
    pub(crate) cancelled: IntCounter,
}

/// The metrics of one function.
#[derive(Debug)]
pub(crate) struct FunctionMetrics {
    metrics: Metrics,
    function_name: Box<str>,
    started: IntCounter,
    replicas: IntGauge,
    by_code: Box<[OnceLock<CodeMetrics>]>,
}

#[derive(Clone, Debug)]
struct CodeMetrics {
    seconds: Histogram,
    invocations: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new("turlough-gateway", env!("CARGO_PKG_VERSION"));
        let by_code = &["function_name", "code"];
        let by_name = &["function_name"];
        Self {
            seconds: registry.histograms(
                "gateway_functions_seconds",
                "How long calls of functions took, until their answer began",
                by_code,
                WAIT_BUCKETS,
            ),
            invocations: registry.counters(
                "gateway_function_invocation_total",
                "Calls of functions that were answered",
                by_code,
            ),
            started: registry.counters(
                "gateway_function_invocation_started",
                "Calls of functions that began",
                by_name,
            ),
            replicas: registry.int_gauges(
                "gateway_service_count",
                "Replicas that a function ought to have",
                by_name,
            ),
            cpu: registry.float_counters(
                "turlough_function_cpu_seconds_total",
                "Processor time of a function's processes, those that ended included",
                by_name,
            ),
            memory_peak: registry.int_gauges(
                "turlough_function_memory_peak_bytes",
                "Most memory that one process of a function has held at once",
                by_name,
            ),
            asynchronous: AsyncMetrics::new(&registry),
            registry: Arc::new(registry),
        }
    }

    pub(crate) fn asynchronous(&self) -> AsyncMetrics {
        self.asynchronous.clone()
    }

    /// Makes the label values of a function that is being registered.
    pub(crate) fn function(&self, function_name: &str) -> FunctionMetrics {
        FunctionMetrics {
            metrics: self.clone(),
            function_name: function_name.into(),
            started: self.started.with_label_values(&[function_name]),
            replicas: self.replicas.with_label_values(&[function_name]),
            by_code: (0..KEPT_CODES).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Makes that of a function's processor time, once it has had a process.
    pub(crate) fn cpu(&self, function_name: &str) -> Counter {
        self.cpu.with_label_values(&[function_name])
    }

    /// Makes that of its memory, once something is known of it.
    pub(crate) fn memory_peak(&self, function_name: &str) -> IntGauge {
        self.memory_peak.with_label_values(&[function_name])
    }

    /// Drops a removed function's gauges; its counters stay, as counters must.
    pub(crate) fn forget(&self, function_name: &str) {
        for gauge in [&self.replicas, &self.memory_peak] {
            // An error means that there was none, which is what is wanted.
            let _ = gauge.remove_label_values(&[function_name]);
        }
    }

    /// Whoever reads them has what functions' processes took brought up to date, and how long calls have waited.
    pub(crate) fn router(self, meter: Arc<Meter>, calls: AsyncCalls) -> Router {
        Router::new()
            .route("/metrics", get(expose))
            .with_state((self, meter, calls))
    }

    fn code(&self, function_name: &str, code: StatusCode) -> CodeMetrics {
        let labels = [function_name, code.as_str()];
        CodeMetrics {
            seconds: self.seconds.with_label_values(&labels),
            invocations: self.invocations.with_label_values(&labels),
        }
    }
}

impl AsyncMetrics {
    fn new(registry: &Registry) -> Self {
        Self {
            queued: registry.int_gauge(
                "gateway_async_calls_queued",
                "Asynchronous calls that wait for their turn, or to be made again",
            ),
            oldest: registry.gauge(
                "gateway_async_oldest_call_seconds",
                "How long the oldest of these has waited; 0 where none does",
            ),
            retries: registry.counter(
                "gateway_async_retries_total",
                "Asynchronous calls that were put off after an answer, to be made again",
            ),
            dead: registry.counter(
                "gateway_async_dead_letters_total",
                "Asynchronous calls that were given up",
            ),
            cancelled: registry.counter(
                "gateway_async_cancelled_total",
                "Asynchronous calls that were cancelled",
            ),
        }
    }
}

impl FunctionMetrics {
    pub(crate) fn replicas(&self, count: u32) {
        self.replicas.set(i64::from(count));
    }

    pub(crate) fn started(&self) {
        self.started.inc();
    }

    pub(crate) fn ended(&self, code: StatusCode, took: Duration) {
        let made;
        let handles = match self.by_code.get(usize::from(code.as_u16()) - 100) {
            Some(kept) => kept.get_or_init(|| self.metrics.code(&self.function_name, code)),
            None => {
                made = self.metrics.code(&self.function_name, code);
                &made
            }
        };
        handles.seconds.observe(took.as_secs_f64());
        handles.invocations.inc();
    }
}

async fn expose(
    State((metrics, meter, calls)): State<(Metrics, Arc<Meter>, AsyncCalls)>,
) -> Response {
    meter.look().await;
    calls.read_metrics();
    let format = [(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (format, metrics.registry.text()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_what_is_there() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let (process, registry) = ("turlough-gateway", Metrics::new().registry);
        let checked = turlough_telemetry::check_document(path.as_ref(), process, &registry);
        assert_eq!(checked, Ok(()));
    }
}
