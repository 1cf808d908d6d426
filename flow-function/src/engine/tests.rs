//! Requests from start to settling, raced: whatever happens when, each settles and leaves nothing.

use std::time::Duration;

use std::sync::atomic::Ordering;

use turlough_sdk::{ContentType, Producer, StepError, read_yaml};

use turlough_statestore::Event;
use turlough_statestore::event::Outcome;

use super::*;
use crate::machine::Execution;

mod stores;

fn engine(change: impl FnOnce(&mut Settings)) -> Engine {
    let mut settings = Settings::from_environment();
    settings.gateway_url = "http://127.0.0.1:9".to_owned();
    settings.keep_failed = Duration::ZERO;
    change(&mut settings);
    Engine::new(settings).unwrap()
}

fn json(text: &str) -> Value {
    Value::new(ContentType::JSON, Producer::Caller, text.as_bytes())
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what)
        .await
        .expect("stuck")
}

/// Values over the inline limit, on the pool and on the reactor, one after another and side by side.
fn busy() -> Flow {
    let flow = Flow::builder("busy");
    let n = flow.input::<u32>();
    let list = flow.map("list", &n, |n: u32| -> Result<Vec<String>, StepError> {
        Ok(vec!["x".repeat(5_000); n as usize])
    });
    let each = flow.for_each("each", &list, |body, item| {
        body.map("turn", item, |text: String| async move {
            tokio::task::yield_now().await;
            Ok::<_, StepError>(text + "y")
        })
    });
    let sum = flow.map(
        "sum",
        &each,
        |all: Vec<String>| -> Result<usize, StepError> { Ok(all.iter().map(String::len).sum()) },
    );
    flow.output(&sum).build().unwrap()
}

impl Engine {
    /// How a request stands, as its log tells.
    pub(crate) async fn summary(&self, request: RequestId) -> Option<turlough_keeper::Summary> {
        crate::http::standing(self, request).await.ok()
    }

    /// Whether so many requests can be driven at once, and no more.
    fn has_room(&self, permits: usize) -> bool {
        let flow = self.flow("busy").unwrap();
        let room = &self.shared.room;
        let taken: Vec<_> = (0..permits).map_while(|_| room.try_take(&flow)).collect();
        taken.len() == permits && room.try_take(&flow).is_none()
    }

    async fn begin_one(&self, flow: &str, input: Value) -> Result<Started, StartError> {
        self.start(self.flow(flow)?, input, Call::default()).await
    }

    async fn is_settled_with_one_end(&self, request: RequestId) {
        let records = self.records(request).await.unwrap();
        let events: Vec<_> = records.iter().flat_map(|r| &r.append.events).collect();
        let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
        assert_eq!(count(|event| matches!(event, Event::Ended { .. })), 1);
        assert_eq!(count(|event| matches!(event, Event::Settled { .. })), 1);
        let summary = self.summary(request).await.unwrap();
        let flow = self.flow(summary.flow.as_str()).unwrap();
        let versions = self.shared.registry.versions(flow.name());
        let mut execution = Execution::new(request, flow, versions);
        for record in &records {
            execution.fold(&record.append);
        }
        assert!(execution.is_ended() && execution.next_actions().is_empty());
        assert!(summary.ended.unwrap().settled);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_at_any_moment_ends_a_request_once_and_leaves_nothing() {
    let engine = engine(|s| s.capacity = 4);
    engine.register(busy()).unwrap();
    let mut cancels = Vec::new();
    for pause in 0..400_u32 {
        let started = engine.begin_one("busy", json("3")).await;
        let Started {
            request, finished, ..
        } = started.unwrap();
        let canceller = engine.clone();
        cancels.push(tokio::spawn(async move {
            for _ in 0..pause % 100 {
                tokio::task::yield_now().await;
            }
            let cancelled = canceller.control(request, Control::Cancel, None).await;
            let finished = soon(finished).await.unwrap();
            if cancelled.is_ok() {
                assert_eq!(finished.outcome.status(), "cancelled");
            } else {
                assert_eq!(finished.outcome.status(), "succeeded");
            }
            request
        }));
    }
    let mut requests = Vec::new();
    for cancel in cancels {
        requests.push(soon(cancel).await.unwrap());
    }
    assert!(engine.drain(Duration::from_secs(30)).await);
    for request in requests {
        engine.is_settled_with_one_end(request).await;
    }
    assert_eq!(engine.store_bytes(), 0);
    assert_eq!(engine.shared.open.load(Ordering::Relaxed), 0);
    assert_eq!(engine.shared.metrics.driving.get(), 0);
    assert!(engine.has_room(4));
}

const WAITS: &str = "
flow: waits
timeout: 200ms
nodes: { a: { pass: . } }
";

#[tokio::test]
async fn a_request_that_waits_for_room_ends_at_its_deadline_and_starts_nothing() {
    let engine = engine(|s| s.capacity = 1);
    engine.register(read_yaml(WAITS).unwrap()).unwrap();
    let flow = engine.flow("waits").unwrap();
    let _room = engine.shared.room.try_take(&flow).unwrap();
    let started = engine.begin_one("waits", json("1")).await;
    let Started {
        request, finished, ..
    } = started.unwrap();
    let finished = soon(finished).await.unwrap();
    assert_eq!(finished.outcome, Outcome::TimedOut);
    assert!(engine.drain(Duration::from_secs(20)).await);
    engine.is_settled_with_one_end(request).await;
    let records = engine.records(request).await.unwrap();
    let mut events = records.iter().flat_map(|r| &r.append.events);
    assert!(!events.any(|event| matches!(event, Event::StepEnded(_))));
}

#[tokio::test]
async fn a_request_that_waits_for_room_can_be_cancelled() {
    let engine = engine(|s| s.capacity = 1);
    engine
        .register(read_yaml(&WAITS.replace("200ms", "1h")).unwrap())
        .unwrap();
    let flow = engine.flow("waits").unwrap();
    let _room = engine.shared.room.try_take(&flow).unwrap();
    let started = engine.begin_one("waits", json("1")).await;
    let Started {
        request, finished, ..
    } = started.unwrap();
    engine
        .control(request, Control::Cancel, None)
        .await
        .unwrap();
    let finished = soon(finished).await.unwrap();
    assert_eq!(finished.outcome, Outcome::Cancelled);
    assert!(engine.drain(Duration::from_secs(20)).await);
    engine.is_settled_with_one_end(request).await;
}

#[tokio::test]
async fn a_put_into_a_full_store_waits_no_longer_than_the_request() {
    let engine = engine(|s| s.data_bytes_max = 100_000);
    let other = RequestId::from_uuid(Uuid::now_v7());
    engine
        .shared
        .stores
        .put(other, 1, &format!("{{{other}}}k"), vec![0; 79_000].into())
        .await
        .unwrap();
    let text =
        "flow: big\ntimeout: 300ms\nnodes: { a: { pass: '[., .]' }, b: { after: [a], pass: . } }";
    engine.register(read_yaml(text).unwrap()).unwrap();
    let input = format!("\"{}\"", "x".repeat(15_000));
    let started = engine.begin_one("big", json(&input)).await;
    let finished = soon(started.unwrap().finished).await.unwrap();
    assert_eq!(finished.outcome, Outcome::TimedOut);
    assert!(engine.drain(Duration::from_secs(20)).await);
    assert_eq!(engine.store_bytes(), 79_000);
}

#[tokio::test]
async fn a_value_that_the_store_can_never_hold_is_refused_at_once() {
    let engine = engine(|s| s.data_bytes_max = 5_000);
    let large = "x".repeat(8_000);
    let text = format!("flow: big\ntimeout: 1h\nnodes: {{ a: {{ pass: '\"{large}\"' }} }}");
    engine.register(read_yaml(&text).unwrap()).unwrap();
    let started = engine.begin_one("big", json("1")).await;
    let finished = soon(started.unwrap().finished).await.unwrap();
    let Outcome::Failed { message, .. } = finished.outcome else {
        panic!("{:?}", finished.outcome)
    };
    assert!(
        message.contains("raise TURLOUGH_DATA_BYTES_MAX"),
        "{message}"
    );
}

#[tokio::test]
async fn a_caller_who_goes_away_while_it_starts_leaves_a_whole_request_or_none() {
    let engine = engine(|_| {});
    engine.register(read_yaml(WAITS).unwrap()).unwrap();
    for _ in 0..50 {
        let starting = engine.begin_one("waits", json("1"));
        // Polled once, then dropped.
        drop(futures_util::FutureExt::now_or_never(starting));
    }
    assert!(engine.drain(Duration::from_secs(20)).await);
    let filter = turlough_keeper::Filter {
        limit: 100,
        ..Default::default()
    };
    let keeper = engine.shared.keeper().await.unwrap().unwrap();
    for (request, _) in keeper.list(&filter).await.unwrap() {
        engine.is_settled_with_one_end(request).await;
    }
    assert_eq!(engine.shared.open.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn with_an_inline_limit_of_0_no_payload_goes_into_the_log() {
    let engine = engine(|s| s.inline_bytes_max = 0);
    let text = "
flow: secret
nodes:
  a: { pass: '[., .]' }
  route: { after: [a], switch: [{ when: 'true', to: each }] }
  each: { for_each: { body: { nodes: { b: { after: [item, a], pass: '.item' } } } } }
  c: { after: [each], pass: . }
";
    engine.register(read_yaml(text).unwrap()).unwrap();
    let started = engine.begin_one("secret", json("\"hush-hush\"")).await;
    let Started {
        request, finished, ..
    } = started.unwrap();
    let finished = soon(finished).await.unwrap();
    let output: Vec<String> = finished.output.unwrap().decode().unwrap();
    assert_eq!(output, ["hush-hush", "hush-hush"]);
    assert!(engine.drain(Duration::from_secs(20)).await);
    for record in engine.records(request).await.unwrap() {
        let bytes = record.append.encode(request).unwrap();
        assert!(
            !bytes.windows(4).any(|window| window == b"hush"),
            "{record:?}"
        );
    }
    assert_eq!(engine.store_bytes(), 0);
}

#[tokio::test]
async fn an_output_that_is_too_deep_fails_the_request_and_what_was_done_is_undone() {
    let engine = engine(|_| {});
    let mut text = "
flow: deep
nodes:
  book: { pass: '1', compensate: { pass: '.' } }
  w0: { after: [book], wait: 1ms }
"
    .to_owned();
    for n in 1..110 {
        let before = n - 1;
        text.push_str(&format!(
            "  w{n}: {{ after: [input, w{before}], wait: 1ms }}\n"
        ));
    }
    engine.register(read_yaml(&text).unwrap()).unwrap();
    let started = engine.begin_one("deep", json("1")).await.unwrap();
    let request = started.request;
    let Outcome::Failed { message, step, .. } = soon(started.finished).await.unwrap().outcome
    else {
        panic!("it succeeded")
    };
    assert_eq!(step.as_str(), "output");
    assert!(
        message.contains("joins of joins, deeper than 100"),
        "{message}"
    );
    let records = engine.records(request).await.unwrap();
    let mut events = records.iter().flat_map(|record| &record.append.events);
    let undone = events.any(|event| {
        matches!(event, Event::StepEnded(ended) if ended.step.as_str() == "book/~compensate")
    });
    assert!(undone, "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_chain_of_joins_through_switches_fails_and_does_not_end_the_process() {
    let engine = engine(|_| {});
    let mut text = "flow: deep\nnodes:\n  s0: { switch: [{ when: 'true', to: s1 }] }\n".to_owned();
    for n in 1..3_000 {
        let to = n + 1;
        text.push_str(&format!(
            "  s{n}: {{ after: [input], switch: [{{ when: 'true', to: s{to} }}] }}\n"
        ));
    }
    text.push_str("  s3000: { pass: '1' }\n");
    engine.register(read_yaml(&text).unwrap()).unwrap();
    let started = engine.begin_one("deep", json("1")).await;
    let finished = soon(started.unwrap().finished).await.unwrap();
    let Outcome::Failed { message, .. } = finished.outcome else {
        panic!("{:?}", finished.outcome)
    };
    assert!(
        message.contains("joins of joins, deeper than 100"),
        "{message}"
    );
}
