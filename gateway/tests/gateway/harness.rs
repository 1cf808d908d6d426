//! A gateway, a client, and scripted functions.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turlough_gateway::{
    FunctionName, FunctionSpec, Gateway, GatewayConfig, GatewayError, Registry, Stack, StartError,
    Started,
};

/// Longer than anything takes on a busy machine; a test that waits for it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct TestGateway {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) started: Vec<Started>,
    registry: Registry,
    shutdown: CancellationToken,
    run: JoinHandle<Result<(), GatewayError>>,
}

pub(crate) fn config() -> GatewayConfig {
    GatewayConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        metrics_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        anybody_deploys: true,
        stop_grace: Duration::from_secs(1),
        drain_grace: Duration::from_secs(1),
        ..GatewayConfig::default()
    }
}

impl TestGateway {
    pub(crate) async fn start() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: GatewayConfig) -> Self {
        Self::run(Gateway::bind(config).await.unwrap(), Vec::new())
    }

    pub(crate) async fn with_stack(config: GatewayConfig, stack: &Stack) -> Self {
        let gateway = Gateway::bind(config).await.unwrap();
        let mut started = Vec::new();
        let all = gateway.start_stack(stack, |one| started.push(one));
        all.await.unwrap_or_else(|error| panic!("{error}"));
        Self::run(gateway, started)
    }

    pub(crate) fn run(gateway: Gateway, started: Vec<Started>) -> Self {
        let shutdown = CancellationToken::new();
        Self {
            address: gateway.local_addr(),
            metrics: gateway.metrics_addr(),
            started,
            registry: gateway.registry().clone(),
            shutdown: shutdown.clone(),
            run: tokio::spawn(gateway.run(shutdown)),
        }
    }

    /// Registers a function that answers at `address`.
    pub(crate) fn function(&self, name: &str, address: SocketAddr) {
        self.function_with(name, address, &[]);
    }

    /// The same with annotations.
    pub(crate) fn function_with(
        &self,
        name: &str,
        address: SocketAddr,
        annotations: &[(&str, &str)],
    ) {
        let mut spec = FunctionSpec::new(FunctionName::parse(name).unwrap());
        for (name, text) in annotations {
            let pair = ((*name).to_owned(), (*text).to_owned());
            spec.annotations.extend([pair]);
        }
        let added = self.registry.add_static(spec, &format!("http://{address}"));
        added.unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Full::default()).unwrap();
        self.call(request).await
    }

    /// Sends a request whose target is a path; reads the whole answer.
    pub(crate) async fn call(&self, request: Request<Full<Bytes>>) -> Answer {
        Answer::read(send(self.address, request).await).await
    }

    pub(crate) fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within(self.run).await.unwrap().unwrap();
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends a request on a connection of its own; returns at the response's headers.
pub(crate) async fn send(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let target = format!("http://{address}{}", request.uri());
    *request.uri_mut() = target.parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    client.request(request).await.unwrap()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    let request = Request::get(path).body(Full::default()).unwrap();
    Answer::read(send(address, request).await).await
}

/// A function made of one closure per connection.
pub(crate) async fn function<F, S>(serve: S) -> SocketAddr
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads up to the end of a head; `None` if the other side closed first.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    // Latin-1, so that every byte is a character.
    Some(head.iter().map(|&byte| char::from(byte)).collect())
}

/// Reads up to and with `part`.
pub(crate) async fn read_until(stream: &mut TcpStream, part: &str) -> String {
    let mut text = Vec::new();
    let find = |text: &[u8]| text.windows(part.len()).any(|w| w == part.as_bytes());
    while !find(&text) {
        let mut buffer = [0; 4096];
        let read = within(stream.read(&mut buffer)).await.unwrap();
        assert_ne!(
            read,
            0,
            "closed before {part:?}: {}",
            String::from_utf8_lossy(&text)
        );
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    let limited = tokio::time::timeout(LONG, future).await;
    limited.unwrap_or_else(|_| panic!("not within {LONG:?}"))
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    within(async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// The folder of `handler.py`.
pub(crate) fn handlers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions")
}

/// A stack of one function `it` that runs `command`, with further lines of its entry.
pub(crate) fn stack_of(command: &str, more: &str) -> Stack {
    let handlers = handlers();
    let text = format!(
        "functions:\n  it:\n    handler: {}\n    annotations:\n      turlough.process: {command}\n{more}",
        handlers.display(),
    );
    Stack::parse(&handlers.join("stack.yaml"), &text, Default::default())
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A stack of one function `it` that runs `handler.py` with a behaviour.
pub(crate) fn python(behaviour: &str) -> Stack {
    let more = format!("    environment:\n      behaviour: \"{behaviour}\"\n");
    stack_of("python3 handler.py", &more)
}

/// What starting a stack that cannot start says.
pub(crate) async fn start_error(config: GatewayConfig, stack: &Stack) -> StartError {
    let gateway = Gateway::bind(config).await.unwrap();
    let error = within(gateway.start_stack(stack, |_| {}))
        .await
        .unwrap_err();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    gateway.run(shutdown).await.unwrap();
    error
}

/// True while a process runs; a zombie does not.
pub(crate) fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}
