//! Functions that misbehave, and bodies of every kind, through a real gateway.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod platform;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use platform::endpoint::Endpoint;
use platform::{BINARY, LARGE_BYTES, Platform};

const CALL: &str = "
flow: call
nodes:
  call: { apply: NAME, retry: { attempts: 3, backoff: 10ms..20ms }, timeout: 300ms }
";

fn call(function: &str) -> String {
    CALL.replace("NAME", function)
}

async fn failure(function: &str) -> (Platform, serde_json::Value) {
    let platform = Platform::yaml(&[&call(function)]).await;
    let answer = platform.post("/call", "{}").await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["step"], "call");
    (platform, problem)
}

#[tokio::test]
async fn a_function_that_answers_500_is_tried_as_often_as_said_and_then_quoted() {
    let (platform, problem) = failure("fail").await;
    let expect =
        "step call: function fail answered 500 Internal Server Error: \"the disk is on fire\"";
    assert_eq!(problem["detail"], expect);
    let calls = platform.calls.of("fail");
    assert_eq!(calls.len(), 3);
    let header = |call: usize, name: &str| calls[call][name].to_str().unwrap().to_owned();
    assert_eq!(
        header(0, "x-turlough-attempt") + &header(2, "x-turlough-attempt"),
        "13"
    );
    let key = "x-turlough-idempotency-key";
    assert_eq!(
        header(0, key),
        header(2, key),
        "one key for all attempts on one input"
    );
    assert_eq!(header(0, "x-turlough-step"), "call");
}

#[tokio::test]
async fn a_function_that_is_busy_is_left_alone_for_as_long_as_it_says() {
    let platform = Platform::yaml(&[&call("busy").replace("10ms..20ms", "1ms..1ms")]).await;
    let (times, seen) = (
        Arc::new(Mutex::new(Vec::new())),
        StatusCode::SERVICE_UNAVAILABLE,
    );
    let calls = Arc::clone(&times);
    let busy = Endpoint::start(move |call| {
        let mut calls = calls.lock().unwrap();
        calls.push(Instant::now());
        let answer = match calls.len() {
            1 => (seen, [("retry-after", "1")], "later").into_response(),
            _ => call.body.into_response(),
        };
        async move { answer }
    });
    platform.serve("busy", &busy.await);
    assert_eq!(platform.post("/call", "7").await.text().await.unwrap(), "7");
    let times = times.lock().unwrap().clone();
    let wait = times[1].duration_since(times[0]);
    assert!(
        times.len() == 2 && wait >= Duration::from_secs(1),
        "{times:?}"
    );
}

#[tokio::test]
async fn a_function_that_recovers_is_forgiven() {
    let platform = Platform::yaml(&[&call("flaky")]).await;
    let answer = platform.post("/call", r#"{"n": 1}"#).await;
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap()),
        (200, r#"{"n": 1}"#.into())
    );
    assert_eq!(platform.calls.of("flaky").len(), 3);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let (platform, problem) = failure("refuse").await;
    assert!(
        problem["detail"].as_str().unwrap().contains("422"),
        "{problem}"
    );
    assert_eq!(
        (problem["cause"].as_str(), platform.calls.of("refuse").len()),
        (Some("permanent"), 1)
    );
}

#[tokio::test]
async fn a_function_that_hangs_runs_into_its_timeout() {
    let (platform, problem) = failure("hang").await;
    assert_eq!(
        problem["detail"],
        "step call: call of function hang took longer than its timeout of 300ms"
    );
    assert_eq!(
        (problem["cause"].as_str(), platform.calls.of("hang").len()),
        (Some("timeout"), 3)
    );
}

#[tokio::test]
async fn a_function_that_closes_the_connection_is_a_clear_failure() {
    let (_platform, problem) = failure("closes").await;
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("function closes gave the gateway no answer (502 Bad Gateway)"),
        "{problem}"
    );
    assert_eq!(problem["cause"], "unanswered");
}

#[tokio::test]
async fn a_function_that_does_not_exist_is_named() {
    let (_platform, problem) = failure("nowhere").await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("function nowhere answered 404"), "{detail}");
}

#[tokio::test]
async fn fifty_megabytes_arrive_unchanged_and_the_store_is_empty_afterwards() {
    let flow = "
flow: large
nodes:
  call: { apply: large }
  back: { after: [call], apply: echo }
";
    let platform = Platform::yaml(&[flow]).await;
    let answer = platform.post("/large", "{}").await;
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-turlough-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = answer.bytes().await.unwrap();
    assert_eq!(body.len(), LARGE_BYTES);
    assert!(body.iter().all(|byte| *byte == 7));
    let view = platform.ended(&id).await;
    assert_eq!(
        (
            view["steps"][0]["data"].as_str(),
            platform.engine.store_bytes()
        ),
        (Some("store"), 0)
    );
    let later = platform.get(&format!("/requests/{id}/result")).await;
    assert_eq!(later.status(), 410, "too large for the log, and said so");
}

#[tokio::test]
async fn an_answer_over_the_limit_fails_by_name() {
    let flow = turlough_sdk::read_yaml(&call("large").replace("300ms", "20s")).unwrap();
    let platform = Platform::with(vec![flow], |settings| settings.body_bytes_max = 1_000_000).await;
    let problem: serde_json::Value = platform.post("/call", "{}").await.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("limit 1000000; raise TURLOUGH_BODY_BYTES_MAX"),
        "{detail}"
    );
    assert_eq!(
        platform.calls.of("large").len(),
        1,
        "it would be as large again"
    );
}

#[tokio::test]
async fn bytes_that_are_no_text_arrive_unchanged_also_through_a_join() {
    let flow = "
flow: binary
nodes:
  made: { apply: binary }
  same: { after: [made], apply: echo }
  both: { after: [made, same], apply: echo }
output: both
";
    let platform = Platform::yaml(&[
        flow,
        &flow
            .replace("flow: binary", "flow: single")
            .replace("output: both", "output: same"),
    ])
    .await;
    let send = async |path: &str| {
        let url = format!("{}{path}", platform.url);
        platform.http.post(url).body(BINARY).send().await.unwrap()
    };
    let answer = send("/single").await;
    assert_eq!(answer.headers()["content-type"], "image/x-odd");
    assert_eq!(answer.bytes().await.unwrap(), BINARY);
    let answer = send("/binary").await;
    assert_eq!(answer.headers()["content-type"], "application/msgpack");
    let body = answer.bytes().await.unwrap();
    assert_eq!(
        body.windows(BINARY.len())
            .filter(|window| *window == BINARY)
            .count(),
        2
    );
}

#[tokio::test]
async fn headers_path_and_method_reach_the_function() {
    let flow = "
flow: details
nodes:
  call: { apply: echo, path: /where, method: PUT, headers: { X-Customer: '7' } }
";
    let platform = Platform::yaml(&[flow]).await;
    let answer = platform.post("/details", "{}").await;
    assert_eq!(answer.text().await.unwrap(), "where");
    assert_eq!(platform.calls.of("echo")[0]["x-customer"], "7");
}

#[tokio::test]
async fn an_answer_that_nobody_gave_a_type_is_data_where_it_reads_as_json() {
    let flow = "
flow: untyped
nodes:
  said: { apply: plain }
  route: { after: [said], switch: [{ when: '.n > 1', to: twice }, { default: never }] }
  twice: { pass: '.n * 2' }
  never: { pass: '0' }
  each: { after: [said], for_each: { items: '[.n, .n]', body: { nodes: { one: { after: [item, said], apply: plain } } } } }
  all: { after: [twice, each, said], pass: '[.twice, .each[0].n, .said.n]' }
output: all
";
    let platform = Platform::yaml(&[flow, "flow: raw\nnodes: { said: { apply: plain } }"]).await;
    let answer = platform.post("/untyped", "1").await;
    assert_eq!(answer.text().await.unwrap(), "[14,7,7]");
    let answer = platform.post("/raw", "1").await;
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(answer.text().await.unwrap(), " {\"n\": 7}\n");
}

#[tokio::test]
async fn an_error_that_announces_more_than_there_is_memory_is_quoted_all_the_same() {
    let (_platform, problem) = failure("boasts").await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("500"), "{detail}");
}

#[tokio::test]
async fn a_get_sends_no_body_that_a_function_could_take_for_the_next_request() {
    let flow = "
flow: ask
nodes:
  call: { apply: echo, method: GET }
";
    let platform = Platform::yaml(&[flow]).await;
    let answer = platform.post("/ask", r#"{"n": 1}"#).await;
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap()),
        (200, String::new())
    );
    let headers = &platform.calls.of("echo")[0];
    assert!(!headers.contains_key("content-length") && !headers.contains_key("transfer-encoding"));
    assert!(headers.contains_key("x-turlough-idempotency-key"));
}
