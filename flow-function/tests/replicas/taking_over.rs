//! One thing at a time: a replica that is killed, one that is asked to end, and words across replicas.

use std::time::Duration;

use serde_json::json;
use turlough_statestore::{Event, Seq};

use crate::cluster::Cluster;

const SLOW: &str = "
flow: slow
nodes:
  a: { apply: slow }
  b: { after: [a], apply: slow }
  c: { after: [b], apply: slow }
  d: { after: [c], pass: '. + 1' }
";
const ASKS: &str = "
flow: asks
nodes: { go: { wait: { signal: go } }, b: { after: [go], pass: '.' } }
";
/// It has what it returns, larger than what rides in an event, before its last step.
const EARLY: &str = "
flow: early
nodes: { text: { pass: '[., \"x\" * 9000]' }, go: { wait: { signal: go } } }
";
const SLEEPS: &str = "
flow: sleeps
nodes: { a: { wait: 3s }, b: { after: [a], pass: '. + 1' } }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_killed_replica_are_taken_over_by_another() {
    let cluster = Cluster::start(&[("slow", SLOW)], 2).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(
            cluster
                .begin("slow", &n.to_string(), &n.to_string(), 0)
                .await,
        );
    }
    cluster.signal(0, "KILL");
    for (n, id) in ids.iter().enumerate() {
        let view = cluster.settled(id).await;
        assert_eq!(view["status"], "succeeded", "{view}");
        assert_eq!(cluster.result(id).await, json!(n + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_is_lost_with_its_replica_before_the_end_is_made_again() {
    let mut cluster = Cluster::start(&[("early", EARLY)], 2).await;
    let id = cluster.begin_at(0, "early", "7").await;
    let events = async |cluster: &Cluster| {
        let log = cluster.state.log.read(id.parse().unwrap(), Seq::START);
        let records = log.await.unwrap().into_iter();
        let events = records.flat_map(|record| record.append.events);
        events.collect::<Vec<_>>()
    };
    let is_text =
        |event: &Event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == "text");
    while !events(&cluster).await.iter().any(is_text) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.signal(0, "KILL");
    cluster.replicas.remove(0);
    cluster.signal_request(&id, "go", "1").await;
    let view = cluster.settled(&id).await;
    assert_eq!(view["status"], "succeeded", "{view}");
    let result = cluster.result(&id).await;
    assert_eq!(result, json!({ "text": [7, "x".repeat(9_000)], "go": 1 }));
    let is_lost = |event: &&Event| matches!(event, Event::OutputLost { .. });
    assert_eq!(events(&cluster).await.iter().filter(is_lost).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_asked_to_end_hands_its_requests_over_at_once() {
    let mut cluster = Cluster::start(&[("slow", SLOW)], 2).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(
            cluster
                .begin("slow", &n.to_string(), &n.to_string(), 0)
                .await,
        );
    }
    cluster.signal(0, "TERM");
    let mut first = cluster.replicas.remove(0);
    let ended = tokio::task::spawn_blocking(move || first.child.wait().unwrap());
    assert!(ended.await.unwrap().success());
    for (n, id) in ids.iter().enumerate() {
        let view = cluster.settled(id).await;
        assert_eq!(view["status"], "succeeded", "{view}");
        assert_eq!(cluster.result(id).await, json!(n + 1));
        // It was let go, not found dead.
        let records = cluster.state.log.read(id.parse().unwrap(), Seq::START);
        let records = records.await.unwrap();
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let released = events.any(|event| matches!(event, Event::Released { .. }));
        assert!(released, "{records:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_comes_to_a_request_by_any_replica() {
    let cluster = Cluster::start(&[("asks", ASKS)], 2).await;
    let id = cluster.begin("asks", "1", "a", 0).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/requests/{id}/signals/go", cluster.replicas[1].url);
    let answer = http.post(url).body("\"yes\"").send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let view = cluster.settled(&id).await;
    assert_eq!(view["status"], "succeeded", "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_hears_of_the_end_though_another_replica_brought_it_about() {
    let mut cluster = Cluster::start(&[("sleeps", SLEEPS)], 1).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/sleeps", cluster.replicas[0].url);
    let calls: Vec<_> = (0..8)
        .map(|n| tokio::spawn(http.post(&url).body(n.to_string()).send()))
        .collect();
    let other = cluster.replica().await;
    cluster.replicas.push(other);
    for (n, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), (n + 1).to_string());
    }
}
