//! A heartbeat lapses while its replica lives: it was stopped for longer than that.

use std::collections::HashSet;

use turlough_sdk::ReplicaId;
use turlough_statestore::{Append, Event, Record, Seq, State};
use turlough_testing::until;

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
async fn a_replica_that_was_stopped_writes_nothing_under_its_old_claims_and_serves_again() {
    let cluster = Cluster::start(&[("slow", SLOW)], 2).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let (body, key) = (n.to_string(), format!("a{n}"));
        ids.push(cluster.begin("slow", &body, &key, 0).await);
    }
    let log = &cluster.state.log;
    let first = log.read(ids[0].parse().unwrap(), Seq::START).await.unwrap();
    let stopped = claimant(&first[0].append).unwrap();
    cluster.signal(0, "STOP");
    until("its heartbeat lapses", async || {
        (!alive(&cluster.state).await.contains(&stopped)).then_some(())
    })
    .await;
    let mut ended = Vec::new();
    for id in &ids {
        ended.push(settled(&cluster.state, id).await);
    }
    cluster.signal(0, "CONT");
    until("its heartbeat is written again", async || {
        alive(&cluster.state).await.contains(&stopped).then_some(())
    })
    .await;
    // It takes on, and ends, what it is asked for.
    let id = cluster.begin("slow", "7", "b", 0).await;
    let records = settled(&cluster.state, &id).await;
    assert_eq!(claimant(&records[0].append), Some(stopped), "{records:?}");
    // By then it has looked at what it held, and left it.
    for (id, before) in ids.iter().zip(ended) {
        let taken = before
            .iter()
            .position(|it| claimant(&it.append).is_some_and(|replica| replica != stopped));
        let taken = taken.unwrap_or_else(|| panic!("nobody took it over: {before:?}"));
        let is_own = |it: &Record| it.append.envelope.replica == stopped;
        assert!(!before[taken..].iter().any(is_own), "{before:?}");
        let after = log.read(id.parse().unwrap(), Seq::START).await.unwrap();
        assert_eq!(before, after);
        let mut events = after.iter().flat_map(|record| &record.append.events);
        let succeeded = |event: &Event| matches!(event, Event::Ended { outcome, .. } if outcome.status() == "succeeded");
        assert!(events.any(succeeded), "{after:?}");
    }
}

/// Who claims by an append.
fn claimant(append: &Append) -> Option<ReplicaId> {
    append.events.iter().find_map(|event| match event {
        Event::Claimed { replica, .. } => Some(*replica),
        _ => None,
    })
}

async fn alive(state: &State) -> HashSet<ReplicaId> {
    let beats = state.replicas.list("").await.unwrap();
    beats
        .iter()
        .filter_map(|(key, _)| key.parse().ok())
        .collect()
}

async fn settled(state: &State, id: &str) -> Vec<Record> {
    until("it is settled", async || {
        let records = state
            .log
            .read(id.parse().unwrap(), Seq::START)
            .await
            .unwrap();
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let is_settled = events.any(|event| matches!(event, Event::Settled { .. }));
        is_settled.then_some(records)
    })
    .await
}
