//! Many asynchronous calls at once: bounds, turns, and the end of the gateway.

use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::sync::watch;
use turlough_gateway::GatewayConfig;

use crate::harness::*;
use crate::log::Log;
use crate::scripted::*;

async fn accepted(gateway: &TestGateway, path: &str, body: &str) {
    let answer = call_async(gateway, path, &[], body.to_owned()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
}

async fn refused(gateway: &TestGateway, path: &str, body: &str, because: &str) {
    let answer = call_async(gateway, path, &[], body.to_owned()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(answer.text().contains(because), "{}", answer.text());
}

/// True once a call is accepted again.
async fn usable_again(gateway: &TestGateway, path: &str, body: &str) {
    eventually(|| async {
        let answer = call_async(gateway, path, &[], body.to_owned()).await;
        (answer.status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn queue_full_of_calls_refuses_and_is_usable_afterwards() {
    let gateway = TestGateway::with(config_with(|bounds| {
        bounds.calls_max = 3;
        bounds.in_flight_per_function_max = 1;
    }));
    let gateway = gateway.await;
    let (open, gate) = watch::channel(false);
    let it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    for _ in 0..3 {
        accepted(&gateway, "it", "").await;
    }
    refused(&gateway, "it", "", "3 asynchronous calls").await;
    refused(&gateway, "other", "", "3 asynchronous calls").await;
    open.send(true).unwrap();
    usable_again(&gateway, "it", "").await;
    gateway.stop().await;
}

#[tokio::test]
async fn queue_full_of_bytes_refuses_and_is_usable_afterwards() {
    let gateway = TestGateway::with(config_with(|bounds| bounds.bytes_max = 10_000)).await;
    let (open, gate) = watch::channel(false);
    let mut it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    let body = "x".repeat(6000);
    accepted(&gateway, "it", &body).await;
    refused(&gateway, "it", &body, "10000 bytes").await;
    accepted(&gateway, "it", "small").await;
    it.sent().await;
    it.sent().await;
    // Calls in flight hold their bodies still.
    refused(&gateway, "it", &body, "10000 bytes").await;
    open.send(true).unwrap();
    usable_again(&gateway, "it", &body).await;
    gateway.stop().await;
}

#[tokio::test]
async fn function_works_on_several_calls_at_once_and_on_no_more_than_its_bound() {
    let bounds = config_with(|bounds| bounds.in_flight_per_function_max = 2);
    let gateway = TestGateway::with(bounds).await;
    let (open, gate) = watch::channel(false);
    let mut it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    for path in ["it/1", "it.openfaas-fn/2", "it/3", "it.openfaas-fn/4"] {
        accepted(&gateway, path, "").await;
    }
    it.sent().await;
    it.sent().await;
    // Those calls came first: what could begin has begun once this one was made.
    let mut other = Scripted::answering(&[OK]).await;
    gateway.function("other", other.address);
    accepted(&gateway, "other", "").await;
    other.sent().await;
    let metrics = get(gateway.metrics, "/metrics").await;
    let queued = "\ngateway_async_calls_queued 2\n";
    assert!(metrics.text().contains(queued), "{}", metrics.text());
    assert!(it.sent_already().is_none());
    open.send(true).unwrap();
    it.sent().await;
    it.sent().await;
    gateway.stop().await;
}

#[tokio::test]
async fn function_that_hangs_does_not_hold_up_another() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let (open, gate) = watch::channel(false);
    let hanging = Scripted::behind(gate, &[OK]).await;
    let mut quick = Scripted::answering(&[OK]).await;
    gateway.function("hanging", hanging.address);
    gateway.function("quick", quick.address);
    for _ in 0..50 {
        accepted(&gateway, "hanging", "").await;
    }
    for _ in 0..50 {
        accepted(&gateway, "quick", "").await;
        quick.sent().await;
    }
    open.send(true).unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn calls_that_wait_are_still_made_while_the_gateway_stops() {
    let bounds = config_with(|bounds| bounds.in_flight_per_function_max = 1);
    let gateway = TestGateway::with(bounds).await;
    let (open, gate) = watch::channel(false);
    let mut it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    for _ in 0..3 {
        accepted(&gateway, "it", "").await;
    }
    it.sent().await;
    gateway.begin_stop();
    let address = gateway.address;
    eventually(|| async { TcpStream::connect(address).await.is_err().then_some(()) }).await;
    open.send(true).unwrap();
    it.sent().await;
    it.sent().await;
    gateway.stop().await;
}

#[tokio::test]
async fn call_that_arrives_whole_only_while_the_gateway_stops_is_refused() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let address = gateway.address;
    let mut caller = TcpStream::connect(address).await.unwrap();
    let head = "POST /async-function/it HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\
        Expect: 100-continue\r\n\r\n";
    write(&mut caller, head).await;
    read_until(&mut caller, "100 Continue\r\n\r\n").await;
    gateway.begin_stop();
    eventually(|| async { TcpStream::connect(address).await.is_err().then_some(()) }).await;
    write(&mut caller, "late").await;
    let answer = read_until(&mut caller, "the gateway is stopping\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn stop_drops_what_does_not_end_within_the_grace_time_and_says_how_much() {
    let log = Log::of_this_thread();
    let drain_grace = Duration::from_millis(300);
    let mut config = GatewayConfig {
        drain_grace,
        ..config()
    };
    config.asynchronous.in_flight_per_function_max = 2;
    let gateway = TestGateway::with(config).await;
    let (_never, gate) = watch::channel(false);
    let mut it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    for _ in 0..5 {
        accepted(&gateway, "it", "").await;
    }
    it.sent().await;
    it.sent().await;
    let begun = std::time::Instant::now();
    gateway.stop().await;
    assert!(begun.elapsed() >= drain_grace && begun.elapsed() < LONG / 2);
    let log = log.text();
    assert!(log.contains("dropped=5 waiting=3 in_flight=2"), "{log}");
}
