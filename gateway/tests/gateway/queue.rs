//! Asynchronous calls as a queue: they outlive the gateway, are made again, given up, looked at, cancelled.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tokio::sync::watch;
use turlough_gateway::{FunctionName, FunctionSpec, Gateway, GatewayConfig, GatewayError};
use turlough_statestore::StateUrl;
use turlough_testing::Nats;

use crate::harness::*;
use crate::scripted::*;

const TAKEN: &[u8] = b"HTTP/1.1 204 x\r\n\r\n";
const BUSY: &[u8] = b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n";
const SOON: &[u8] = b"HTTP/1.1 429 x\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
const TEAPOT: &[u8] = b"HTTP/1.1 418 x\r\nContent-Length: 0\r\n\r\n";

/// One call of a function at a time, made again at once, and what is left at the end is soon left.
fn config_at(state: StateUrl) -> GatewayConfig {
    let mut config = config_with(|bounds| {
        bounds.state = state;
        bounds.in_flight_per_function_max = 1;
    });
    config.drain_grace = Duration::from_millis(300);
    config
}

fn in_folder(folder: &tempfile::TempDir) -> StateUrl {
    StateUrl::File(folder.path().join("state"))
}

fn retrying(attempts: u32) -> GatewayConfig {
    config_with(|bounds| {
        bounds.retry.attempts = attempts;
        bounds.retry.min_wait = Duration::from_millis(1);
        bounds.retry.max_wait = Duration::from_millis(2);
    })
}

async fn asked(gateway: &TestGateway, method: Method, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    gateway.call(request.body(Full::default()).unwrap()).await
}

async fn standing(gateway: &TestGateway, call: &str) -> serde_json::Value {
    let answer = gateway.get(&format!("/async-function/{call}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

/// Waits until a call stands so.
async fn stands(gateway: &TestGateway, call: &str, state: &str) -> serde_json::Value {
    eventually(|| async {
        let found = standing(gateway, call).await;
        (found["state"] == state).then_some(found)
    })
    .await
}

async fn accepted(gateway: &TestGateway, path: &str, headers: &[(&str, &str)], body: Vec<u8>) {
    let answer = call_async(gateway, path, headers, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
}

/// Calls that a gateway leaves are made by the next one, with all that they hold.
async fn outlive_a_gateway(state: StateUrl) {
    let gateway = TestGateway::with(config_at(state.clone())).await;
    let (_never, gate) = watch::channel(false);
    let mut stuck = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", stuck.address);
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let url = receiver.url("/done");
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    accepted(&gateway, "it/1", &[("X-Call-Id", "one")], b"small".to_vec()).await;
    stuck.sent().await;
    let headers = [
        ("X-Call-Id", "two"),
        ("X-Callback-Url", &url),
        ("X-Mine", "\u{e4}"),
    ];
    accepted(&gateway, "it/2?q=%20", &headers, large.clone()).await;
    accepted(&gateway, "it/3", &[("X-Call-Id", "three")], Vec::new()).await;
    let cancelled = asked(&gateway, Method::DELETE, "/async-function/it/three").await;
    assert_eq!(cancelled.status, StatusCode::ACCEPTED);
    gateway.stop().await;

    let bound = Gateway::bind(config_at(state)).await.unwrap();
    let path = "/async-function/it/two";
    let answer = get(bound.local_addr(), path).await;
    assert_eq!(answer.json()["state"], "queued");
    let mut it = Scripted::answering(&[OK]).await;
    let spec = FunctionSpec::new(FunctionName::parse("it").unwrap());
    let added = bound.registry().add_static(spec, &it.url(""));
    added.unwrap();
    let gateway = TestGateway::run(bound, Vec::new());
    assert_eq!(standing(&gateway, "it/three").await["state"], "cancelled");
    let mut seen = BTreeMap::new();
    for _ in 0..2 {
        let sent = it.sent().await;
        seen.insert(sent.header("x-call-id").unwrap().to_owned(), sent);
    }
    assert_eq!(seen["one"].body, b"small");
    assert_eq!(seen["two"].body, large);
    assert!(seen["two"].head.starts_with("POST /2?q=%20 HTTP/1.1\r\n"));
    assert_eq!(seen["two"].header("x-forwarded-for"), Some("127.0.0.1"));
    let told = receiver.sent().await;
    assert_eq!(told.header("x-call-id"), Some("two"));
    assert_eq!(told.body, b"ok");
    stands(&gateway, "it/one", "answered").await;
    stands(&gateway, "it/two", "answered").await;
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}

#[tokio::test]
async fn calls_outlive_the_gateway_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    outlive_a_gateway(in_folder(&folder)).await;
}

#[tokio::test]
async fn calls_outlive_the_gateway_in_nats() {
    let nats = Nats::start("").await;
    outlive_a_gateway(StateUrl::Nats(nats.url())).await;
}

#[tokio::test]
async fn a_callback_outlives_the_gateway_under_the_same_delivery_id() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = TestGateway::with(config_at(in_folder(&folder))).await;
    let mut it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let (open, gate) = watch::channel(false);
    let mut receiver = Scripted::behind(gate, &[TAKEN]).await;
    let url = receiver.url("/");
    let headers = [("X-Call-Id", "one"), ("X-Callback-Url", url.as_str())];
    accepted(&gateway, "it", &headers, Vec::new()).await;
    it.sent().await;
    let first = receiver.sent().await;
    gateway.stop().await;
    open.send(true).unwrap();
    let gateway = TestGateway::with(config_at(in_folder(&folder))).await;
    let again = receiver.sent().await;
    let id = first.header("x-turlough-delivery-id");
    assert!(id.is_some() && id == again.header("x-turlough-delivery-id"));
    stands(&gateway, "it/one", "answered").await;
    gateway.stop().await;
    assert!(it.sent_already().is_none(), "the function was called once");
}

#[tokio::test]
async fn a_queue_that_another_gateway_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = TestGateway::with(config_at(in_folder(&folder))).await;
    let error = Gateway::bind(config_at(in_folder(&folder)))
        .await
        .unwrap_err();
    assert!(matches!(error, GatewayError::AsyncState(_)), "{error}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_passes_is_tried_again_and_told_once() {
    let gateway = TestGateway::with(retrying(4)).await;
    let mut it = Scripted::answering(&[BUSY, SOON, CLOSE, OK]).await;
    gateway.function("it", it.address);
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let url = receiver.url("/");
    let headers = [("X-Call-Id", "one"), ("X-Callback-Url", url.as_str())];
    accepted(&gateway, "it", &headers, b"in".to_vec()).await;
    for _ in 0..4 {
        assert_eq!(it.sent().await.body, b"in");
    }
    let told = receiver.sent().await;
    assert_eq!(told.header("x-function-status"), Some("200"));
    let found = stands(&gateway, "it/one", "answered").await;
    assert_eq!(
        (&found["attempts"], &found["status"]),
        (&4.into(), &200.into())
    );
    let metrics = get(gateway.metrics, "/metrics").await;
    assert!(metrics.text().contains("\ngateway_async_retries_total 3\n"));
    gateway.stop().await;
    assert!(receiver.sent_already().is_none() && it.sent_already().is_none());
}

#[tokio::test]
async fn a_call_waits_as_long_as_the_function_says() {
    let mut config = retrying(2);
    config.asynchronous.retry.max_wait = Duration::from_secs(1);
    let gateway = TestGateway::with(config).await;
    let later: &[&[u8]] = &[b"HTTP/1.1 503 x\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"];
    let mut it = Scripted::answering(later).await;
    gateway.function("it", it.address);
    accepted(&gateway, "it", &[("X-Call-Id", "one")], Vec::new()).await;
    it.sent().await;
    let found = stands(&gateway, "it/one", "retrying").await;
    let moment = |name: &str| {
        found[name]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let wait = moment("nextAttemptAt") - moment("changedAt");
    assert_eq!(wait.total(jiff::Unit::Second).unwrap().round(), 3_600.0);
    // What waits can be cancelled, and is not waited for at the end.
    let cancelled = asked(&gateway, Method::DELETE, "/async-function/it/one").await;
    assert_eq!(cancelled.status, StatusCode::ACCEPTED);
    gateway.stop().await;
}

#[tokio::test]
async fn annotations_say_how_a_function_is_called_again_and_what_is_given_up_can_be_made_anew() {
    let gateway = TestGateway::with(retrying(1)).await;
    let mut it = Scripted::answering(&[TEAPOT, TEAPOT, OK]).await;
    let annotations = [
        ("com.openfaas.retry.attempts", "2"),
        ("com.openfaas.retry.codes", "418"),
    ];
    gateway.function_with("it", it.address, &annotations);
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let url = receiver.url("/");
    let headers = [("X-Call-Id", "one"), ("X-Callback-Url", url.as_str())];
    accepted(&gateway, "it", &headers, b"in".to_vec()).await;
    it.sent().await;
    it.sent().await;
    let told = receiver.sent().await;
    assert_eq!(told.header("x-function-status"), Some("418"));
    stands(&gateway, "it/one", "dead").await;
    let letters = gateway.get("/system/dead-letters?function=it").await.json();
    let [letter] = &letters.as_array().unwrap()[..] else {
        panic!("{letters}")
    };
    assert_eq!(letter["callId"], "one");
    assert_eq!(
        (&letter["attempts"], &letter["status"]),
        (&2.into(), &418.into())
    );
    let other = gateway.get("/system/dead-letters?function=other").await;
    assert_eq!(other.text(), "[]");
    let path = format!("/system/dead-letters/{}", letter["id"].as_str().unwrap());
    let anew = asked(&gateway, Method::POST, &path).await;
    assert_eq!(anew.status, StatusCode::ACCEPTED, "{}", anew.text());
    assert_eq!(it.sent().await.body, b"in");
    assert_eq!(
        receiver.sent().await.header("x-function-status"),
        Some("200")
    );
    let found = stands(&gateway, "it/one", "answered").await;
    assert_eq!(found["callsOfThisId"], 2);
    assert_eq!(gateway.get("/system/dead-letters").await.text(), "[]");
    for (path, status) in [
        (path.as_str(), StatusCode::NOT_FOUND),
        ("/system/dead-letters/none", StatusCode::BAD_REQUEST),
    ] {
        for method in [Method::POST, Method::DELETE] {
            assert_eq!(asked(&gateway, method, path).await.status, status, "{path}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn dead_letters_outlive_the_gateway_and_can_be_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let config = || {
        let mut config = retrying(2);
        config.asynchronous.state = in_folder(&folder);
        config
    };
    let gateway = TestGateway::with(config()).await;
    let it = Scripted::answering(&[BUSY]).await;
    gateway.function("it", it.address);
    accepted(&gateway, "it", &[("X-Call-Id", "one")], vec![b'x'; 100_000]).await;
    stands(&gateway, "it/one", "dead").await;
    gateway.stop().await;
    let gateway = TestGateway::with(config()).await;
    let letters = gateway.get("/system/dead-letters").await.json();
    let path = format!(
        "/system/dead-letters/{}",
        letters[0]["id"].as_str().unwrap()
    );
    assert_eq!(letters[0]["status"], 503);
    let gone = asked(&gateway, Method::DELETE, &path).await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    assert_eq!(gateway.get("/system/dead-letters").await.text(), "[]");
    gateway.stop().await;
}

#[tokio::test]
async fn whoever_tries_again_by_itself_is_told_at_once() {
    let gateway = TestGateway::with(retrying(5)).await;
    let mut it = Scripted::answering(&[BUSY]).await;
    gateway.function("it", it.address);
    let mut receiver = Scripted::answering(&[TAKEN]).await;
    let url = receiver.url("/");
    let headers = [
        ("X-Turlough-Attempt", "1"),
        ("X-Callback-Url", url.as_str()),
    ];
    accepted(&gateway, "it", &headers, Vec::new()).await;
    it.sent().await;
    assert_eq!(
        receiver.sent().await.header("x-function-status"),
        Some("503")
    );
    assert_eq!(gateway.get("/system/dead-letters").await.text(), "[]");
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}

#[tokio::test]
async fn a_call_is_cancelled_while_it_waits_and_while_it_is_made() {
    let gateway = TestGateway::with(config_at(StateUrl::Memory)).await;
    let (open, gate) = watch::channel(false);
    let mut it = Scripted::behind(gate, &[OK]).await;
    gateway.function("it", it.address);
    for id in ["one", "two", "three"] {
        accepted(&gateway, "it", &[("X-Call-Id", id)], Vec::new()).await;
    }
    it.sent().await;
    let cancel = async |path: &str| asked(&gateway, Method::DELETE, path).await;
    assert_eq!(
        cancel("/async-function/other/two").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        cancel("/async-function/it/none").await.status,
        StatusCode::NOT_FOUND
    );
    // With its namespace, or without.
    let two = cancel("/async-function/it.openfaas-fn/two").await;
    assert_eq!(two.status, StatusCode::ACCEPTED);
    assert_eq!(
        cancel("/async-function/it/two").await.status,
        StatusCode::CONFLICT
    );
    // The function works on it no longer, and has its next call.
    assert_eq!(
        cancel("/async-function/it/one").await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(it.sent().await.header("x-call-id"), Some("three"));
    open.send(true).unwrap();
    stands(&gateway, "it/three", "answered").await;
    for id in ["one", "two"] {
        assert_eq!(
            standing(&gateway, &format!("it/{id}")).await["state"],
            "cancelled"
        );
    }
    let metrics = get(gateway.metrics, "/metrics").await;
    assert!(
        metrics
            .text()
            .contains("\ngateway_async_cancelled_total 2\n")
    );
    gateway.stop().await;
    assert!(it.sent_already().is_none());
}

#[tokio::test]
async fn annotations_that_say_nothing_of_the_kind_are_refused_when_a_function_is_deployed() {
    let gateway = TestGateway::start().await;
    let body = serde_json::json!({
        "service": "it",
        "image": "x",
        "annotations": {
            "turlough.process": "cat",
            "turlough.mode": "fork",
            "com.openfaas.retry.attempts": "often",
        },
    });
    let request = Request::post("/system/functions").body(Full::from(body.to_string()));
    let answer = gateway.call(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let text = answer.text();
    assert!(
        text.contains("com.openfaas.retry.attempts is `often`"),
        "{text}"
    );
    gateway.stop().await;
}

/// A gateway as a process, and where it is.
struct Process(Child, String);

impl Process {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_turlough-gateway"))
            .args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
            .args(["--folder".as_ref(), folder.join("gateway").as_os_str()])
            .args(["--stack".as_ref(), folder.join("stack.yaml").as_os_str()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut lines = std::io::BufRead::lines(log).map_while(Result::ok);
        let url = lines.find_map(|line| {
            let from = line.find("http://127.0.0.1:")?;
            let address = &line[from + "http://".len()..];
            let end = address.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
            Some(address[..end.unwrap_or(address.len())].to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, url.expect("it says where it is"))
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_called_however_often_the_gateway_is_killed() {
    const KILLS: usize = 6;
    const CALLS: usize = 30;
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let stack = format!(
        "functions:\n  note:\n    handler: {}\n    annotations:\n      turlough.mode: fork\n      turlough.process: sh -c 'cat >> {}'\n",
        folder.path().display(),
        notes.display(),
    );
    std::fs::write(folder.path().join("stack.yaml"), stack).unwrap();
    let mut accepted = Vec::new();
    for kill in 0..=KILLS {
        let gateway = Process::start(folder.path());
        let address = gateway.1.parse().unwrap();
        for call in 0..CALLS {
            let body = format!("{kill}-{call}\n");
            let request = Request::post("/async-function/note").body(Full::from(body.clone()));
            if send(address, request.unwrap()).await.status() == StatusCode::ACCEPTED {
                accepted.push(body);
            }
        }
        if kill < KILLS {
            tokio::time::sleep(Duration::from_millis(37 * kill as u64)).await;
            gateway.kill();
            continue;
        }
        assert_eq!(accepted.len(), (KILLS + 1) * CALLS);
        eventually(|| async {
            let text = std::fs::read_to_string(&notes).unwrap_or_default();
            let called: HashSet<_> = text.split_inclusive('\n').collect();
            accepted
                .iter()
                .all(|body| called.contains(body.as_str()))
                .then_some(())
        })
        .await;
        gateway.kill();
    }
    // Some were under way when it was killed, and are called twice.
    let text = std::fs::read_to_string(&notes).unwrap();
    let twice = text.lines().count() - accepted.len();
    assert!(twice < accepted.len() / 2, "{twice} were called again");
}

#[tokio::test]
async fn a_call_waits_for_a_replica_that_has_room_and_that_is_no_attempt() {
    let stack = "sh -c 'sleep 0.3; cat'";
    let more = "      turlough.mode: fork\n    environment:\n      max_inflight: \"1\"\n";
    let mut config = retrying(1);
    config.asynchronous.in_flight_per_function_max = 8;
    let gateway = TestGateway::with_stack(config, &stack_of(stack, more)).await;
    for n in 0..4 {
        let id = n.to_string();
        accepted(&gateway, "it", &[("X-Call-Id", &id)], Vec::new()).await;
    }
    for n in 0..4 {
        let found = stands(&gateway, &format!("it/{n}"), "answered").await;
        assert_eq!(
            (&found["attempts"], &found["status"]),
            (&1.into(), &200.into())
        );
    }
    gateway.stop().await;
}
