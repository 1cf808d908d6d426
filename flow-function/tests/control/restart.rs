//! Restarts: which steps run again, and on what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value as Json, json};
use turlough_sdk::read_yaml;

use super::platform::endpoint::{Endpoint, Received};
use super::platform::{Platform, step};
use super::{keeping, over, picky, show};

const CHAIN: &str = "
flow: chain
nodes:
  a: { apply: work, headers: { X-Node: a } }
  b: { after: [a], apply: work, headers: { X-Node: b } }
  c: { after: [b], apply: work, headers: { X-Node: c } }
  side: { apply: work, headers: { X-Node: side } }
output: c
";

/// A function that refuses what is sent for one node until it is mended.
async fn breaks_at(platform: &Platform, node: &'static str) -> (Endpoint, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&mended);
    let work = Endpoint::start(move |call| {
        let bad = call.header("x-node") == node && !flag.load(Ordering::SeqCst);
        async move {
            if bad {
                return (StatusCode::UNPROCESSABLE_ENTITY, "it is broken").into_response();
            }
            ([("content-type", "application/json")], call.body).into_response()
        }
    });
    let work = work.await;
    platform.serve("work", &work);
    (work, mended)
}

/// How often each node was called, in the order of first calls by name.
fn calls_of(work: &Endpoint, names: &[&str]) -> Vec<usize> {
    let received = work.received();
    let count = |name: &&str| {
        received
            .iter()
            .filter(|call| call.header("x-node") == *name)
            .count()
    };
    names.iter().map(count).collect()
}

/// A request as it ended in a generation.
async fn again(platform: &Platform, id: &str, generation: u32) -> Json {
    let ended = |view: &Json| view["generation"] == generation && !view["ended_at"].is_null();
    platform.until(&format!("/requests/{id}"), ended).await
}

#[tokio::test]
async fn a_restart_runs_what_failed_and_what_comes_after_it_and_nothing_else() {
    let platform = keeping(&[CHAIN]).await;
    let (work, mended) = breaks_at(&platform, "b").await;
    let id = platform.begin("/chain", "[1]").await;
    let view = over(&platform, &id).await;
    assert_eq!(view["status"], "failed");
    assert!(view["restartable_until"].is_string(), "{view}");
    work.after(3).await;
    mended.store(true, Ordering::SeqCst);
    assert_eq!(platform.ask(&id, "restart", "").await.0, 202);
    let view = again(&platform, &id, 1).await;
    assert_eq!(view["status"], "succeeded");
    assert_eq!(platform.result(&id).await, (200, json!([1])));
    let calls = calls_of(&work, &["a", "b", "c"]);
    assert_eq!(calls, [1, 2, 1]);
    let of_b: Vec<_> = work
        .received()
        .into_iter()
        .filter(|call| call.header("x-node") == "b")
        .collect();
    assert_eq!(step(&view, "b")["attempt"], 2, "numbered on");
    let key = |call: &Received| call.header("x-turlough-idempotency-key");
    assert_ne!(key(&of_b[0]), key(&of_b[1]), "it is meant to happen again");
    assert_eq!(
        platform.ask(&id, "restart", "").await.0,
        409,
        "it succeeded"
    );
}

#[tokio::test]
async fn a_restart_from_a_named_step_runs_it_and_its_descendants_again() {
    let platform = keeping(&[CHAIN]).await;
    let (work, mended) = breaks_at(&platform, "c").await;
    let id = platform.begin("/chain", "1").await;
    over(&platform, &id).await;
    work.after(4).await;
    mended.store(true, Ordering::SeqCst);
    for unknown in ["nowhere", "b/inner", "~finally/a", "b[0]/x"] {
        let (status, problem) = platform
            .ask(&id, &format!("restart?from={unknown}"), "")
            .await;
        assert_eq!(status, 404, "{unknown}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(unknown),
            "{problem}"
        );
    }
    assert_eq!(
        platform.ask(&id, "restart", r#"{"from": "b"}"#).await.0,
        202
    );
    assert_eq!(again(&platform, &id, 1).await["status"], "succeeded");
    assert_eq!(calls_of(&work, &["a", "side", "b", "c"]), [1, 1, 2, 2]);
}

const EACH: &str = "
flow: each
nodes:
  all:
    for_each:
      max_parallel: 1
      errors: ERRORS
      body:
        nodes:
          first: { apply: work, headers: { X-Node: { jq: '\"first\\(.)\"' } } }
          second: { after: [first], apply: work, headers: { X-Node: { jq: '\"second\\(.)\"' } } }
  end: { after: [all], apply: work, headers: { X-Node: end } }
";
const OF_ITEMS: [&str; 8] = [
    "first0", "second0", "first1", "second1", "first2", "second2", "first3", "second3",
];

#[tokio::test]
async fn only_the_items_of_a_for_each_that_failed_run_again() {
    let platform = keeping(&[&EACH.replace("ERRORS", "stop")]).await;
    let (work, mended) = breaks_at(&platform, "second1").await;
    let id = platform.begin("/each", "[0,1,2,3]").await;
    over(&platform, &id).await;
    assert_eq!(calls_of(&work, &OF_ITEMS), [1, 1, 1, 1, 0, 0, 0, 0]);
    mended.store(true, Ordering::SeqCst);
    assert_eq!(platform.ask(&id, "restart", "").await.0, 202);
    let view = again(&platform, &id, 1).await;
    assert_eq!(view["status"], "succeeded", "{view}");
    assert_eq!(platform.result(&id).await, (200, json!([0, 1, 2, 3])));
    let calls = calls_of(&work, &OF_ITEMS);
    assert_eq!(
        calls[..2],
        [1, 1],
        "the item that had succeeded keeps what it gave"
    );
    assert_eq!(calls[3..], [2, 1, 1, 1, 1], "{calls:?}");
}

#[tokio::test]
async fn of_a_for_each_that_collects_the_failed_items_run_again_where_it_is_named() {
    let platform = keeping(&[&EACH.replace("ERRORS", "collect")]).await;
    let mended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&mended);
    let work = Endpoint::start(move |call| {
        let broken = ["second1", "second3", "end"].contains(&call.header("x-node").as_str());
        let bad = broken && !flag.load(Ordering::SeqCst);
        async move {
            let status = if bad {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::OK
            };
            (status, [("content-type", "application/json")], call.body).into_response()
        }
    })
    .await;
    platform.serve("work", &work);
    let id = platform.begin("/each", "[0,1,2,3]").await;
    assert_eq!(over(&platform, &id).await["status"], "failed");
    mended.store(true, Ordering::SeqCst);
    assert_eq!(platform.ask(&id, "restart?from=all", "").await.0, 202);
    assert_eq!(again(&platform, &id, 1).await["status"], "succeeded");
    let expected = json!({ "results": [0, 1, 2, 3], "errors": [] });
    assert_eq!(platform.result(&id).await, (200, expected));
    assert_eq!(calls_of(&work, &OF_ITEMS), [1, 1, 2, 2, 1, 1, 2, 2]);
}

#[tokio::test]
async fn a_restart_from_inside_a_body_runs_its_item_again_as_a_whole() {
    let platform = keeping(&[&EACH.replace("ERRORS", "stop")]).await;
    let (work, mended) = breaks_at(&platform, "end").await;
    let id = platform.begin("/each", "[0,1,2,3]").await;
    over(&platform, &id).await;
    mended.store(true, Ordering::SeqCst);
    let (status, problem) = platform
        .ask(&id, "restart?from=all%5B9%5D%2Fsecond", "")
        .await;
    assert_eq!(status, 404, "there is no such item: {problem}");
    assert_eq!(
        platform
            .ask(&id, "restart?from=all%5B2%5D%2Fsecond", "")
            .await
            .0,
        202
    );
    assert_eq!(again(&platform, &id, 1).await["status"], "succeeded");
    assert_eq!(calls_of(&work, &OF_ITEMS), [1, 1, 1, 1, 2, 2, 1, 1]);
    assert_eq!(calls_of(&work, &["end"]), [2]);
    assert_eq!(platform.result(&id).await, (200, json!([0, 1, 2, 3])));
}

async fn put(platform: &Platform, name: &str, flow: &str) -> Json {
    let call = platform.http.put(format!("{}/flows/{name}", platform.url));
    let call = call
        .header("content-type", "text/yaml")
        .body(flow.to_owned());
    let answer = call.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_restart_on_the_current_version_keeps_unchanged_nodes_and_runs_changed_ones_again() {
    let platform = keeping(&[CHAIN]).await;
    let (work, _) = breaks_at(&platform, "c").await;
    let id = platform.begin("/chain", "5").await;
    let before = over(&platform, &id).await;
    work.after(4).await;
    let changed = CHAIN.replace(
        "b: { after: [a], apply: work",
        "b: { after: [a], apply: work, query: { v: '2' }",
    );
    let changed = changed.replace("X-Node: c", "X-Node: mended");
    let changed = changed.replace(
        "  side:",
        "  added: { after: [a], apply: work, headers: { X-Node: added } }\n  side:",
    );
    let version = put(&platform, "chain", &changed).await["version"].clone();
    assert_ne!(version, before["version"]);
    assert_eq!(
        platform
            .ask(&id, "restart", r#"{"version": "current"}"#)
            .await
            .0,
        202
    );
    let view = again(&platform, &id, 1).await;
    assert_eq!(
        (&view["status"], &view["version"]),
        (&json!("succeeded"), &version)
    );
    work.after(7).await;
    let calls = calls_of(&work, &["a", "side", "b", "c", "mended", "added"]);
    assert_eq!(calls, [1, 1, 2, 1, 1, 1]);
    assert_eq!(platform.result(&id).await, (200, json!(5)));
}

#[tokio::test]
async fn a_restart_from_a_step_that_the_current_version_does_not_have_is_refused_by_name() {
    let platform = keeping(&[CHAIN]).await;
    let (work, mended) = breaks_at(&platform, "c").await;
    let id = platform.begin("/chain", "5").await;
    over(&platform, &id).await;
    let shorter = "flow: chain\nnodes:\n  a: { apply: work, headers: { X-Node: a } }\n  c: { after: [a], apply: work, headers: { X-Node: c } }";
    put(&platform, "chain", shorter).await;
    let before = show(&platform, &id).await;
    let (status, problem) = platform
        .ask(&id, "restart?from=b&version=current", "")
        .await;
    assert_eq!(status, 409, "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("step b is not in version"),
        "{problem}"
    );
    assert_eq!(show(&platform, &id).await, before);
    assert_eq!(platform.ask(&id, "restart?version=v7", "").await.0, 400);
    mended.store(true, Ordering::SeqCst);
    assert_eq!(
        platform.ask(&id, "restart?version=current", "").await.0,
        202
    );
    let view = again(&platform, &id, 1).await;
    assert_eq!(view["status"], "succeeded", "{view}");
    assert_eq!(calls_of(&work, &["a", "b", "c"]), [1, 1, 2]);
}

#[tokio::test]
async fn an_open_request_keeps_its_version_while_new_ones_have_the_next() {
    let old =
        "flow: v\nnodes: { ask: { wait: { signal: go } }, say: { after: [ask], pass: '\"old\"' } }";
    let platform = keeping(&[old]).await;
    let id = platform.begin("/v", "1").await;
    platform.stands(&id, "sleeping").await;
    put(&platform, "v", &old.replace("old", "new")).await;
    let newer = platform.begin("/v", "1").await;
    for id in [&id, &newer] {
        assert_eq!(platform.ask(id, "signals/go", "1").await.0, 202);
    }
    assert_eq!(platform.result(&id).await.1, "old");
    assert_eq!(platform.result(&newer).await.1, "new");
}

#[tokio::test]
async fn after_the_time_that_it_is_kept_a_request_cannot_be_restarted() {
    let flow = "flow: bad\nnodes: { a: { apply: echo }, call: { after: [a], apply: refuse } }";
    for keep in [Duration::ZERO, Duration::from_millis(200)] {
        let platform =
            Platform::with(vec![read_yaml(flow).unwrap()], |s| s.keep_failed = keep).await;
        let id = platform.begin("/bad", "1").await;
        let before = platform.ended(&id).await;
        for what in ["restart", "restart?from=a"] {
            let (status, problem) = platform.ask(&id, what, "").await;
            assert_eq!(
                (status, &problem["request_status"]),
                (409, &json!("failed")),
                "{problem}"
            );
        }
        assert_eq!(show(&platform, &id).await, before);
        assert_eq!(
            (
                platform.calls.of("refuse").len(),
                platform.engine.store_bytes()
            ),
            (1, 0)
        );
    }
}

#[tokio::test]
async fn a_callback_from_before_a_restart_is_refused() {
    let flow = "
flow: later
nodes:
  work: { http: URL, callback: true, idempotent: true, timeout: 60s }
  ask: { wait: { signal: go } }
  stop: { after: [ask], apply: picky }
  both: { after: [work, stop], pass: .work }
";
    let endpoint = Endpoint::silent().await;
    let platform = keeping(&[&flow.replace("URL", &endpoint.url)]).await;
    platform.serve("picky", &picky(|body| body == 0).await);
    let id = platform.begin("/later", "1").await;
    let old = endpoint.after(1).await.remove(0);
    platform.ask(&id, "signals/go", "0").await;
    assert_eq!(over(&platform, &id).await["status"], "failed");
    assert_eq!(old.call_back("\"old\"").await, 409);
    assert_eq!(platform.ask(&id, "restart?from=ask", "").await.0, 202);
    let new = endpoint.after(2).await.remove(1);
    assert_ne!(old.callback(), new.callback());
    assert_eq!(old.call_back("\"old\"").await, 409);
    assert_eq!(new.call_back("\"new\"").await, 200);
    platform.ask(&id, "signals/go", "1").await;
    again(&platform, &id, 1).await;
    assert_eq!(platform.result(&id).await, (200, json!("new")));
}
