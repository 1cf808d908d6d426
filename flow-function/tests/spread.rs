//! Items of a large `for_each` run on other replicas where this one is behind, and on this one where
//! no other takes them.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use turlough_flow_function::{Flow, Server, Settings, StepError};
use turlough_sdk::RequestId;
use turlough_statestore::event::StepEnd;
use turlough_statestore::{Event, Options, Seq, State, StateUrl};
use turlough_testing::Nats;

const ITEMS: u64 = 60;
/// Over what rides in an event.
const LARGE: usize = 10_000;

/// Each item holds a thread for a while; every tenth gives a large value.
fn fan_out(version: u64) -> Flow {
    // The text of a closure is no part of a flow's version; its limits are.
    let flow = Flow::builder("each").timeout(Duration::from_secs(60 * version));
    let n = flow.input::<u64>();
    let list = flow.map("list", &n, |n: u64| {
        Ok::<_, StepError>((0..n).collect::<Vec<_>>())
    });
    let all = flow.for_each("all", &list, |body, n| {
        let work = move |n: u64| {
            std::thread::sleep(Duration::from_millis(30));
            let size = if n.is_multiple_of(10) { LARGE } else { 1 };
            Ok::<_, StepError>((n * version, "x".repeat(size)))
        };
        body.map("work", n, work)
    });
    let sum = flow.map("sum", &all, |all: Vec<(u64, String)>| {
        let bytes: usize = all.iter().map(|(_, text)| text.len()).sum();
        Ok::<_, StepError>((all.iter().map(|(n, _)| n).sum::<u64>(), bytes))
    });
    flow.output(&sum).build().unwrap()
}

/// Sends what comes to the replicas in turn, as a gateway does; counts calls of `/_/step` by answer.
#[derive(Clone, Default)]
struct Gateway {
    replicas: Arc<Mutex<Vec<String>>>,
    turn: Arc<AtomicUsize>,
    answers: Arc<Mutex<HashMap<u16, usize>>>,
    http: reqwest::Client,
}

impl Gateway {
    async fn serve(&self) -> String {
        let router = Router::new()
            .route("/function/flows/_/step", post(pass_on))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn answered(&self, status: u16) -> usize {
        self.answers
            .lock()
            .unwrap()
            .get(&status)
            .copied()
            .unwrap_or(0)
    }
}

async fn pass_on(
    Shared(gateway): Shared<Gateway>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Bytes) {
    let turn = gateway.turn.fetch_add(1, Ordering::Relaxed);
    let replica = {
        let replicas = gateway.replicas.lock().unwrap();
        replicas[turn % replicas.len()].clone()
    };
    let mut call = gateway.http.post(format!("{replica}/_/step")).body(body);
    for name in ["content-type", "authorization"] {
        if let Some(value) = headers.get(name) {
            call = call.header(name, value);
        }
    }
    let (status, body) = match call.send().await {
        Ok(answer) => (answer.status(), answer.bytes().await.unwrap_or_default()),
        Err(_) => (StatusCode::BAD_GATEWAY, Bytes::new()),
    };
    let mut answers = gateway.answers.lock().unwrap();
    *answers.entry(status.as_u16()).or_default() += 1;
    (status, body)
}

struct Replica {
    url: String,
    shutdown: CancellationToken,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn replica(nats: &Nats, gateway: &str, flow: Flow, secrets: &Path) -> Replica {
    let mut settings = Settings::from_environment();
    settings.gateway_url = gateway.to_owned();
    settings.listen = Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    settings.secrets = secrets.to_owned();
    settings.keep_failed = Duration::ZERO;
    settings.state.url = nats.url().parse().unwrap();
    let server = Server::bind(settings, vec![flow]).await.unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    tokio::spawn(server.run(shutdown.clone()));
    let (http, ready) = (reqwest::Client::new(), format!("{url}/_/ready"));
    for _ in 0..1_000 {
        let answer = http.get(&ready).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Replica { url, shutdown };
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("replica was not ready within 10 s");
}

/// What a request gave, and how many items each replica ran.
async fn ran(nats: &Nats, replica: &Replica) -> (Json, Vec<usize>) {
    let call = reqwest::Client::new().post(format!("{}/each", replica.url));
    let answer = call.body(ITEMS.to_string()).send().await.unwrap();
    let id = answer.headers()["x-turlough-request-id"].to_str().unwrap();
    let id: RequestId = id.parse().unwrap();
    let output = answer.json().await.unwrap();
    let url: StateUrl = nats.url().parse().unwrap();
    let options = Options::new("default".parse().unwrap(), "reader".parse().unwrap());
    let state = State::open(&url, &options).await.unwrap();
    let records = state.log.read(id, Seq::START).await.unwrap();
    let mut by_replica = HashMap::new();
    for event in records.iter().flat_map(|record| &record.append.events) {
        if let Event::StepEnded(ended) = event
            && ended.step.is_of_item()
        {
            assert!(matches!(ended.end, StepEnd::Succeeded { .. }), "{ended:?}");
            *by_replica.entry(ended.replica).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = by_replica.into_values().collect();
    counts.sort_unstable();
    (output, counts)
}

fn gives(version: u64) -> Json {
    let large = ITEMS.div_ceil(10) as usize;
    let bytes = large * LARGE + (ITEMS as usize - large);
    json!([version * ITEMS * (ITEMS - 1) / 2, bytes])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_run_where_there_is_room_and_their_driver_alone_commits() {
    let (nats, gateway) = (Nats::start("").await, Gateway::default());
    let url = gateway.serve().await;
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("turlough-token"), "secret\n").unwrap();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let replica = replica(&nats, &url, fan_out(1), secrets.path()).await;
        gateway.replicas.lock().unwrap().push(replica.url.clone());
        replicas.push(replica);
    }
    let (output, counts) = ran(&nats, &replicas[0]).await;
    assert_eq!(output, gives(1));
    assert_eq!(counts.iter().sum::<usize>() as u64, ITEMS, "{counts:?}");
    assert!(
        counts.len() > 1,
        "one replica ran all: {:?}",
        gateway.answers
    );
    assert!(gateway.answered(200) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_run_at_home_where_no_other_has_that_version_or_answers() {
    let (nats, gateway) = (Nats::start("").await, Gateway::default());
    let url = gateway.serve().await;
    let none = PathBuf::from("no-such-folder");
    let other = replica(&nats, &url, fan_out(2), &none).await;
    let gone = "http://127.0.0.1:9".to_owned();
    for (others, status) in [(vec![other.url.clone()], 409), (vec![gone], 502)] {
        // Who was refused asks nobody for a while.
        let home = replica(&nats, &url, fan_out(1), &none).await;
        *gateway.replicas.lock().unwrap() = others;
        assert_eq!(ran(&nats, &home).await, (gives(1), vec![ITEMS as usize]));
        assert!(gateway.answered(status) > 0, "{:?}", gateway.answers);
    }
}

#[tokio::test]
async fn steps_are_taken_from_replicas_alone() {
    let nats = Nats::start("").await;
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("turlough-token"), "secret").unwrap();
    let replica = replica(&nats, "http://127.0.0.1:9", fan_out(1), secrets.path()).await;
    let http = reqwest::Client::new();
    let ask = || http.post(format!("{}/_/step", replica.url)).body("?");
    assert_eq!(ask().send().await.unwrap().status(), 401);
    let asked = ask().bearer_auth("secret").send().await.unwrap();
    assert_eq!(asked.status(), 400);
    let problem: Json = asked.json().await.unwrap();
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("no batch of steps")
    );
}
