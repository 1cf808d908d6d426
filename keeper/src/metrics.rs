//! Prometheus metrics of a keeper.

use prometheus::core::Collector;
use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use turlough_sdk::TenantId;
use turlough_statestore::Why;

use crate::index::Counts;
use crate::summary::STATUSES;

/// Metrics, each with the tenant. Labels are reasons and statuses, whose number is fixed.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    behind: IntGauge,
    followed: IntCounter,
    open: IntGauge,
    kept: IntGauge,
    rows: IntGaugeVec,
    hints: IntCounterVec,
    words: IntCounterVec,
    pub(crate) lost: IntCounter,
    pub(crate) deleted: IntCounter,
    active: IntGauge,
}

/// What is read when metrics are asked for.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) counts: Counts,
    pub(crate) behind_s: u64,
    pub(crate) is_active: bool,
}

impl Metrics {
    #[allow(
        clippy::unwrap_used,
        reason = "names and labels are constants, registered once"
    )]
    pub(crate) fn new(tenant: &TenantId) -> Self {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("turlough_keeper_{name}"), help)
                .const_label("tenant", tenant.as_str())
        };
        let counter = |name: &str, help: &str| IntCounter::with_opts(opts(name, help)).unwrap();
        let gauge = |name: &str, help: &str| IntGauge::with_opts(opts(name, help)).unwrap();
        let counters = |name: &str, help: &str, label: &str| {
            IntCounterVec::new(opts(name, help), &[label]).unwrap()
        };
        let rows = opts("index_rows", "Requests in the index, by status");
        let metrics = Self {
            registry: Registry::new(),
            behind: gauge("behind_seconds", "How far behind the logs the index is"),
            followed: counter("appends_followed_total", "Appends that were followed"),
            open: gauge("requests_open", "Requests for which anything is to be done"),
            kept: gauge("requests_kept", "Failed requests that can be restarted"),
            rows: IntGaugeVec::new(rows, &["status"]).unwrap(),
            hints: counters("hints_total", "Hints to the work queue, by reason", "why"),
            words: counters("words_total", "Words to replicas, by kind", "word"),
            lost: counter("requests_lost_total", "Open requests whose logs are gone"),
            deleted: counter("logs_deleted_total", "Logs that were deleted"),
            active: gauge("active", "Whether this keeper is the active one"),
        };
        let collectors: [Box<dyn Collector>; 10] = [
            Box::new(metrics.behind.clone()),
            Box::new(metrics.followed.clone()),
            Box::new(metrics.open.clone()),
            Box::new(metrics.kept.clone()),
            Box::new(metrics.rows.clone()),
            Box::new(metrics.hints.clone()),
            Box::new(metrics.words.clone()),
            Box::new(metrics.lost.clone()),
            Box::new(metrics.deleted.clone()),
            Box::new(metrics.active.clone()),
        ];
        for collector in collectors {
            metrics.registry.register(collector).unwrap();
        }
        metrics
    }

    pub(crate) fn followed(&self, appends: u64) {
        self.followed.inc_by(appends);
    }

    pub(crate) fn hint(&self, why: Why) {
        let why = match why {
            Why::Accepted => "accepted",
            Why::Due => "due",
            Why::Appended => "appended",
            Why::HandedOver => "handed_over",
            Why::ClaimantGone => "claimant_gone",
            Why::Snapshot => "snapshot",
            Why::LetGo => "let_go",
        };
        self.hints.with_label_values(&[why]).inc();
    }

    pub(crate) fn word(&self, kind: &str) {
        self.words.with_label_values(&[kind]).inc();
    }

    /// The metrics in Prometheus's text format.
    pub(crate) fn text(&self, reading: &Reading) -> Vec<u8> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.behind.set(number(reading.behind_s));
        self.open.set(number(reading.counts.open));
        self.kept.set(number(reading.counts.kept));
        self.active.set(i64::from(reading.is_active));
        for status in STATUSES {
            let rows = reading.counts.by_status.get(&status).copied().unwrap_or(0);
            self.rows
                .with_label_values(&[status.name()])
                .set(number(rows));
        }
        let mut text = Vec::new();
        // Writing into a vector cannot fail, and the families are our own.
        drop(TextEncoder::new().encode(&self.registry.gather(), &mut text));
        text
    }
}
