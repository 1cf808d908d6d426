//! A heartbeat lapses while its replica lives: it was stopped for longer than that, in the middle of
//! calls, which another makes again.

use std::collections::HashSet;

use turlough_sdk::ReplicaId;
use turlough_statestore::{Append, Event, Record, Seq, State};
use turlough_testing::{Nats, until};

use super::place::{BYTES_MAX, Place, serves, state};
use crate::cluster::keeper;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_writes_nothing_under_its_old_claims_and_serves_again() {
    let nats = Nats::start("").await;
    let place = Place::new().await;
    let first = place.program(&nats.url(), &[]);
    serves(&first).await;
    let second = place.program(&nats.url(), &[]);
    serves(&second).await;
    let state = state(&nats.url(), BYTES_MAX).await;
    let _keeper = keeper(&state).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(first.begin("held", &n.to_string()).await);
    }
    place.held(3).await;
    let stopped = claimant(&read(&state, &ids[0]).await[0].append).unwrap();
    first.signal("STOP");
    until("its heartbeat lapses", async || {
        (!alive(&state).await.contains(&stopped)).then_some(())
    })
    .await;
    // The other has taken them over, and calls again.
    place.held(6).await;
    first.signal("CONT");
    until("its heartbeat is written again", async || {
        alive(&state).await.contains(&stopped).then_some(())
    })
    .await;
    // Both hear what their calls came to.
    place.let_go();
    for id in &ids {
        let records = settled(&state, id).await;
        let is_other = |it: &Record| claimant(&it.append).is_some_and(|it| it != stopped);
        let taken = records.iter().position(is_other);
        let taken = taken.unwrap_or_else(|| panic!("nobody took it over: {records:?}"));
        let is_own = |it: &Record| it.append.envelope.replica == stopped;
        assert!(!records[taken..].iter().any(is_own), "{records:?}");
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let succeeded = |event: &Event| matches!(event, Event::Ended { outcome, .. } if outcome.status() == "succeeded");
        assert!(events.any(succeeded), "{records:?}");
    }
    let id = first.begin("plain", "7").await;
    let records = settled(&state, &id).await;
    assert_eq!(claimant(&records[0].append), Some(stopped), "{records:?}");
    // By then it has let go of what it held, and written nothing.
    for id in &ids {
        let records = read(&state, id).await;
        let last = records.last().unwrap();
        assert_ne!(last.append.envelope.replica, stopped, "{records:?}");
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
    let ids = beats.iter().filter_map(|(key, _)| key.parse().ok());
    ids.collect()
}

async fn read(state: &State, id: &str) -> Vec<Record> {
    let records = state.log.read(id.parse().unwrap(), Seq::START).await;
    records.unwrap()
}

async fn settled(state: &State, id: &str) -> Vec<Record> {
    until("it is settled", async || {
        let records = read(state, id).await;
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let is_settled = events.any(|event| matches!(event, Event::Settled { .. }));
        is_settled.then_some(records)
    })
    .await
}
