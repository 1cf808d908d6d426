//! Which control is taken in which state, and what it changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::IntoResponse;
use futures_util::future::join_all;
use serde_json::{Value as Json, json};

use super::platform::endpoint::Endpoint;
use super::platform::{Platform, id_of, step};
use super::{gated, keeping, over, show, steps};

const STATES: &[&str] = &[
    "flow: running\nnodes: { a: { apply: hang } }",
    "flow: sleeping\nnodes: { a: { wait: { signal: go } } }",
    "flow: unwinding\nnodes: { a: { apply: echo, compensate: { apply: hang } }, b: { after: [a], apply: refuse } }",
    "flow: succeeded\nnodes: { a: { pass: . } }",
    "flow: failed\nnodes: { a: { apply: refuse } }",
    "flow: timed_out\ntimeout: 50ms\nnodes: { a: { apply: hang } }",
];

/// A new request in this state.
async fn in_state(platform: &Platform, state: &str) -> String {
    let (flow, control) = match state {
        "paused" => ("sleeping", Some("pause")),
        "cancelled" => ("sleeping", Some("cancel")),
        state => (state, None),
    };
    let id = platform.begin(&format!("/{flow}"), "1").await;
    platform.stands(&id, flow).await;
    if let Some(control) = control {
        assert_eq!(platform.ask(&id, control, "").await.0, 202);
        platform.stands(&id, state).await;
    }
    id
}

#[tokio::test]
async fn each_control_is_taken_or_refused_as_the_table_of_states_says() {
    let platform = keeping(STATES).await;
    let controls = ["pause", "resume", "cancel", "signals/other", "restart"];
    let table = [
        ("running", [202, 409, 202, 202, 409]),
        ("sleeping", [202, 409, 202, 202, 409]),
        ("paused", [202, 202, 202, 202, 409]),
        ("unwinding", [409, 409, 409, 409, 409]),
        ("succeeded", [409, 409, 409, 409, 409]),
        ("failed", [409, 409, 409, 409, 202]),
        ("timed_out", [409, 409, 409, 409, 202]),
        ("cancelled", [409, 409, 409, 409, 202]),
    ];
    for (state, expected) in table {
        for (control, expected) in controls.into_iter().zip(expected) {
            let id = in_state(&platform, state).await;
            let before = show(&platform, &id).await;
            let (status, answer) = platform.ask(&id, control, "").await;
            assert_eq!(status, expected, "{control} of {state}: {answer}");
            if status == 409 {
                assert_eq!(answer["request_status"], state, "{control}: {answer}");
                assert_eq!(answer["request_id"], id.as_str());
                // What settles meanwhile says so.
                let (mut before, mut after) = (before, show(&platform, &id).await);
                for view in [&mut before, &mut after] {
                    view["settled"] = Json::Null;
                    view["restartable_until"] = Json::Null;
                }
                assert_eq!(after, before, "{control} of {state}");
            }
        }
    }
}

#[tokio::test]
async fn each_control_of_an_unknown_request_is_404_and_starts_nothing() {
    let platform = keeping(STATES).await;
    let ids = ["0190a1b2-0000-7000-8000-000000000000", "nobody", "*", "a.b"];
    for id in ids {
        for control in ["pause", "resume", "cancel", "signals/go", "restart"] {
            assert_eq!(
                platform.ask(id, control, "").await.0,
                404,
                "{control} of {id}"
            );
        }
        for path in ["", "/result", "/events", "/steps/a/output"] {
            let answer = platform.get(&format!("/requests/{id}{path}")).await;
            assert_eq!(answer.status(), 404, "{path} of {id}");
        }
    }
    assert_eq!(platform.json("/requests").await["requests"], json!([]));
}

#[tokio::test]
async fn pause_lets_a_step_end_starts_no_other_and_resume_goes_on_once() {
    let flow = "
flow: held
nodes:
  first: { apply: gate }
  second: { after: [first], apply: echo }
  third: { after: [second], pass: . }
";
    let platform = keeping(&[flow]).await;
    let (gate, open) = gated().await;
    platform.serve("gate", &gate);
    let id = platform.begin("/held", "7").await;
    gate.after(1).await;
    assert_eq!(platform.ask(&id, "pause", "").await.0, 202);
    open.add_permits(1);
    let held = |view: &Json| step(view, "second")["status"] == "held";
    let view = platform.until(&format!("/requests/{id}"), held).await;
    assert_eq!(
        steps(&view),
        ["first succeeded", "second held", "third waiting"]
    );
    assert!(platform.calls.of("echo").is_empty());
    assert_eq!(
        platform
            .get(&format!("/requests/{id}/result"))
            .await
            .status(),
        202
    );
    assert_eq!(platform.ask(&id, "resume", "").await.0, 202);
    assert_eq!(platform.result(&id).await, (200, json!(7)));
    assert_eq!(platform.calls.of("echo").len(), 1);
}

#[tokio::test]
async fn time_goes_on_for_a_paused_request() {
    let flows = [
        "flow: limited\ntimeout: 3s\nnodes: { ask: { wait: { signal: go } } }",
        "flow: timed\nnodes: { nap: { wait: 3s }, then: { after: [nap], apply: echo } }",
        "flow: gives-up\nnodes: { ask: { wait: { signal: go }, timeout: 3s, fallback: { value: 0 } }, then: { after: [ask], apply: echo } }",
    ];
    let platform = keeping(&flows).await;
    let mut ids = Vec::new();
    for flow in ["limited", "timed", "gives-up"] {
        let id = platform.begin(&format!("/{flow}"), "1").await;
        assert_eq!(platform.ask(&id, "pause", "").await.0, 202);
        ids.push(id);
    }
    assert_eq!(over(&platform, &ids[0]).await["status"], "timed_out");
    for id in &ids[1..] {
        let held = |view: &Json| step(view, "then")["status"] == "held";
        let view = platform.until(&format!("/requests/{id}"), held).await;
        assert_eq!(view["status"], "paused");
    }
    assert!(platform.calls.of("echo").is_empty());
    for (id, result) in ids[1..].iter().zip([1, 0]) {
        platform.ask(id, "resume", "").await;
        assert_eq!(platform.result(id).await, (200, json!(result)));
    }
}

async fn start(
    platform: &Platform,
    path: &str,
    key: &str,
    body: impl Into<reqwest::Body>,
) -> reqwest::Response {
    let call = platform.http.post(format!("{}{path}", platform.url));
    let call = call.header("idempotency-key", key).body(body);
    call.send().await.unwrap()
}

#[tokio::test]
async fn starts_with_one_key_are_one_request_however_many_come_at_once() {
    let flows = [
        "flow: echo\nnodes: { call: { apply: echo } }",
        "flow: other\nnodes: { call: { pass: . } }",
    ];
    let platform = keeping(&flows).await;
    for (round, bytes) in [1, 600_000, 3_000_000].into_iter().enumerate() {
        let (key, body) = (
            format!("order-{round}"),
            format!("\"{}\"", "x".repeat(bytes)),
        );
        let answers =
            join_all((0..12).map(|_| start(&platform, "/echo", &key, body.clone()))).await;
        let replayed = answers
            .iter()
            .filter(|a| a.headers().contains_key("idempotent-replayed"));
        assert_eq!(replayed.count(), 11, "{bytes}");
        let id = id_of(&answers[0]);
        for answer in answers {
            assert_eq!(
                (answer.status().as_u16(), id_of(&answer)),
                (200, id.clone())
            );
            assert!(answer.text().await.unwrap() == body);
        }
        assert_eq!(platform.calls.of("echo").len(), round + 1);
        platform.ended(&id).await;
        let again = start(&platform, "/echo", &key, body.clone()).await;
        assert_eq!(id_of(&again), id);
        assert!(again.text().await.unwrap() == body, "after the end as well");
        let refused = start(&platform, "/echo", &key, "2").await;
        assert_eq!(refused.status(), 422);
        let problem: Json = refused.json().await.unwrap();
        assert_eq!(problem["request_id"], id.as_str());
        let elsewhere = start(&platform, "/other", &key, "2").await;
        assert_eq!(elsewhere.status(), 200, "a key is a flow's own");
    }
    assert_eq!(platform.calls.of("echo").len(), 3);
    let list = platform.json("/requests").await;
    assert_eq!(list["requests"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_flow_with_a_bound_drives_so_many_and_those_that_sleep_do_not_count() {
    let flow = "
flow: bound
concurrency: 1
nodes: { ask: { wait: { signal: go } }, call: { after: [ask], apply: busy } }
";
    let platform = keeping(&[flow]).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let busy = Endpoint::start(move |call| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&seen));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            call.body.into_response()
        }
    });
    platform.serve("busy", &busy.await);
    let begun = join_all((0..8).map(|_| platform.begin("/bound", "1"))).await;
    for id in &begun {
        platform.stands(id, "sleeping").await;
    }
    let asked = begun[..7]
        .iter()
        .map(|id| platform.ask(id, "signals/go", "5"));
    for (status, answer) in join_all(asked).await {
        assert_eq!(status, 202, "{answer}");
    }
    for id in &begun[..7] {
        assert_eq!(platform.result(id).await, (200, json!(5)));
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(show(&platform, &begun[7]).await["status"], "sleeping");
}

#[tokio::test]
async fn lists_show_the_requests_of_a_status_and_of_a_flow_and_no_others() {
    let platform = keeping(STATES).await;
    let states = [
        "running",
        "sleeping",
        "paused",
        "unwinding",
        "succeeded",
        "failed",
        "timed_out",
        "cancelled",
    ];
    let mut ids = Vec::new();
    for state in states {
        ids.push(in_state(&platform, state).await);
    }
    let listed = async |query: &str| {
        let list = platform.json(&format!("/requests?{query}")).await;
        let rows = list["requests"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (state, id) in states.iter().zip(&ids) {
        assert_eq!(
            listed(&format!("status={state}")).await,
            std::slice::from_ref(id),
            "{state}"
        );
    }
    let of_flow = listed("flow=sleeping").await;
    assert_eq!(of_flow, [ids[7].clone(), ids[2].clone(), ids[1].clone()]);
    assert_eq!(
        listed("flow=sleeping&status=paused").await,
        std::slice::from_ref(&ids[2])
    );
    assert!(listed("flow=none").await.is_empty());
    for query in [
        "status=done",
        "limit=0",
        "before=x",
        "parent=x",
        "flow=a%2Fb",
        "color=red",
    ] {
        let answer = platform.get(&format!("/requests?{query}")).await;
        assert_eq!(answer.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn a_request_that_many_start_at_once_is_driven_by_one_and_wakes_when_it_is_due() {
    let flow = "
flow: once
timeout: 20s
nodes:
  nap: { wait: 20ms }
  pay: { after: [nap], apply: gate, idempotent: false, timeout: 10s }
  ask: { wait: { signal: go } }
  both: { after: [pay, ask], pass: . }
";
    let platform = keeping(&[flow]).await;
    let (gate, open) = gated().await;
    platform.serve("gate", &gate);
    for round in 0..20 {
        let key = format!("once-{round}");
        let count = if round == 0 { 1 } else { 12 };
        let starts = join_all((0..count).map(|_| start(&platform, "/once", &key, "1")));
        let (answers, ()) = tokio::join!(starts, async {
            let call = gate.after(round + 1).await.remove(round);
            let id = call.header("x-turlough-request-id");
            assert_eq!(platform.ask(&id, "signals/go", "2").await.0, 202);
            open.add_permits(1);
        });
        for answer in answers {
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert_eq!(status, 200, "round {round}: {text}");
        }
        let list = platform.json("/requests?limit=1").await;
        let view = platform
            .ended(list["requests"][0]["id"].as_str().unwrap())
            .await;
        assert_eq!(steps(&view).len(), 4, "{view}");
    }
    assert_eq!(gate.received().len(), 20);
}
