//! Functions and receivers of callbacks that do as they are told, and tell what
//! they were sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use turlough_gateway::{AsyncConfig, GatewayConfig};

use crate::harness::*;

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An answer that is none: the connection is closed.
pub(crate) const CLOSE: &[u8] = b"";

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Latin-1, lines and all.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    async fn read(stream: &mut TcpStream) -> Option<Self> {
        let head = read_head(stream).await?;
        let mut sent = Self {
            head,
            body: Vec::new(),
        };
        if let Some(length) = sent.header("content-length") {
            sent.body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut sent.body).await.ok()?;
        }
        Some(sent)
    }

    /// The only header of a name, written in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers(name).into_iter();
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice: {}", self.head);
        value
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1);
        let headers = lines.filter_map(|line| line.split_once(": "));
        let named = headers.filter(|(found, _)| *found == name);
        named.map(|(_, value)| value).collect()
    }
}

/// Something that answers HTTP, and what it was sent.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    sent: mpsc::Receiver<Sent>,
}

impl Scripted {
    /// Gives each of `answers` once, in the order of requests, and the last for ever.
    pub(crate) async fn answering(answers: &'static [&'static [u8]]) -> Self {
        let (_, open) = watch::channel(true);
        Self::behind(open, answers).await
    }

    /// The same, which answers nothing before the gate is open.
    pub(crate) async fn behind(
        gate: watch::Receiver<bool>,
        answers: &'static [&'static [u8]],
    ) -> Self {
        let (tell, sent) = mpsc::channel(100);
        let turn = Arc::new(AtomicUsize::new(0));
        let address = function(move |mut stream| {
            let (tell, turn, mut gate) = (tell.clone(), Arc::clone(&turn), gate.clone());
            async move {
                while let Some(sent) = Sent::read(&mut stream).await {
                    let turn = turn.fetch_add(1, Ordering::SeqCst);
                    if tell.send(sent).await.is_err() {
                        return;
                    }
                    if gate.wait_for(|&open| open).await.is_err() {
                        return;
                    }
                    let answer = answers[turn.min(answers.len() - 1)];
                    if answer == CLOSE || stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            }
        });
        Self {
            address: address.await,
            sent,
        }
    }

    /// The next request, waited for.
    pub(crate) async fn sent(&mut self) -> Sent {
        within(self.sent.recv()).await.unwrap()
    }

    /// A request that is there already.
    pub(crate) fn sent_already(&mut self) -> Option<Sent> {
        self.sent.try_recv().ok()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Bounds of asynchronous calls, and waits of a callback that take no time. A stop
/// waits until all calls are over.
pub(crate) fn config_with(change: impl FnOnce(&mut AsyncConfig)) -> GatewayConfig {
    let mut config = config();
    config.drain_grace = LONG;
    config.asynchronous.callback_wait_min = std::time::Duration::from_millis(1);
    // Those that ask for more say so.
    config.asynchronous.retry.attempts = 1;
    change(&mut config.asynchronous);
    config
}

/// Calls a function asynchronously.
pub(crate) async fn call_async(
    gateway: &TestGateway,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Answer {
    let mut request = Request::post(format!("/async-function/{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    gateway.call(request).await
}
