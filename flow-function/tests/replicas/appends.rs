//! What a request costs the log.

use serde_json::json;
use turlough_statestore::Seq;

use crate::cluster::Cluster;

/// A chain of calls.
fn chain(steps: usize) -> String {
    let mut text = format!("flow: chain-{steps}\nnodes:\n  n0: {{ apply: slow }}\n");
    for step in 1..steps {
        text += &format!("  n{step}: {{ after: [n{}], apply: slow }}\n", step - 1);
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_whose_caller_waits_takes_one_append_per_step_and_two() {
    let flows = [1, 3, 12].map(|steps| (steps, format!("chain-{steps}"), chain(steps)));
    let files: Vec<_> = flows
        .iter()
        .map(|(_, name, text)| (&name[..], &text[..]))
        .collect();
    let cluster = Cluster::start(&files, 1).await;
    for (steps, name, _) in &flows {
        let (id, output) = cluster.call_at(0, name, "7").await;
        assert_eq!(output, json!(7));
        cluster.settled(&id).await;
        let id = id.parse().unwrap();
        let records = cluster.state.log.read(id, Seq::START).await.unwrap();
        assert!(
            records.len() <= steps + 2,
            "{steps} steps took {} appends",
            records.len()
        );
    }
}
