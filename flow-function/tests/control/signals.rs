//! Signals, and keys under which a control is asked again.

use futures_util::future::join_all;
use serde_json::{Value as Json, json};

use super::platform::{Platform, step};
use super::{gated, keeping, over, show};

const TWICE: &str = "
flow: twice
nodes:
  first: { apply: gate }
  one: { after: [first], wait: { signal: go } }
  two: { after: [one], wait: { signal: go } }
  both: { after: [one, two], pass: '[.one, .two]' }
";
const ONCE: &str = "flow: once\nnodes: { ask: { wait: { signal: go } } }";

#[tokio::test]
async fn signals_before_their_waits_are_kept_and_given_out_in_their_order() {
    let platform = keeping(&[TWICE]).await;
    let (gate, open) = gated().await;
    platform.serve("gate", &gate);
    let id = platform.begin("/twice", "0").await;
    gate.after(1).await;
    for payload in ["1", "2"] {
        assert_eq!(platform.ask(&id, "signals/go", payload).await.0, 202);
    }
    assert_eq!(platform.ask(&id, "signals/other", "3").await.0, 202);
    open.add_permits(1);
    assert_eq!(platform.result(&id).await, (200, json!([1, 2])));
}

#[tokio::test]
async fn a_request_keeps_a_thousand_signals_and_still_takes_the_one_that_it_waits_for() {
    let platform = keeping(&[ONCE]).await;
    let id = platform.begin("/once", "0").await;
    platform.stands(&id, "sleeping").await;
    for _ in 0..20 {
        let sent = (0..50).map(|_| platform.ask(&id, "signals/other", "1"));
        for (status, answer) in join_all(sent).await {
            assert_eq!(status, 202, "{answer}");
        }
    }
    let (status, problem) = platform.ask(&id, "signals/other", "1").await;
    assert_eq!(status, 409);
    assert!(
        problem["detail"].as_str().unwrap().contains("1000"),
        "{problem}"
    );
    let (status, problem) = platform.ask(&id, "signals/go", "5").await;
    assert_eq!(status, 202, "it is not kept, it is taken: {problem}");
    assert_eq!(platform.result(&id).await, (200, json!(5)));
}

#[tokio::test]
async fn a_signal_brings_a_payload_of_any_size_that_may_be_kept() {
    let flow = turlough_sdk::read_yaml(ONCE).unwrap();
    let platform = Platform::with(vec![flow], |settings| {
        settings.durable_bytes_max = 4_000_000
    });
    let platform = platform.await;
    for bytes in [0, 4_000, 5_000, 600_000, 3_000_000] {
        let id = platform.begin("/once", "0").await;
        platform.stands(&id, "sleeping").await;
        let before = show(&platform, &id).await;
        let (status, problem) = platform.ask(&id, "signals/go", vec![b'1'; 4_000_001]).await;
        assert_eq!((status, &problem["limit"]), (413, &json!(4_000_000)));
        assert_eq!(show(&platform, &id).await, before);
        let text = "x".repeat(bytes);
        assert_eq!(
            platform
                .ask(&id, "signals/go", format!("\"{text}\""))
                .await
                .0,
            202
        );
        let (status, result) = platform.result(&id).await;
        assert!(status == 200 && result == json!(text), "{bytes}: {status}");
    }
    let id = platform.begin("/once", "0").await;
    assert_eq!(platform.ask(&id, "signals/go", "{oops").await.0, 400);
    assert_eq!(platform.ask(&id, "signals/go", "").await.0, 202);
    assert_eq!(platform.result(&id).await, (200, Json::Null));
}

async fn keyed(platform: &Platform, id: &str, what: &str, key: &str) -> u16 {
    let url = format!("{}/requests/{id}/{what}", platform.url);
    let call = platform.http.post(url).header("idempotency-key", key);
    call.body("1").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_control_that_is_sent_again_with_its_key_is_answered_as_before_and_counts_once() {
    let platform = keeping(&[TWICE]).await;
    let (gate, open) = gated().await;
    platform.serve("gate", &gate);
    open.add_permits(10);
    let id = platform.begin("/twice", "0").await;
    platform.stands(&id, "sleeping").await;
    for _ in 0..3 {
        assert_eq!(keyed(&platform, &id, "signals/go", "a").await, 202);
    }
    let one = |view: &Json| step(view, "two")["status"] == "sleeping";
    platform.until(&format!("/requests/{id}"), one).await;
    assert_eq!(
        keyed(&platform, &id, "pause", "a").await,
        202,
        "keys of two controls do not meet"
    );
    assert_eq!(platform.ask(&id, "resume", "").await.0, 202);
    platform.stands(&id, "sleeping").await;
    let before = show(&platform, &id).await;
    assert_eq!(keyed(&platform, &id, "pause", "a").await, 202);
    assert_eq!(
        show(&platform, &id).await,
        before,
        "an old pause pauses nothing"
    );
    let together = (0..10).map(|_| keyed(&platform, &id, "signals/go", "b"));
    assert_eq!(join_all(together).await, [202; 10]);
    over(&platform, &id).await;
    assert_eq!(
        keyed(&platform, &id, "signals/go", "b").await,
        202,
        "after the end as well"
    );
    assert_eq!(keyed(&platform, &id, "signals/go", "c").await, 409);
}

#[tokio::test]
async fn a_restart_that_is_sent_again_with_its_key_restarts_once() {
    let platform = keeping(&["flow: bad\nnodes: { call: { apply: refuse } }"]).await;
    let id = platform.begin("/bad", "0").await;
    over(&platform, &id).await;
    let url = format!("{}/requests/{id}/restart", platform.url);
    let restart = || {
        platform
            .http
            .post(&url)
            .header("idempotency-key", "r")
            .send()
    };
    for answer in join_all((0..5).map(|_| restart())).await {
        assert_eq!(answer.unwrap().status(), 202);
    }
    let again = |view: &Json| view["generation"] == 1 && !view["ended_at"].is_null();
    platform.until(&format!("/requests/{id}"), again).await;
    assert_eq!(restart().await.unwrap().status(), 202);
    assert_eq!(show(&platform, &id).await["generation"], 1);
    assert_eq!(platform.calls.of("refuse").len(), 2);
}
