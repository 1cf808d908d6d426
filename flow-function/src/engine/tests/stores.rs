//! Stores that are slow, refuse, garble, or know more than the logs.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use turlough_datastore::data::{
    BucketError, Dropped, Failure, GetError, Held, PutError, Stored, in_memory, open,
};
use turlough_datastore::{DataStore, DataUrl, Quota, StepCredential};
use turlough_sdk::{Cause, ValueRef};
use turlough_statestore::State;
use turlough_statestore::event::StepEnd;

use super::*;
use crate::data::{Durable, LocalStore, Stores};

/// A store in this process, with its troubles.
#[derive(Debug)]
struct Troubled {
    inside: Arc<dyn DataStore>,
    /// Whether reads are answered.
    answers: watch::Sender<bool>,
    /// How many puts and reads are refused.
    refuses: AtomicUsize,
    /// How many reads give something else.
    garbles: AtomicUsize,
}

fn takes_one(of: &AtomicUsize) -> bool {
    of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
        .is_ok()
}

fn refused() -> Failure {
    Failure::Denied {
        attempted: "asking".to_owned(),
        reason: "the password was changed".to_owned(),
    }
}

#[async_trait]
impl DataStore for Troubled {
    fn address(&self) -> &str {
        self.inside.address()
    }

    async fn put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        envelope: Bytes,
    ) -> Result<ValueRef, PutError> {
        if takes_one(&self.refuses) {
            return Err(refused().into());
        }
        self.inside.put(request, epoch, key, envelope).await
    }

    async fn get(&self, request: RequestId, at: Stored<'_>) -> Result<Bytes, GetError> {
        let mut answers = self.answers.subscribe();
        answers.wait_for(|answers| *answers).await.unwrap();
        if takes_one(&self.refuses) {
            return Err(refused().into());
        }
        if takes_one(&self.garbles) {
            return Err(GetError::Corrupt {
                key: at.key.to_owned(),
                digest: at.digest,
            });
        }
        self.inside.get(request, at).await
    }

    async fn drop_bucket(&self, request: RequestId, epoch: u64) -> Result<Dropped, BucketError> {
        self.inside.drop_bucket(request, epoch).await
    }

    async fn lease(
        &self,
        request: RequestId,
        epoch: u64,
        lease: Duration,
    ) -> Result<bool, BucketError> {
        self.inside.lease(request, epoch, lease).await
    }

    async fn lend(&self, _: &StepCredential) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    fn held(&self) -> Option<Held> {
        self.inside.held()
    }
}

/// What it returns is over the inline limit, and there before its last step.
const EARLY: &str = "
flow: early
nodes:
  text: { pass: '[., .]' }
  go: { wait: { signal: go } }
";
/// What one step gives another is over the inline limit.
const LARGE: &str = "
flow: large
nodes:
  text: { pass: '[., .]' }
  size: { after: [text], pass: '.[0] | length' }
";

/// Under the inline limit, and twice it is not.
fn input(bytes: usize) -> Value {
    json(&format!("{:?}", "x".repeat(bytes)))
}

fn troubled(settings: &Settings) -> Arc<Troubled> {
    Arc::new(Troubled {
        inside: in_memory(&settings.data_options()),
        answers: watch::Sender::new(true),
        refuses: AtomicUsize::new(0),
        garbles: AtomicUsize::new(0),
    })
}

fn settings() -> Settings {
    let mut settings = Settings::from_environment();
    settings.gateway_url = "http://127.0.0.1:9".to_owned();
    settings.keep_failed = Duration::ZERO;
    settings
}

fn with(settings: Settings, stores: Stores, flows: &[&str]) -> Engine {
    let state = State::in_memory(&settings.state.options(&settings.tenant, &settings.function));
    let engine = Engine::with(settings, state, stores).unwrap();
    for text in flows {
        engine.register(read_yaml(text).unwrap()).unwrap();
    }
    engine
}

fn on_troubled(flows: &[&str]) -> (Engine, Arc<Troubled>) {
    on_troubled_with(settings(), flows)
}

fn on_troubled_with(settings: Settings, flows: &[&str]) -> (Engine, Arc<Troubled>) {
    let store = troubled(&settings);
    let own: Arc<dyn DataStore> = Arc::<Troubled>::clone(&store);
    let stores = Stores::new(own, None, settings.data_lease);
    (with(settings, stores, flows), store)
}

async fn events(engine: &Engine, request: RequestId) -> Vec<Event> {
    let records = engine.records(request).await.unwrap().into_iter();
    let events = records.flat_map(|record| record.append.events);
    events.collect()
}

async fn signal(engine: &Engine, request: RequestId) {
    let signal = Control::Signal {
        name: "go".to_owned(),
        value: json("1"),
    };
    soon(engine.control(request, signal, None)).await.unwrap();
}

async fn until(what: impl AsyncFn() -> bool) {
    soon(async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_output_is_waited_for_its_request_answers() {
    let (engine, store) = on_troubled(&[EARLY]);
    let started = engine.begin_one("early", input(3_000)).await.unwrap();
    let request = started.request;
    let is_text =
        |event: &Event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == "text");
    until(async || events(&engine, request).await.iter().any(is_text)).await;
    store.answers.send_replace(false);
    signal(&engine, request).await;
    until(async || store.answers.receiver_count() > 0).await;
    // It takes its turn as any other request does, for which there are not as many places.
    let again = soon(engine.control(request, Control::Cancel, None)).await;
    assert!(again.is_err(), "its end is decided");
    store.answers.send_replace(true);
    let finished = soon(started.finished).await.unwrap();
    let output: serde_json::Value = finished.output.unwrap().decode().unwrap();
    assert_eq!(output["text"].as_array().unwrap().len(), 2);
    assert!(engine.drain(Duration::from_secs(20)).await);
    assert_eq!(engine.store_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_refuses_or_garbles_for_a_while_fails_nothing() {
    let (engine, store) = on_troubled(&[LARGE]);
    store.refuses.store(3, Ordering::Relaxed);
    store.garbles.store(1, Ordering::Relaxed);
    let started = engine.begin_one("large", input(3_000)).await.unwrap();
    let finished = soon(started.finished).await.unwrap();
    assert_eq!(finished.output.unwrap().decode::<u32>().unwrap(), 3_000);
    let ended =
        |event: &&Event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == "text");
    let events = events(&engine, started.request).await;
    assert_eq!(events.iter().filter(ended).count(), 2, "it was made again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v3_where_a_store_knows_of_a_newer_claim_than_the_log_it_is_claimed_above() {
    let (engine, store) = on_troubled(&[LARGE]);
    let started = |bytes| {
        let flow = engine.flow("large").unwrap();
        let call = Call {
            key: Some(CallKey::Given("once".to_owned())),
            ..Call::default()
        };
        engine.start(flow, input(bytes), call)
    };
    let first = started(3_000).await.unwrap();
    soon(first.finished).await.unwrap();
    let request = first.request;
    until(async || engine.shared.desk.of_these(&[request]).is_empty()).await;
    // A later claim, whose log was deleted.
    let key = format!("{{{request}}}later");
    let put = store.put(request, 6, &key, Bytes::from_static(b"x")).await;
    put.unwrap();
    store.drop_bucket(request, 7).await.unwrap();
    engine.shared.log.delete(request).await.unwrap();
    let again = started(3_001).await.unwrap();
    assert_eq!(again.request, request);
    let finished = soon(again.finished).await.unwrap();
    assert_eq!(finished.output.unwrap().decode::<u32>().unwrap(), 3_001);
    let claims = events(&engine, request).await;
    let claims = claims.iter().filter_map(|event| match event {
        Event::Claimed { epoch, .. } => Some(*epoch),
        _ => None,
    });
    assert_eq!(claims.collect::<Vec<_>>(), [1, 8]);
}

/// A function that counts its calls.
async fn function() -> (String, Arc<AtomicUsize>) {
    function_that(|_| "3".to_owned()).await
}

/// One whose answer is another each time, and over the inline limit.
async fn another_each_time() -> (String, Arc<AtomicUsize>) {
    function_that(|call| format!("{:?}", call.to_string().repeat(6_000))).await
}

/// A function that answers its calls as they are counted, with JSON.
async fn function_that(
    answers: impl Fn(usize) -> String + Clone + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let app = axum::Router::new().fallback(async move || {
        let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
        ([("content-type", "application/json")], answers(call))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_a_call_that_a_store_does_not_take_is_made_once_under_the_next_claim() {
    let (url, calls) = function().await;
    let mut settings = settings();
    settings.gateway_url = url;
    let pays = "
flow: pays
nodes: { pay: { apply: pay, data: reference, idempotent: false } }
";
    let (engine, store) = on_troubled_with(settings, &[pays]);
    let started = || {
        let flow = engine.flow("pays").unwrap();
        let call = Call {
            key: Some(CallKey::Given("once".to_owned())),
            ..Call::default()
        };
        engine.start(flow, json("1"), call)
    };
    let first = started().await.unwrap();
    soon(first.finished).await.unwrap();
    let request = first.request;
    until(async || engine.shared.desk.of_these(&[request]).is_empty()).await;
    // A later claim, whose log was deleted.
    store.drop_bucket(request, 7).await.unwrap();
    engine.shared.log.delete(request).await.unwrap();
    let again = started().await.unwrap();
    let finished = soon(again.finished).await.unwrap();
    let output = finished.output.map(|output| output.body().to_vec());
    assert_eq!(output.as_deref(), Some(&b"3"[..]), "{:?}", finished.outcome);
    assert_eq!(calls.load(Ordering::Relaxed), 2, "once for each request");
    let is_start = |event: &&Event| matches!(event, Event::StepStarted { .. });
    let events = events(&engine, request).await;
    assert_eq!(events.iter().filter(is_start).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v3_a_request_whose_data_keeps_no_lease_under_its_claim_is_claimed_above() {
    let naps = EARLY.replace("  go:", "  nap: { wait: 1s }\n  go:");
    let (engine, store) = on_troubled(&[&naps]);
    let started = engine.begin_one("early", input(3_000)).await.unwrap();
    let request = started.request;
    let is_text =
        |event: &Event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == "text");
    until(async || events(&engine, request).await.iter().any(is_text)).await;
    // A claim that the log lost.
    let key = format!("{{{request}}}later");
    let put = store.put(request, 6, &key, Bytes::from_static(b"x")).await;
    put.unwrap();
    // Before it rests, once the nap is over, it has its data last.
    let is_rest = |event: &Event| matches!(event, Event::Released { .. });
    until(async || events(&engine, request).await.iter().any(is_rest)).await;
    signal(&engine, request).await;
    let finished = soon(started.finished).await.unwrap();
    assert!(finished.output.is_some(), "{:?}", finished.outcome);
    let claims = events(&engine, request).await;
    let claims = claims.iter().filter_map(|event| match event {
        Event::Claimed { epoch, .. } => Some(*epoch),
        _ => None,
    });
    assert_eq!(claims.collect::<Vec<_>>(), [1, 7, 8]);
    until(async || engine.store_bytes() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_does_not_come_is_waited_for_no_longer_than_the_flow_may_take() {
    let short = EARLY.replace("nodes:", "timeout: 3s\nnodes:");
    let (engine, store) = on_troubled(&[&short]);
    let started = engine.begin_one("early", input(3_000)).await.unwrap();
    let request = started.request;
    let is_text =
        |event: &Event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == "text");
    until(async || events(&engine, request).await.iter().any(is_text)).await;
    store.answers.send_replace(false);
    signal(&engine, request).await;
    let finished = soon(started.finished).await.unwrap();
    let Outcome::Failed { message, cause, .. } = &finished.outcome else {
        panic!("{:?}", finished.outcome)
    };
    assert_eq!(*cause, Cause::Timeout, "{message}");
    assert!(message.contains("did not give it"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_reads_what_its_sub_flow_kept_beside_its_log() {
    let mut settings = settings();
    settings.durable_bytes_max = 5_000;
    let own = in_memory(&settings.data_options());
    let folder = tempfile::tempdir().unwrap();
    let url = DataUrl::Folder(folder.path().to_owned());
    let durable = Durable {
        store: open(&url, &settings.durable_options()).await.unwrap(),
        lease: settings.state.max_age,
    };
    let stores = Stores::new(own, Some(durable), settings.data_lease);
    let parent = "
flow: parent
nodes: { child: { flow: child }, size: { after: [child], pass: '.[0] | length' } }
";
    let child = "flow: child\nnodes: { text: { pass: '[., .]' } }";
    let engine = with(settings, stores, &[child, parent]);
    let started = engine.begin_one("parent", input(3_000)).await.unwrap();
    let finished = soon(started.finished).await.unwrap();
    let size = finished
        .output
        .map(|output| output.decode::<u32>().unwrap());
    assert_eq!(size, Some(3_000), "{:?}", finished.outcome);
    assert_eq!(engine.store_bytes(), 0);
}

/// On a store's server of which the tenant may hold so much.
async fn on_server(quota: Quota, flows: &[&str]) -> (Engine, LocalStore) {
    let (local, settings) = (LocalStore::with(quota).await, settings());
    let stores = Stores::new(Arc::clone(&local.store), None, settings.data_lease);
    (with(settings, stores, flows), local)
}

async fn held(local: &LocalStore) -> u64 {
    local.store.usage().await.unwrap().unwrap().bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_soft_limit_nothing_new_begins_and_what_was_let_in_goes_on() {
    let parent = "
flow: parent
nodes:
  go: { wait: { signal: go } }
  child: { after: [go], flow: large }
";
    let quota = Quota {
        soft: 8_000,
        hard: 1_000_000,
        flight: 1_000_000,
    };
    let (engine, local) = on_server(quota, &[EARLY, LARGE, parent]).await;
    let above = engine.begin_one("parent", input(3_000)).await.unwrap();
    let first = engine.begin_one("early", input(5_000)).await.unwrap();
    until(async || held(&local).await > quota.soft).await;
    until(async || engine.begin_one("early", input(1)).await.is_err()).await;
    let refused = engine.begin_one("large", input(1)).await.unwrap_err();
    assert!(matches!(refused, StartError::DataFull(usage) if usage.soft == quota.soft));
    // A sub-flow of one that was let in is let in as well.
    signal(&engine, above.request).await;
    let finished = soon(above.finished).await.unwrap();
    assert!(finished.output.is_some(), "{:?}", finished.outcome);
    signal(&engine, first.request).await;
    soon(first.finished).await.unwrap();
    until(async || engine.begin_one("large", input(1)).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_past_the_hard_limit_is_made_again_once_another_request_is_over() {
    let quota = Quota {
        soft: 18_000,
        hard: 18_000,
        flight: 18_000,
    };
    let (engine, local) = on_server(quota, &[EARLY]).await;
    let first = engine.begin_one("early", input(5_000)).await.unwrap();
    until(async || held(&local).await > 10_000).await;
    let second = engine.begin_one("early", input(5_000)).await.unwrap();
    let is_text =
        |event: &Event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == "text");
    let has_text = async |request| events(&engine, request).await.iter().any(is_text);
    signal(&engine, second.request).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!has_text(second.request).await, "there is no room for it");
    signal(&engine, first.request).await;
    soon(first.finished).await.unwrap();
    let finished = soon(second.finished).await.unwrap();
    assert!(finished.output.is_some(), "{:?}", finished.outcome);
    let failed = |event: &Event| matches!(event, Event::StepEnded(ended) if matches!(ended.end, StepEnd::Failed { .. }));
    assert!(!events(&engine, second.request).await.iter().any(failed));
}

/// On a store's server that is lost, with all it holds, once a step has ended; then the flow goes on.
async fn after_a_loss(flow: &str, step: &str) -> (Vec<Event>, Value, usize) {
    let (url, calls) = another_each_time().await;
    let mut settings = settings();
    settings.gateway_url = url;
    let local = LocalStore::start().await;
    let stores = Stores::new(Arc::clone(&local.store), None, settings.data_lease);
    let engine = with(settings, stores, &[flow]);
    let started = engine.begin_one("f", json("1")).await.unwrap();
    let is_it =
        |event: &Event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == step);
    until(async || events(&engine, started.request).await.iter().any(is_it)).await;
    let local = local.lose().await;
    signal(&engine, started.request).await;
    let finished = soon(started.finished).await.unwrap();
    let output = finished
        .output
        .unwrap_or_else(|| panic!("{:?}", finished.outcome));
    drop(local);
    let events = events(&engine, started.request).await;
    (events, output, calls.load(Ordering::Relaxed))
}

fn losses(events: &[Event]) -> usize {
    let is_loss = |event: &&Event| matches!(event, Event::StepEnded(ended) if matches!(ended.end, StepEnd::Lost { .. }));
    events.iter().filter(is_loss).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v2_what_must_not_be_made_again_outlives_its_store() {
    let flow = "
flow: f
nodes:
  pay: { apply: pay, idempotent: false }
  go: { wait: { signal: go } }
  size: { after: [pay, go], pass: '.pay | length' }
";
    let (events, output, calls) = after_a_loss(flow, "pay").await;
    assert_eq!(output.decode::<u32>().unwrap(), 6_000);
    assert_eq!((calls, losses(&events)), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_what_is_made_again_is_another_all_that_used_it_is_made_again() {
    let flow = "
flow: f
nodes:
  make: { apply: make }
  early: { after: [make], pass: '.[0:1]' }
  go: { wait: { signal: go } }
  both: { after: [make, early, go], pass: '[.make[0:1], .early]' }
";
    let (events, output, calls) = after_a_loss(flow, "early").await;
    assert_eq!(output.decode::<[String; 2]>().unwrap(), ["2", "2"]);
    assert_eq!((calls, losses(&events)), (2, 1));
}
