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
use prometheus::{
    Counter, CounterVec, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, TextEncoder,
};

use crate::usage::Meter;

/// Statuses 100 to 599, whose handles are kept once they were seen.
const KEPT_CODES: usize = 500;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: prometheus::Registry,
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
    #[expect(
        clippy::expect_used,
        reason = "names are constants and the registry is new: a failure is a fault of this file"
    )]
    pub(crate) fn new() -> Self {
        let by_code = ["function_name", "code"];
        let by_name = ["function_name"];
        let gauge =
            |name, help| IntGaugeVec::new(Opts::new(name, help), &by_name).expect("constant name");
        let metrics = Self {
            registry: prometheus::Registry::new(),
            seconds: HistogramVec::new(
                HistogramOpts::new("gateway_functions_seconds", "Time a function call took"),
                &by_code,
            )
            .expect("constant name"),
            invocations: IntCounterVec::new(
                Opts::new(
                    "gateway_function_invocation_total",
                    "Function calls that ended",
                ),
                &by_code,
            )
            .expect("constant name"),
            started: IntCounterVec::new(
                Opts::new(
                    "gateway_function_invocation_started",
                    "Function calls that began",
                ),
                &by_name,
            )
            .expect("constant name"),
            replicas: gauge("gateway_service_count", "Replicas a function ought to have"),
            cpu: CounterVec::new(
                Opts::new(
                    "turlough_function_cpu_seconds_total",
                    "Processor time of a function's processes, those that ended included",
                ),
                &by_name,
            )
            .expect("constant name"),
            memory_peak: gauge(
                "turlough_function_memory_peak_bytes",
                "Most memory that one process of a function has held at once",
            ),
            asynchronous: AsyncMetrics::new(),
        };
        metrics.register();
        metrics
    }

    #[expect(
        clippy::expect_used,
        reason = "names are constants and the registry is new: a failure is a fault of this file"
    )]
    fn register(&self) {
        let metrics = self;
        let asynchronous = &metrics.asynchronous;
        let collectors: [Box<dyn prometheus::core::Collector>; 10] = [
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.invocations.clone()),
            Box::new(metrics.started.clone()),
            Box::new(metrics.replicas.clone()),
            Box::new(metrics.cpu.clone()),
            Box::new(metrics.memory_peak.clone()),
            Box::new(asynchronous.queued.clone()),
            Box::new(asynchronous.retries.clone()),
            Box::new(asynchronous.dead.clone()),
            Box::new(asynchronous.cancelled.clone()),
        ];
        for collector in collectors {
            metrics
                .registry
                .register(collector)
                .expect("distinct names");
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

    /// Whoever reads them has what functions' processes took brought up to date.
    pub(crate) fn router(self, meter: Arc<Meter>) -> Router {
        Router::new()
            .route("/metrics", get(expose))
            .with_state((self, meter))
    }

    fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
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
    #[expect(clippy::expect_used, reason = "names are constants")]
    fn new() -> Self {
        let counter = |name, help| IntCounter::new(name, help).expect("constant name");
        let queued = "Asynchronous calls that wait for their turn, or to be made again";
        let retries = "Asynchronous calls that were put off after an answer, to be made again";
        let dead = "Asynchronous calls that were given up";
        Self {
            queued: IntGauge::new("gateway_async_calls_queued", queued).expect("constant name"),
            retries: counter("gateway_async_retries_total", retries),
            dead: counter("gateway_async_dead_letters_total", dead),
            cancelled: counter(
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

async fn expose(State((metrics, meter)): State<(Metrics, Arc<Meter>)>) -> Response {
    meter.look().await;
    match metrics.text() {
        Ok(text) => (
            [(http::header::CONTENT_TYPE, prometheus::TEXT_FORMAT)],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
