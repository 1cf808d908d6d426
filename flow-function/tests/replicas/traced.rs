//! Traces across a replica that is killed: nothing of them is lost, and what comes twice is the same.

use std::collections::BTreeMap;
use std::time::Duration;

use turlough_statestore::{Event, Seq};
use turlough_testing::{Collector, Span};

use crate::cluster::Cluster;

const SLOW: &str = "
flow: slow
nodes:
  a: { apply: slow }
  b: { after: [a], apply: slow }
  c: { after: [b], apply: slow }
  d: { after: [c], pass: '. + 1' }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_is_whole_though_its_replica_was_killed_at_any_point() {
    for after in 0..3 {
        a_trace_is_whole_after_a_kill(after).await;
    }
}

/// The replica is killed once so many steps have ended.
async fn a_trace_is_whole_after_a_kill(after: usize) {
    let collector = Collector::start().await;
    let settings = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone())];
    let cluster = Cluster::start_with(&[("slow", SLOW)], &[settings.clone(), settings]).await;
    let id = cluster.begin_at(0, "slow", "1").await;
    let ended = async || {
        let records = cluster.state.log.read(id.parse().unwrap(), Seq::START);
        let records = records.await.unwrap();
        let events = records.iter().flat_map(|record| &record.append.events);
        events
            .filter(|event| matches!(event, Event::StepEnded(_)))
            .count()
    };
    while ended().await < after {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cluster.signal(0, "KILL");
    cluster.settled(&id).await;
    let trace = id.replace('-', "");
    let spans = collector.trace_with(&trace, "flow slow").await;
    let mut by_id: BTreeMap<&str, &Span> = BTreeMap::new();
    for span in &spans {
        let first = by_id.entry(&span.id).or_insert(span);
        assert_eq!(**first, *span, "two spans of one id");
    }
    let count = |name: &str| by_id.values().filter(|span| span.name == name).count();
    for step in ["a", "b", "c", "d", "flow slow", "pass"] {
        assert_eq!(count(step), 1, "{step} after {after} steps: {spans:#?}");
    }
    // An attempt that was under way when its replica was killed has no end, and no span.
    assert_eq!(count("apply slow"), 3, "after {after} steps: {spans:#?}");
    let ids: Vec<_> = by_id.keys().collect();
    for span in by_id.values().filter(|span| span.name != "flow slow") {
        assert!(
            ids.iter().any(|id| **id == span.parent),
            "{span:?} is part of nothing"
        );
    }
    let claims = by_id
        .values()
        .find(|span| span.name == "flow slow")
        .unwrap();
    let claims = claims.events.iter().filter(|(name, _)| name == "claimed");
    assert_eq!(claims.count(), 2);
}
