//! A caller's spans and a function's own join those of the request.

use super::platform::id_of;
use super::{only, trace_of, traced, unsampled};

const ONE: &str = "flow: one\nnodes: { a: { apply: echo } }";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn call(platform: &super::Platform, traceparent: &str) -> String {
    let call = platform.http.post(format!("{}/one", platform.url));
    let call = call.header("traceparent", traceparent).body("7");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    id_of(&answer)
}

fn sent(platform: &super::Platform) -> String {
    let calls = platform.calls.of("echo");
    let header = &calls.last().unwrap()["traceparent"];
    header.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_is_part_of_its_callers_trace_and_a_function_of_its_attempts() {
    // What the caller decided counts, whatever the share here.
    let (platform, collector) = traced(&[ONE], unsampled).await;
    let id = call(&platform, CALLER).await;
    let spans = collector.trace_with(TRACE, "flow one").await;
    assert_eq!(only(&spans, "flow one").parent, "00f067aa0ba902b7");
    assert_eq!(only(&spans, "flow one").about["turlough.request_id"], id);
    let attempt = &only(&spans, "apply echo").id;
    assert_eq!(sent(&platform), format!("00-{TRACE}-{attempt}-01"));
}

#[tokio::test]
async fn a_caller_that_is_not_traced_has_no_spans_and_the_function_is_told() {
    let (platform, collector) = traced(&[ONE], |_| {}).await;
    call(&platform, &CALLER.replace("-01", "-00")).await;
    assert!(
        sent(&platform).starts_with(&format!("00-{TRACE}-")),
        "{}",
        sent(&platform)
    );
    assert!(sent(&platform).ends_with("-00"), "{}", sent(&platform));
    // One that is nobody's is told after it.
    let id = call(&platform, "what is this?").await;
    collector.trace_with(&trace_of(&id), "flow one").await;
    assert!(collector.spans().iter().all(|span| span.trace != TRACE));
}

#[tokio::test]
async fn where_nothing_is_traced_functions_are_told_what_the_caller_said() {
    let platform = super::Platform::yaml(&[ONE]).await;
    call(&platform, CALLER).await;
    assert_eq!(sent(&platform), CALLER);
    let answer = platform.post("/one", "7").await;
    assert_eq!(answer.status(), 200);
    let calls = platform.calls.of("echo");
    assert!(calls.last().unwrap().get("traceparent").is_none());
}
