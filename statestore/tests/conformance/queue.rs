//! Work queues.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use turlough_statestore::{State, Taken};

use crate::server::{Server, options, until};

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(30);

fn item(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn take_one(state: &State, wait: Duration) -> Option<Taken> {
    let mut taken = state.queue.take("flows", 1, wait).await.unwrap();
    assert!(taken.len() <= 1);
    taken.pop()
}

pub(crate) async fn an_item_is_taken_by_one_and_gone_when_acknowledged(server: impl Server) {
    let (state, other) = (server.open().await, server.open().await);
    state.queue.enqueue("flows", item("a")).await.unwrap();
    let taken = take_one(&other, LONG).await.unwrap();
    assert_eq!((&taken.payload[..], taken.attempt), (&b"a"[..], 1));
    assert_eq!(take_one(&state, SOON).await, None);
    assert_eq!(state.queue.depth("flows").await.unwrap(), 1);
    other.queue.acknowledge(&taken).await.unwrap();
    until("the queue is empty", async || {
        (state.queue.depth("flows").await.unwrap() == 0).then_some(())
    })
    .await;
    assert_eq!(take_one(&state, options().visibility + SOON).await, None);
}

pub(crate) async fn an_item_that_is_not_acknowledged_comes_again(server: impl Server) {
    let (state, other) = (server.open().await, server.open().await);
    state.queue.enqueue("flows", item("a")).await.unwrap();
    let begin = Instant::now();
    let first = take_one(&state, LONG).await.unwrap();
    drop(first);
    let again = take_one(&other, LONG).await.unwrap();
    assert_eq!((&again.payload[..], again.attempt), (&b"a"[..], 2));
    assert!(
        begin.elapsed() >= options().visibility - SOON,
        "{:?}",
        begin.elapsed()
    );
    other.queue.acknowledge(&again).await.unwrap();
    assert_eq!(take_one(&state, options().visibility + SOON).await, None);
}

pub(crate) async fn a_released_item_comes_after_its_time(server: impl Server) {
    let state = server.open().await;
    state.queue.enqueue("flows", item("a")).await.unwrap();
    let first = take_one(&state, LONG).await.unwrap();
    let begin = Instant::now();
    state
        .queue
        .release(&first, Duration::from_millis(700))
        .await
        .unwrap();
    let again = take_one(&state, LONG).await.unwrap();
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(650) && took < options().visibility,
        "{took:?}"
    );
    assert_eq!(again.attempt, 2);
    state.queue.release(&again, Duration::ZERO).await.unwrap();
    assert!(take_one(&state, LONG).await.is_some());
}

pub(crate) async fn an_extended_item_stays_with_its_taker(server: impl Server) {
    let state = server.open().await;
    state.queue.enqueue("flows", item("a")).await.unwrap();
    let taken = take_one(&state, LONG).await.unwrap();
    for _ in 0..4 {
        assert_eq!(take_one(&state, options().visibility / 2).await, None);
        state.queue.extend(&taken).await.unwrap();
    }
    state.queue.acknowledge(&taken).await.unwrap();
    assert_eq!(take_one(&state, options().visibility + SOON).await, None);
}

pub(crate) async fn queues_are_apart(server: impl Server) {
    let state = server.open().await;
    for queue in ["flows", "flights.acme"] {
        state.queue.enqueue(queue, item(queue)).await.unwrap();
    }
    for queue in ["flights.acme", "flows"] {
        let taken = state.queue.take(queue, 5, LONG).await.unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(
            (taken[0].payload.clone(), &*taken[0].queue),
            (item(queue), queue)
        );
        state.queue.acknowledge(&taken[0]).await.unwrap();
    }
}

pub(crate) async fn taking_waits_for_the_first_and_gives_up_in_time(server: impl Server) {
    let (state, other) = (server.open().await, server.open().await);
    let begin = Instant::now();
    assert_eq!(take_one(&state, Duration::from_millis(300)).await, None);
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(290), "{took:?}");
    let taking = tokio::spawn(async move { take_one(&state, LONG).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    other.queue.enqueue("flows", item("a")).await.unwrap();
    assert!(taking.await.unwrap().is_some());
}

pub(crate) async fn many_takers_share_many_items(server: impl Server) {
    let state = server.open().await;
    for number in 0..200 {
        state
            .queue
            .enqueue("flows", item(&number.to_string()))
            .await
            .unwrap();
    }
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let state = server.open().await;
        takers.spawn(async move {
            let mut got = Vec::new();
            loop {
                let taken = state
                    .queue
                    .take("flows", 10, Duration::from_secs(3))
                    .await
                    .unwrap();
                if taken.is_empty() {
                    return got;
                }
                for taken in taken {
                    state.queue.acknowledge(&taken).await.unwrap();
                    got.push(taken.payload);
                }
            }
        });
    }
    let (mut all, mut count) = (HashSet::new(), 0);
    while let Some(got) = takers.join_next().await {
        let got = got.unwrap();
        count += got.len();
        all.extend(got);
    }
    assert_eq!((all.len(), count), (200, 200));
}

pub(crate) async fn items_survive_a_crash(mut server: impl Server) {
    let state = server.open().await;
    for text in ["a", "b", "c"] {
        state.queue.enqueue("flows", item(text)).await.unwrap();
    }
    let taken = take_one(&state, LONG).await.unwrap();
    state.queue.acknowledge(&taken).await.unwrap();
    // Whether an acknowledgement was heard is not told; that it was is seen by the depth.
    until("two are left", async || {
        (state.queue.depth("flows").await.unwrap() == 2).then_some(())
    })
    .await;
    let held = take_one(&state, LONG).await.unwrap();
    if !server.crash().await {
        return;
    }
    let state = server.open().await;
    let mut left = HashSet::new();
    while left.len() < 2 {
        let taken = take_one(&state, LONG).await.expect("both items come again");
        state.queue.acknowledge(&taken).await.unwrap();
        left.insert(taken.payload);
    }
    assert!(left.contains(&held.payload) && !left.contains(&taken.payload));
}
