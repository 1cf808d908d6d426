use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A server that answers each request on a connection with the next of its texts.
struct Server {
    url: String,
    /// Whether it closes a connection after the last of them, or as soon as this is told.
    close: tokio::sync::watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// One that closes each connection after the last of its texts.
    async fn closing(answers: &'static [&'static str]) -> Self {
        let server = Self::start(answers).await;
        server.close.send_replace(true);
        server
    }

    async fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            close: tokio::sync::watch::Sender::new(false),
            connections: Arc::default(),
            heads: Arc::default(),
        };
        let (connections, heads) = (Arc::clone(&server.connections), Arc::clone(&server.heads));
        let close = server.close.subscribe();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (heads, mut close) = (Arc::clone(&heads), close.clone());
                tokio::spawn(async move {
                    for answer in answers {
                        let Some(head) = request(&mut stream).await else {
                            return;
                        };
                        heads.lock().unwrap().push(head);
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                    drop(close.wait_for(|close| *close).await);
                });
            }
        });
        server
    }

    fn gateway(&self) -> Gateway {
        gateway(&self.url)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Reads a request without a body, or with one of a byte.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    if head.contains("content-length: 1") {
        stream.read_u8().await.ok()?;
    }
    Some(head)
}

fn gateway(url: &str) -> Gateway {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Gateway::new(&client, url)
}

async fn post(gateway: &Gateway, path: &str) -> Result<Answer, GatewayError> {
    let call = Call {
        method: Method::POST,
        path,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"1"),
    };
    gateway.call(call).await
}

async fn body(mut answer: Answer) -> Result<Vec<u8>, hyper::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn idle(gateway: &Gateway) -> usize {
    gateway.idle().len()
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    let server = Server::start(&[HELLO, CHUNKED, HELLO, EMPTY, EMPTY, HELLO]).await;
    let gateway = server.gateway();
    for expected in ["hello", "hello", "hello", "", "", "hello"] {
        let answer = post(&gateway, "/function/f").await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(body(answer).await.unwrap(), expected.as_bytes());
    }
    assert_eq!((server.connections(), idle(&gateway)), (1, 1));
    let heads = server.heads.lock().unwrap();
    let host = format!("host: {}\r\n", server.url.trim_start_matches("http://"));
    for head in heads.iter() {
        assert!(head.starts_with("POST /function/f HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&host), "{head}");
        assert!(head.contains("accept: */*\r\n"), "{head}");
    }
}

/// An idle connection that its server closes now.
async fn closed(server: &Server, gateway: &Gateway) -> Connection {
    let answer = post(gateway, "/function/f").await.unwrap();
    assert_eq!(body(answer).await.unwrap(), b"hello");
    let (connection, _) = gateway.idle().pop_back().unwrap();
    assert!(connection.is_quiet());
    server.close.send_replace(true);
    while connection.is_quiet() {
        tokio::task::yield_now().await;
    }
    server.close.send_replace(false);
    connection
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_takes_no_call_with_it() {
    let server = Server::start(&[HELLO]).await;
    let gateway = server.gateway();
    for number in 1..=20 {
        let connection = closed(&server, &gateway).await;
        gateway.put(connection);
        assert_eq!(server.connections(), number);
    }
    assert_eq!(server.heads.lock().unwrap().len(), 20, "each call once");
}

#[tokio::test]
async fn a_request_that_was_not_sent_comes_back() {
    let server = Server::start(&[HELLO]).await;
    let mut connection = closed(&server, &server.gateway()).await;
    // The runtime sees it, too.
    while poll_fn(|cx| {
        let _ = connection.poll(cx, |_| Poll::<()>::Pending);
        Poll::Ready(connection.is_ready())
    })
    .await
    {
        tokio::task::yield_now().await;
    }
    let call = Request::new(Full::new(Bytes::from_static(b"1")));
    let Err(Unsent::Kept { request, .. }) = connection.send(call).await else {
        panic!("it was sent on a closed connection")
    };
    assert_eq!(request.uri(), "/");
    assert_eq!(server.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn who_is_not_there_was_not_called() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for url in [&*format!("http://{address}"), "http://name.invalid"] {
        let error = post(&gateway(url), "/function/f").await.unwrap_err();
        assert!(matches!(error, GatewayError::Unmade { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_call_whose_answer_does_not_come_may_have_been_made() {
    for answers in [&[""][..], &["HTTP/1.1 200"], &["nonsense\r\n\r\n"]] {
        let server = Server::closing(answers).await;
        let error = post(&server.gateway(), "/function/f").await.unwrap_err();
        assert!(matches!(error, GatewayError::Lost(_)), "{error:?}");
        assert_eq!(server.heads.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none_and_takes_its_connection_along() {
    let server = Server::closing(&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"]).await;
    let gateway = server.gateway();
    let answer = post(&gateway, "/function/f").await.unwrap();
    assert_eq!(answer.content_length(), Some(10));
    assert!(body(answer).await.is_err());
    assert_eq!(idle(&gateway), 0);
}

#[tokio::test]
async fn an_answer_may_end_with_its_connection() {
    let server = Server::closing(&["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"]).await;
    let gateway = server.gateway();
    let answer = post(&gateway, "/function/f").await.unwrap();
    assert_eq!(body(answer).await.unwrap(), b"hello");
    assert_eq!(idle(&gateway), 0);
}

#[tokio::test]
async fn only_an_answer_that_is_there_is_discarded_without_its_connection() {
    let server =
        Server::start(&[HELLO, EMPTY, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"]).await;
    let gateway = server.gateway();
    for kept in [1, 1, 0] {
        post(&gateway, "/function/f").await.unwrap().discard();
        assert_eq!(idle(&gateway), kept);
    }
    let answer = post(&gateway, "/function/f").await.unwrap();
    drop(answer);
    assert_eq!(
        (server.connections(), idle(&gateway)),
        (2, 0),
        "nobody read it"
    );
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    let server = Server::start(&[HELLO]).await;
    let gateway = server.gateway();
    let calls = (0..IDLE_MAX + 3).map(|_| post(&gateway, "/function/f"));
    let answers = futures_util::future::join_all(calls).await;
    for answer in answers {
        body(answer.unwrap()).await.unwrap();
    }
    assert_eq!(server.connections(), IDLE_MAX + 3);
    assert_eq!(idle(&gateway), IDLE_MAX);
}

#[tokio::test]
async fn a_large_body_goes_both_ways() {
    const SIZE: usize = 8 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await.unwrap();
        let mut body = vec![0; SIZE];
        stream.read_exact(&mut body).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream
    });
    let sent: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let gateway = gateway(&url);
    let call = Call {
        method: Method::PUT,
        path: "/function/f",
        headers: HeaderMap::new(),
        body: sent.clone().into(),
    };
    let answer = gateway.call(call).await.unwrap();
    assert!(body(answer).await.unwrap() == sent);
    assert_eq!(idle(&gateway), 1);
    drop(echo.await.unwrap());
}

#[tokio::test]
async fn a_path_follows_the_gateways_own_and_is_escaped_as_in_urls() {
    let server = Server::start(&[EMPTY; 6]).await;
    let gateway = gateway(&server.url.replace("http://", "http://us%20er:pass@"));
    let below = self::gateway(&format!("{}/below/it/", server.url));
    let sent = |gateway: Gateway, path: &'static str| {
        let heads = Arc::clone(&server.heads);
        async move {
            body(post(&gateway, path).await.unwrap()).await.unwrap();
            let head = heads.lock().unwrap().pop().unwrap();
            let line = head.lines().next().unwrap().to_owned();
            (line.split(' ').nth(1).unwrap().to_owned(), head)
        }
    };
    for (path, expected) in [
        ("/function/f", "/function/f"),
        (
            "/function/f.space/a?b=c&d='",
            "/function/f.space/a?b=c&d=%27",
        ),
        ("/function/f?a=/b?c", "/function/f?a=/b?c"),
        (
            "/function/f/<a>%20{b}\"",
            "/function/f/%3Ca%3E%20%7Bb%7D%22",
        ),
    ] {
        let (found, head) = sent(gateway.clone(), path).await;
        assert_eq!(found, expected);
        // us er:pass
        assert!(
            head.contains("authorization: Basic dXMgZXI6cGFzcw==\r\n"),
            "{head}"
        );
    }
    let (found, head) = sent(below, "/function/f").await;
    assert_eq!(found, "/below/it/function/f");
    assert!(!head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn a_gateway_that_cannot_be_called_is_told_as_such() {
    for (url, told) in [
        (
            "https://127.0.0.1:1",
            "https to the gateway is not spoken here",
        ),
        ("ftp://127.0.0.1:1", "write TURLOUGH_GATEWAY_URL with http"),
        ("gateway:8080", "write it as http://host:port"),
        ("/gateway", "TURLOUGH_GATEWAY_URL cannot be read"),
        ("http://", "TURLOUGH_GATEWAY_URL cannot be read"),
    ] {
        let error = post(&gateway(url), "/function/f").await.unwrap_err();
        assert!(matches!(error, GatewayError::Malformed(_)), "{error:?}");
        assert!(error.to_string().contains(told), "{url}: {error}");
    }
}
