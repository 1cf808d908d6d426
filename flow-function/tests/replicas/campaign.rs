//! Kills at random, while requests of many kinds are open. Afterwards each has ended as it must, each
//! call that must not be repeated was made once at most, and nothing is left.
//!
//! `TURLOUGH_KILLS` says how many kills there are, `TURLOUGH_SEED` which.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::cluster::Cluster;

const FLOWS: [(&str, &str); 5] = [
    (
        "chain",
        "flow: chain\nnodes: { a: { apply: quick }, b: { after: [a], apply: slow }, c: { after: [b], pass: '. + 1' }, d: { after: [c], apply: quick } }",
    ),
    (
        "join",
        "flow: join\nnodes: { a: { apply: quick }, b: { apply: slow }, c: { after: [a, b], pass: '.a + .b' } }",
    ),
    (
        "each",
        "flow: each\nnodes: { list: { pass: '[range(6)]' }, all: { after: [list], for_each: { body: { nodes: { x: { apply: slow } } } } }, sum: { after: [all], pass: 'add' } }",
    ),
    (
        "nap",
        "flow: nap\nnodes: { a: { apply: quick }, b: { after: [a], wait: 3s }, c: { after: [b], apply: quick } }",
    ),
    (
        "once",
        "flow: once\nnodes: { pay: { apply: once, idempotent: false, timeout: 2s }, done: { after: [pay], apply: quick } }",
    ),
];

/// Numbers from a seed, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

/// What a request gives.
fn right(flow: &str, n: u64) -> Json {
    match flow {
        "chain" => json!(n + 1),
        "join" => json!(2 * n),
        "each" => json!(15),
        _ => json!(n),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_doubles_or_hangs_a_request() {
    let kills = setting("TURLOUGH_KILLS", 8);
    let seed = setting("TURLOUGH_SEED", 20_261_121);
    println!("TURLOUGH_SEED={seed} TURLOUGH_KILLS={kills}");
    let mut random = Random(seed | 1);
    let mut cluster = Cluster::start(&FLOWS, 3).await;
    let mut requests = Vec::new();
    let mut keeper = cluster.keeper.clone();
    for kill in 0..kills {
        for _ in 0..6 {
            let (flow, _) = FLOWS[random.below(5) as usize];
            let n = random.below(1_000);
            let key = format!("{}", requests.len());
            let first = random.below(3) as usize;
            let id = cluster.begin(flow, &n.to_string(), &key, first).await;
            requests.push((id, flow, n));
        }
        tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        match random.below(8) {
            0 => {
                cluster.nats.kill();
                cluster.nats.start_again().await;
            }
            1 => {
                keeper.stop().await;
                keeper = crate::cluster::keeper(&cluster.state).await;
            }
            _ => {
                let replica = random.below(3) as usize;
                let signal = if random.below(4) == 0 { "TERM" } else { "KILL" };
                println!("kill {kill}: {signal} of replica {replica}");
                cluster.signal(replica, signal);
                let fresh = cluster.replica().await;
                drop(std::mem::replace(&mut cluster.replicas[replica], fresh));
            }
        }
    }
    let mut unknown = 0;
    for (id, flow, n) in &requests {
        let view = cluster.settled(id).await;
        let result = cluster.result(id).await;
        if *flow == "once" && view["status"] == "failed" {
            assert_eq!(result["cause"], "unknown", "{result}");
            unknown += 1;
            continue;
        }
        assert_eq!(view["status"], "succeeded", "{flow} {n}: {result}");
        assert_eq!(result, right(flow, *n), "{flow} {n}");
    }
    println!("{} requests, {unknown} of unknown outcome", requests.len());
    assert!(cluster.calls.most("once") <= 1);
    assert!(cluster.calls.keys("once") > 0);
    // The keeper tells what it knew a moment ago, and hints that were on their way are dropped.
    for _ in 0..1_200 {
        let hints = cluster.state.queue.depth("flows").await.unwrap();
        if keeper.counts().open == 0 && hints == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let hints = cluster.state.queue.depth("flows").await.unwrap();
    panic!(
        "{} requests are open, {hints} hints are left",
        keeper.counts().open
    );
}
