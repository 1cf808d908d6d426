//! Words between processes.

use std::time::Duration;

use bytes::Bytes;
use turlough_sdk::ReplicaId;
use turlough_statestore::{Channel, Listener};
use uuid::Uuid;

use crate::server::{Server, request, until};

async fn heard(listener: &mut Listener) -> Option<Bytes> {
    let wait = Duration::from_secs(10);
    tokio::time::timeout(wait, listener.next())
        .await
        .expect("a word within 10 s")
}

pub(crate) async fn a_word_comes_to_all_who_listen_and_to_nobody_else(server: impl Server) {
    let (state, other) = (server.open().await, server.open().await);
    let replica = Channel::Replica(ReplicaId::from_uuid(Uuid::new_v4()));
    let done = Channel::Done(request());
    let mut one = state.bus.listen(replica).await.unwrap();
    let mut two = other.bus.listen(replica).await.unwrap();
    let mut third = other.bus.listen(done).await.unwrap();
    for word in ["a", "b"] {
        state.bus.send(replica, Bytes::from(word)).await.unwrap();
    }
    state.bus.send(done, Bytes::from("c")).await.unwrap();
    for listener in [&mut one, &mut two] {
        assert_eq!(heard(listener).await.unwrap(), "a");
        assert_eq!(heard(listener).await.unwrap(), "b");
    }
    assert_eq!(heard(&mut third).await.unwrap(), "c");
    other.bus.send(replica, Bytes::from("d")).await.unwrap();
    for listener in [&mut one, &mut two] {
        assert_eq!(heard(listener).await.unwrap(), "d");
    }
}

pub(crate) async fn a_listener_that_is_dropped_hears_nothing(server: impl Server) {
    let state = server.open().await;
    let replica = Channel::Replica(ReplicaId::from_uuid(Uuid::new_v4()));
    for _ in 0..50 {
        drop(state.bus.listen(replica).await.unwrap());
    }
    state.bus.send(replica, Bytes::from("lost")).await.unwrap();
    let mut listener = state.bus.listen(replica).await.unwrap();
    until("a word comes", async || {
        state.bus.send(replica, Bytes::from("a")).await.unwrap();
        tokio::time::timeout(Duration::from_secs(1), listener.next())
            .await
            .ok()
    })
    .await
    .map(|word| assert_eq!(word, "a"))
    .unwrap();
}
