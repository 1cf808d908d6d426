//! Word of a request's end, for those who asked for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value as Json, json};

use super::platform::Platform;
use super::platform::endpoint::{Endpoint, Received};
use super::{keeping, over, show};

const FLOWS: [&str; 4] = [
    "flow: good\nnodes: { a: { apply: echo } }",
    "flow: bad\nnodes: { a: { apply: refuse } }",
    "flow: slow\ntimeout: 300ms\nnodes: { a: { apply: hang } }",
    "flow: open\nnodes: { a: { wait: { signal: go } } }",
];

/// Starts a flow with two receivers: of every end, and of failures alone.
async fn begin(
    platform: &Platform,
    flow: &str,
    body: String,
    to: (&Endpoint, &Endpoint),
) -> String {
    let call = platform.http.post(format!("{}/{flow}", platform.url));
    let call = call
        .header("prefer", "respond-async")
        .header("x-turlough-callback-url", format!("{}/every", to.0.url))
        .header("x-turlough-failure-url", format!("{}/failure", to.1.url));
    let answer = call.body(body).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    super::platform::id_of(&answer)
}

fn told(call: &Received) -> [String; 3] {
    [
        "x-turlough-request-id",
        "x-turlough-flow",
        "x-turlough-status",
    ]
    .map(|name| call.header(name))
}

#[tokio::test]
async fn a_receiver_is_given_the_result_and_one_of_failures_is_not_called() {
    let platform = keeping(&FLOWS).await;
    let (every, failures) = (Endpoint::silent().await, Endpoint::silent().await);
    for (n, bytes) in [1, 5_000, 2_000_000].into_iter().enumerate() {
        let body = format!("\"{}\"", "x".repeat(bytes));
        let id = begin(&platform, "good", body.clone(), (&every, &failures)).await;
        let call = every.after(n + 1).await.remove(n);
        assert!(call.body == body, "{bytes}: {} bytes came", call.body.len());
        assert_eq!(told(&call), [id.as_str(), "good", "succeeded"]);
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            ("POST", "/every")
        );
        assert_eq!(call.header("content-type"), "application/json");
        let view = platform.ended(&id).await;
        assert!(
            view["owed"].is_null() && view["given_up"].is_null(),
            "{view}"
        );
    }
    assert!(failures.received().is_empty());
    assert_eq!(every.received().len(), 3);
}

#[tokio::test]
async fn every_kind_of_failure_is_told_to_both() {
    let platform = keeping(&FLOWS).await;
    let (every, failures) = (Endpoint::silent().await, Endpoint::silent().await);
    let kinds = [
        ("bad", "failed"),
        ("slow", "timed_out"),
        ("open", "cancelled"),
    ];
    for (n, (flow, status)) in kinds.into_iter().enumerate() {
        let id = begin(&platform, flow, "1".to_owned(), (&every, &failures)).await;
        if flow == "open" {
            platform.ask(&id, "cancel", "").await;
        }
        let (one, two) = (
            every.after(n + 1).await.remove(n),
            failures.after(n + 1).await.remove(n),
        );
        for call in [&one, &two] {
            assert_eq!(told(call), [id.as_str(), flow, status]);
            let body = call.json();
            let expected = json!({ "request": id, "flow": flow, "status": status });
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(body[name], *value, "{body}");
            }
            assert_eq!(
                body["error"]["step"],
                if flow == "bad" {
                    json!("a")
                } else {
                    Json::Null
                }
            );
        }
        let id_of = |call: &Received| call.header("x-turlough-delivery-id");
        assert_ne!(id_of(&one), id_of(&two));
        over(&platform, &id).await;
    }
}

#[tokio::test]
async fn word_that_is_not_taken_is_sent_again_under_the_same_id() {
    let platform = keeping(&FLOWS).await;
    let count = AtomicUsize::new(0);
    let answers = [
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::NO_CONTENT,
    ];
    let every = Endpoint::start(move |_| {
        let answer = answers[count.fetch_add(1, Ordering::SeqCst).min(2)];
        async move { answer.into_response() }
    })
    .await;
    let id = begin(&platform, "good", "5".to_owned(), (&every, &every)).await;
    let calls = every.after(3).await;
    let view = platform.ended(&id).await;
    assert!(
        view["given_up"].is_null() && view["owed"].is_null(),
        "{view}"
    );
    let ids: Vec<_> = calls
        .iter()
        .map(|call| call.header("x-turlough-delivery-id"))
        .collect();
    assert!(
        ids[0].len() == 32 && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    assert_eq!(every.received().len(), 3);
    assert_eq!(platform.calls.of("echo").len(), 1);
}

#[tokio::test]
async fn word_that_is_refused_is_sent_once_and_the_refusal_is_shown() {
    let platform = keeping(&FLOWS).await;
    let every = Endpoint::start(|_| async { StatusCode::GONE.into_response() }).await;
    let id = begin(&platform, "good", "5".to_owned(), (&every, &every)).await;
    let view = platform.ended(&id).await;
    assert_eq!(view["status"], "succeeded");
    let given_up = &view["given_up"][0];
    assert_eq!(given_up["url"], format!("{}/every", every.url));
    assert!(
        given_up["error"].as_str().unwrap().contains("410"),
        "{view}"
    );
    assert_eq!(every.received().len(), 1);
}

#[tokio::test]
async fn a_receiver_elsewhere_is_not_reached_by_a_redirect() {
    let platform = keeping(&FLOWS).await;
    let elsewhere = Endpoint::silent().await;
    let to = elsewhere.url.clone();
    let every = Endpoint::start(move |_| {
        let to = to.clone();
        async move { (StatusCode::PERMANENT_REDIRECT, [("location", to)]).into_response() }
    })
    .await;
    let id = begin(&platform, "good", "5".to_owned(), (&every, &every)).await;
    let view = platform.ended(&id).await;
    assert!(
        view["given_up"][0]["error"]
            .as_str()
            .unwrap()
            .contains("308"),
        "{view}"
    );
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn each_generation_tells_of_its_own_end() {
    let flow =
        "flow: open\nnodes: { a: { wait: { signal: go } }, b: { after: [a], apply: picky } }";
    let platform = keeping(&[flow]).await;
    platform.serve("picky", &super::picky(|body| *body == 0).await);
    let (every, failures) = (Endpoint::silent().await, Endpoint::silent().await);
    let id = begin(&platform, "open", "1".to_owned(), (&every, &failures)).await;
    platform.ask(&id, "signals/go", "0").await;
    let first = every.after(1).await.remove(0);
    failures.after(1).await;
    over(&platform, &id).await;
    // A request that owes word yet takes its restart after that.
    assert_eq!(platform.ask(&id, "restart?from=a", "").await.0, 202);
    platform.stands(&id, "sleeping").await;
    assert_eq!(show(&platform, &id).await["generation"], 1);
    platform.ask(&id, "signals/go", "1").await;
    let second = every.after(2).await.remove(1);
    assert_eq!(
        (told(&first)[2].as_str(), told(&second)[2].as_str()),
        ("failed", "succeeded")
    );
    let name = "x-turlough-delivery-id";
    assert_ne!(first.header(name), second.header(name));
    assert_eq!(failures.received().len(), 1);
}
