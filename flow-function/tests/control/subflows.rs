//! Flows that stand in flows.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::platform::endpoint::Endpoint;
use super::platform::{Platform, soon, step};
use super::{keeping, over, picky, show};

const PARENT: &str = "
flow: parent
nodes:
  call: { flow: child REST }
  next: { after: [call], pass: '{child: .}' }
";
const CHILD: &str =
    "flow: child\nnodes: { ask: { wait: { signal: go } }, end: { after: [ask], apply: work } }";

fn parent(rest: &str) -> String {
    PARENT.replace("REST", rest)
}

/// The sub-flows of a request, once there are so many, newest first.
async fn children(platform: &Platform, id: &str, count: usize) -> Vec<String> {
    let list = |list: &Json| list["requests"].as_array().unwrap().len() >= count;
    let list = platform
        .until(&format!("/requests?parent={id}"), list)
        .await;
    let rows = list["requests"].as_array().unwrap().iter();
    let ids: Vec<_> = rows
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), count, "{list}");
    ids
}

#[tokio::test]
async fn parent_and_child_name_one_another_and_while_the_child_sleeps_so_does_the_parent() {
    let platform = keeping(&[&parent(""), CHILD]).await;
    platform.serve("work", &Endpoint::echo().await);
    let id = platform.begin("/parent", "1").await;
    let child = children(&platform, &id, 1).await.remove(0);
    platform.stands(&child, "sleeping").await;
    let view = platform.stands(&id, "sleeping").await;
    soon(async {
        while platform.engine.driving() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert_eq!(view["children"][0]["id"], child.as_str(), "{view}");
    assert_eq!(step(&view, "call")["status"], "sleeping");
    let of_child = show(&platform, &child).await;
    let told = (
        &of_child["parent"],
        &of_child["parent_step"],
        &of_child["parent_attempt"],
    );
    assert_eq!(told, (&json!(id), &json!("call"), &json!(1)));
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    assert_eq!(
        platform.ask(&child, "signals/go", large.clone()).await.0,
        202
    );
    let (status, result) = platform.result(&id).await;
    assert!(status == 200 && result["child"].as_str().map(str::len) == Some(1_000_000));
    platform.ended(&id).await;
    platform.ended(&child).await;
    assert_eq!(platform.engine.store_bytes(), 0);
}

#[tokio::test]
async fn the_cancel_of_a_parent_cancels_its_child_and_the_childs_child() {
    let grand = "flow: grand\nnodes: { call: { flow: parent } }";
    let platform = keeping(&[grand, &parent(""), CHILD]).await;
    let id = platform.begin("/grand", "1").await;
    let middle = children(&platform, &id, 1).await.remove(0);
    let child = children(&platform, &middle, 1).await.remove(0);
    platform.stands(&child, "sleeping").await;
    assert_eq!(platform.ask(&id, "cancel", "").await.0, 202);
    for id in [&id, &middle, &child] {
        assert_eq!(over(&platform, id).await["status"], "cancelled");
    }
}

#[tokio::test]
async fn a_childs_failure_fails_its_step_and_a_retry_starts_a_new_child() {
    let retry = ", retry: { attempts: 2, backoff: 1ms..2ms }";
    let child = "flow: child\nnodes: { end: { apply: NAME } }";
    let platform = keeping(&[&parent(retry), &child.replace("NAME", "fail")]).await;
    let id = platform.begin("/parent", "1").await;
    let view = over(&platform, &id).await;
    let error = view["error"].as_str().unwrap();
    assert!(
        error.contains("step call") && error.contains("step end"),
        "{error}"
    );
    let of = children(&platform, &id, 2).await;
    assert_ne!(of[0], of[1]);
    for child in of {
        assert_eq!(over(&platform, &child).await["status"], "failed");
    }
    let platform = keeping(&[&parent(retry), &child.replace("NAME", "refuse")]).await;
    let id = platform.begin("/parent", "1").await;
    over(&platform, &id).await;
    children(&platform, &id, 1).await;
}

#[tokio::test]
async fn a_child_that_is_cancelled_by_itself_fails_its_parents_step() {
    let fallback = ", fallback: { pass: '$error.message' }";
    let platform = keeping(&[&parent(fallback), CHILD]).await;
    let id = platform.begin("/parent", "1").await;
    let child = children(&platform, &id, 1).await.remove(0);
    platform.stands(&child, "sleeping").await;
    assert_eq!(platform.ask(&child, "cancel", "").await.0, 202);
    let expected = json!({ "child": "the sub-flow was cancelled" });
    assert_eq!(platform.result(&id).await, (200, expected));
}

#[tokio::test]
async fn a_child_whose_step_takes_too_long_is_cancelled() {
    let platform = keeping(&[&parent(", timeout: 500ms"), CHILD]).await;
    let id = platform.begin("/parent", "1").await;
    let view = over(&platform, &id).await;
    assert_eq!(view["status"], "failed");
    let child = children(&platform, &id, 1).await.remove(0);
    assert_eq!(over(&platform, &child).await["status"], "cancelled");
}

#[tokio::test]
async fn children_of_items_run_beside_one_another_and_one_that_fails_stops_the_others() {
    let flow = "
flow: parent
nodes:
  all: { for_each: { body: { nodes: { call: { flow: child } } } } }
";
    let platform = keeping(&[flow, CHILD]).await;
    platform.serve("work", &picky(|body| *body == 0).await);
    let id = platform.begin("/parent", "[1,2,3]").await;
    let of = children(&platform, &id, 3).await;
    for child in &of {
        platform.stands(child, "sleeping").await;
    }
    assert_eq!(platform.ask(&of[1], "signals/go", "0").await.0, 202);
    assert_eq!(over(&platform, &id).await["status"], "failed");
    for child in [&of[0], &of[2]] {
        assert_eq!(over(&platform, child).await["status"], "cancelled");
    }
}

#[tokio::test]
async fn a_flow_that_calls_itself_for_ever_is_refused_at_sixteen() {
    let platform = keeping(&["flow: forever\nnodes: { again: { flow: forever } }"]).await;
    let answer = platform.post("/forever", "1").await;
    let problem: Json = answer.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("limit 16"), "{detail}");
    let list = |list: &Json| {
        let rows = list["requests"].as_array().unwrap();
        rows.iter().all(|row| row["status"] == "failed")
    };
    let list = platform.until("/requests", list).await;
    assert_eq!(list["requests"].as_array().unwrap().len(), 17);
}

#[tokio::test]
async fn a_flow_that_is_not_here_is_named() {
    let platform = keeping(&["flow: lost\nnodes: { call: { flow: nowhere } }"]).await;
    let problem: Json = platform.post("/lost", "1").await.json().await.unwrap();
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("no flow nowhere here"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_restarted_parent_starts_its_child_anew() {
    let platform = keeping(&[&parent(""), CHILD]).await;
    platform.serve("work", &picky(|body| *body == 0).await);
    let id = platform.begin("/parent", "1").await;
    let first = children(&platform, &id, 1).await.remove(0);
    platform.ask(&first, "signals/go", "0").await;
    assert_eq!(over(&platform, &id).await["status"], "failed");
    let (status, problem) = platform.ask(&first, "restart", "").await;
    assert_eq!(status, 409, "a child is run anew by its parent: {problem}");
    assert_eq!(platform.ask(&id, "restart", "").await.0, 202);
    let second = children(&platform, &id, 2).await.remove(0);
    assert_ne!(first, second);
    platform.stands(&second, "sleeping").await;
    platform.ask(&second, "signals/go", "5").await;
    platform.stands(&id, "succeeded").await;
    assert_eq!(platform.result(&id).await, (200, json!({ "child": 5 })));
}

#[tokio::test]
async fn a_parent_that_is_cancelled_while_its_child_begins_leaves_no_child_behind() {
    let child = "flow: child\ntimeout: 600s\nnodes: { ask: { wait: { signal: go } } }";
    let platform = keeping(&[&parent(""), child]).await;
    let run = async |n: usize| {
        let id = platform
            .begin("/parent", format!("\"{}\"", "x".repeat(n * 10_000)))
            .await;
        for _ in 0..n % 16 {
            tokio::task::yield_now().await;
        }
        let (status, problem) = platform.ask(&id, "cancel", "").await;
        assert_eq!(status, 202, "{problem}, {}", show(&platform, &id).await);
        assert_eq!(over(&platform, &id).await["status"], "cancelled");
    };
    // So many side by side that each still begins its child in time where the machine is busy.
    for first in (0..100).step_by(25) {
        futures_util::future::join_all((first..first + 25).map(run)).await;
    }
    all_are_cancelled(&platform, "/requests?limit=1000").await;
}

#[tokio::test]
async fn a_parent_whose_step_runs_out_of_time_while_its_child_begins_leaves_no_child_behind() {
    let child = "flow: child\ntimeout: 600s\nnodes: { ask: { wait: { signal: go } } }";
    let platform = keeping(&[&parent(", timeout: 1ms"), child]).await;
    let run = async |n: usize| {
        let body = format!("\"{}\"", "x".repeat(n * 10_000));
        let id = platform.begin("/parent", body).await;
        assert_eq!(over(&platform, &id).await["status"], "failed");
    };
    futures_util::future::join_all((0..100).map(run)).await;
    all_are_cancelled(&platform, "/requests?flow=child&limit=1000").await;
}

/// Once nothing is under way any more, a request that is left will be so for ever.
async fn all_are_cancelled(platform: &Platform, path: &str) {
    assert!(platform.engine.drain(Duration::from_secs(60)).await);
    let list = platform.json(path).await;
    let rows = list["requests"].as_array().unwrap().iter();
    let left: Vec<_> = rows.filter(|row| row["status"] != "cancelled").collect();
    assert!(left.is_empty(), "{left:#?}");
}
