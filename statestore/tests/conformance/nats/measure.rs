//! What an append and a read cost, one at a time: `cargo test --release … -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use turlough_statestore::Seq;

use super::process::{Opens as _, Process};
use crate::server::{large, options, request};

#[allow(clippy::print_stdout, reason = "what a measurement is for")]
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[times.len() * share / 1000];
    println!(
        "{what}: p50 {:?}, p99 {:?}, p99.9 {:?}",
        at(500),
        at(990),
        at(999)
    );
}

/// The same by the client alone, for what of it is ours.
async fn bare(client: &Client, times: &mut Vec<Duration>) {
    let subject = format!("tl.acme.log.{}", request());
    let mut last = 0;
    for _ in 0..6 {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string());
        let payload = Bytes::from(vec![7; 250]);
        let message = Request::new().headers(headers).payload(payload);
        let begin = Instant::now();
        let answer = client.send_request(subject.clone(), message).await.unwrap();
        times.push(begin.elapsed());
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        last = answer["seq"].as_u64().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn appends_and_reads_one_at_a_time() {
    let process = Process::start("").await;
    let state = process.open(&options()).await.unwrap();
    let client = async_nats::connect(process.url()).await.unwrap();
    let (mut appends, mut reads, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
    let mut bares = Vec::new();
    for _ in 0..2_000 {
        bare(&client, &mut bares).await;
        let (one, mut last) = (request(), Seq::START);
        for id in 0..6 {
            // With its envelope some 200 bytes.
            let append = large(id, 1);
            let begin = Instant::now();
            last = state.log.append(one, last, &append).await.unwrap();
            appends.push(begin.elapsed());
        }
        let begin = Instant::now();
        assert_eq!(state.log.read(one, Seq::START).await.unwrap().len(), 6);
        reads.push(begin.elapsed());
        let begin = Instant::now();
        state.log.last(one).await.unwrap();
        lasts.push(begin.elapsed());
    }
    report("append by the client alone", bares);
    report("append", appends);
    report("read of 6", reads);
    report("last", lasts);
}
