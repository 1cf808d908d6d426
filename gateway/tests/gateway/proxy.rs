//! What reaches a function, what comes back, and what becomes of failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use turlough_gateway::GatewayConfig;

use crate::harness::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A function that gives `answer` to everything, and the heads that it was sent.
async fn recorder(gateway: &TestGateway, answer: &'static str) -> mpsc::Receiver<String> {
    let (heads, received) = mpsc::channel(100);
    let address = function(move |mut stream| {
        let heads = heads.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                heads.send(head).await.unwrap();
                write(&mut stream, answer).await;
            }
        }
    });
    gateway.function("it", address.await);
    received
}

#[tokio::test]
async fn method_path_query_and_headers_reach_the_function_unchanged() {
    let gateway = TestGateway::start().await;
    let mut heads = recorder(&gateway, OK).await;
    let path = "/a%2Fb/%c3%28//c;d/../e?x=%20&y=a+b&z=%zz";
    let request = Request::builder()
        .method("PURGE")
        .uri(format!("/function/it{path}"))
        .header("X-Mine", HeaderValue::from_bytes(b"\xff\xfe").unwrap())
        .header("X-Many", "1")
        .header("X-Many", "2")
        .header("Connection", "X-Once")
        .header("X-Once", "1")
        .header("Proxy-Authorization", "Basic x");
    let answer = gateway.call(request.body(Full::default()).unwrap()).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok"));
    let head = within(heads.recv()).await.unwrap();
    assert!(
        head.starts_with(&format!("PURGE {path} HTTP/1.1\r\n")),
        "{head}"
    );
    for part in ["x-mine: \u{ff}\u{fe}\r\n", "x-many: 1\r\n", "x-many: 2\r\n"] {
        assert!(head.contains(part), "{part}: {head}");
    }
    for part in ["x-once", "proxy-authorization", "connection"] {
        assert!(!head.contains(part), "{part}: {head}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn path_is_empty_or_the_namespace_is_written() {
    let gateway = TestGateway::start().await;
    let mut heads = recorder(&gateway, OK).await;
    for (path, seen) in [
        ("/function/it", "GET / "),
        ("/function/it?a=1", "GET /?a=1 "),
        ("/function/it/", "GET / "),
        ("/function/it.openfaas-fn/x", "GET /x "),
    ] {
        assert_eq!(gateway.get(path).await.status, StatusCode::OK);
        let head = within(heads.recv()).await.unwrap();
        assert!(head.starts_with(seen), "{path}: {head}");
    }
    assert_eq!(
        gateway.get("/function/it.other").await.status,
        StatusCode::NOT_FOUND
    );
    gateway.stop().await;
}

#[tokio::test]
async fn call_is_stamped_on_the_way_in_and_out() {
    let gateway = TestGateway::start().await;
    let mut heads = recorder(&gateway, OK).await;
    let request = Request::get("/function/it").header("X-Forwarded-For", "9.9.9.9, 8.8.8.8");
    let answer = gateway.call(request.body(Full::default()).unwrap()).await;
    let head = within(heads.recv()).await.unwrap();
    assert!(
        head.contains("x-forwarded-for: 9.9.9.9, 8.8.8.8, 127.0.0.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("x-forwarded-host: {}\r\n", gateway.address)),
        "{head}"
    );
    let call_id = answer.headers["x-call-id"].to_str().unwrap();
    assert!(uuid::Uuid::parse_str(call_id).is_ok(), "{call_id}");
    assert!(
        head.contains(&format!("x-call-id: {call_id}\r\n")),
        "{head}"
    );
    let start = answer.headers["x-start-time"].to_str().unwrap();
    assert!(
        head.contains(&format!("x-start-time: {start}\r\n")),
        "{head}"
    );
    assert!(start.parse::<u64>().unwrap() > 1_700_000_000_000_000_000);
    let seconds = answer.headers["x-duration-seconds"].to_str().unwrap();
    assert!(seconds.parse::<f64>().unwrap() < LONG.as_secs_f64());
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_caller_and_the_function_stamped_stays() {
    let gateway = TestGateway::start().await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Duration-Seconds: 4.5\r\n\
         Connection: X-Once\r\nX-Once: 1\r\nKeep-Alive: timeout=5\r\n\r\n";
    let mut heads = recorder(&gateway, answer).await;
    let request = Request::get("/function/it")
        .header("X-Call-Id", "mine")
        .header("X-Forwarded-Host", "there");
    let answer = gateway.call(request.body(Full::default()).unwrap()).await;
    let head = within(heads.recv()).await.unwrap();
    assert!(head.contains("x-call-id: mine\r\n"), "{head}");
    assert!(head.contains("x-forwarded-host: there\r\n"), "{head}");
    assert_eq!(answer.headers["x-call-id"], "mine");
    assert_eq!(answer.headers["x-duration-seconds"], "4.5");
    assert!(!answer.headers.contains_key("x-once") && !answer.headers.contains_key("keep-alive"));
    gateway.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_utf8_pass_both_ways_unchanged() {
    let gateway = TestGateway::start().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let address = function(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let mut body = [0; 256];
        stream.read_exact(&mut body).await.unwrap();
        write(
            &mut stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 256\r\n\r\n",
        )
        .await;
        stream.write_all(&body).await.unwrap();
    });
    gateway.function("it", address.await);
    let request = Request::post("/function/it").body(Full::new(Bytes::from(every_byte.clone())));
    let answer = gateway.call(request.unwrap()).await;
    assert_eq!(answer.body, every_byte);
    gateway.stop().await;
}

#[tokio::test]
async fn head_keeps_its_length_and_has_no_body() {
    let gateway = TestGateway::start().await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n";
    let _heads = recorder(&gateway, answer).await;
    let request = Request::head("/function/it").body(Full::default()).unwrap();
    let answer = within(gateway.call(request)).await;
    assert_eq!(answer.headers["content-length"], "42");
    assert!(answer.body.is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn unknown_function_is_404_and_named() {
    let gateway = TestGateway::start().await;
    for (path, name) in [
        ("/function/nobody/x?y", "`nobody`"),
        ("/function/no.where", "`no.where`"),
    ] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.text().contains(name), "{}", answer.text());
        assert!(answer.headers.contains_key("x-call-id"));
    }
    assert_eq!(gateway.get("/nothing").await.status, StatusCode::NOT_FOUND);
    gateway.stop().await;
}

fn check_bad_gateway(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.headers["x-openfaas-internal"], "gateway");
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn function_that_closes_the_connection_is_502() {
    let gateway = TestGateway::start().await;
    let address = function(|mut stream| async move {
        read_head(&mut stream).await;
    });
    gateway.function("it", address.await);
    check_bad_gateway(&gateway.get("/function/it").await);
    gateway.stop().await;
}

#[tokio::test]
async fn function_that_cannot_be_reached_is_502() {
    let gateway = TestGateway::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway.function("it", listener.local_addr().unwrap());
    drop(listener);
    check_bad_gateway(&gateway.get("/function/it").await);
    gateway.stop().await;
}

#[tokio::test]
async fn function_that_hangs_is_502_after_the_timeout_and_left() {
    let upstream_timeout = Duration::from_millis(300);
    let gateway = TestGateway::with(GatewayConfig {
        upstream_timeout,
        ..config()
    });
    let gateway = gateway.await;
    let (left, mut was_left) = mpsc::channel(1);
    let address = function(move |mut stream| {
        let left = left.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
            left.send(()).await.unwrap();
        }
    });
    gateway.function("it", address.await);
    let begun = std::time::Instant::now();
    check_bad_gateway(&within(gateway.get("/function/it")).await);
    assert!(begun.elapsed() >= upstream_timeout);
    within(was_left.recv()).await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn caller_that_leaves_takes_the_call_with_it() {
    let gateway = TestGateway::start().await;
    let (steps, mut seen) = mpsc::channel(4);
    let address = function(move |mut stream| {
        let steps = steps.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            steps.send("called").await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
            steps.send("left").await.unwrap();
        }
    });
    gateway.function("it", address.await);
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    write(&mut caller, "GET /function/it HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(within(seen.recv()).await, Some("called"));
    drop(caller);
    assert_eq!(within(seen.recv()).await, Some("left"));
    gateway.stop().await;
}

#[tokio::test]
async fn connection_to_the_function_is_kept_and_replaced_when_stale() {
    let gateway = TestGateway::start().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = function(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            // The third request on a connection finds it closed.
            for _ in 0..2 {
                let Some(_) = read_head(&mut stream).await else {
                    return;
                };
                write(&mut stream, OK).await;
            }
        }
    });
    gateway.function("it", address.await);
    for _ in 0..4 {
        assert_eq!(gateway.get("/function/it").await.status, StatusCode::OK);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn request_in_flight_ends_while_the_gateway_stops() {
    let gateway = TestGateway::start().await;
    let (called, mut was_called) = mpsc::channel(1);
    let (release, released) = tokio::sync::watch::channel(false);
    let address = function(move |mut stream| {
        let (called, mut released) = (called.clone(), released.clone());
        async move {
            read_head(&mut stream).await.unwrap();
            called.send(()).await.unwrap();
            released.wait_for(|&released| released).await.unwrap();
            write(&mut stream, OK).await;
        }
    });
    gateway.function("it", address.await);
    let address = gateway.address;
    let call = tokio::spawn(async move { get(address, "/function/it").await });
    within(was_called.recv()).await.unwrap();
    gateway.begin_stop();
    eventually(|| async { TcpStream::connect(address).await.is_err().then_some(()) }).await;
    release.send(true).unwrap();
    assert_eq!(call.await.unwrap().status, StatusCode::OK);
    gateway.stop().await;
}
