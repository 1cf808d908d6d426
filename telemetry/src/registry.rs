//! The metrics of a process. Names, labels and buckets are constants of the program, so that a wrong one
//! is a fault of it, found by the first test that makes them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, TextEncoder,
};

/// Upper bounds in seconds, 50 µs to an hour: for calls, steps and requests.
pub const WAIT_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0,
];

/// The metrics of one process: its own, and those that every process has (`process_*` as Prometheus
/// clients have them, on Linux, and `turlough_build_info`).
#[derive(Debug)]
pub struct Registry {
    inner: prometheus::Registry,
    metrics: Mutex<Vec<Metric>>,
}

/// What the document says of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) help: String,
    pub(crate) labels: Vec<String>,
}

#[allow(
    clippy::unwrap_used,
    reason = "names and labels are constants, each registered once"
)]
impl Registry {
    /// Nothing but what every process has. `process` says which program it is.
    #[must_use]
    pub fn new(process: &str, version: &str) -> Self {
        Self::made(prometheus::Registry::new(), process, version)
    }

    /// The same for a process of one tenant: each of its metrics has the label `tenant`.
    #[must_use]
    pub fn of_tenant(process: &str, version: &str, tenant: &str) -> Self {
        let labels = HashMap::from([("tenant".to_owned(), tenant.to_owned())]);
        let inner = prometheus::Registry::new_custom(None, Some(labels)).unwrap();
        Self::made(inner, process, version)
    }

    fn made(inner: prometheus::Registry, process: &str, version: &str) -> Self {
        let registry = Self {
            inner,
            metrics: Mutex::default(),
        };
        let (name, help) = ("turlough_build_info", "1, for the program that runs");
        let info = registry.int_gauges(name, help, &["process", "version"]);
        info.with_label_values(&[process, version]).set(1);
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            registry.inner.register(Box::new(process)).unwrap();
        }
        registry
    }

    /// Counts by labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let made = IntCounterVec::new(Opts::new(name, help), labels).unwrap();
        self.add("counter", name, help, labels, made)
    }

    /// A count.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        let made = IntCounter::new(name, help).unwrap();
        self.add("counter", name, help, &[], made)
    }

    /// Sums of what has fractions, by labels.
    pub fn float_counters(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        let made = CounterVec::new(Opts::new(name, help), labels).unwrap();
        self.add("counter", name, help, labels, made)
    }

    /// A number that goes up and down.
    pub fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        let made = IntGauge::new(name, help).unwrap();
        self.add("gauge", name, help, &[], made)
    }

    /// Numbers that go up and down, by labels.
    pub fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let made = IntGaugeVec::new(Opts::new(name, help), labels).unwrap();
        self.add("gauge", name, help, labels, made)
    }

    /// A quantity that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let made = Gauge::new(name, help).unwrap();
        self.add("gauge", name, help, &[], made)
    }

    /// Quantities that go up and down, by labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        let made = GaugeVec::new(Opts::new(name, help), labels).unwrap();
        self.add("gauge", name, help, labels, made)
    }

    /// How often what was observed stayed below each bound.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let made = Histogram::with_opts(opts).unwrap();
        self.add("histogram", name, help, &[], made)
    }

    /// The same, by labels.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let made = HistogramVec::new(opts, labels).unwrap();
        self.add("histogram", name, help, labels, made)
    }

    /// All of them as they stand, in Prometheus's text format 0.0.4.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let families = self.inner.gather();
        TextEncoder::new().encode(&families, &mut text).unwrap();
        text
    }

    /// Those that the program made, in the order in which it did.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let metrics = self.metrics.lock();
        metrics.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add<C: Collector + Clone + 'static>(
        &self,
        kind: &'static str,
        name: &str,
        help: &str,
        labels: &[&str],
        made: C,
    ) -> C {
        self.inner.register(Box::new(made.clone())).unwrap();
        let metric = Metric {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        };
        let metrics = self.metrics.lock();
        metrics.unwrap_or_else(PoisonError::into_inner).push(metric);
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_its_metrics_and_those_that_every_process_has() {
        let registry = Registry::new("it", "1.2.3");
        registry.counter("it_total", "What it did").inc();
        registry
            .histograms("it_seconds", "How long it took", &["what"], WAIT_BUCKETS)
            .with_label_values(&["a\n\"b\"\\"])
            .observe(0.02);
        let text = String::from_utf8(registry.text()).unwrap();
        for line in [
            "turlough_build_info{process=\"it\",version=\"1.2.3\"} 1",
            "it_total 1",
            "it_seconds_bucket{what=\"a\\n\\\"b\\\"\\\\\",le=\"0.025\"} 1",
            "it_seconds_bucket{what=\"a\\n\\\"b\\\"\\\\\",le=\"0.01\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        for name in [
            "process_cpu_seconds_total ",
            "process_open_fds ",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(name), "{name}\n{text}");
        }
        assert!(WAIT_BUCKETS.is_sorted());
    }
}
