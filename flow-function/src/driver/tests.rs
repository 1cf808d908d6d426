//! Conflicts, forced: what a driver does when it is not alone with its log.

use std::time::Duration;

use turlough_sdk::{Cause, ContentType, Producer, ReplicaId, Value, ValueRef, read_yaml};
use turlough_statestore::event::{Delivery, Outcome, Parent, Recipient, StepEnd, StepEnded};
use turlough_statestore::{Append, AppendId, Kind};

use super::*;
use crate::engine::{Call, Control, Engine, child_id};
use crate::settings::Settings;

struct Fixture {
    engine: Engine,
    driver: Driver,
    request: RequestId,
}

async fn fixture() -> Fixture {
    let mut settings = Settings::from_environment();
    settings.keep_failed = Duration::ZERO;
    let engine = Engine::new(settings).unwrap();
    let text = "flow: two\nnodes: { a: { apply: none }, b: { after: [a], apply: none } }";
    engine.register(read_yaml(text).unwrap()).unwrap();
    let flow = engine.flow("two").unwrap();
    let request = RequestId::from_uuid(Uuid::now_v7());
    let input = Value::new(ContentType::JSON, Producer::Caller, b"1");
    let shared = Arc::clone(&engine.shared);
    shared.admit(10).unwrap();
    let accepted = shared.accepted(&flow, Call::default(), None);
    let begin = Begin {
        request,
        flow,
        input,
        accepted,
    };
    let driver = Driver::begin(&shared, begin, true).await.unwrap().unwrap();
    Fixture {
        engine,
        driver,
        request,
    }
}

impl Fixture {
    async fn log(&self) -> Vec<Append> {
        let records = self.engine.records(self.request).await.unwrap();
        records.into_iter().map(|record| record.append).collect()
    }

    fn end_of_a(&self) -> Event {
        let value = Value::encode(&1).unwrap();
        Event::StepEnded(StepEnded {
            step: "a".into(),
            generation: 0,
            attempt: 1,
            epoch: 1,
            replica: self.engine.shared.replica,
            begin_us: 1,
            end_us: 2,
            end: StepEnd::Succeeded {
                value: ValueRef::Inline(value.envelope().clone()),
            },
            set: Vec::new(),
            again_us: None,
        })
    }

    async fn cancel(&self) -> Result<(), crate::engine::ControlError> {
        self.engine
            .control(self.request, Control::Cancel, None)
            .await
    }
}

fn attempted(events: &[Event]) -> Vec<Attempted> {
    let ended = events.iter().filter_map(|event| match event {
        Event::StepEnded(ended) => Some(ended.clone()),
        _ => None,
    });
    ended
        .map(|ended| Attempted::Ended {
            parts: Vec::new(),
            ended,
        })
        .collect()
}

impl Driver {
    /// What it comes to when its time is over.
    async fn time_out(&mut self) -> Box<crate::shared::Finished> {
        let ticked = Event::Ticked {
            at_us: u64::MAX - 1,
        };
        self.execution.apply(&ticked);
        assert!(self.commit(vec![ticked], None).await.unwrap());
        match self.decide(&[]).await.unwrap() {
            Decided::Ended(finished) => finished,
            _ => panic!("it goes on"),
        }
    }
}

fn names(actions: &[Action]) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Run(run) => run.step.to_string(),
        Action::End(_) => "end".to_owned(),
        Action::Start { .. } | Action::Stop { .. } => "other".to_owned(),
    };
    actions.iter().map(name).collect()
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_found_by_its_own_id() {
    let mut fixture = fixture().await;
    let before = fixture.driver.seq;
    assert!(
        fixture
            .driver
            .commit(vec![fixture.end_of_a()], None)
            .await
            .unwrap()
    );
    let stored = fixture.log().await;
    fixture.driver.seq = before; // as if the answer never came
    assert!(fixture.driver.store(stored.last().unwrap()).await.unwrap());
    assert_eq!(fixture.log().await, stored, "it stands there once");
    assert!(fixture.driver.seq > before);
}

#[tokio::test]
async fn an_end_whose_answer_was_lost_with_the_connection_is_settled_and_not_decided_again() {
    let mut fixture = fixture().await;
    let a = attempted(&[fixture.end_of_a()]);
    let decided = fixture.driver.decide(&a).await.unwrap();
    assert!(matches!(decided, Decided::Run(_)));
    let records = fixture.engine.records(fixture.request).await.unwrap();
    let shared = Arc::clone(&fixture.engine.shared);
    let execution = shared.execution(fixture.request, &records).unwrap();
    let seq = fixture.driver.seq;
    let Event::StepEnded(ended) = fixture.end_of_a() else {
        panic!("it is the end of a step")
    };
    let step = "b".into();
    let b = attempted(&[Event::StepEnded(StepEnded { step, ..ended })]);
    let decided = fixture.driver.decide(&b).await.unwrap();
    assert!(matches!(decided, Decided::Ended(_)));
    // Its end is stored, and the driver does not know: the answer was lost, the connection is another.
    fixture.driver.seq = seq;
    fixture.driver.execution = execution;
    fixture.driver.era += 1;
    let decided = fixture.driver.decide(&b).await.unwrap();
    assert!(matches!(decided, Decided::HadEnded));
    let log = fixture.log().await;
    let (engine, request) = (fixture.engine, fixture.request);
    let (rest, _) = fixture.driver.run().await;
    assert_eq!(rest, Rest::Over);
    let records = engine.records(request).await.unwrap();
    let after = records[log.len()..].iter();
    let events: Vec<_> = after.flat_map(|record| &record.append.events).collect();
    assert!(matches!(events[..], [Event::Settled { .. }]), "{events:?}");
}

#[tokio::test]
async fn what_came_in_between_is_folded_and_everything_is_asked_again() {
    let mut fixture = fixture().await;
    let actions = fixture.driver.execution.next_actions();
    assert_eq!(names(&actions), ["a"]);
    fixture.cancel().await.unwrap();
    let ends = attempted(&[fixture.end_of_a()]);
    let Decided::Ended(finished) = fixture.driver.decide(&ends).await.unwrap() else {
        panic!("it goes on")
    };
    assert_eq!(finished.outcome, Outcome::Cancelled);
    let log = fixture.log().await;
    assert!(matches!(log[1].events[..], [Event::CancelAsked { .. }]));
    // The cancel withdrew `a`, and nobody waits for its end any more.
    assert!(matches!(
        log[2].events[..],
        [Event::Ended { .. }, Event::Closing { .. }]
    ));
    assert_eq!(log[2].envelope.after, Some(log[1].envelope.id));
}

#[tokio::test]
async fn a_driver_under_a_newer_claim_stops_and_writes_nothing() {
    let mut fixture = fixture().await;
    let log = fixture.log().await;
    let mut envelope = log[0].envelope.clone();
    envelope.after = Some(envelope.id);
    (envelope.id, envelope.epoch, envelope.kind) = (AppendId(1), 2, Kind::Driver);
    let replica = ReplicaId::from_uuid(Uuid::from_u128(5));
    let claim = Append::new(
        envelope,
        vec![Event::Claimed {
            replica,
            epoch: 2,
            at_us: 1,
        }],
    );
    let shared = Arc::clone(&fixture.engine.shared);
    shared
        .log
        .append(fixture.request, fixture.driver.seq, &claim)
        .await
        .unwrap();
    let ends = attempted(&[fixture.end_of_a()]);
    let decided = fixture.driver.decide(&ends).await;
    assert!(matches!(decided, Err(DriveError::Superseded)));
    assert_eq!(fixture.log().await.len(), 2);
}

#[tokio::test]
async fn ends_that_come_together_are_spread_over_appends_that_fit() {
    let mut fixture = fixture().await;
    let Event::StepEnded(mut ended) = fixture.end_of_a() else {
        panic!("no end")
    };
    ended.end = StepEnd::Failed {
        message: "x".repeat(4000),
        cause: Cause::Transient,
    };
    ended.step = "none".into();
    let many = vec![Event::StepEnded(ended); 300];
    assert!(fixture.driver.commit(many, None).await.unwrap());
    let log = fixture.log().await;
    assert_eq!(
        log[1..]
            .iter()
            .map(|append| append.events.len())
            .sum::<usize>(),
        300
    );
    assert!(log.len() > 3, "{} appends", log.len());
}

/// Long enough for anything that is not stuck.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("stuck")
}

#[tokio::test]
async fn an_append_of_another_is_noticed_though_it_came_before_the_wait() {
    let mut fixture = fixture().await;
    fixture.cancel().await.unwrap();
    assert!(soon(fixture.driver.wait()).await.unwrap().is_empty());
    let actions = fixture.driver.execution.next_actions();
    assert_eq!(names(&actions), ["end"]);
}

#[tokio::test]
async fn a_cancel_after_the_end_is_refused_though_nobody_was_told_of_it_yet() {
    let mut fixture = fixture().await;
    let finished = fixture.driver.time_out().await;
    let error = fixture.cancel().await.unwrap_err();
    assert_eq!(error.to_string(), "the request has ended");
    fixture.driver.after_end(Some(*finished)).await.unwrap();
}

#[tokio::test]
async fn what_is_appended_after_the_end_does_not_keep_a_request_from_settling() {
    let mut fixture = fixture().await;
    let finished = fixture.driver.time_out().await;
    let last = fixture.log().await.pop().unwrap();
    let mut envelope = last.envelope.clone();
    envelope.after = Some(envelope.id);
    (envelope.id, envelope.kind) = (AppendId(1), Kind::External);
    let stray = Append::new(envelope, vec![Event::CancelAsked { at_us: 6 }]);
    let log = &fixture.engine.shared.log;
    log.append(fixture.request, fixture.driver.seq, &stray)
        .await
        .unwrap();
    fixture.driver.after_end(Some(*finished)).await.unwrap();
    let log = fixture.log().await;
    assert!(
        matches!(log.last().unwrap().events[..], [Event::Settled { .. }]),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_step_that_outlives_its_request_leaves_nothing_in_the_store() {
    let mut fixture = fixture().await;
    let context = Arc::clone(&fixture.driver.context);
    let finished = fixture.driver.time_out().await;
    fixture.driver.after_end(Some(*finished)).await.unwrap();
    let large = Value::new(ContentType::BYTES, Producer::Closure, &[7; 10_000]);
    assert!(context.data.keep("a", 1, &large).await.is_err());
    assert_eq!(fixture.engine.store_bytes(), 0);
}

#[tokio::test]
async fn a_driver_whose_log_is_gone_lets_go_of_everything() {
    let fixture = fixture().await;
    let Fixture {
        engine,
        driver,
        request,
    } = fixture;
    let large = Value::new(ContentType::BYTES, Producer::Closure, &[7; 10_000]);
    driver.context.data.keep("a", 1, &large).await.unwrap();
    engine.shared.log.delete(request).await.unwrap();
    assert_eq!(soon(driver.run()).await.0, Rest::Over);
    // Who lost it may have begun anew under the same claim: its data is left to its lease.
    assert_eq!(engine.shared.stores.seen_to_after(None, 1), []);
    assert!(engine.summary(request).await.is_none());
    assert_eq!(engine.shared.metrics.driving.get(), 0);
}

#[tokio::test]
async fn the_largest_values_that_travel_in_events_fit_into_appends() {
    let mut settings = Settings::from_environment();
    settings.inline_bytes_max = 600 * 1024;
    let engine = Engine::new(settings).unwrap();
    let text = "flow: two\nnodes: { a: { pass: '. + .' }, b: { after: [a], pass: '.[1:]' } }";
    engine.register(read_yaml(text).unwrap()).unwrap();
    for size in [100_000, 190_000, 280_000, 550_000] {
        let body = format!("\"{}\"", "x".repeat(size));
        let input = Value::new(ContentType::JSON, Producer::Caller, body.as_bytes());
        let flow = engine.flow("two").unwrap();
        let started = engine.start(flow, input, Call::default()).await;
        let finished = soon(started.unwrap().finished).await.unwrap();
        assert_eq!(finished.outcome.status(), "succeeded", "{size}");
    }
}

#[tokio::test]
async fn a_cancel_before_the_end_counts_though_the_output_takes_appends_of_its_own() {
    let mut fixture = fixture().await;
    let Event::StepEnded(mut b) = fixture.end_of_a() else {
        panic!("no end")
    };
    b.step = "b".into();
    let large = Value::new(ContentType::BYTES, Producer::Closure, &[7; 10_000]);
    b.end = StepEnd::Succeeded {
        value: ValueRef::Inline(large.envelope().clone()),
    };
    fixture.cancel().await.unwrap();
    let ends = attempted(&[fixture.end_of_a(), Event::StepEnded(b)]);
    let Decided::Ended(finished) = fixture.driver.decide(&ends).await.unwrap() else {
        panic!("it goes on")
    };
    assert_eq!(finished.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_request_whose_driver_failed_is_told_so_and_settles() {
    let Fixture {
        engine,
        mut driver,
        request,
    } = fixture().await;
    let receiver = engine.shared.waiting.register(request);
    driver.give_up("for a test").await;
    assert_eq!(receiver.await.unwrap().outcome.status(), "failed");
    let records = engine.records(request).await.unwrap();
    let last = &records.last().unwrap().append.events[..];
    assert!(matches!(last, [Event::Settled { .. }]), "{records:?}");
    assert!(
        engine
            .summary(request)
            .await
            .unwrap()
            .ended
            .unwrap()
            .settled
    );
}

#[tokio::test]
async fn a_request_whose_driver_failed_leaves_no_sub_flow_behind() {
    let Fixture {
        engine,
        mut driver,
        request,
    } = fixture().await;
    let text = "flow: waits\nnodes: { ask: { wait: { signal: go } } }";
    engine.register(read_yaml(text).unwrap()).unwrap();
    let parent = Parent {
        request,
        generation: 0,
        step: "a".into(),
        attempt: 1,
        depth: 1,
    };
    let started = Event::StepStarted {
        step: "a".into(),
        attempt: 1,
        at_us: 1,
    };
    driver.execution.apply(&started);
    assert!(driver.commit(vec![started], None).await.unwrap());
    let input = Value::new(ContentType::JSON, Producer::Caller, b"1");
    let (shared, child) = (&engine.shared, child_id(&parent));
    let flow = "waits".parse().unwrap();
    shared
        .start_child(&flow, input, (parent, None))
        .await
        .unwrap();
    let receiver = shared.finished(child).await;
    driver.give_up("for a test").await;
    assert_eq!(soon(receiver).await.unwrap().outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn word_that_its_replicas_died_of_is_used_up_at_the_third_and_the_rest_is_sent() {
    let mut fixture = fixture().await;
    let request = fixture.request;
    let gone = Parent {
        request: RequestId::from_uuid(Uuid::now_v7()),
        generation: 0,
        step: "a".into(),
        attempt: 1,
        depth: 1,
    };
    let owed = |id| Delivery {
        id,
        to: Recipient::Parent(gone.clone()),
    };
    let ended = Event::Ended {
        outcome: Outcome::Cancelled,
        trouble: Vec::new(),
        owed: vec![owed(1), owed(2)],
        at_us: 1,
    };
    fixture.driver.execution.apply(&ended);
    assert!(fixture.driver.commit(vec![ended], None).await.unwrap());
    let shared = Arc::clone(&fixture.engine.shared);
    for epoch in 2..4 {
        let records = fixture.engine.records(request).await.unwrap();
        let last = records.last().unwrap();
        let mut envelope = last.append.envelope.clone();
        envelope.after = Some(envelope.id);
        (envelope.id, envelope.epoch) = (AppendId(u128::from(epoch)), epoch);
        let replica = ReplicaId::from_uuid(Uuid::from_u128(u128::from(epoch)));
        let at_us = 1;
        let claimed = Event::Claimed {
            replica,
            epoch,
            at_us,
        };
        let claim = Append::new(envelope, vec![claimed]);
        shared.log.append(request, last.seq, &claim).await.unwrap();
    }
    let why = (turlough_statestore::Why::ClaimantGone, None);
    let driver = Driver::resume(&shared, request, why)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(driver.take_overs(), TAKE_OVERS_DEAD);
    assert_eq!(soon(driver.run()).await.0, Rest::Over);
    let log = fixture.log().await;
    let told = log.iter().flat_map(|append| &append.events);
    let told: Vec<_> = told
        .filter_map(|event| match event {
            Event::Delivered { id, error, .. } => Some((*id, error.as_deref())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(1, Some("3 replicas that sent it died")), (2, None)]);
    assert!(matches!(
        log.last().unwrap().events[..],
        [Event::Settled { .. }]
    ));
}
