//! Nothing is left behind, however the gateway ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use turlough_gateway::Gateway;

use crate::harness::*;

async fn pids_of(gateway: &TestGateway) -> Vec<u64> {
    let about = gateway.get("/function/it").await.json();
    let pids = [&about["pid"], &about["child"]];
    pids.iter().filter_map(|pid| pid.as_u64()).collect()
}

#[tokio::test]
async fn functions_that_heed_sigterm_end_without_waiting_for_the_grace_time() {
    let patient = turlough_gateway::GatewayConfig {
        stop_grace: LONG,
        ..config()
    };
    let gateway = TestGateway::with_stack(patient, &python("")).await;
    let pids = pids_of(&gateway).await;
    let begun = std::time::Instant::now();
    gateway.stop().await;
    assert!(begun.elapsed() < LONG);
    assert!(pids.len() == 1 && !runs(pids[0]));
}

#[tokio::test]
async fn functions_that_ignore_sigterm_are_gone_after_stop() {
    let gateway = TestGateway::with_stack(config(), &python("stubborn")).await;
    let pids = pids_of(&gateway).await;
    gateway.stop().await;
    assert!(pids.len() == 1 && !runs(pids[0]));
}

#[tokio::test]
async fn grandchildren_that_ignore_sigterm_are_gone_after_stop() {
    for behaviour in ["family", "orphan"] {
        let gateway = TestGateway::with_stack(config(), &python(behaviour)).await;
        let pids = pids_of(&gateway).await;
        assert!(pids.len() == 2 && pids.iter().all(|&pid| runs(pid)));
        gateway.stop().await;
        assert!(pids.iter().all(|&pid| !runs(pid)), "{behaviour}: {pids:?}");
    }
}

#[tokio::test]
async fn grandchildren_are_gone_after_their_parent_died() {
    let gateway = TestGateway::with_stack(config(), &python("orphan")).await;
    let child = pids_of(&gateway).await[1];
    gateway.get("/function/it/die").await;
    eventually(|| async { (!runs(child)).then_some(()) }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn gateway_that_is_dropped_kills_its_functions_and_grandchildren() {
    let gateway = Gateway::bind(config()).await.unwrap();
    let stack = python("family");
    let started = gateway.start_stack(&stack, |_| {});
    started.await.unwrap_or_else(|error| panic!("{error}"));
    let about = get(gateway.local_addr(), "/function/it").await.json();
    let pids = [&about["pid"], &about["child"]].map(|pid| pid.as_u64().unwrap());
    assert!(pids.iter().all(|&pid| runs(pid)));
    drop(gateway);
    eventually(|| async { (!pids.iter().any(|&pid| runs(pid))).then_some(()) }).await;
}

#[tokio::test]
async fn functions_die_with_a_gateway_that_is_killed() {
    let mut gateway = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "stop::gateway_to_be_killed",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(gateway.stdout.take().unwrap());
    let pid: u64 = output
        .lines()
        .find_map(|line| line.unwrap().split_once("function pid ")?.1.parse().ok())
        .unwrap();
    assert!(runs(pid));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    eventually(|| async { (!runs(pid)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started as a process of its own, and killed, by the test above"]
async fn gateway_to_be_killed() {
    let gateway = Gateway::bind(config()).await.unwrap();
    let stack = python("stubborn");
    let started = gateway.start_stack(&stack, |one| println!("\nfunction pid {}", one.pid));
    started.await.unwrap_or_else(|error| panic!("{error}"));
    tokio::time::sleep(LONG).await;
}
