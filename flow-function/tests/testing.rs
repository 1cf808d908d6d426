//! The test kit, as authors use it.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value as Json, json};
use turlough_flow_function::testing::{Answer, Call, TestKit};
use turlough_flow_function::{Body, ContentType, Flow, StepError};

/// The functions of the example, as closures.
async fn fizz_buzz() -> TestKit {
    let kit = TestKit::new().await;
    kit.files("../etl-examples/fizz-buzz/flows");
    kit.stub("classify", |call| {
        let n = call.json::<Json>()["n"].as_u64().unwrap();
        json!({ "n": n, "by3": n % 3 == 0, "by5": n % 5 == 0 })
    });
    kit.stub("fizz", |_: &Call| json!("Fizz"));
    kit.stub("buzz", |_: &Call| json!("Buzz"));
    kit
}

/// What a test would have failed with.
async fn message(test: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(test).catch_unwind().await.unwrap_err();
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

#[tokio::test]
async fn fizz_buzz_calls_what_the_number_asks_for() {
    let kit = fizz_buzz().await;
    for (n, answer) in [
        (3, json!("Fizz")),
        (5, json!("Buzz")),
        (15, json!("FizzBuzz")),
        (7, json!(7)),
    ] {
        let outcome = kit.run("fizz-buzz", &json!({ "n": n })).await;
        outcome.assert_output(&json!({ "answer": answer }));
    }
    assert_eq!(kit.calls("fizz").len(), 1, "of 15 nothing is asked");
    let outcome = kit.run("fizz-buzz", &json!({ "n": 6 })).await;
    outcome
        .assert_step("fizz", "succeeded")
        .assert_step("buzz", "skipped")
        .assert_attempts("fizz", 1)
        .assert_attempts("buzz", 0);
    let paths: Vec<_> = outcome
        .steps()
        .iter()
        .map(|step| step.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "classify", "route", "fizz", "answer", "buzz", "fizzbuzz", "number"
        ]
    );
}

#[tokio::test]
async fn a_function_that_fails_twice_is_tried_three_times() {
    let kit = fizz_buzz().await;
    kit.stub("classify", |call| match call.attempt {
        1 | 2 => Answer::status(503),
        _ => Answer::json(&json!({ "n": 1, "by3": false, "by5": false })),
    });
    let outcome = kit.run("fizz-buzz", &json!({ "n": 1 })).await;
    outcome.assert_succeeded().assert_attempts("classify", 3);
    assert_eq!(outcome.output::<Json>()["answer"], 1);
    let calls = kit.calls("classify");
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.number, call.attempt))
        .collect();
    assert_eq!(seen, [(1, 1), (2, 2), (3, 3)]);
    assert!(
        calls
            .iter()
            .all(|call| call.json::<Json>() == json!({ "n": 1 }))
    );
    assert!(
        calls
            .iter()
            .all(|call| call.method == "POST" && call.step == "classify")
    );
}

#[tokio::test]
async fn a_function_without_a_stub_fails_the_run_by_its_name() {
    let kit = TestKit::new().await;
    kit.yaml("flow: one\nnodes: { a: { apply: nowhere, retry: { attempts: 3 } } }");
    kit.stub("elsewhere", |_| ());
    let outcome = kit.run("one", &json!(1)).await;
    let failed = outcome.assert_failed("a");
    assert!(
        failed
            .error
            .contains("no stub for function nowhere in this test kit; there is elsewhere"),
        "{}",
        failed.error
    );
    outcome.assert_attempts("a", 1);
    assert_eq!(
        (outcome.status(), kit.calls("nowhere").len()),
        ("failed", 1)
    );
}

#[tokio::test]
async fn assertions_say_which_step_what_was_expected_and_what_ran() {
    let kit = fizz_buzz().await;
    let outcome = kit.run("fizz-buzz", &json!({ "n": 3 })).await;
    let id = outcome.id();
    let ran = format!(
        "flow fizz-buzz, request {id}: succeeded
its steps:
  classify  succeeded  1 attempt
  route     succeeded  1 attempt
  fizz      succeeded  1 attempt
  answer    succeeded  1 attempt
  buzz      skipped
  fizzbuzz  skipped
  number    skipped"
    );
    for (told, expected) in [
        (
            message(async {
                outcome.assert_step("buzz", "succeeded");
            })
            .await,
            format!("step buzz: expected succeeded, found skipped in {ran}"),
        ),
        (
            message(async {
                outcome.assert_attempts("fizz", 2);
            })
            .await,
            format!("step fizz: expected 2 attempts, found 1 attempt in {ran}"),
        ),
        (
            message(async {
                let _ = outcome.step("fuzz");
            })
            .await,
            format!("no step fuzz in {ran}"),
        ),
        (
            message(async {
                outcome.assert_failed("fizz");
            })
            .await,
            format!("expected a failure of step fizz, found {ran}"),
        ),
        (
            message(async {
                outcome.assert_output(&json!(1));
            })
            .await,
            format!("output: expected 1, found {{\"answer\":\"Fizz\"}}\nof {ran}"),
        ),
    ] {
        assert_eq!(told, expected);
    }
    kit.stub("fizz", |_| Answer::from("no more fizz").with_status(422));
    let outcome = kit.run("fizz-buzz", &json!({ "n": 3 })).await;
    let told = message(async {
        outcome.assert_succeeded();
    })
    .await;
    let why = "by step fizz: function fizz answered 422 Unprocessable Entity: \"no more fizz\"\n";
    assert!(told.contains(why), "{told}");
    let told = message(async {
        let _: Json = outcome.output();
    })
    .await;
    assert!(
        told.starts_with("expected an output, found flow fizz-buzz"),
        "{told}"
    );
}

#[tokio::test]
async fn a_stub_that_panics_fails_the_test_that_ran_the_flow() {
    let kit = fizz_buzz().await;
    kit.stub("classify", |call| {
        assert_eq!(call.json::<Json>()["n"], 4, "the number");
    });
    let told = message(async {
        kit.run("fizz-buzz", &json!({ "n": 3 })).await;
    });
    let told = told.await;
    assert!(
        told.contains("stub of function classify panicked in call 1: assertion")
            && told.contains("the number"),
        "{told}"
    );
}

#[tokio::test]
async fn calls_show_what_was_sent_and_bytes_come_back_as_they_are() {
    const BINARY: &[u8] = &[0xff, 0x00, b'"'];
    let kit = TestKit::new().await;
    kit.yaml(
        "
flow: bytes
nodes:
  a:
    apply: store
    method: PUT
    path: /shelf/3
    query: { q: x y }
    headers: { x-kind: raw }
",
    );
    kit.stub("store", |call| {
        Answer::bytes(call.body.clone())
            .with_status(201)
            .with_header("x-seen", "yes")
    });
    let content_type = ContentType::new("application/x-raw");
    let bytes = BINARY.into();
    let outcome = kit
        .run_body(
            "bytes",
            Body {
                content_type,
                bytes,
            },
        )
        .await;
    assert_eq!(outcome.output_body().bytes, BINARY);
    let calls = kit.calls("store");
    let call = &calls[0];
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        ("PUT", "/shelf/3")
    );
    assert_eq!(call.query, [("q".to_owned(), "x y".to_owned())]);
    assert_eq!(call.header("x-kind"), Some("raw"));
    assert_eq!(call.header("content-type"), Some("application/x-raw"));
    assert_eq!(call.body, BINARY);
    assert!(!call.is_async);
}

#[tokio::test]
async fn asynchronous_functions_answer_by_their_callback() {
    let kit = TestKit::new().await;
    kit.yaml(
        "
flow: later
nodes:
  train: { apply: train, mode: async, retry: { attempts: 2, backoff: 1ms..1ms } }
",
    );
    kit.stub("train", |call| match call.number {
        1 => Answer::from("no room").with_status(500),
        _ => Answer::json(&json!("trained")),
    });
    let outcome = kit.run("later", &json!({})).await;
    outcome
        .assert_output(&json!("trained"))
        .assert_attempts("train", 2);
    assert!(kit.calls("train").iter().all(|call| call.is_async));
}

#[tokio::test]
async fn http_nodes_are_pointed_at_stubs_and_slow_ones_run_into_their_timeout() {
    let kit = TestKit::new().await;
    let (rates, slow) = (kit.url_of("rates"), kit.url_of("slow"));
    kit.yaml(&format!(
        "
flow: outside
nodes:
  rates: {{ http: {rates}/eur, method: GET }}
  slow: {{ after: [rates], http: {slow}, idempotent: true, timeout: 20ms, fallback: {{ pass: '\"old\"' }} }}
"
    ));
    kit.stub("rates", |call| json!({ "of": call.path }));
    kit.stub("slow", |_| Answer::json(&1).after(Duration::from_secs(600)));
    let outcome = kit.run("outside", &json!({})).await;
    outcome.assert_output(&json!("old"));
    assert_eq!(kit.calls("rates")[0].path, "/eur");
}

#[tokio::test]
async fn closures_items_and_jq_that_may_not_end_run_without_a_process_of_their_own() {
    let flow = Flow::builder("doubled");
    let numbers = flow.input::<Vec<u32>>();
    let each = flow.for_each("each", &numbers, |body, n| {
        body.map(
            "double",
            n,
            |n: u32| async move { Ok::<_, StepError>(n * 2) },
        )
    });
    let flow = flow.output(&each).build().unwrap();
    let kit = TestKit::new().await;
    kit.flow(flow)
        .yaml("flow: sum\nnodes: { a: { pass: 'reduce .[] as $n (0; . + $n)' } }");
    let outcome = kit.run("doubled", &[1, 2, 3]).await;
    assert_eq!(outcome.output::<Vec<u32>>(), [2, 4, 6]);
    outcome
        .assert_attempts("each", 1)
        .assert_attempts("each[2]/double", 1);
    kit.run("sum", &[1, 2, 3]).await.assert_output(&json!(6));
}

#[tokio::test]
async fn a_request_that_waits_can_be_signalled_and_cancelled() {
    let kit = TestKit::new().await;
    kit.yaml("flow: ask\nnodes: { answer: { wait: { signal: answer } } }");
    let running = kit.begin("ask", &json!({})).await;
    running.until_step("answer", "sleeping").await;
    running.signal("answer", &json!({ "ok": true })).await;
    running
        .outcome()
        .await
        .assert_output(&json!({ "ok": true }));
    let running = kit.begin("ask", &json!({})).await;
    running.cancel().await;
    let outcome = running.outcome().await;
    assert_eq!(outcome.status(), "cancelled");
}

#[tokio::test]
async fn a_request_that_does_not_end_fails_its_test_with_what_it_waits_for() {
    let kit = TestKit::new().await.limit(Duration::from_millis(50));
    kit.yaml("flow: ask\nnodes: { answer: { wait: { signal: answer } } }");
    let told = message(async {
        kit.run("ask", &json!({})).await;
    });
    let told = told.await;
    assert!(
        told.contains("it has not ended within 50ms") && told.contains("answer  sleeping"),
        "{told}"
    );
}

#[tokio::test]
async fn what_a_test_did_wrong_is_said() {
    let kit = TestKit::new().await;
    let told = message(async {
        kit.yaml("flow: x\nnodes: { a: { aply: f } }");
    });
    assert!(told.await.contains("aply"));
    let told = message(async {
        kit.files("no-such-folder");
    })
    .await;
    assert!(
        told.contains("cannot read flows from no-such-folder"),
        "{told}"
    );
    let told = message(async {
        kit.run("nothing", &json!(1)).await;
    });
    let told = told.await;
    assert!(
        told.contains("no flow \"nothing\" here; there is none"),
        "{told}"
    );
}
