//! Prometheus metrics of a keeper. Labels are reasons and statuses, whose number is fixed.

use turlough_statestore::Why;
use turlough_telemetry::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::index::Counts;
use crate::summary::STATUSES;

#[derive(Debug)]
pub(crate) struct Metrics {
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
    pub(crate) fn new(registry: &Registry) -> Self {
        let name = |name: &str| format!("turlough_keeper_{name}");
        let counter = |end: &str, help: &str| registry.counter(&name(end), help);
        let gauge = |end: &str, help: &str| registry.int_gauge(&name(end), help);
        let counters =
            |end: &str, help: &str, label: &str| registry.counters(&name(end), help, &[label]);
        let rows = "Requests in the index, by status";
        let hints = counters("hints_total", "Hints to the work queue, by reason", "why");
        for why in WHYS {
            hints.with_label_values(&[why_name(why)]);
        }
        Self {
            behind: gauge("behind_seconds", "How far behind the logs the index is"),
            followed: counter("appends_followed_total", "Appends that were followed"),
            open: gauge("requests_open", "Requests for which anything is to be done"),
            kept: gauge("requests_kept", "Failed requests that can be restarted"),
            rows: registry.int_gauges(&name("index_rows"), rows, &["status"]),
            hints,
            words: counters("words_total", "Words to replicas, by kind", "word"),
            lost: counter("requests_lost_total", "Open requests whose logs are gone"),
            deleted: counter("logs_deleted_total", "Logs that were deleted"),
            active: gauge("active", "Whether this keeper is the active one"),
        }
    }

    pub(crate) fn followed(&self, appends: u64) {
        self.followed.inc_by(appends);
    }

    pub(crate) fn hint(&self, why: Why) {
        self.hints.with_label_values(&[why_name(why)]).inc();
    }

    pub(crate) fn word(&self, kind: &str) {
        self.words.with_label_values(&[kind]).inc();
    }

    pub(crate) fn read(&self, reading: &Reading) {
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
    }
}

/// All reasons: what never happened is told as 0.
const WHYS: [Why; 7] = [
    Why::Accepted,
    Why::Due,
    Why::Appended,
    Why::HandedOver,
    Why::ClaimantGone,
    Why::Snapshot,
    Why::LetGo,
];

const fn why_name(why: Why) -> &'static str {
    match why {
        Why::Accepted => "accepted",
        Why::Due => "due",
        Why::Appended => "appended",
        Why::HandedOver => "handed_over",
        Why::ClaimantGone => "claimant_gone",
        Why::Snapshot => "snapshot",
        Why::LetGo => "let_go",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_what_is_there() {
        let registry = Registry::new("turlough-keeper", "0");
        let _metrics = Metrics::new(&registry);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let checked =
            turlough_telemetry::check_document(path.as_ref(), "turlough-keeper", &registry);
        assert_eq!(checked, Ok(()));
    }
}
