//! `X-Timeout`: how long a caller lets a call take.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use turlough_gateway::GatewayConfig;

use crate::deploying::{images_of, with_images};
use crate::harness::*;
use crate::modes::stack;
use crate::scripted::*;

async fn within_time(gateway: &TestGateway, timeout: &str) -> Answer {
    let request = Request::post("/function/it").header("X-Timeout", timeout);
    let request = request.body(Full::new(Bytes::from("x"))).unwrap();
    within(gateway.call(request)).await
}

#[tokio::test]
async fn call_is_given_up_after_the_time_that_its_caller_gives_it() {
    let gateway = TestGateway::with(GatewayConfig {
        upstream_timeout: 10 * LONG,
        ..config()
    })
    .await;
    let (_never, gate) = watch::channel(false);
    let mut it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    let answer = within_time(&gateway, "300ms").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.headers["x-openfaas-internal"], "gateway");
    assert!(answer.body.is_empty());
    assert_eq!(it.sent().await.header("x-timeout"), Some("300ms"));
    gateway.stop().await;
}

#[tokio::test]
async fn caller_gives_a_call_no_more_time_than_the_gateway() {
    let gateway = TestGateway::with(GatewayConfig {
        upstream_timeout: Duration::from_millis(300),
        ..config()
    })
    .await;
    let (open, gate) = watch::channel(false);
    let it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    let answer = within_time(&gateway, "2h").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    open.send(true).unwrap();
    let answer = within_time(&gateway, "2h").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok"));
    gateway.stop().await;
}

#[tokio::test]
async fn time_that_is_none_is_400_and_nothing_is_called() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    for text in ["soon", "10", "0s", "-5s", ""] {
        let answer = within_time(&gateway, text).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
        assert_eq!(answer.headers["x-openfaas-internal"], "gateway");
        let queued = call_async(&gateway, "it", &[("X-Timeout", text)], "").await;
        assert_eq!(queued.status, StatusCode::BAD_REQUEST, "{text}");
        for answer in [answer, queued] {
            let said = format!("X-Timeout is {text:?}");
            assert!(answer.text().contains(&said), "{}", answer.text());
        }
    }
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}

#[tokio::test]
async fn each_attempt_of_an_asynchronous_call_has_the_time_that_its_caller_gives() {
    let gateway = TestGateway::with(GatewayConfig {
        upstream_timeout: 10 * LONG,
        ..config_with(|bounds| {
            bounds.retry.attempts = 2;
            bounds.retry.min_wait = Duration::from_millis(1);
        })
    })
    .await;
    let (_never, gate) = watch::channel(false);
    let mut it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    let mut receiver = Scripted::answering(&[OK]).await;
    let url = receiver.url("/");
    let headers = [("X-Timeout", "300ms"), ("X-Callback-Url", url.as_str())];
    let answer = call_async(&gateway, "it", &headers, "x").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    for _ in 0..2 {
        assert_eq!(it.sent().await.header("x-timeout"), Some("300ms"));
    }
    let told = receiver.sent().await;
    assert_eq!(told.header("x-function-status"), Some("502"));
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}

#[tokio::test]
async fn process_of_a_request_lives_no_longer_than_its_caller_waits() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    // It writes what nobody reads, so that its watchdog does not hear that the caller has gone.
    let writes = format!("sh -c 'echo $$ > {}; exec yes'", pid.display());
    let stack = stack(&[("it", "fork", &writes, "")]);
    let gateway = TestGateway::with_stack(config(), &stack).await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let head = "GET /function/it HTTP/1.1\r\nhost: a\r\nx-timeout: 500ms\r\n\r\n";
    write(&mut caller, head).await;
    let gone = || async {
        let pid: u64 = std::fs::read_to_string(&pid).ok()?.trim().parse().ok()?;
        (!runs(pid)).then_some(())
    };
    eventually(gone).await;
    drop(caller);
    gateway.stop().await;
}

#[tokio::test]
async fn call_waits_for_a_replica_no_longer_than_its_caller_says() {
    let images = images_of(&[("it", "behaviour: sick")]);
    let gateway = TestGateway::with(GatewayConfig {
        start_timeout: 10 * LONG,
        ..with_images(&images)
    })
    .await;
    let it = json!({ "service": "it", "image": "it" });
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    let none = json!({ "replicas": 0 });
    gateway
        .accepted(Method::POST, "/system/scale-function/it", &none)
        .await;
    let answer = within_time(&gateway, "300ms").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    gateway.stop().await;
}
