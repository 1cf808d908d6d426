//! The way to an end: what is awaited, undone, and told to handlers.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value as Json, json};

use super::platform::endpoint::{Endpoint, Received};
use super::platform::{Platform, step};
use super::{gated, keeping, over};

fn bodies(endpoint: &Endpoint) -> Vec<Json> {
    endpoint.received().iter().map(Received::json).collect()
}

#[tokio::test]
async fn what_was_done_is_undone_one_after_the_other_in_the_reverse_order_of_the_starts() {
    let flow = "
flow: trip
nodes:
  a: { apply: echo, compensate: { apply: undo, path: /a } }
  b: { after: [a], apply: echo, compensate: { apply: undo, path: /b, retry: { attempts: 3, backoff: 1ms..2ms } } }
  c: { after: [b], pass: . }
  d: { after: [c], apply: echo, compensate: { apply: undo, path: /d, retry: { attempts: 2, backoff: 1ms..2ms } } }
  e: { after: [d], apply: refuse, compensate: { apply: undo, path: /e } }
  f: { after: [e], apply: echo, compensate: { apply: undo, path: /f } }
";
    let platform = keeping(&[flow]).await;
    let of_b = AtomicU32::new(0);
    let undo = Endpoint::start(move |call| {
        let fails = match call.path.as_str() {
            "/d" => true,
            "/b" => of_b.fetch_add(1, Ordering::SeqCst) == 0,
            _ => false,
        };
        let status = if fails {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::OK
        };
        async move { status.into_response() }
    });
    let undo = undo.await;
    platform.serve("undo", &undo);
    let id = platform.begin("/trip", "7").await;
    let view = over(&platform, &id).await;
    assert_eq!(view["status"], "failed");
    let paths: Vec<_> = undo
        .received()
        .iter()
        .map(|call| call.path.clone())
        .collect();
    assert_eq!(
        paths,
        ["/d", "/d", "/b", "/b", "/a"],
        "an answer is known: e was not done"
    );
    assert_eq!(bodies(&undo)[4], json!({ "input": 7, "output": 7 }));
    let key = "x-turlough-idempotency-key";
    assert_eq!(
        undo.received()[2].header(key),
        undo.received()[3].header(key)
    );
    assert_eq!(view["trouble"][0]["step"], "d/~compensate", "{view}");
    assert_eq!(view["trouble"].as_array().unwrap().len(), 1);
    assert_eq!(step(&view, "e")["status"], "failed");
}

#[tokio::test]
async fn a_step_whose_outcome_nobody_knows_is_undone_without_its_output() {
    let flow = "
flow: unsure
nodes:
  a: { apply: NAME, timeout: 300ms, compensate: { apply: undo } }
";
    let names = [("hang", 1), ("closes", 1), ("fail", 0), ("refuse", 0)];
    for (name, undone) in names {
        let platform = keeping(&[&flow.replace("NAME", name)]).await;
        let undo = Endpoint::echo().await;
        platform.serve("undo", &undo);
        let id = platform.begin("/unsure", "7").await;
        assert_eq!(over(&platform, &id).await["status"], "failed");
        let found = bodies(&undo);
        assert_eq!(found, vec![json!({ "input": 7 }); undone], "{name}");
    }
}

#[tokio::test]
async fn cancel_awaits_a_step_that_must_not_be_cut_off_and_undoes_it() {
    let flow = "
flow: book
nodes:
  book: { apply: gate, idempotent: false, timeout: 60s, compensate: { apply: undo } }
  slow: { apply: hang, timeout: 60s }
  next: { after: [book], apply: echo }
on_failure: { nodes: { note: { apply: refuse } } }
finally: { nodes: { last: { apply: last } } }
";
    let platform = keeping(&[flow]).await;
    let ((gate, open), undo, last) = (
        gated().await,
        Endpoint::echo().await,
        Endpoint::echo().await,
    );
    for (name, endpoint) in [("gate", &gate), ("undo", &undo), ("last", &last)] {
        platform.serve(name, endpoint);
    }
    let id = platform.begin("/book", "7").await;
    gate.after(1).await;
    assert_eq!(platform.ask(&id, "cancel", "").await.0, 202);
    let view = platform.stands(&id, "unwinding").await;
    assert_eq!(step(&view, "book")["status"], "running", "{view}");
    assert_eq!(platform.ask(&id, "cancel", "").await.0, 409);
    assert!(undo.received().is_empty());
    open.add_permits(1);
    let view = over(&platform, &id).await;
    assert_eq!(view["status"], "cancelled");
    assert_eq!(bodies(&undo), [json!({ "input": 7, "output": 7 })]);
    let told = bodies(&last).remove(0);
    assert_eq!(
        (&told["status"], &told["request"]),
        (&json!("cancelled"), &json!(id))
    );
    assert_eq!(
        (gate.received().len(), platform.calls.of("echo").len()),
        (1, 0)
    );
    assert!(
        platform.calls.of("refuse").is_empty(),
        "on_failure is not for cancels"
    );
}

#[tokio::test]
async fn a_step_that_must_not_be_repeated_is_called_once_whatever_becomes_of_the_call() {
    let flow = "
flow: pay
nodes:
  pay: { apply: NAME, idempotent: false, timeout: 300ms FALLBACK }
";
    let fallback = ", fallback: { pass: '{paid: false, why: $error.cause}' }";
    for (name, cause) in [
        ("fail", "transient"),
        ("refuse", "permanent"),
        ("hang", "timeout"),
        ("boasts", "transient"),
    ] {
        let plain = flow.replace("NAME", name).replace("FALLBACK", "");
        let falls = flow
            .replace("NAME", name)
            .replace("FALLBACK", fallback)
            .replace("flow: pay", "flow: fall");
        let platform = keeping(&[&plain, &falls]).await;
        let id = platform.begin("/pay", "7").await;
        assert_eq!(over(&platform, &id).await["status"], "failed", "{name}");
        if name != "boasts" {
            assert_eq!(platform.calls.of(name).len(), 1, "{name}");
        }
        let id = platform.begin("/fall", "7").await;
        let expected = json!({ "paid": false, "why": cause });
        assert_eq!(platform.result(&id).await, (200, expected), "{name}");
        if name != "boasts" {
            assert_eq!(platform.calls.of(name).len(), 2, "{name}");
        }
    }
}

#[tokio::test]
async fn a_flow_that_takes_too_long_is_unwound_and_its_handlers_are_told() {
    let flow = "
flow: late
timeout: 1s
nodes:
  a: { apply: echo, compensate: { apply: undo } }
  b: { after: [a], apply: hang }
on_failure: { nodes: { note: { apply: failed } } }
finally: { nodes: { last: { apply: last } } }
";
    let platform = keeping(&[flow]).await;
    let (undo, failed, last) = (
        Endpoint::echo().await,
        Endpoint::echo().await,
        Endpoint::echo().await,
    );
    for (name, endpoint) in [("undo", &undo), ("failed", &failed), ("last", &last)] {
        platform.serve(name, endpoint);
    }
    let answer = platform.post("/late", "7").await;
    assert_eq!(answer.status(), 504);
    let id = super::platform::id_of(&answer);
    let view = over(&platform, &id).await;
    assert_eq!(
        (&view["status"], &step(&view, "b")["status"]),
        (&json!("timed_out"), &json!("abandoned"))
    );
    assert_eq!(bodies(&undo), [json!({ "input": 7, "output": 7 })]);
    let told = bodies(&failed).remove(0);
    assert_eq!(told, bodies(&last)[0]);
    let expected = json!({
        "request": id, "flow": "late", "status": "timed_out",
        "error": { "step": "late", "message": "the request took longer than the flow's timeout", "cause": "timeout" },
    });
    assert_eq!(told, expected);
}

const HANDLED: &str = "
flow: handled
nodes: { a: { apply: echo }, b: { after: [a], switch: [{ when: '. == 0', to: bad }, { default: good }] }, bad: { apply: refuse }, good: { pass: . } }
on_failure: { nodes: { note: { apply: failed } } }
finally: { nodes: { last: { apply: last } } }
output: good
";

#[tokio::test]
async fn handlers_are_given_how_the_request_ended_and_what_failed() {
    let platform = keeping(&[HANDLED]).await;
    let (failed, last) = (Endpoint::echo().await, Endpoint::echo().await);
    platform.serve("failed", &failed);
    platform.serve("last", &last);
    let good = platform.begin("/handled", "1").await;
    assert_eq!(platform.result(&good).await, (200, json!(1)));
    let expected =
        json!({ "request": good, "flow": "handled", "status": "succeeded", "error": null });
    assert_eq!(bodies(&last), [expected]);
    assert!(failed.received().is_empty());
    let bad = platform.begin("/handled", "0").await;
    assert_eq!(over(&platform, &bad).await["status"], "failed");
    let told = bodies(&failed).remove(0);
    assert_eq!(told["error"]["step"], "bad");
    assert_eq!(told["error"]["cause"], "permanent");
    assert!(told["error"]["message"].as_str().unwrap().contains("422"));
    assert_eq!(
        (&told["request"], &told["status"]),
        (&json!(bad), &json!("failed"))
    );
    assert_eq!(bodies(&last)[1], told);
}

#[tokio::test]
async fn a_handler_that_fails_is_recorded_and_after_a_success_fails_the_request() {
    let flow = HANDLED
        .replace("apply: failed", "apply: fail")
        .replace("apply: last", "apply: refuse");
    let platform = keeping(&[&flow]).await;
    let id = platform.begin("/handled", "1").await;
    let view = over(&platform, &id).await;
    assert_eq!(view["status"], "failed");
    assert!(
        view["error"].as_str().unwrap().contains("~finally/last"),
        "{view}"
    );
    let id = platform.begin("/handled", "0").await;
    let view = over(&platform, &id).await;
    assert!(
        view["error"].as_str().unwrap().starts_with("step bad:"),
        "{view}"
    );
    let trouble: Vec<_> = view["trouble"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["step"].as_str().unwrap())
        .collect();
    assert_eq!(trouble, ["~on_failure/note", "~finally/last"]);
}

async fn stuck(flow: &str) -> (Platform, Json) {
    let platform = keeping(&[flow]).await;
    let id = platform.begin("/stuck", "7").await;
    let view = over(&platform, &id).await;
    (platform, view)
}

#[tokio::test]
async fn unwinding_is_given_up_when_it_takes_as_long_again_as_the_flow_may() {
    let flow = "
flow: stuck
timeout: 1s
nodes:
  a: { apply: echo, compensate: { apply: UNDO } }
  b: { after: [a], apply: echo, compensate: { apply: hang } }
  c: { after: [b], apply: refuse }
finally: { nodes: { last: { apply: FINALLY } } }
";
    let (platform, view) = stuck(&flow.replace("UNDO", "echo").replace("FINALLY", "echo")).await;
    assert_eq!(view["status"], "failed");
    let told: Vec<_> = view["trouble"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["step"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, ["a/~compensate", "b/~compensate"], "{view}");
    assert_eq!(
        platform.calls.of("echo").len(),
        2,
        "nothing was started any more"
    );
    let flow = flow
        .replace("apply: hang", "apply: echo")
        .replace("UNDO", "echo")
        .replace("FINALLY", "hang");
    let (_platform, view) = stuck(&flow).await;
    assert_eq!(view["status"], "failed");
    assert!(
        view["error"].as_str().unwrap().starts_with("step c:"),
        "{view}"
    );
}
