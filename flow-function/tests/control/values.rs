//! Inputs and outputs of steps, while they are held.

use serde_json::{Value as Json, json};

use super::platform::{BINARY, Platform, step};
use super::{keeping, over};

const FLOW: &str = "
flow: values
nodes:
  a: { pass: '.n + 1' }
  join: { after: [input, a], pass: '[.input.n, .a]' }
  each:
    after: [join]
    for_each: { body: { nodes: { x: { apply: echo }, y: { after: [x], pass: '. * 10' } } } }
  grow: { loop: { while: '.n < 3', max_iterations: 8, body: { nodes: { more: { pass: '.n += 1' } } } } }
  made: { expand: { pass: '{nodes: {inner: {pass: \".n + 7\"}}}' } }
  odd: { after: [a], when: '. == 99', pass: . }
  large: { apply: blob }
  same: { after: [large], apply: echo }
  raw: { apply: binary }
  ask: { after: [each, grow, made, same, raw], wait: { signal: go } }
  then: { after: [ask], pass: . }
";

async fn value(platform: &Platform, id: &str, path: &str) -> (u16, String, bytes::Bytes) {
    let path = path
        .replace('[', "%5B")
        .replace(']', "%5D")
        .replace('#', "%23");
    let answer = platform.get(&format!("/requests/{id}/steps/{path}")).await;
    let media = answer.headers().get("content-type");
    let media = media.map(|media| media.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    (
        status,
        media.unwrap_or_default(),
        answer.bytes().await.unwrap(),
    )
}

async fn data(platform: &Platform, id: &str, path: &str) -> Json {
    let (status, _, body) = value(platform, id, path).await;
    let text = String::from_utf8_lossy(&body);
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{path}: {text}"))
}

async fn waiting() -> (Platform, String) {
    let platform = keeping(&[FLOW]).await;
    let blob = super::Endpoint::start(|_| async {
        let body = format!("\"{}\"", "x".repeat(700_000));
        axum::response::IntoResponse::into_response(([("content-type", "application/json")], body))
    });
    platform.serve("blob", &blob.await);
    let id = platform.begin("/values", r#"{"n": 1}"#).await;
    let asks = |view: &Json| step(view, "ask")["status"] == "sleeping";
    platform.until(&format!("/requests/{id}"), asks).await;
    (platform, id)
}

#[tokio::test]
async fn the_values_of_steps_are_shown_by_their_paths_while_the_request_is_open() {
    let (platform, id) = waiting().await;
    for (path, expected) in [
        ("a/input", json!({ "n": 1 })),
        ("a/output", json!(2)),
        ("join/input", json!({ "input": { "n": 1 }, "a": 2 })),
        ("join/output", json!([1, 2])),
        ("each/output", json!([10, 20])),
        ("each[0]/x/output", json!(1)),
        ("each[1]/x/output", json!(2)),
        ("each[1]/y/output", json!(20)),
        ("each[0]/x/input", json!(1)),
        ("each[1]/y/input", json!(2)),
        ("grow#2/more/input", json!({ "n": 2 })),
        ("grow/output", json!({ "n": 3 })),
        ("grow#1/more/output", json!({ "n": 2 })),
        ("grow#2/more/output", json!({ "n": 3 })),
        ("made/output", json!(8)),
        ("made/inner/output", json!(8)),
    ] {
        assert_eq!(data(&platform, &id, path).await, expected, "{path}");
    }
    for path in ["large/output", "same/input", "same/output"] {
        let large = data(&platform, &id, path).await;
        assert_eq!(large.as_str().map(str::len), Some(700_000), "{path}");
    }
    let (status, media, body) = value(&platform, &id, "raw/output").await;
    assert_eq!(
        (status, media.as_str(), &body[..]),
        (200, "image/x-odd", BINARY)
    );
}

#[tokio::test]
async fn a_value_that_is_not_there_yet_is_409_and_a_step_that_is_not_there_is_404() {
    let (platform, id) = waiting().await;
    for path in ["ask/output", "then/output", "odd/output"] {
        let (status, _, body) = value(&platform, &id, path).await;
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 409, "{path}: {text}");
        assert!(text.contains(path.split('/').next().unwrap()), "{text}");
    }
    for path in [
        "b/output",
        "each[2]/x/output",
        "grow#9/more/output",
        "made/other/output",
        "a/b/output",
        "a/size",
        "a",
    ] {
        let (status, media, body) = value(&platform, &id, path).await;
        assert_eq!(status, 404, "{path}: {}", String::from_utf8_lossy(&body));
        assert_eq!(media, "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn after_the_end_what_lay_in_the_store_is_gone_and_said_to_be() {
    let (platform, id) = waiting().await;
    assert!(platform.engine.store_bytes() > 700_000);
    platform.ask(&id, "signals/go", "1").await;
    platform.ended(&id).await;
    assert_eq!(platform.engine.store_bytes(), 0);
    for path in ["large/output", "same/input", "same/output"] {
        let (status, media, body) = value(&platform, &id, path).await;
        assert_eq!(status, 410, "{path}: {}", String::from_utf8_lossy(&body));
        assert_eq!(media, "application/problem+json");
    }
}

#[tokio::test]
async fn what_failed_shows_its_values_for_as_long_as_it_is_kept() {
    let flow = FLOW.replace("ask: {", "stop: { after: [same], apply: refuse }\n  ask: {");
    let platform = keeping(&[&flow]).await;
    platform.serve(
        "blob",
        &super::Endpoint::start(|_| async {
            let body = format!("\"{}\"", "x".repeat(700_000));
            axum::response::IntoResponse::into_response((
                [("content-type", "application/json")],
                body,
            ))
        })
        .await,
    );
    let id = platform.begin("/values", r#"{"n": 1}"#).await;
    assert_eq!(over(&platform, &id).await["status"], "failed");
    let large = data(&platform, &id, "stop/input").await;
    assert_eq!(large.as_str().map(str::len), Some(700_000));
    let (status, ..) = value(&platform, &id, "stop/output").await;
    assert_eq!(status, 409);
}
