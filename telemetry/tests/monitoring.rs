//! What is asked of Prometheus is what the processes tell, and each alert has its paragraph.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;

use serde_json::Value as Json;

const RULES: &str = include_str!("../../monitoring/prometheus/rules.yaml");
const TESTS: &str = include_str!("../../monitoring/prometheus/rules.test.yaml");
const METRICS: &str = include_str!("../../docs/metrics.md");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");

const DASHBOARDS: [(&str, &str); 4] = [
    (
        "platform",
        include_str!("../../monitoring/grafana/platform.json"),
    ),
    ("flow", include_str!("../../monitoring/grafana/flow.json")),
    (
        "tenant",
        include_str!("../../monitoring/grafana/tenant.json"),
    ),
    ("store", include_str!("../../monitoring/grafana/store.json")),
];

fn alerts(text: &str, key: &str) -> BTreeSet<String> {
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(key));
    names.map(|name| name.trim().to_owned()).collect()
}

/// Names of our metrics in a text; those of a histogram's series are the histogram's.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_name(c));
    let own = words.filter(|word| word.starts_with("turlough_") || word.starts_with("gateway_"));
    let of_histogram = |word: &str| {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| word.strip_suffix(end));
        base.unwrap_or(word).to_owned()
    };
    own.map(of_histogram).collect()
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let told = metrics(METRICS);
    let asked = metrics(RULES);
    assert!(asked.len() > 10, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&told).collect();
    assert!(
        unknown.is_empty(),
        "docs/metrics.md lists none of {unknown:?}"
    );
}

#[test]
fn dashboards_ask_for_metrics_that_there_are() {
    let told = metrics(METRICS);
    for (name, dashboard) in DASHBOARDS {
        let dashboard: Json = serde_json::from_str(dashboard).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let targets = panels
            .iter()
            .flat_map(|panel| panel["targets"].as_array().unwrap());
        let asked: Vec<_> = targets
            .map(|target| target["expr"].as_str().unwrap())
            .collect();
        assert!(asked.len() >= panels.len(), "{name}");
        let unknown: Vec<_> = metrics(&asked.join("\n"))
            .difference(&told)
            .cloned()
            .collect();
        assert!(
            unknown.is_empty(),
            "{name}: docs/metrics.md lists none of {unknown:?}"
        );
    }
}

#[test]
fn each_alert_has_its_paragraph_and_its_test() {
    let alerts_there = alerts(RULES, "- alert: ");
    assert!(alerts_there.len() > 10);
    assert_eq!(alerts(RUNBOOK, "## "), alerts_there);
    assert_eq!(alerts(TESTS, "alertname: "), alerts_there);
    for alert in &alerts_there {
        let link = format!("runbook: docs/runbook.md#{}", alert.to_lowercase());
        assert!(RULES.contains(&link), "{link}");
    }
}
