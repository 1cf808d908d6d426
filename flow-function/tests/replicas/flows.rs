//! Flows that are put at run time: every replica serves them, also one that comes later.

use std::time::Duration;

use serde_json::json;

use crate::cluster::Cluster;

/// A flow that waits for a signal, and tells its version.
fn flow(version: u32) -> String {
    let pass = format!("{{ go: ., version: {version} }}");
    format!(
        "flow: put\nnodes:\n  ask: {{ wait: {{ signal: go }} }}\n  told: {{ after: [ask], pass: '{pass}' }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_is_put_to_one_replica_is_served_by_all_and_its_requests_keep_their_version() {
    let mut cluster =
        Cluster::start(&[("other", "flow: other\nnodes: { a: { pass: . } }")], 2).await;
    cluster.put(0, "put", &flow(1)).await;
    // Nobody told the other one to wait for it.
    let old = cluster.begin_at(1, "put", "1").await;
    cluster.put(1, "put", &flow(2)).await;
    let mut served = String::new();
    for _ in 0..500 {
        let shown = cluster.get_at(0, "/flows/put").await;
        served = shown["version"].as_str().unwrap_or_default().to_owned();
        let newest = cluster.get_at(1, "/flows/put").await;
        if newest["version"] == served {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let new = cluster.begin_at(0, "put", "2").await;
    // Both replicas die, and one comes that was not there when the flow was put.
    cluster.replicas.clear();
    let replica = cluster.replica().await;
    cluster.replicas.push(replica);
    assert_eq!(cluster.get_at(0, "/flows/put").await["version"], served);
    for (id, version) in [(&old, 1), (&new, 2)] {
        cluster.signal_request(id, "go", "7").await;
        let view = cluster.settled(id).await;
        assert_eq!(view["status"], "succeeded", "{view}");
        assert_eq!(
            cluster.result(id).await,
            json!({ "go": 7, "version": version })
        );
    }
}
