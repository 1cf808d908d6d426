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
    let mut platform =
        Platform::with(vec![flow], |s| s.drain = Some(Duration::from_millis(200))).await;
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

async fn get(platform: &Platform, path: &str) -> reqwest::Response {
    let url = format!("{}{path}", platform.direct);
    platform.http.get(url).send().await.unwrap()
}

async fn post(platform: &Platform, path: &str, body: &str) -> reqwest::Response {
    let call = platform.http.post(format!("{}{path}", platform.direct));
    call.body(body.to_owned()).send().await.unwrap()
}

/// A platform with room for eight calls, and a request; seven callers wait for the ends of others.
async fn full() -> (Platform, String, Vec<tokio::task::JoinHandle<()>>) {
    let flow = read_yaml("flow: open\nnodes: { a: { wait: { signal: go } } }").unwrap();
    let platform = Platform::with(vec![flow], |s| s.max_inflight = 8).await;
    let id = platform.begin("/open", "0").await;
    let callers = (1..=7).map(|n: u32| {
        let call = platform.http.post(format!("{}/open", platform.direct));
        tokio::spawn(async move { drop(call.body(n.to_string()).send().await) })
    });
    let callers = callers.collect();
    let eight = |list: &Json| list["requests"].as_array().unwrap().len() == 8;
    platform.until("/requests", eight).await;
    (platform, id, callers)
}

#[tokio::test]
async fn a_call_too_many_is_refused_and_the_function_is_not_ready_for_more() {
    let (platform, _, callers) = full().await;
    let refused = post(&platform, "/open", "9").await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    assert_eq!(
        refused.json::<Json>().await.unwrap()["detail"],
        "7 calls are worked on, limit 7; try again, or raise max_inflight or the number of replicas"
    );
    let ready = get(&platform, "/_/ready").await;
    assert_eq!(
        (
            ready.status().as_u16(),
            ready.headers().contains_key("retry-after")
        ),
        (429, true)
    );
    assert_eq!(get(&platform, "/_/health").await.status(), 200);
    let metrics = get(&platform, "/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("turlough_calls_in_flight{tenant=\"default\"} 7"),
        "{metrics}"
    );
    assert!(
        metrics.contains("turlough_calls_refused_total{tenant=\"default\"} 1"),
        "{metrics}"
    );
    for caller in callers {
        caller.abort();
    }
    while get(&platform, "/_/ready").await.status() == 429 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(get(&platform, "/_/ready").await.status(), 200);
}

#[tokio::test]
async fn what_goes_on_with_a_request_has_room_when_nothing_more_may_start() {
    let (platform, id, _callers) = full().await;
    let signal = format!("/requests/{id}/signals/go");
    // One who follows takes the last place for as long as there is something to tell.
    let mut follower = get(&platform, &format!("/requests/{id}/events"))
        .await
        .bytes_stream();
    follower.next().await.unwrap().unwrap();
    assert_eq!(post(&platform, &signal, "1").await.status(), 429);
    drop(follower);
    let mut status = post(&platform, &signal, "1").await.status();
    while status == 429 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        status = post(&platform, &signal, "1").await.status();
    }
    assert_eq!(status, 202);
}

#[tokio::test]
async fn calls_are_taken_for_a_while_after_readiness_is_gone() {
    let flow = read_yaml("flow: quick\nnodes: { a: { pass: . } }").unwrap();
    let mut platform = Platform::with(vec![flow], |s| {
        s.healthcheck_interval = Duration::from_secs(5);
    })
    .await;
    platform.shutdown.cancel();
    let ready = || async {
        platform
            .http
            .get(format!("{}/_/ready", platform.direct))
            .send()
            .await
            .unwrap()
    };
    while ready().await.status() == 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let call = platform
        .http
        .post(format!("{}/quick", platform.direct))
        .body("5");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let took: f64 = answer.headers()["x-duration-seconds"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(took > 0.0, "{took}");
    // Its client opens the next connection elsewhere.
    assert_eq!(answer.headers()["connection"], "close");
    let server = platform.server.take().unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(20), server).await;
    stopped.expect("it stops").unwrap().unwrap();
}

#[tokio::test]
async fn who_still_waits_when_a_process_ends_is_told_where_its_request_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let states = [
        (format!("file:{}", folder.path().display()), 202),
        ("memory:".to_owned(), 503),
    ];
    for (state, status) in states {
        let flow = read_yaml("flow: slow\nnodes: { a: { apply: hang } }").unwrap();
        let platform = Platform::with(vec![flow], |s| {
            s.state.url = state.parse().unwrap();
            s.drain = Some(Duration::from_millis(300));
        })
        .await;
        let calls = std::sync::Arc::clone(&platform.calls);
        let call = platform.http.post(format!("{}/slow", platform.direct));
        let call = tokio::spawn(call.body("5").send());
        while calls.of("hang").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        platform.shutdown.cancel();
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.status(), status, "{state}");
        let id = answer.headers()["x-turlough-request-id"].to_str().unwrap();
        let place = answer.headers().get("location");
        let names_it = place.is_some_and(|it| it.to_str().unwrap().ends_with(id));
        assert_eq!(names_it, status == 202, "{state}: {place:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_there_in_time_is_refused() {
    let flow = read_yaml("flow: quick\nnodes: { a: { pass: . } }").unwrap();
    let platform = Platform::with(vec![flow], |s| {
        s.read_timeout = Some(Duration::from_millis(200))
    })
    .await;
    let address = platform.direct.strip_prefix("http://").unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let mut some = [0; 4_096];
    while !String::from_utf8_lossy(&answer).contains("read_timeout") {
        let read = slow.read(&mut some).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&some[..read]);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}
