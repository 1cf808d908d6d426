//! The wall clock of a keeper is set: what waits for a time is due by it; who is alive it judges by
//! another.

use std::time::Duration;

use turlough_sdk::ReplicaId;
use turlough_statestore::{Beat, Hint, State, Why};
use turlough_testing::{Nats, WallClock, until};
use uuid::Uuid;

use crate::place::{FUNCTION, HEARTBEAT, asleep, claimed, keeper_by, state};

const AHEAD_S: i64 = 7_200;

#[tokio::test]
async fn a_clock_that_jumps_brings_forward_what_is_due_and_makes_nobody_dead() {
    let nats = Nats::start("").await;
    let clock = WallClock::new();
    let keeper = keeper_by(&nats.url(), &clock);
    keeper.ready().await;
    let state = state(&nats).await;
    let replica = ReplicaId::from_uuid(Uuid::new_v4());
    beat(&state, replica).await;
    let beating = state.clone();
    let beats = tokio::spawn(async move {
        loop {
            tokio::time::sleep(HEARTBEAT / 8).await;
            beat(&beating, replica).await;
        }
    });
    let held = claimed(&state, replica).await;
    let sleeping = asleep(&state).await;
    clock.set(AHEAD_S);
    keeper
        .logged(&["WARN", "the wall clock jumped ahead", "by_s=7200"])
        .await;
    let due = until("somebody is told", async || hint(&state).await).await;
    assert_eq!((due.request, due.why), (sleeping, Why::Due));
    clock.set(-AHEAD_S);
    keeper
        .logged(&["WARN", "the wall clock jumped back", "by_s=-14400"])
        .await;
    // It looks at the heartbeats several times meanwhile.
    tokio::time::sleep(HEARTBEAT * 2).await;
    while let Some(hint) = hint(&state).await {
        assert_eq!((hint.request, hint.why), (sleeping, Why::Due));
    }
    beats.abort();
    let gone = until("who is gone is told of", async || {
        hint(&state).await.filter(|hint| hint.request == held)
    })
    .await;
    assert_eq!(gone.why, Why::ClaimantGone);
}

async fn hint(state: &State) -> Option<Hint> {
    let taken = state.queue.take(FUNCTION, 1, Duration::ZERO).await;
    let item = taken.unwrap().pop()?;
    state.queue.acknowledge(&item).await.unwrap();
    Some(Hint::decode(&item.payload).unwrap())
}

async fn beat(state: &State, replica: ReplicaId) {
    let beat = Beat {
        function: FUNCTION.parse().unwrap(),
        at_us: 1,
        takes: true,
    };
    let key = replica.to_string();
    state.replicas.put(&key, beat.encode()).await.unwrap();
}
