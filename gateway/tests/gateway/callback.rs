//! Callbacks: what they hold, and how often they are sent.

use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::harness::*;
use crate::log::Log;
use crate::scripted::*;

const TEAPOT: &[u8] = b"HTTP/1.1 418 x\r\nContent-Type: text/x\r\nX-Many: 1\r\nX-Many: \xff\r\n\
    Connection: X-Once\r\nX-Once: 1\r\nHost: elsewhere\r\nTransfer-Encoding: chunked\r\n\r\n\
    4\r\n\x00\r\n\xff\r\n1\r\n!\r\n0\r\n\r\n";

const TAKEN: &[u8] = b"HTTP/1.1 204 x\r\n\r\n";

const BUSY: &[u8] = b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn callback_holds_the_functions_answer_bit_for_bit() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let it = Scripted::answering(&[TEAPOT]).await;
    gateway.function("it", it.address);
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let url = receiver.url("/a%2Fb?c=%20&d");
    let headers = [("X-Callback-Url", url.as_str()), ("X-Call-Id", "mine")];
    call_async(&gateway, "it/path", &headers, "in").await;
    let sent = receiver.sent().await;
    let line = "POST /a%2Fb?c=%20&d HTTP/1.1\r\n";
    assert!(sent.head.starts_with(line), "{}", sent.head);
    assert_eq!(sent.body, b"\x00\r\n\xff!");
    assert_eq!(sent.header("content-type"), Some("text/x"));
    assert_eq!(sent.headers("x-many"), ["1", "\u{ff}"]);
    assert_eq!(sent.header("x-function-status"), Some("418"));
    assert_eq!(sent.header("x-function-name"), Some("it"));
    assert_eq!(sent.header("x-call-id"), Some("mine"));
    let seconds: f64 = sent.header("x-duration-seconds").unwrap().parse().unwrap();
    assert!(seconds > 0.0 && seconds < LONG.as_secs_f64());
    let host = receiver.address.to_string();
    assert_eq!(sent.header("host"), Some(host.as_str()));
    for gone in ["x-once", "connection", "transfer-encoding"] {
        assert_eq!(sent.header(gone), None, "{}", sent.head);
    }
    gateway.stop().await;
    assert!(receiver.sent_already().is_none());
}

#[tokio::test]
async fn callback_is_sent_again_until_it_is_taken() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let answers: &[&[u8]] = &[
        b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n",
        CLOSE,
        b"HTTP/1.1 429 x\r\nContent-Length: 0\r\n\r\n",
        BUSY,
        b"HTTP/1.1 408 x\r\nContent-Length: 0\r\n\r\n",
        TAKEN,
    ];
    let mut receiver = Scripted::answering(answers).await;
    let url = receiver.url("/");
    call_async(&gateway, "it", &[("X-Callback-Url", &url)], "").await;
    for _ in answers {
        let sent = receiver.sent().await;
        assert_eq!(sent.body, b"ok");
        assert_eq!(sent.header("x-function-status"), Some("200"));
    }
    gateway.stop().await;
    assert!(receiver.sent_already().is_none());
}

#[tokio::test]
async fn callback_reaches_a_receiver_that_comes_up_late() {
    let log = Log::of_this_thread();
    let gateway = TestGateway::with(config_with(|bounds| {
        bounds.callback_attempts_max = u32::MAX;
    }));
    let gateway = gateway.await;
    let it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Bound and not listening: connections are refused, and nobody else gets the port.
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    call_async(&gateway, "it", &[("X-Callback-Url", &url)], "").await;
    let failed = || async { log.text().contains("will be sent again").then_some(()) };
    eventually(failed).await;
    let listener = socket.listen(1).unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.contains("x-function-status: 200\r\n"), "{head}");
    write(&mut stream, "HTTP/1.1 204 x\r\n\r\n").await;
    gateway.stop().await;
}

#[tokio::test]
async fn callback_that_is_refused_or_redirected_is_not_sent_again() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let answers: [&'static [&'static [u8]]; 2] = [
        &[b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", TAKEN],
        &[
            b"HTTP/1.1 307 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            TAKEN,
        ],
    ];
    let mut receivers = Vec::new();
    for answers in answers {
        let mut receiver = Scripted::answering(answers).await;
        let url = receiver.url("/");
        call_async(&gateway, "it", &[("X-Callback-Url", &url)], "").await;
        receiver.sent().await;
        receivers.push(receiver);
    }
    gateway.stop().await;
    for mut receiver in receivers {
        assert!(receiver.sent_already().is_none());
    }
}

#[tokio::test]
async fn callback_that_is_never_taken_is_given_up() {
    let gateway = TestGateway::with(config_with(|bounds| bounds.callback_attempts_max = 3)).await;
    let it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let mut receiver = Scripted::answering(&[BUSY]).await;
    let url = receiver.url("/");
    call_async(&gateway, "it", &[("X-Callback-Url", &url)], "").await;
    for _ in 0..3 {
        receiver.sent().await;
    }
    gateway.stop().await;
    assert!(receiver.sent_already().is_none());
}

#[tokio::test]
async fn function_that_is_unknown_or_out_of_reach_is_told_by_callback() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway.function("down", listener.local_addr().unwrap());
    drop(listener);
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let url = receiver.url("/");
    for (name, status, text) in [
        ("nobody", "404", "function `nobody` is not deployed\n"),
        ("No_Name", "404", "function `No_Name` is not deployed\n"),
        ("down", "502", ""),
    ] {
        let answer = call_async(&gateway, name, &[("X-Callback-Url", &url)], "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let sent = receiver.sent().await;
        assert_eq!(sent.header("x-function-status"), Some(status));
        assert_eq!(sent.header("x-function-name"), Some(name));
        assert_eq!(sent.header("x-openfaas-internal"), Some("gateway"));
        let call_id = answer.headers["x-call-id"].to_str().unwrap();
        assert_eq!(sent.header("x-call-id"), Some(call_id));
        assert_eq!(sent.body, text.as_bytes());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn answer_that_breaks_off_or_is_over_the_limit_is_called_back_as_502() {
    let gateway = TestGateway::with(config_with(|bounds| bounds.answer_bytes_max = 10)).await;
    let answers: &'static [&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nX-Mine: 1\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX-Mine: 1\r\nContent-Length: 11\r\n\r\neleven byte",
        b"HTTP/1.1 200 OK\r\nX-Mine: 1\r\nContent-Length: 10\r\n\r\nexactly 10",
    ];
    let address = function(move |mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        let number: usize = head["POST /".len()..][..1].parse().unwrap();
        let answer = String::from_utf8_lossy(answers[number]);
        write(&mut stream, &answer).await;
    });
    gateway.function("it", address.await);
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let url = receiver.url("/");
    for (number, status, mine, body) in [
        (0, "502", None, ""),
        (1, "502", None, ""),
        (2, "200", Some("1"), "exactly 10"),
    ] {
        let path = format!("it/{number}");
        call_async(&gateway, &path, &[("X-Callback-Url", &url)], "").await;
        let sent = receiver.sent().await;
        assert_eq!(sent.header("x-function-status"), Some(status), "{number}");
        assert_eq!(sent.header("x-mine"), mine, "{number}");
        assert!(sent.header("x-call-id").is_some() && sent.header("x-duration-seconds").is_some());
        assert_eq!(sent.body, body.as_bytes(), "{number}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn answer_that_does_not_end_is_called_back_as_502() {
    let mut config = config_with(|_| {});
    config.upstream_timeout = Duration::from_millis(300);
    let gateway = TestGateway::with(config).await;
    let address = function(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        write(&mut stream, "HTTP/1.1 200 OK\r\n\r\nand then").await;
        // Until the gateway leaves.
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    });
    gateway.function("it", address.await);
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let url = receiver.url("/");
    call_async(&gateway, "it", &[("X-Callback-Url", &url)], "").await;
    let sent = receiver.sent().await;
    assert_eq!(sent.header("x-function-status"), Some("502"));
    assert!(sent.body.is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn receiver_that_does_not_answer_does_not_hold_up_the_function() {
    let bounds = config_with(|bounds| bounds.in_flight_per_function_max = 1);
    let gateway = TestGateway::with(bounds).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let (open, gate) = watch::channel(false);
    let mut hanging = Scripted::behind(gate, &[TAKEN]).await;
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let urls = [hanging.url("/"), hanging.url("/"), receiver.url("/")];
    for url in &urls {
        call_async(&gateway, "it", &[("X-Callback-Url", url)], "").await;
        it.sent().await;
    }
    receiver.sent().await;
    hanging.sent().await;
    hanging.sent().await;
    open.send(true).unwrap();
    gateway.stop().await;
}

/// A name that is resolved, as any is, and needs no server for it.
const LINK_LOCAL_NAME: &str = "http://0xa9fe0101:1/latest/meta-data";

#[tokio::test]
async fn name_that_stands_for_a_link_local_address_is_not_called_back() {
    let log = Log::of_this_thread();
    let gateway = TestGateway::with(config_with(|_| {})).await;
    let it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let headers = [("X-Callback-Url", LINK_LOCAL_NAME), ("X-Call-Id", "mine")];
    let answer = call_async(&gateway, "it", &headers, "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let over = || async {
        let standing = gateway.get("/async-function/it/mine").await.json();
        (standing["state"] == "answered").then_some(())
    };
    eventually(over).await;
    let text = log.text();
    assert!(text.contains("callback refused"), "{text}");
    assert!(
        text.contains("stands for 169.254.1.1, a link-local address"),
        "{text}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn link_local_addresses_are_called_back_where_that_is_allowed() {
    let literal = "http://169.254.1.1:1/";
    for allowed in [false, true] {
        let gateway = TestGateway::with(config_with(|bounds| {
            bounds.callback_link_local = allowed;
            bounds.callback_attempts_max = 1;
            bounds.callback_timeout = Duration::from_millis(300);
        }))
        .await;
        let log = Log::of_this_thread();
        let it = Scripted::answering(&[OK]).await;
        gateway.function("it", it.address);
        let answer = call_async(&gateway, "it", &[("X-Callback-Url", literal)], "").await;
        if !allowed {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            let setting = "TURLOUGH_CALLBACK_LINK_LOCAL";
            assert!(answer.text().contains(setting), "{}", answer.text());
            continue;
        }
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let headers = [("X-Callback-Url", LINK_LOCAL_NAME), ("X-Call-Id", "mine")];
        call_async(&gateway, "it", &headers, "").await;
        let over = || async {
            let standing = gateway.get("/async-function/it/mine").await.json();
            (standing["state"] == "answered").then_some(())
        };
        eventually(over).await;
        // What is there, and what it says, is another matter.
        assert!(
            !log.text().contains("a link-local address"),
            "{}",
            log.text()
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn callback_to_the_functions_own_asynchronous_route_does_not_go_round_in_circles() {
    let gateway = TestGateway::with(config_with(|_| {})).await;
    // It would have its answers called back, too, and says so itself.
    const LOOPS: &[u8] =
        b"HTTP/1.1 200 OK\r\nX-Callback-Url: http://127.0.0.1:9/\r\nX-Turlough-Attempt: 1\r\n\
        Content-Length: 2\r\n\r\nok";
    let mut it = Scripted::answering(&[LOOPS]).await;
    gateway.function("it", it.address);
    let url = format!("http://{}/async-function/it", gateway.address);
    let headers = [("X-Callback-Url", url.as_str()), ("X-Call-Id", "round")];
    call_async(&gateway, "it", &headers, "first").await;
    assert_eq!(it.sent().await.body, b"first");
    let second = it.sent().await;
    assert_eq!(second.body, b"ok");
    assert_eq!(second.header("x-function-status"), Some("200"));
    // A stop waits for what is queued and under way.
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}
