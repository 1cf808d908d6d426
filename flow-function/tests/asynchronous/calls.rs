//! Calls that are answered later, one by one and side by side.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use futures_util::future::join_all;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use turlough_sdk::read_yaml;

use super::platform::endpoint::{Endpoint, Received, call_back};
use super::platform::{Platform, step};
use super::{LATER, OPEN, asleep, at, outward, token, view};

#[tokio::test]
async fn an_asynchronous_function_completes_its_step_whatever_the_size_of_its_answer() {
    let platform = Platform::yaml(&[&LATER.replace("WORK", "echo")]).await;
    for bytes in [1, 5_000, 600_000, 3_000_000] {
        let body = format!("\"{}\"", "x".repeat(bytes));
        let answer = platform.post("/later", body.clone()).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status == 200 && text == body, "{bytes}: {status}");
    }
}

#[tokio::test]
async fn answers_within_a_millisecond_of_the_call_are_all_taken() {
    let platform = Platform::yaml(&[&LATER.replace("WORK", "echo")]).await;
    let call = |n: usize| {
        let platform = &platform;
        async move {
            let answer = platform.post("/later", n.to_string()).await;
            (n.to_string(), answer.text().await.unwrap())
        }
    };
    for (sent, got) in join_all((0..200).map(call)).await {
        assert_eq!(sent, got);
    }
    assert_eq!(platform.calls.of("echo").len(), 200, "each is called once");
}

#[tokio::test]
async fn while_the_function_works_nothing_of_the_request_is_in_memory() {
    let platform = Platform::yaml(&[&LATER.replace("WORK", "slow")]).await;
    let gate = Arc::new(Semaphore::new(0));
    let shut = Arc::clone(&gate);
    let slow = Endpoint::start(move |call| {
        let gate = Arc::clone(&shut);
        async move {
            gate.acquire().await.unwrap().forget();
            call.body.into_response()
        }
    });
    platform.serve("slow", &slow.await);
    let id = platform.begin("/later", "[7]").await;
    let view = asleep(&platform, &id).await;
    assert_eq!(platform.engine.driving(), 0);
    assert_eq!(step(&view, "work")["status"], "sleeping");
    assert_eq!(view["waits_for"][0]["step"], "work", "{view}");
    gate.add_permits(1);
    assert_eq!(platform.result(&id).await, (200, json!([7])));
}

/// Calls back before it answers.
async fn hasty(base: Arc<OnceLock<String>>) -> Endpoint {
    Endpoint::start(move |call| {
        let base = Arc::clone(&base);
        async move {
            let url = format!("{}/callbacks/{}", base.get().unwrap(), token(&call));
            let status = call_back(&url, call.body, None).await;
            assert_eq!(status, 200, "the callback was refused");
            StatusCode::ACCEPTED.into_response()
        }
    })
    .await
}

#[tokio::test]
async fn a_function_that_answers_before_its_call_was_accepted_is_not_refused() {
    let base = Arc::new(OnceLock::new());
    let queue = hasty(Arc::clone(&base)).await;
    let through_queue = read_yaml(&LATER.replace("WORK", "any")).unwrap();
    let direct = "flow: direct\nnodes: { call: { http: URL, callback: true, idempotent: true } }";
    let direct = read_yaml(&at(direct, &queue)).unwrap();
    let platform = Platform::with(vec![through_queue, direct], |settings| {
        settings.gateway_url.clone_from(&queue.url);
        settings.http_allow = "127.0.0.1".parse().unwrap();
    });
    let platform = platform.await;
    base.set(platform.url.clone()).unwrap();
    for n in 0..40 {
        let path = ["/later", "/direct"][n % 2];
        let answer = platform.post(path, n.to_string()).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!((status.as_u16(), text), (200, n.to_string()), "{path}");
    }
    let calls = queue.received();
    assert_eq!(calls.len(), 40, "none was called again");
    assert!(calls[0].path.starts_with("/async-function/any"));
}

#[tokio::test]
async fn a_function_that_fails_behind_the_queue_is_tried_again_as_its_flow_says() {
    let retry = "retry: { attempts: 3, backoff: 1ms..5ms }, timeout: 60s";
    let flow = |name: &str| {
        format!("flow: {name}\nnodes: {{ work: {{ apply: {name}, mode: async, {retry} }} }}")
    };
    let names = ["flaky", "fail", "refuse", "nowhere"];
    let flows: Vec<_> = names.iter().map(|name| flow(name)).collect();
    let flows: Vec<_> = flows.iter().map(String::as_str).collect();
    let platform = Platform::yaml(&flows).await;
    assert_eq!(
        platform.post("/flaky", "5").await.text().await.unwrap(),
        "5"
    );
    for (name, calls, cause) in [("fail", 3, "transient"), ("refuse", 1, "permanent")] {
        let problem: Json = platform
            .post(&format!("/{name}"), "5")
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(problem["cause"], cause, "{problem}");
        assert_eq!(platform.calls.of(name).len(), calls, "{name}");
    }
    let problem: Json = platform.post("/nowhere", "5").await.json().await.unwrap();
    assert!(
        problem["detail"].as_str().unwrap().contains("nowhere"),
        "{problem}"
    );
}

/// Answers so many calls in the reverse of their order.
async fn call_back_in_reverse(calls: &[Received]) {
    for call in calls.iter().rev() {
        assert_eq!(call.call_back(call.body.clone()).await, 200);
    }
}

#[tokio::test]
async fn functions_side_by_side_are_completed_in_any_order() {
    let node = "{ http: URL, callback: true, idempotent: true, timeout: 60s }";
    let flow = format!(
        "flow: three\nnodes:\n  a: {node}\n  b: {node}\n  c: {node}\n  all: {{ after: [a, b, c], pass: . }}"
    );
    let endpoint = Endpoint::silent().await;
    let platform = outward(&[&at(&flow, &endpoint)]).await;
    let id = platform.begin("/three", "3").await;
    let calls = endpoint.after(3).await;
    let view = asleep(&platform, &id).await;
    assert_eq!(view["waits_for"].as_array().unwrap().len(), 3, "{view}");
    call_back_in_reverse(&calls).await;
    let expected = json!({ "a": 3, "b": 3, "c": 3 });
    assert_eq!(platform.result(&id).await, (200, expected));
    assert_eq!(endpoint.received().len(), 3, "a wake calls none again");
}

#[tokio::test]
async fn items_wait_for_their_own_callbacks_and_no_more_of_them_than_may_be_in_progress() {
    let flow = "
flow: items
nodes:
  all:
    for_each:
      max_parallel: 3
      body: { nodes: { work: { http: URL, callback: true, idempotent: true, timeout: 60s } } }
";
    let endpoint = Endpoint::silent().await;
    let platform = outward(&[&at(flow, &endpoint)]).await;
    let id = platform.begin("/items", "[0,1,2,3,4,5,6,7,8]").await;
    for batch in 0..3 {
        let calls = endpoint.after(3 * (batch + 1)).await;
        asleep(&platform, &id).await;
        assert_eq!(endpoint.received().len(), 3 * (batch + 1));
        call_back_in_reverse(&calls[3 * batch..]).await;
    }
    let expected = json!([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(platform.result(&id).await, (200, expected));
    let steps: Vec<_> = endpoint
        .received()
        .iter()
        .map(|call| call.header("x-turlough-step"))
        .collect();
    assert!(steps.contains(&"all[8]/work".to_owned()), "{steps:?}");
}

#[tokio::test]
async fn what_was_done_by_a_callback_is_undone_with_its_answer_and_without_one_it_is_undone_too() {
    let flow = "
flow: undone
nodes:
  work: { http: URL, callback: true, idempotent: true, timeout: LIMIT, compensate: { apply: undo } }
  stop: { AFTER apply: refuse }
output: stop
";
    let endpoint = Endpoint::silent().await;
    let done = flow
        .replace("LIMIT", "60s")
        .replace("AFTER", "after: [work],");
    let beside = flow.replace("LIMIT", "60s").replace("AFTER", "");
    let beside = beside.replace("undone", "beside");
    let never = flow.replace("LIMIT", "300ms").replace("AFTER", "");
    let never = never.replace("undone", "never");
    let flows = [done, beside, never].map(|flow| at(&flow, &endpoint));
    let platform = outward(&flows.each_ref().map(String::as_str)).await;
    let undo = Endpoint::echo().await;
    platform.serve("undo", &undo);

    let id = platform.begin("/undone", "1").await;
    endpoint.after(1).await[0].call_back("\"a\"").await;
    assert_eq!(platform.ended(&id).await["status"], "failed");
    let id = platform.begin("/beside", "2").await;
    let call = endpoint.after(2).await.remove(1);
    let view = platform.stands(&id, "unwinding").await;
    assert_eq!(
        step(&view, "work")["status"],
        "sleeping",
        "it is awaited: {view}"
    );
    assert_eq!(call.call_back("\"b\"").await, 200);
    assert_eq!(platform.ended(&id).await["status"], "failed");
    let id = platform.begin("/never", "3").await;
    let call = endpoint.after(3).await.remove(2);
    assert_eq!(platform.ended(&id).await["status"], "failed");
    assert_eq!(call.call_back("\"c\"").await, 409);
    let undone: Vec<_> = undo.received().iter().map(Received::json).collect();
    let expected = [
        json!({ "input": 1, "output": "a" }),
        json!({ "input": 2, "output": "b" }),
        json!({ "input": 3 }),
    ];
    assert_eq!(undone, expected);
}

#[tokio::test]
async fn a_callback_is_taken_while_the_request_is_paused_and_refused_once_it_is_cancelled() {
    let endpoint = Endpoint::silent().await;
    let platform = outward(&[&at(OPEN, &endpoint)]).await;
    let id = platform.begin("/open", "1").await;
    let call = endpoint.after(1).await.remove(0);
    asleep(&platform, &id).await;
    assert_eq!(platform.ask(&id, "pause", "").await.0, 202);
    assert_eq!(call.call_back("[1]").await, 200);
    let taken = |view: &Json| step(view, "work")["status"] == "succeeded";
    let paused = platform.until(&format!("/requests/{id}"), taken).await;
    assert_eq!(paused["status"], "paused");
    assert_eq!(platform.ask(&id, "cancel", "").await.0, 202);
    assert_eq!(platform.ended(&id).await["status"], "cancelled");

    let id = platform.begin("/open", "2").await;
    let call = endpoint.after(2).await.remove(1);
    asleep(&platform, &id).await;
    assert_eq!(platform.ask(&id, "cancel", "").await.0, 202);
    let before = platform.ended(&id).await;
    assert_eq!(call.call_back("[2]").await, 409);
    assert_eq!(view(&platform, &id).await, before);
}

#[tokio::test]
async fn a_callback_of_a_step_that_stands_deep_in_others_is_taken() {
    let platform = outward(&["flow: deep\nnodes: { n: { expand: { apply: maker } } }"]).await;
    let endpoint = Endpoint::silent().await;
    let (url, made) = (endpoint.url.clone(), AtomicU32::new(0));
    let maker = Endpoint::start(move |_| {
        let made = made.fetch_add(1, Ordering::Relaxed);
        let inner = match made {
            11 => json!({ "http": url, "callback": true, "idempotent": true, "timeout": "60s" }),
            _ => json!({ "expand": { "apply": "maker" } }),
        };
        // A name is used once in a request.
        let name = |level: usize| format!("n{made:02}x{level}{}", "n".repeat(55));
        let nest = |body: Json, level: usize| {
            let nodes = json!({ (name(level)): body });
            json!({ "for_each": { "items": "[1]", "body": { "nodes": nodes } } })
        };
        let graph = json!({ "nodes": { (name(6)): (0..6).fold(inner, nest) } });
        async move { axum::Json(graph).into_response() }
    });
    platform.serve("maker", &maker.await);
    let id = platform.begin("/deep", "1").await;
    let call = endpoint.after(1).await.remove(0);
    asleep(&platform, &id).await;
    assert_eq!(
        call.call_back("1").await,
        200,
        "{} bytes of token",
        call.callback().len()
    );
    assert_eq!(platform.ended(&id).await["status"], "succeeded");
}

#[tokio::test]
async fn variables_of_what_is_given_later_are_refused_when_the_flow_is_put() {
    let platform = Platform::yaml(&[]).await;
    for node in [
        "apply: echo, mode: async",
        "http: 'https://example.org', callback: true, idempotent: true",
        "flow: other",
        "wait: { signal: go }",
        "wait: 5s",
        "expand: { pass: . }",
    ] {
        let flow = format!("flow: sets\nnodes:\n  a: {{ {node}, set: {{ x: . }} }}");
        let call = platform.http.put(format!("{}/flows/sets", platform.url));
        let answer = call.body(flow).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{node}");
        let problem: Json = answer.json().await.unwrap();
        assert_eq!(problem["problems"][0]["line"], 3, "{problem}");
        assert_eq!(problem["problems"][0]["node"], "a", "{problem}");
    }
}
