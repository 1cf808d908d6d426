//! Sub-flows that begin when nobody waits for them any more.

use std::time::Duration;

use turlough_sdk::{ContentType, Producer, StepPath, read_yaml};

use super::super::Started;
use super::*;
use crate::settings::Settings;

const WAITS: &str = "flow: waits\nnodes: { ask: { wait: { signal: go } } }";

fn engine() -> Engine {
    let settings = Settings {
        gateway_url: "http://127.0.0.1:9".to_owned(),
        keep_failed: Duration::from_secs(600),
        capacity: 1,
        ..Settings::from_environment()
    };
    let engine = Engine::new(settings).unwrap();
    engine.register(read_yaml(WAITS).unwrap()).unwrap();
    engine
}

fn json(text: &str) -> Value {
    Value::new(ContentType::JSON, Producer::Caller, text.as_bytes())
}

/// A request that stands, its step `ask` waiting.
async fn begin(engine: &Engine) -> Started {
    let flow = engine.flow("waits").unwrap();
    engine
        .start(flow, json("1"), Call::default())
        .await
        .unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    let came = tokio::time::timeout(limit, what).await;
    came.expect("what was waited for did not come")
}

fn of(request: RequestId, step: &str, attempt: u32) -> Parent {
    Parent {
        request,
        generation: 0,
        step: StepPath::from(step),
        attempt,
        depth: 1,
    }
}

/// How a sub-flow ends that begins for this attempt.
async fn begun_for(engine: &Engine, parent: Parent) -> Outcome {
    let child = child_id(&parent);
    let name = "waits".parse().unwrap();
    let shared = &engine.shared;
    shared
        .start_child(&name, json("2"), (parent, None))
        .await
        .unwrap();
    let finished = shared.finished(child).await;
    soon(finished).await.unwrap().outcome
}

#[tokio::test]
async fn one_that_begins_after_its_parent_was_cancelled_is_cancelled() {
    let engine = engine();
    let Started {
        request, finished, ..
    } = begin(&engine).await;
    let cancelled = engine.control(request, Control::Cancel, None).await;
    cancelled.unwrap();
    soon(finished).await.unwrap();
    let outcome = begun_for(&engine, of(request, "ask", 1)).await;
    assert_eq!(outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn one_that_begins_for_an_attempt_that_is_none_any_more_is_cancelled() {
    let engine = engine();
    let Started { request, .. } = begin(&engine).await;
    for parent in [of(request, "ask", 7), of(request, "call", 1)] {
        assert_eq!(begun_for(&engine, parent).await, Outcome::Cancelled);
    }
    let mut earlier = of(request, "ask", 1);
    earlier.generation = 1;
    assert_eq!(begun_for(&engine, earlier).await, Outcome::Cancelled);
}

#[tokio::test]
async fn one_whose_parent_is_forgotten_is_cancelled_though_there_is_no_room_for_it() {
    let engine = engine();
    let flow = engine.flow("waits").unwrap();
    let _room = engine.shared.room.try_take(&flow).unwrap();
    let forgotten = RequestId::from_uuid(uuid::Uuid::now_v7());
    let outcome = begun_for(&engine, of(forgotten, "ask", 1)).await;
    assert_eq!(outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn one_that_is_waited_for_goes_on() {
    let engine = engine();
    let Started { request, .. } = begin(&engine).await;
    let parent = of(request, "ask", 1);
    let child = child_id(&parent);
    let name = "waits".parse().unwrap();
    let shared = &engine.shared;
    shared
        .start_child(&name, json("2"), (parent, None))
        .await
        .unwrap();
    assert!(engine.drain(Duration::from_secs(60)).await);
    assert_eq!(
        engine.summary(child).await.unwrap().status().name(),
        "sleeping"
    );
    shared.cancel_children(request);
    shared.tasks.wait().await;
    assert_eq!(
        engine.summary(child).await.unwrap().status().name(),
        "sleeping"
    );
}
