//! What only NATS has: settings of others, permissions, limits, connections that come back.

use std::time::Duration;

use bytes::Bytes;
use turlough_sdk::ReplicaId;
use turlough_statestore::{Channel, Options, Seq, StateError, StateUrl};
use uuid::Uuid;

use super::process::{Opens as _, Process};
use crate::server::{append, options, request, until};

async fn refusal(process: &Process, user: &str, options: &Options) -> String {
    match process.open_as(user, options).await {
        Err(error @ StateError::Refused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[tokio::test]
async fn a_stream_that_is_set_otherwise_is_refused_by_the_name_of_the_field() {
    let process = Process::start("").await;
    process.open(&options()).await.unwrap();
    process.open(&options()).await.unwrap();
    let max_age = Duration::from_secs(3600);
    let other = Options {
        max_age,
        ..options()
    };
    let text = refusal(&process, "", &other).await;
    assert_says(
        &text,
        &[
            "stream TL_acme_LOG",
            "max_age is 604800000000000",
            "expected 3600000000000",
        ],
    );
    let bytes_max = 65 << 20;
    let other = Options {
        bytes_max,
        ..options()
    };
    let text = refusal(&process, "", &other).await;
    assert_says(
        &text,
        &[
            "max_bytes is 67108864",
            "TURLOUGH_STATE_BYTES_MAX",
            "nats stream edit",
        ],
    );
    let heartbeat = Duration::from_secs(3);
    let other = Options {
        heartbeat,
        ..options()
    };
    assert_says(
        &refusal(&process, "", &other).await,
        &["KV_TL_acme_REPLICAS", "max_age is"],
    );
}

#[tokio::test]
async fn a_consumer_that_is_set_otherwise_is_refused_by_the_name_of_the_field() {
    let process = Process::start("").await;
    let state = process.open(&options()).await.unwrap();
    state.queue.take("flows", 1, Duration::ZERO).await.unwrap();
    let visibility = Duration::from_secs(9);
    let other = Options {
        visibility,
        ..options()
    };
    let state = process.open(&other).await.unwrap();
    let error = state
        .queue
        .take("flows", 1, Duration::ZERO)
        .await
        .unwrap_err();
    assert!(matches!(error, StateError::Refused { .. }), "{error}");
    let parts = [
        "consumer flows of stream TL_acme_WORK",
        "ack_wait is 2000000000, expected 9000000000",
    ];
    assert_says(&error.to_string(), &parts);
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused() {
    let process = Process::start_bare("").await;
    assert_says(
        &refusal(&process, "", &options()).await,
        &["nobody answers for JetStream", "-js"],
    );
}

#[tokio::test]
async fn a_server_that_takes_too_little_at_once_is_refused() {
    let process = Process::start("max_payload: 65536").await;
    let text = refusal(&process, "", &options()).await;
    assert_says(&text, &["max_payload is 65536 bytes, needed are 525312"]);
}

#[tokio::test]
async fn a_server_without_room_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let small = format!("jetstream {{ store_dir: {store:?}, max_file_store: 32MB }}");
    let process = Process::start_bare(&small).await;
    let text = refusal(&process, "", &options()).await;
    assert_says(
        &text,
        &[
            "TL_acme_LOG",
            "insufficient storage",
            "67108864",
            "TURLOUGH_STATE_BYTES_MAX",
        ],
    );
    let copies = Options {
        replicas: 3,
        ..options()
    };
    let process = Process::start("").await;
    assert_says(
        &refusal(&process, "", &copies).await,
        &["replicas > 1 not supported"],
    );
}

const USERS: &str = r#"
accounts { A { jetstream: enabled, users: [
    { user: all, password: x }
    { user: reader, password: x, permissions: { publish: ["$JS.API.>"], subscribe: ["_INBOX.>"] } }
    { user: none, password: x, permissions: { publish: ["a"], subscribe: ["_INBOX.>"] } }
] } }"#;

#[tokio::test]
async fn who_may_not_is_refused_at_once() {
    let process = Process::start(USERS).await;
    let begin = tokio::time::Instant::now();
    let text = refusal(&process, "none:x@", &options()).await;
    assert_says(&text, &["ermissions", "$JS.API.INFO", "permit the user"]);
    let text = refusal(&process, "all:wrong@", &options()).await;
    assert_says(&text, &["uthorization", "credentials"]);
    assert!(!text.contains("wrong"), "{text}");
    process.open_as("all:x@", &options()).await.unwrap();
    let state = process.open_as("reader:x@", &options()).await.unwrap();
    let error = state
        .log
        .append(request(), Seq::START, &append(1))
        .await
        .unwrap_err();
    assert!(matches!(error, StateError::Refused { .. }), "{error}");
    assert_says(&error.to_string(), &["ermissions", "tl.acme.log."]);
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_soon() {
    let mut process = Process::start("").await;
    process.kill();
    let begin = tokio::time::Instant::now();
    let error = process.open(&options()).await.unwrap_err();
    assert!(matches!(error, StateError::Unavailable { .. }), "{error}");
    assert_says(
        &error.to_string(),
        &["connecting to the state at nats://127.0.0.1:"],
    );
    assert!(begin.elapsed() < Duration::from_secs(6));
    let url: StateUrl = "nats://".parse().unwrap();
    assert!(
        turlough_statestore::State::open(&url, &options())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_connection_comes_back_as_another_one() {
    let mut process = Process::start("").await;
    let state = process.open(&options()).await.unwrap();
    let before = *state.link.borrow();
    assert!(before.is_up);
    let one = request();
    let first = state.log.append(one, Seq::START, &append(1)).await.unwrap();
    let replica = Channel::Replica(ReplicaId::from_uuid(Uuid::new_v4()));
    let mut listener = state.bus.listen(replica).await.unwrap();
    process.kill();
    let mut link = state.link.clone();
    let down = tokio::time::timeout(Duration::from_secs(10), link.wait_for(|link| !link.is_up));
    assert!(down.await.unwrap().unwrap().since > before.since);
    let error = state.log.append(one, first, &append(2)).await.unwrap_err();
    assert!(matches!(error, StateError::Unavailable { .. }), "{error}");
    assert!(state.log.read(one, Seq::START).await.unwrap_err().passes());
    process.start_again().await;
    let up = tokio::time::timeout(Duration::from_secs(10), link.wait_for(|link| link.is_up));
    assert!(up.await.unwrap().unwrap().era > before.era);
    state.log.append(one, first, &append(2)).await.unwrap();
    assert_eq!(state.log.read(one, Seq::START).await.unwrap().len(), 2);
    // Listeners listen on.
    until("a word comes over the new connection", async || {
        state.bus.send(replica, Bytes::from("a")).await.unwrap();
        tokio::time::timeout(Duration::from_millis(200), listener.next())
            .await
            .ok()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_append_that_nobody_answers_may_or_may_not_be_stored() {
    let mut process = Process::start("").await;
    let state = process.open(&options()).await.unwrap();
    let one = request();
    let writer = tokio::spawn(async move {
        let mut last = Seq::START;
        loop {
            match state
                .log
                .append(one, last, &append(u128::from(last.get())))
                .await
            {
                Ok(seq) => last = seq,
                Err(error) => return (last, error),
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.kill();
    let (last, error) = tokio::time::timeout(Duration::from_secs(8), writer)
        .await
        .unwrap()
        .unwrap();
    let is_honest = matches!(
        error,
        StateError::Unanswered { .. } | StateError::Unavailable { .. }
    );
    assert!(is_honest, "{error}");
    process.start_again().await;
    let state = process.open(&options()).await.unwrap();
    let stored = state.log.last(one).await.unwrap().unwrap().seq;
    assert!(
        stored == last || stored.get() == last.get() + 1,
        "{stored} after {last}"
    );
}

#[tokio::test]
async fn two_tenants_of_one_account_are_apart() {
    let process = Process::start("").await;
    let one = process.open(&options()).await.unwrap();
    let tenant = "acme-eu".parse().unwrap();
    let two = process
        .open(&Options {
            tenant,
            ..options()
        })
        .await
        .unwrap();
    let id = request();
    let seq = one.log.append(id, Seq::START, &append(1)).await.unwrap();
    assert!(two.log.last(id).await.unwrap().is_none());
    assert!(two.log.at(seq).await.unwrap().is_none());
    two.log.append(id, Seq::START, &append(2)).await.unwrap();
    one.queue.enqueue("flows", Bytes::from("a")).await.unwrap();
    assert!(
        two.queue
            .take("flows", 1, Duration::ZERO)
            .await
            .unwrap()
            .is_empty()
    );
    one.flows.put("flows.a", Bytes::from("a")).await.unwrap();
    assert!(two.flows.list("").await.unwrap().is_empty());
    let replica = Channel::Replica(ReplicaId::from_uuid(Uuid::new_v4()));
    let mut listener = two.bus.listen(replica).await.unwrap();
    one.bus.send(replica, Bytes::from("theirs")).await.unwrap();
    two.bus.send(replica, Bytes::from("ours")).await.unwrap();
    let word = tokio::time::timeout(Duration::from_secs(5), listener.next())
        .await
        .unwrap();
    assert_eq!(word.unwrap(), "ours");
}

#[tokio::test]
async fn a_long_log_is_read_whole() {
    let process = Process::start("").await;
    let state = process.open(&options()).await.unwrap();
    let (one, mut last) = (request(), Seq::START);
    for id in 0..5_000 {
        last = state.log.append(one, last, &append(id)).await.unwrap();
    }
    let records = state.log.read(one, Seq::START).await.unwrap();
    assert_eq!(records.len(), 5_000);
    assert!(
        records
            .iter()
            .map(|record| record.append.envelope.id.0)
            .eq(0..5_000)
    );
    assert_eq!(
        state.log.read(one, records[4_997].seq).await.unwrap().len(),
        2
    );
}
