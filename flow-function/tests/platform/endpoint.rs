//! An endpoint that keeps what it is sent, and answers as it is told.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::soon;

/// What an endpoint was sent.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name);
        let text = value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        text.unwrap_or_default()
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn callback(&self) -> String {
        self.header("x-callback-url")
    }

    /// Completes the attempt that it was called for; what is answered.
    pub async fn call_back(&self, body: impl Into<reqwest::Body>) -> StatusCode {
        call_back(&self.callback(), body, None).await
    }
}

/// Sends a callback, with the status of the function where there is one; what is answered.
pub async fn call_back(
    url: &str,
    body: impl Into<reqwest::Body>,
    function_status: Option<&str>,
) -> StatusCode {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut call = client.post(url).body(body);
    call = call.header("content-type", "application/json");
    if let Some(status) = function_status {
        call = call.header("x-function-status", status);
    }
    call.send().await.unwrap().status()
}

/// It listens until the runtime ends.
#[derive(Debug)]
pub struct Endpoint {
    pub url: String,
    received: watch::Receiver<Vec<Received>>,
}

impl Endpoint {
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Received) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let (sender, received) = watch::channel(Vec::new());
        let (answer, sender) = (Arc::new(answer), Arc::new(sender));
        let router = Router::new().fallback(move |request: Request| {
            let (answer, sender) = (Arc::clone(&answer), Arc::clone(&sender));
            async move {
                let call = read(request).await;
                sender.send_modify(|all| all.push(call.clone()));
                answer(call).await
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, received }
    }

    /// One that takes on what it is sent, and does no more.
    pub async fn silent() -> Self {
        Self::start(|_| async { StatusCode::ACCEPTED.into_response() }).await
    }

    /// One that answers with what it is sent.
    pub async fn echo() -> Self {
        Self::start(|call| async move {
            ([("content-type", "application/json")], call.body).into_response()
        })
        .await
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// What it was sent, once it was called so often.
    pub async fn after(&self, calls: usize) -> Vec<Received> {
        let mut received = self.received.clone();
        let all = soon(received.wait_for(|all| all.len() >= calls)).await;
        all.unwrap().clone()
    }
}

async fn read(request: Request) -> Received {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query();
    Received {
        method: parts.method.to_string(),
        path: path.map_or_else(String::new, ToString::to_string),
        headers: parts.headers,
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
    }
}
