//! HTTP at its edges: what is no request, what breaks off, who stays too long.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod platform;

use std::time::Duration;

use futures_util::StreamExt;
use platform::Platform;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use turlough_sdk::read_yaml;

const ECHO: &str = "flow: echo\nnodes: { call: { apply: echo } }\n";
const HANG: &str = "flow: hang\ntimeout: 1h\nnodes: { call: { apply: hang } }\n";

/// Sends bytes, half-closes where told to, and reads to the end.
async fn raw(platform: &Platform, bytes: &str, close: bool) -> String {
    let address = platform.direct.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    if close {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    read.expect("it is answered and closed").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let platform = Platform::yaml(&[ECHO]).await;
    for (method, path, status) in [
        ("GET", "/flows/%ff", 400),
        ("GET", "/requests/%ff", 400),
        ("POST", "/%ff", 400),
        ("GET", "/flows/echo?fromat=dot", 400),
        ("GET", "/flows/echo?format=%ff", 400),
        ("GET", "/requests?limit=0", 400),
        ("GET", "/requests?limit=-1", 400),
        ("GET", "/requests?limit=x", 400),
        ("GET", "/requests?before=x", 400),
        ("GET", "/requests?status=done", 400),
        ("GET", "/requests?flow=a/b", 400),
        ("GET", "/requests?colour=red", 400),
        ("GET", "/no/such/path", 404),
        ("DELETE", "/requests", 405),
        ("BREW", "/flows", 405),
        ("POST", "/nope", 404),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", platform.direct);
        let answer = platform.http.request(method, url).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let media = answer.headers()["content-type"].clone();
        assert_eq!(media, "application/problem+json", "{path}");
        let problem: Json = answer.json().await.unwrap();
        assert_eq!(problem["status"], status, "{path}");
        assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty()));
    }
    let answer = platform.get("/requests?limit=100000").await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400_and_leaves_nothing() {
    let platform = Platform::yaml(&[ECHO]).await;
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    for body in [
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "Content-Length: 100\r\n\r\n{\"a\":",
    ] {
        let answer = raw(&platform, &format!("{head}{body}"), true).await;
        // A client that is gone altogether cannot be told.
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    assert_eq!(platform.json("/requests").await["requests"], json!([]));
}

#[tokio::test]
async fn old_clients_and_heads_are_answered() {
    let platform = Platform::yaml(&[ECHO]).await;
    let post = "POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\n42";
    let answer = raw(&platform, post, false).await;
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with("42"),
        "{answer}"
    );
    let head = "HEAD /flows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(&platform, head, false).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    let inject =
        "POST /echo%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(&platform, inject, false).await;
    assert!(
        answer.starts_with("HTTP/1.1 404") && !answer.contains("\r\nX-Evil"),
        "{answer}"
    );
}

#[tokio::test]
async fn preferences_are_read_from_lists_and_in_any_case() {
    let platform = Platform::yaml(&[ECHO]).await;
    for prefer in [
        "wait=10, respond-async",
        "Respond-Async; foo=bar",
        "respond-async,wait=1",
    ] {
        let url = format!("{}/echo", platform.url);
        let call = platform.http.post(url).header("prefer", prefer).body("1");
        assert_eq!(call.send().await.unwrap().status(), 202, "{prefer}");
    }
}

async fn events(platform: &Platform, id: &str, after: &str) -> reqwest::Response {
    let url = format!("{}/requests/{id}/events", platform.url);
    let call = platform.http.get(url).header("last-event-id", after);
    tokio::time::timeout(Duration::from_secs(20), call.send())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_browser_that_reconnects_after_the_last_event_is_told_that_there_is_no_more() {
    let platform = Platform::yaml(&[ECHO]).await;
    let id = platform.begin("/echo", "1").await;
    platform.ended(&id).await;
    let text = events(&platform, &id, "garbage")
        .await
        .text()
        .await
        .unwrap();
    assert!(
        text.contains("event: accepted"),
        "it is told from its start"
    );
    let last = text.rsplit("id: ").next().unwrap().lines().next().unwrap();
    let answer = events(&platform, &id, last).await;
    assert_eq!(answer.status(), 204);
    let beyond = events(&platform, &id, "99999999999").await.text().await;
    assert_eq!(beyond.unwrap(), text, "a place that is none of this log's");
}

#[tokio::test]
async fn a_shutdown_waits_neither_for_followers_nor_for_callers_nor_for_idle_connections() {
    let flow = read_yaml(HANG).unwrap();
    let mut platform = Platform::with(vec![flow], |s| s.drain = Duration::from_millis(200)).await;
    let id = platform.begin("/hang", "1").await;
    let follow = format!("{}/requests/{id}/events", platform.direct);
    let mut follower = platform
        .http
        .get(follow)
        .send()
        .await
        .unwrap()
        .bytes_stream();
    follower.next().await.unwrap().unwrap();
    let address = platform.direct.strip_prefix("http://").unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"POST /hang HT").await.unwrap();
    let waiting = platform.http.post(format!("{}/hang", platform.direct));
    let waiting = tokio::spawn(waiting.body("1").send());
    platform
        .until("/requests", |list| {
            list["requests"].as_array().unwrap().len() == 2
        })
        .await;
    platform.shutdown.cancel();
    let server = platform.server.take().unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(20), server).await;
    stopped.expect("it stops").unwrap().unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("request_id"));
    while let Some(piece) = follower.next().await {
        drop(piece.unwrap());
    }
}
