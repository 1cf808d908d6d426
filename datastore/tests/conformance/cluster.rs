//! A cluster of Redis: three nodes of its own for each test.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use turlough_datastore::data::{DataStore, DataUrl, Failure, open};
use turlough_sdk::{RequestId, ValueRef};
use turlough_testing::RedisCluster;

use crate::redis::{change, limit};
use crate::server::{
    ComesBackEmpty, GoesAway, HasLimit, IsOpen, LONG, Server, bytes, key, opened, options, request,
};

pub(crate) struct Cluster {
    nodes: RedisCluster,
    lease: Duration,
}

#[async_trait(?Send)]
impl Server for Cluster {
    async fn start(lease: Duration) -> Self {
        Self {
            nodes: RedisCluster::start().await,
            lease,
        }
    }

    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore> {
        let url = format!("redis+cluster://{}", self.nodes.nodes().join(","));
        opened(&url, &options(tenant, self.lease)).await
    }
}

#[async_trait(?Send)]
impl GoesAway for Cluster {
    async fn go(&mut self) {
        self.nodes.kill();
    }

    async fn come_back(&mut self) {
        self.nodes.start_again().await;
        self.nodes.is_whole().await;
    }
}

impl ComesBackEmpty for Cluster {}

#[async_trait(?Send)]
impl HasLimit for Cluster {
    async fn start_small() -> Self {
        Self::start(LONG).await
    }

    async fn limit(&self) {
        for node in self.nodes.nodes() {
            let client = redis::Client::open(format!("redis://{node}")).unwrap();
            let mut wire = client.get_multiplexed_async_connection().await.unwrap();
            // The second value may come to a node that has not the first, whose place it could take.
            limit(&mut wire, 900_000).await;
        }
    }
}

#[async_trait(?Send)]
impl IsOpen for Cluster {
    async fn change(&self, request: RequestId, at: &ValueRef) {
        let nodes = self.nodes.nodes();
        let nodes = nodes.iter().map(|node| format!("redis://{node}"));
        let client = redis::cluster::ClusterClient::new(nodes).unwrap();
        let mut wire = client.get_async_connection().await.unwrap();
        change(&mut wire, request, at).await;
    }
}

#[tokio::test]
async fn buckets_are_spread_over_the_nodes() {
    let server = Cluster::start(LONG).await;
    let store = server.open().await;
    for _ in 0..60 {
        let one = request();
        store
            .put(one, 1, &key(one, "a"), bytes(1, 10))
            .await
            .unwrap();
    }
    for node in 0..3 {
        let keys = server.nodes.command(node, &["DBSIZE"]);
        assert!(keys.trim().parse::<u64>().unwrap() > 0, "node {node}");
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_is_refused_by_name_where_none_is_expected() {
    let server = Cluster::start(LONG).await;
    let url: DataUrl = format!("redis://{}", server.nodes.nodes()[0])
        .parse()
        .unwrap();
    let store = open(&url, &options("acme", LONG)).await.unwrap();
    let mut said = String::new();
    for _ in 0..60 {
        let one = request();
        if let Err(error) = store.put(one, 1, &key(one, "a"), bytes(1, 10)).await {
            said = error.to_string();
        }
    }
    assert!(said.contains("redis+cluster://"), "{said}");
    let url = DataUrl::Cluster("redis+cluster://127.0.0.1:1".to_owned());
    let error = open(&url, &options("acme", LONG)).await.unwrap_err();
    assert!(matches!(error, Failure::Unavailable { .. }), "{error}");
}
