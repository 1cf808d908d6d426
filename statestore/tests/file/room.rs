//! Room on the disk comes back, and nothing goes with it that is still needed.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use turlough_statestore::{Options, Seq};

use crate::{SOON, append, ids, open, options, request, segments};

fn small() -> Options {
    Options {
        // Segments of 128 KiB.
        bytes_max: 2 << 20,
        ..options(SOON)
    }
}

fn bytes_of(dir: &Path, of: &str) -> u64 {
    let paths = segments(dir, of);
    paths
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum()
}

#[tokio::test]
async fn items_that_wait_are_carried_on_and_the_files_stay_small() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &small()).await;
    for waits in ["a", "b"] {
        state.queue.enqueue("waits", waits.into()).await.unwrap();
    }
    // Many times what may be held goes through.
    for _ in 0..1_000 {
        let payload = vec![7; 10_000].into();
        state.queue.enqueue("flows", payload).await.unwrap();
        let taken = state.queue.take("flows", 1, Duration::ZERO).await.unwrap();
        state.queue.acknowledge(&taken[0]).await.unwrap();
    }
    let held = bytes_of(dir.path(), "queue");
    assert!(held < 1 << 20, "{held} bytes for two items");
    let numbers = segments(dir.path(), "queue");
    assert!(!numbers[0].ends_with("000000000001.segment"), "{numbers:?}");
    drop(state);
    let state = open(dir.path(), &small()).await;
    let taken = state.queue.take("waits", 9, Duration::ZERO).await.unwrap();
    let found: HashSet<_> = taken.iter().map(|taken| &taken.payload[..]).collect();
    assert_eq!(found, HashSet::from([&b"a"[..], b"b"]));
    assert_eq!(state.queue.depth("flows").await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_deleted_stays_so_and_gives_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &small()).await;
    let mut last = Seq::START;
    for id in 0..20 {
        let large = append(id, 50_000);
        last = state.log.append(request(1), last, &large).await.unwrap();
    }
    let other = state
        .log
        .append(request(2), Seq::START, &append(1, 10))
        .await;
    let other = other.unwrap();
    state.log.delete(request(1)).await.unwrap();
    let begin = Instant::now();
    while bytes_of(dir.path(), "log") > 256 << 10 {
        assert!(begin.elapsed() < Duration::from_secs(60), "its files stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(state);
    let state = open(dir.path(), &small()).await;
    assert!(ids(&state, request(1)).await.is_empty());
    assert_eq!(ids(&state, request(2)).await, [1]);
    let anew = state
        .log
        .append(request(1), Seq::START, &append(9, 10))
        .await;
    assert!(anew.unwrap() > other);
}

#[tokio::test]
async fn sequences_go_on_after_all_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_age: Duration::from_millis(500),
        ..small()
    };
    let state = open(dir.path(), &options).await;
    let last = state
        .log
        .append(request(1), Seq::START, &append(1, 10))
        .await;
    let last = last.unwrap();
    let begin = Instant::now();
    while state.log.at(last).await.unwrap().is_some() {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "it does not expire"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(state);
    let state = open(dir.path(), &options).await;
    assert!(ids(&state, request(1)).await.is_empty());
    let next = state
        .log
        .append(request(1), Seq::START, &append(2, 10))
        .await;
    assert!(next.unwrap() > last);
}
