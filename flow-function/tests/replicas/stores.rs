//! Replicas on hosts with a store each: values go to the own host's, are read wherever they lie, and are
//! made again where a store was lost.

mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use turlough_statestore::event::StepEnd;
use turlough_statestore::{Event, Record, Seq};

use crate::cluster::{Cluster, Setting};
use process::{LEASE, Store, free_ports};

/// All values between its steps are about 9 KB: larger than what goes into events.
const LARGE: &str = "
flow: large
nodes:
  a: { pass: '{ n: ., pad: (\"x\" * 9000) }' }
  b: { after: [a], apply: echo }
  c: { after: [b], pass: '{ n: (.n + 1), pad }' }
  d: { after: [c], pass: '.n * 2 + (.pad | length)' }
";
/// One branch waits while another has its output already.
const TWO: &str = "
flow: two
nodes:
  a: { pass: '{ n: ., pad: (\"x\" * 9000) }' }
  go: { wait: { signal: go } }
";

/// How often a store is killed in a campaign.
const KILLS: usize = 20;

/// As many stores that know one another, and for each a replica that uses it.
struct Hosts {
    stores: Vec<Store>,
    cluster: Cluster,
}

impl Hosts {
    async fn start(count: usize, backup: &str) -> Self {
        let ports = free_ports(count);
        let places: Vec<_> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let peers = places.join(",");
        let start = |port: &u16| Store::start(*port, &peers, backup);
        let stores: Vec<_> = ports.iter().map(start).collect();
        let settings: Vec<Vec<Setting>> = places
            .iter()
            .map(|place| {
                let data = format!("turlough://{place}");
                let lease = LEASE.to_owned();
                vec![("TURLOUGH_DATA", data), ("TURLOUGH_DATA_LEASE", lease)]
            })
            .collect();
        let cluster = Cluster::start_with(&[("large", LARGE), ("two", TWO)], &settings).await;
        Self { stores, cluster }
    }

    async fn log(&self, id: &str) -> Vec<Record> {
        let log = &self.cluster.state.log;
        log.read(id.parse().unwrap(), Seq::START).await.unwrap()
    }

    /// How often somebody found a value lost.
    async fn losses(&self, id: &str) -> usize {
        let log = self.log(id).await;
        let events = log.iter().flat_map(|record| &record.append.events);
        let is_loss = |event: &&Event| match event {
            Event::StepEnded(ended) => matches!(ended.end, StepEnd::Lost { .. }),
            event => matches!(event, Event::OutputLost { .. }),
        };
        events.filter(is_loss).count()
    }

    /// Nothing is held any more, in any store.
    async fn hold_nothing(&self) {
        for _ in 0..600 {
            let held = self.stores.iter().map(Store::keys);
            if held.sum::<u64>() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let held: Vec<_> = self.stores.iter().map(Store::keys).collect();
        panic!("stores hold {held:?} keys though every request is settled");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_left_is_read_in_its_hosts_store_and_dropped_there() {
    let hosts = Hosts::start(2, "none").await;
    let mut ids = Vec::new();
    for n in 0..10 {
        let id = hosts.cluster.begin_at(0, "large", &n.to_string()).await;
        ids.push(id);
    }
    // Each has put what `a` gave by the time that `echo` is called.
    while hosts.stores[0].keys() < 10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    hosts.cluster.signal(0, "KILL");
    for (n, id) in ids.iter().enumerate() {
        let view = hosts.cluster.settled(id).await;
        assert_eq!(view["status"], "succeeded", "{view}");
        assert_eq!(hosts.cluster.result(id).await, json!((n + 1) * 2 + 9_000));
        assert_eq!(hosts.losses(id).await, 0, "its store is there");
    }
    hosts.hold_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_whose_store_is_lost_before_the_end_is_made_again() {
    let mut hosts = Hosts::start(2, "none").await;
    let id = hosts.cluster.begin_at(0, "two", "7").await;
    let ended = |records: &[Record]| {
        let mut events = records.iter().flat_map(|record| &record.append.events);
        events.any(|event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == "a"))
    };
    while !ended(&hosts.log(&id).await) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    hosts.stores[0].kill();
    hosts.cluster.signal(0, "KILL");
    hosts.cluster.replicas.remove(0);
    hosts.cluster.signal_request(&id, "go", "1").await;
    let view = hosts.cluster.settled(&id).await;
    assert_eq!(view["status"], "succeeded", "{view}");
    let result = hosts.cluster.result(&id).await;
    assert_eq!((&result["a"]["n"], &result["go"]), (&json!(7), &json!(1)));
    assert!(hosts.losses(&id).await > 0);
}

/// Stores are killed and started again with nothing in them, while requests run; `which` says whose turn
/// it is. How many requests found how often that a value of theirs was lost.
async fn kill_stores(
    (requests, backup): (usize, &str),
    which: impl Fn(usize) -> usize,
) -> BTreeMap<usize, usize> {
    let mut hosts = Hosts::start(3, backup).await;
    let mut ids = Vec::new();
    for kill in 0..KILLS {
        for _ in 0..requests.div_ceil(KILLS) {
            let (at, input) = (
                ids.len() % hosts.cluster.replicas.len(),
                ids.len().to_string(),
            );
            ids.push(hosts.cluster.begin_at(at, "large", &input).await);
        }
        let killed = which(kill);
        hosts.stores[killed].kill();
        tokio::time::sleep(Duration::from_millis(100)).await;
        hosts.stores[killed].start_again();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut losses = BTreeMap::new();
    for (n, id) in ids.iter().enumerate() {
        let view = hosts.cluster.settled(id).await;
        assert_eq!(view["status"], "succeeded", "{view}");
        assert_eq!(hosts.cluster.result(id).await, json!((n + 1) * 2 + 9_000));
        *losses.entry(hosts.losses(id).await).or_default() += 1;
    }
    hosts.hold_nothing().await;
    println!("{KILLS} kills; requests by how often a value of theirs was found lost: {losses:?}");
    losses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_end_right_though_stores_are_killed_under_them() {
    let losses = kill_stores((requests(), "none"), |kill| kill % 3).await;
    assert!(losses.keys().any(|losses| *losses > 0), "none was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_copy_is_waited_for_nothing_is_lost_with_one_store() {
    let losses = kill_stores((requests(), "sync"), |_| 0).await;
    assert_eq!(
        losses.keys().copied().collect::<Vec<_>>(),
        [0],
        "{losses:?}"
    );
}

/// Requests of a campaign: few, unless more are asked for.
fn requests() -> usize {
    let text = std::env::var("TURLOUGH_STORE_REQUESTS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(500)
}
