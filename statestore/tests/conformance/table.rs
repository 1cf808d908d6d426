//! Tables.

use std::time::Duration;

use bytes::Bytes;

use crate::server::{Server, options, until};

pub(crate) async fn holds_values_by_key(server: impl Server) {
    let (state, other) = (server.open().await, server.open().await);
    assert_eq!(state.flows.get("flows.order").await.unwrap(), None);
    state
        .flows
        .put("flows.order", Bytes::from("one"))
        .await
        .unwrap();
    assert_eq!(
        other.flows.get("flows.order").await.unwrap().unwrap(),
        "one"
    );
    let large = Bytes::from(vec![7; 300_000]);
    other.flows.put("flows.order", large.clone()).await.unwrap();
    assert_eq!(
        state.flows.get("flows.order").await.unwrap().unwrap(),
        large
    );
    assert_eq!(state.replicas.get("flows.order").await.unwrap(), None);
    state.flows.remove("flows.order").await.unwrap();
    state.flows.remove("flows.order").await.unwrap();
    assert_eq!(other.flows.get("flows.order").await.unwrap(), None);
}

pub(crate) async fn lists_by_prefix(server: impl Server) {
    let state = server.open().await;
    assert!(state.flows.list("").await.unwrap().is_empty());
    for key in [
        "flows.b.1",
        "flows.a.2",
        "flights.a",
        "flowsx.a",
        "flows.a.1",
    ] {
        state
            .flows
            .put(key, Bytes::from(key.to_owned()))
            .await
            .unwrap();
    }
    state.flows.remove("flows.b.1").await.unwrap();
    let listed = state.flows.list("flows.").await.unwrap();
    let expect = ["flows.a.1", "flows.a.2"].map(|key| (key.to_owned(), Bytes::from(key)));
    assert_eq!(listed, expect);
    assert_eq!(state.flows.list("").await.unwrap().len(), 4);
}

pub(crate) async fn heartbeats_lapse(server: impl Server) {
    let state = server.open().await;
    let beat = |key: &'static str| {
        let state = state.clone();
        async move { state.replicas.put(key, Bytes::from("flows")).await.unwrap() }
    };
    beat("a").await;
    for _ in 0..6 {
        beat("b").await;
        tokio::time::sleep(options().heartbeat / 4).await;
        assert!(state.replicas.get("b").await.unwrap().is_some());
    }
    until("one that is not put again lapses", async || {
        beat("b").await;
        let listed = state.replicas.list("").await.unwrap();
        let gone = state.replicas.get("a").await.unwrap().is_none();
        (gone && listed == [("b".to_owned(), Bytes::from("flows"))]).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(10)).await;
}

pub(crate) async fn definitions_survive_a_crash(mut server: impl Server) {
    let state = server.open().await;
    state
        .flows
        .put("flows.a", Bytes::from("one"))
        .await
        .unwrap();
    state
        .flows
        .put("flows.b", Bytes::from("two"))
        .await
        .unwrap();
    state.flows.remove("flows.a").await.unwrap();
    if !server.crash().await {
        return;
    }
    let state = server.open().await;
    let expect = [("flows.b".to_owned(), Bytes::from("two"))];
    assert_eq!(state.flows.list("").await.unwrap(), expect);
}
