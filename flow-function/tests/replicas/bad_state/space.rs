//! Logs have no room.

use turlough_sdk::{ReplicaId, RequestId};
use turlough_statestore::{
    Append, AppendId, Envelope, Event, Kind, Seq, Standing, State, StateError,
};
use turlough_testing::{Nats, until};
use uuid::Uuid;

use super::place::{Place, refuses, serves, state};

const BYTES_MAX: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_full_logs_nothing_new_begins_and_what_runs_waits_for_room() {
    let nats = Nats::start("").await;
    let place = Place::new().await;
    let bytes_max = BYTES_MAX.to_string();
    let more = [("TURLOUGH_STATE_BYTES_MAX", bytes_max.as_str())];
    let program = place.program(&nats.url(), &more);
    serves(&program).await;
    let calls: Vec<_> = (0..3)
        .map(|n| program.call("held", &n.to_string()))
        .collect();
    place.held(3).await;
    let state = state(&nats.url(), BYTES_MAX).await;
    let mut logs = Vec::new();
    for _ in 0..14 {
        fill(&state, 256 << 10, &mut logs).await.unwrap();
    }
    // How much is held is asked once a second.
    until("no request is accepted", async || {
        let answer = program.post("/plain", "1").await;
        (answer.status == 503).then_some(())
    })
    .await;
    refuses(
        &program,
        "of 4194304 bytes, and the last fifth is for open requests",
    )
    .await;
    refuses(&program, "raise TURLOUGH_STATE_BYTES_MAX").await;
    for bytes in [64 << 10, 8 << 10, 1 << 10, 10] {
        while fill(&state, bytes, &mut logs).await.is_ok() {}
    }
    place.let_go();
    program
        .logged(&[
            "append was not stored yet",
            "no room",
            "raise TURLOUGH_STATE_BYTES_MAX",
        ])
        .await;
    // Callbacks and control must come through: it stays ready.
    assert_eq!(program.get("/_/ready").await.unwrap().status, 200);
    assert!(calls.iter().all(|call| !call.is_finished()));
    for log in logs {
        state.log.delete(log).await.unwrap();
    }
    for (n, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap();
        assert_eq!(
            (answer.status, &answer.json),
            (200, &(n + 1).into()),
            "{answer:?}"
        );
    }
    assert_eq!(place.calls(), 3);
    until("requests are accepted", async || {
        let answer = program.post("/plain", "1").await;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// A log of its own that takes about so much.
async fn fill(state: &State, bytes: usize, logs: &mut Vec<RequestId>) -> Result<(), StateError> {
    let log = RequestId::from_uuid(Uuid::now_v7());
    let envelope = Envelope {
        id: AppendId(1),
        after: None,
        kind: Kind::External,
        epoch: 0,
        replica: ReplicaId::from_uuid(Uuid::from_u128(1)),
        function: "other".parse().unwrap(),
        generation: 0,
        deadline_us: None,
        wake_at_us: None,
        standing: Standing::Running,
    };
    let append = Append::new(envelope, vec![Event::part(1, 0, &vec![7; bytes].into())]);
    state.log.append(log, Seq::START, &append).await?;
    logs.push(log);
    Ok(())
}
