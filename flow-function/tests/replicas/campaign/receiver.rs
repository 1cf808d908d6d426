//! Who is told of the ends of requests: it writes down what it hears, and now and then asks to be told
//! again.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path as Place;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value as Json;
use tokio::net::TcpListener;

/// What was heard of a request's end.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) number: usize,
    pub(crate) delivery: String,
    pub(crate) request: String,
    pub(crate) status: String,
    /// Whether the receiver took it.
    pub(crate) is_taken: bool,
    pub(crate) body: Json,
}

#[derive(Debug)]
struct Receiver {
    file: File,
    refused: HashSet<usize>,
}

/// Listens, and gives the address at which it does.
pub(crate) async fn listen(folder: &Place) -> String {
    let file = File::create(folder.join("told")).unwrap();
    let refused = HashSet::new();
    let receiver = Arc::new(Mutex::new(Receiver { file, refused }));
    let router = Router::new()
        .route("/told/{number}", post(hear))
        .with_state(receiver);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/told", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn hear(
    State(receiver): State<Arc<Mutex<Receiver>>>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut receiver = receiver.lock().unwrap();
    // Every fourth is not taken the first time.
    let is_taken = number % 4 != 0 || !receiver.refused.insert(number);
    let line = serde_json::json!([
        number,
        text("x-turlough-delivery-id"),
        text("x-turlough-request-id"),
        text("x-turlough-status"),
        is_taken,
        body,
    ]);
    receiver
        .file
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
    if is_taken {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// All that was heard.
pub(crate) fn read(folder: &Place) -> Vec<Word> {
    let text = std::fs::read_to_string(folder.join("told")).unwrap();
    text.lines().map(parse).collect()
}

fn parse(line: &str) -> Word {
    type Heard = (usize, String, String, String, bool, String);
    let heard: Heard = serde_json::from_str(line).unwrap();
    let (number, delivery, request, status, is_taken, body) = heard;
    Word {
        number,
        delivery,
        request,
        status,
        is_taken,
        body: serde_json::from_str(&body).unwrap_or(Json::String(body)),
    }
}
