//! Functions and callers that do what they should not: the gateway stays up, and says what happened.

use std::collections::BTreeSet;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use turlough_gateway::GatewayConfig;

use crate::deploying::{images_of, with_images};
use crate::harness::*;
use crate::log::Log;
use crate::scripted::*;

#[tokio::test]
async fn functions_that_misbehave_harm_no_other_and_what_they_did_is_said() {
    let log = Log::of_this_thread();
    let images = images_of(&[
        ("it", ""),
        ("crash", "behaviour: crash"),
        ("sick", "behaviour: sick"),
        ("stubborn", "behaviour: stubborn"),
        ("flood", "behaviour: flood"),
        ("orphan", "behaviour: orphan"),
    ]);
    let gateway = TestGateway::with(GatewayConfig {
        start_timeout: std::time::Duration::from_secs(3),
        ..with_images(&images)
    })
    .await;
    for name in ["crash", "sick"] {
        let function = json!({ "service": name, "image": name });
        gateway
            .accepted(Method::POST, "/system/functions", &function)
            .await;
    }
    let said = [
        "function `crash`: `python3 handler.py` ended (exit status: 3) before it was healthy",
        "no database here",
        "function `sick` listened",
        "GET /_/health gave status 503, not 200",
    ];
    for part in said {
        eventually(|| async { log.text().contains(part).then_some(()) }).await;
    }
    told_why_and_removed(&gateway, "crash", "`python3 handler.py` ended").await;
    told_why_and_removed(&gateway, "sick", "listened").await;
    let others = ["stubborn", "flood", "orphan", "it"];
    let mut pids = Vec::new();
    for name in others {
        let function = json!({ "service": name, "image": name });
        gateway
            .accepted(Method::POST, "/system/functions", &function)
            .await;
        gateway.available(name, 1).await;
        let about = gateway.about(name).await;
        pids.extend(["pid", "child"].iter().filter_map(|it| about[it].as_u64()));
    }
    assert_eq!(pids.len(), 5, "each, and a child");
    let lines = gateway
        .get("/system/logs?name=flood&tail=10&follow=false")
        .await;
    assert_eq!(lines.text().lines().count(), 10, "{}", lines.text());
    for name in others {
        let name = json!({ "functionName": name });
        gateway
            .accepted(Method::DELETE, "/system/functions", &name)
            .await;
    }
    for pid in pids {
        eventually(|| async { (!runs(pid)).then_some(()) }).await;
    }
    assert_eq!(gateway.get("/healthz").await.status, StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test]
async fn call_goes_to_the_replica_with_the_fewest_in_flight() {
    let images = images_of(&[("it", "slow_s: \"3\"")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let it = json!({
        "service": "it", "image": "it", "labels": { "com.openfaas.scale.min": "2" },
    });
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 2).await;
    let of_calls = || async {
        let mut pids = BTreeSet::new();
        for _ in 0..6 {
            pids.insert(gateway.about("it").await["pid"].as_u64());
        }
        pids
    };
    assert_eq!(of_calls().await.len(), 2, "they take turns");
    let request = Request::post("/function/it/slow").body(Full::from("x"));
    let mut slow = Box::pin(gateway.call(request.unwrap()));
    let begun = async {
        let begun = || async {
            let log = gateway.get("/system/logs?name=it").await;
            log.text().contains("slow call").then_some(())
        };
        eventually(begun).await;
        of_calls().await
    };
    let pids = tokio::select! {
        biased;
        _ = &mut slow => panic!("the slow call is over too soon"),
        pids = begun => pids,
    };
    assert_eq!(pids.len(), 1, "the other works");
    assert_eq!(within(slow).await.status, StatusCode::OK);
    assert_eq!(of_calls().await.len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn body_that_is_shorter_than_announced_is_no_whole_one() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    for path in ["/function/it", "/async-function/it"] {
        let mut caller = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
        write(&mut caller, &head).await;
        caller.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // It may be closed without a word.
        drop(within(caller.read_to_end(&mut answer)).await);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("HTTP/1.1 2"), "{path}: {answer}");
    }
    let answer = gateway.get("/function/it").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok"));
    assert!(it.sent().await.head.starts_with("GET "));
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}

#[tokio::test]
async fn what_follows_a_body_is_no_part_of_it() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    for (path, status) in [("/function/it", "200"), ("/async-function/it", "202")] {
        let mut caller = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nokand more\r\n\r\n"
        );
        write(&mut caller, &head).await;
        let mut answer = String::new();
        within(caller.read_to_string(&mut answer)).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains("HTTP/1.1 400"), "{answer}");
        assert_eq!(it.sent().await.body, b"ok");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn answer_that_is_longer_than_announced_ends_where_it_was_announced_to() {
    let gateway = TestGateway::start().await;
    let it = Scripted::answering(&[
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext",
    ])
    .await;
    gateway.function("it", it.address);
    let answer = gateway.get("/function/it").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok"));
    // Not by what came after the one before.
    let answer = gateway.get("/function/it").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "next"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing_and_is_said_to_have() {
    let images = images_of(&[("it", "")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    for path in ["/system/functions", "/system/secrets"] {
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{\"service\":");
        client.write_all(head.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        assert!(answer.contains("the body broke off"), "{path}: {answer}");
    }
}

/// A function that cannot be started answers nothing, says why in its log, and can be removed.
async fn told_why_and_removed(gateway: &TestGateway, name: &str, why: &str) {
    let line = format!("cannot be started: function `{name}`");
    let path = format!("/system/logs?name={name}&follow=false");
    let is_told = || async {
        let log = gateway.get(&path).await;
        let mut lines = log.text().lines();
        lines
            .any(|it| it.contains(&line) && it.contains(why))
            .then_some(())
    };
    eventually(is_told).await;
    let answer = gateway.get(&format!("/function/{name}")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{name}");
    let name = json!({ "functionName": name });
    gateway
        .accepted(Method::DELETE, "/system/functions", &name)
        .await;
}
