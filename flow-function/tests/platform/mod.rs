//! A gateway, functions that misbehave, and a flow-function, each real, on ports of their own.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part of it"
)]

pub mod endpoint;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turlough_flow_function::{Engine, ServeError, Server, Settings};
use turlough_gateway::{FunctionName, FunctionSpec, Gateway, GatewayConfig, Registry};
use turlough_sdk::{Flow, read_yaml};

use endpoint::Endpoint;

/// Bytes that are no UTF-8, and would not survive being taken for text.
pub const BINARY: &[u8] = &[0xff, 0xfe, 0x00, 0x80, b'"', b'\\', 0xc3, 0x28];
/// An error whose body nobody could hold.
const BOAST: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 900000000000000000\r\n\r\nwho knows";
/// What the function `large` answers with.
pub const LARGE_BYTES: usize = 50_000_000;

/// How often a function was called, and with which headers the last time.
#[derive(Debug, Default)]
pub struct Calls {
    counts: Mutex<HashMap<String, Vec<HeaderMap>>>,
}

impl Calls {
    pub fn of(&self, function: &str) -> Vec<HeaderMap> {
        self.counts
            .lock()
            .unwrap()
            .get(function)
            .cloned()
            .unwrap_or_default()
    }
}

pub struct Platform {
    pub url: String,
    pub direct: String,
    pub calls: Arc<Calls>,
    pub engine: Engine,
    pub http: reqwest::Client,
    pub shutdown: CancellationToken,
    pub server: Option<JoinHandle<Result<(), ServeError>>>,
    gateway: CancellationToken,
    functions: Registry,
}

impl Platform {
    pub async fn start(flows: Vec<Flow>) -> Self {
        Self::with(flows, |_| {}).await
    }

    /// Serves YAML flows.
    pub async fn yaml(flows: &[&str]) -> Self {
        Self::start(flows.iter().map(|text| read_yaml(text).unwrap()).collect()).await
    }

    pub async fn with(flows: Vec<Flow>, change: impl FnOnce(&mut Settings)) -> Self {
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let config = GatewayConfig {
            listen: free,
            metrics_listen: free,
            ..GatewayConfig::default()
        };
        let gateway = Gateway::bind(config).await.unwrap();
        let calls = Arc::new(Calls::default());
        for name in [
            "echo", "fail", "hang", "large", "binary", "flaky", "refuse", "plain",
        ] {
            let address = function(name, Arc::clone(&calls)).await;
            gateway.registry().add_static(spec(name), &address).unwrap();
        }
        for (name, answer) in [("closes", ""), ("boasts", BOAST)] {
            let address = function_of_bytes(answer).await;
            gateway.registry().add_static(spec(name), &address).unwrap();
        }

        let mut settings = Settings::from_environment();
        settings.gateway_url = gateway.url();
        settings.listen = Ipv4Addr::LOCALHOST.into();
        settings.port = 0;
        settings.secrets = PathBuf::from("no-such-folder");
        // A test's own program evaluates nothing.
        let evaluator = env!("CARGO_BIN_EXE_turlough-flow-function");
        settings.evaluator = Some(PathBuf::from(evaluator));
        settings.keep_failed = Duration::ZERO;
        change(&mut settings);
        let server = Server::bind(settings, flows).await.unwrap();
        let direct = format!("http://{}", server.local_addr().unwrap());
        gateway
            .registry()
            .add_static(spec("flows"), &direct)
            .unwrap();
        let url = format!("{}/function/flows", gateway.url());
        let functions = gateway.registry().clone();
        let (engine, shutdown) = (server.engine().clone(), CancellationToken::new());
        let serving = tokio::spawn(server.run(shutdown.clone()));
        let stop = CancellationToken::new();
        tokio::spawn(gateway.run(stop.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let server = Some(serving);
        Self {
            url,
            direct,
            calls,
            engine,
            http,
            shutdown,
            server,
            gateway: stop,
            functions,
        }
    }

    /// Puts an endpoint behind the gateway, as a function.
    pub fn serve(&self, name: &str, endpoint: &Endpoint) {
        self.functions
            .add_static(spec(name), &endpoint.url)
            .unwrap();
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let url = format!("{}{path}", self.url);
        self.http
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Starts a flow and does not wait; its id.
    pub async fn begin(&self, path: &str, body: impl Into<reqwest::Body>) -> String {
        let url = format!("{}{path}", self.url);
        let call = self
            .http
            .post(url)
            .header("prefer", "respond-async")
            .body(body);
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 202);
        id_of(&answer)
    }

    /// Asks something of a request, such as `cancel` or `signals/go`; the status and the answer.
    pub async fn ask(
        &self,
        id: &str,
        what: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, serde_json::Value) {
        let answer = self.post(&format!("/requests/{id}/{what}"), body).await;
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// A request, once it has this status.
    pub async fn stands(&self, id: &str, status: &str) -> serde_json::Value {
        self.until(&format!("/requests/{id}"), |view| view["status"] == status)
            .await
    }

    /// A request as it ended, and its output where it has one.
    pub async fn result(&self, id: &str) -> (u16, serde_json::Value) {
        let over = |view: &serde_json::Value| !view["ended_at"].is_null();
        self.until(&format!("/requests/{id}"), over).await;
        let answer = self.get(&format!("/requests/{id}/result")).await;
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
    }

    pub async fn json(&self, path: &str) -> serde_json::Value {
        self.get(path).await.json().await.unwrap()
    }

    /// Asks again until the answer satisfies `done`; the limit is for a fault, not for slowness.
    pub async fn until(
        &self,
        path: &str,
        done: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        for _ in 0..3_000 {
            let answer = self.json(path).await;
            if done(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "{path} never came to what was waited for: {}",
            self.json(path).await
        );
    }

    pub async fn ended(&self, id: &str) -> serde_json::Value {
        self.until(&format!("/requests/{id}"), |view| view["settled"] == true)
            .await
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.gateway.cancel();
    }
}

/// The request that an answer is about.
pub fn id_of(answer: &reqwest::Response) -> String {
    let id = &answer.headers()["x-turlough-request-id"];
    id.to_str().unwrap().to_owned()
}

/// The step of a request's document, or null.
pub fn step(view: &serde_json::Value, path: &str) -> serde_json::Value {
    let mut steps = view["steps"].as_array().into_iter().flatten();
    let found = steps.find(|row| row["step"] == path);
    found.cloned().unwrap_or_default()
}

/// Waits for something; the limit is for a fault, not for slowness.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    let came = tokio::time::timeout(limit, what).await;
    came.expect("what was waited for did not come")
}

fn spec(name: &str) -> FunctionSpec {
    FunctionSpec::new(FunctionName::parse(name).unwrap())
}

async fn function(name: &'static str, calls: Arc<Calls>) -> String {
    let router = Router::new()
        .route("/", any(behave))
        .route("/{*path}", any(behave))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state((name, calls));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn behave(
    State((name, calls)): State<(&'static str, Arc<Calls>)>,
    path: Option<Path<String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let count = {
        let mut counts = calls.counts.lock().unwrap();
        let seen = counts.entry(name.to_owned()).or_default();
        seen.push(headers.clone());
        seen.len()
    };
    let media = headers.get(header::CONTENT_TYPE).cloned();
    let media = media.unwrap_or(header::HeaderValue::from_static("text/plain"));
    let path = path.map(|Path(path)| path).unwrap_or_default();
    match name {
        "echo" if path == "where" => path.into_response(),
        "fail" => (StatusCode::INTERNAL_SERVER_ERROR, "the disk is on fire").into_response(),
        "refuse" => (StatusCode::UNPROCESSABLE_ENTITY, "no such customer").into_response(),
        "flaky" if count < 3 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "hang" => std::future::pending().await,
        "large" => {
            let chunk = Bytes::from(vec![7_u8; 1_000_000]);
            let chunks =
                (0..LARGE_BYTES / 1_000_000).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
            Body::from_stream(futures_util::stream::iter(chunks)).into_response()
        }
        "plain" => " {\"n\": 7}\n".into_response(),
        "binary" => ([(header::CONTENT_TYPE, "image/x-odd")], BINARY).into_response(),
        _ => ([(header::CONTENT_TYPE, media)], body).into_response(),
    }
}

/// Reads a little, answers with these bytes, and hangs up.
async fn function_of_bytes(answer: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 16];
            drop(stream.read(&mut buffer).await);
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    address
}
