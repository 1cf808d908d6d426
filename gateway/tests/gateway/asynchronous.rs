//! `/async-function/…`: what is accepted, and what reaches the function.

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::sync::watch;
use turlough_gateway::GatewayConfig;

use crate::harness::*;
use crate::scripted::*;

#[tokio::test]
async fn call_is_accepted_under_an_id_and_then_made() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let answer = call_async(&gateway, "it", &[], "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(answer.body.is_empty());
    let call_id = answer.headers["x-call-id"].to_str().unwrap();
    assert!(uuid::Uuid::parse_str(call_id).is_ok(), "{call_id}");
    assert_eq!(it.sent().await.header("x-call-id"), Some(call_id));
    let answer = call_async(&gateway, "it", &[("X-Call-Id", "mine")], "").await;
    assert_eq!(answer.headers["x-call-id"], "mine");
    assert_eq!(it.sent().await.header("x-call-id"), Some("mine"));
    gateway.stop().await;
}

#[tokio::test]
async fn path_query_headers_and_body_reach_the_function_unchanged() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let every_byte: Vec<u8> = (0..=255).collect();
    let headers = [
        ("X-Callback-Url", "http://127.0.0.1:9/"),
        ("X-Forwarded-For", "9.9.9.9"),
        ("X-Many", "1"),
        ("X-Many", "2"),
        ("Connection", "X-Once"),
        ("X-Once", "1"),
    ];
    let path = "/a%2Fb/%c3%28//c;d/../e?x=%20&y=a+b&z=%zz";
    let answer = call_async(&gateway, &format!("it{path}"), &headers, every_byte.clone()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let sent = it.sent().await;
    let line = format!("POST {path} HTTP/1.1\r\n");
    assert!(sent.head.starts_with(&line), "{}", sent.head);
    assert_eq!(sent.body, every_byte);
    assert_eq!(sent.headers("x-many"), ["1", "2"]);
    assert_eq!(sent.header("x-forwarded-for"), Some("9.9.9.9, 127.0.0.1"));
    let host = gateway.address.to_string();
    assert_eq!(sent.header("x-forwarded-host"), Some(host.as_str()));
    let start: u64 = sent.header("x-start-time").unwrap().parse().unwrap();
    assert!(start > 1_700_000_000_000_000_000);
    // A function may take the callback on, and is told which call it is of.
    assert_eq!(sent.header("x-callback-url"), Some("http://127.0.0.1:9/"));
    assert_eq!(sent.header("x-turlough-callback-by"), Some("function"));
    assert_eq!(sent.header("x-turlough-delivery-id").unwrap().len(), 32);
    for gone in ["x-once", "connection"] {
        assert_eq!(sent.header(gone), None, "{}", sent.head);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn path_may_be_empty_and_the_namespace_written() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    for (path, seen) in [
        ("it", "POST / "),
        ("it?a=1", "POST /?a=1 "),
        ("it.openfaas-fn/x", "POST /x "),
    ] {
        let answer = call_async(&gateway, path, &[], "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{path}");
        let head = it.sent().await.head;
        assert!(head.starts_with(seen), "{path}: {head}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn chunked_body_reaches_the_function_whole() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST /async-function/it HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    write(&mut caller, head).await;
    write(&mut caller, "3\r\none\r\n4\r\n two\r\n0\r\n\r\n").await;
    read_until(&mut caller, "HTTP/1.1 202 Accepted\r\n").await;
    assert_eq!(it.sent().await.body, b"one two");
    gateway.stop().await;
}

#[tokio::test]
async fn only_post_is_taken_and_only_with_a_name() {
    let gateway = TestGateway::start().await;
    let answer = gateway.get("/async-function/it").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers["allow"], "POST");
    for path in ["", "/x", "?x=1"] {
        let answer = call_async(&gateway, path, &[], "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn callback_url_that_cannot_be_posted_to_is_400_and_nothing_is_called() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    for url in [
        "nonsense with spaces",
        "/path",
        "ftp://host/",
        "http:///path",
    ] {
        let answer = call_async(&gateway, "it", &[("X-Callback-Url", url)], "").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{url}");
        assert!(answer.text().contains(url), "{}", answer.text());
        assert!(answer.headers.contains_key("x-call-id"));
    }
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}

#[tokio::test]
async fn body_over_the_limit_is_413_whether_its_length_is_told_or_not() {
    let gateway = TestGateway::with(config_with(|bounds| bounds.body_bytes_max = 10)).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let answer = call_async(&gateway, "it", &[], "x".repeat(11)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let text = answer.text();
    assert!(
        text.contains("11 bytes") && text.contains("limit 10"),
        "{text}"
    );
    // Refused by its length alone, before any of it comes.
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST /async-function/it HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n";
    write(&mut caller, head).await;
    read_until(&mut caller, "HTTP/1.1 413 ").await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST /async-function/it HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    write(&mut caller, head).await;
    write(&mut caller, "6\r\nsix si\r\n6\r\nx more\r\n").await;
    read_until(&mut caller, "HTTP/1.1 413 ").await;
    let answer = call_async(&gateway, "it", &[], "x".repeat(10)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(it.sent().await.body.len(), 10);
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}

#[tokio::test]
async fn body_that_does_not_arrive_is_408() {
    let gateway = TestGateway::with(GatewayConfig {
        upstream_timeout: std::time::Duration::from_millis(100),
        ..config()
    });
    let gateway = gateway.await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST /async-function/it HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhalf";
    write(&mut caller, head).await;
    read_until(&mut caller, "HTTP/1.1 408 ").await;
    gateway.stop().await;
}

#[tokio::test]
async fn calls_are_counted_like_any_and_those_that_wait_are_gauged() {
    let bounds = config_with(|bounds| bounds.in_flight_per_function_max = 1);
    let gateway = TestGateway::with(bounds).await;
    let (open, gate) = watch::channel(false);
    let mut it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    for _ in 0..3 {
        call_async(&gateway, "it", &[], "").await;
    }
    it.sent().await;
    let metrics = |line: &'static str| {
        let address = gateway.metrics;
        eventually(move || async move {
            let text = get(address, "/metrics").await.text().to_owned();
            text.lines().any(|found| found == line).then_some(())
        })
    };
    metrics("gateway_async_calls_queued 2").await;
    open.send(true).unwrap();
    metrics("gateway_async_calls_queued 0").await;
    let counted =
        "gateway_function_invocation_total{code=\"200\",function_name=\"it.openfaas-fn\"} 3";
    metrics(counted).await;
    gateway.stop().await;
}

#[tokio::test]
async fn head_larger_than_the_queue_is_refused() {
    let gateway = TestGateway::with(config_with(|bounds| bounds.bytes_max = 1000)).await;
    let long = "x".repeat(2000);
    let request = Request::post("/async-function/it").header("X-Long", &long);
    let request = request.body(Full::default()).unwrap();
    let answer = gateway.call(request).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    gateway.stop().await;
}
