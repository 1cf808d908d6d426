//! Conflicts, forced: what a driver does when it is not alone with its log.

use turlough_sdk::{ContentType, Producer, ReplicaId, read_yaml};
use turlough_statestore::event::StepEnd;
use turlough_statestore::{Append, AppendId, Kind};

use super::*;
use crate::engine::Engine;
use crate::settings::Settings;

struct Fixture {
    engine: Engine,
    driver: Driver,
    request: RequestId,
}

async fn fixture() -> Fixture {
    let engine = Engine::new(Settings::from_environment()).unwrap();
    let text = "flow: two\nnodes: { a: { pass: . }, b: { after: [a], pass: . } }";
    let flow = Arc::new(read_yaml(text).unwrap());
    let request = RequestId::from_uuid(Uuid::now_v7());
    let input = Value::new(ContentType::JSON, Producer::Caller, b"1");
    let shared = Arc::clone(&engine.shared);
    let (driver, _) = Driver::accept(shared, flow, request, input, true)
        .await
        .unwrap();
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
                value: turlough_sdk::ValueRef::Inline(value.envelope().clone()),
            },
        })
    }
}

fn names(actions: &[Action]) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Run(run) => run.step.to_string(),
        Action::End(_) => "end".to_owned(),
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
            .commit(vec![fixture.end_of_a()])
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
async fn what_came_in_between_is_folded_and_everything_is_asked_again() {
    let mut fixture = fixture().await;
    let actions = fixture.driver.execution.next_actions();
    assert_eq!(names(&actions), ["a"]);
    fixture.engine.cancel(fixture.request).await.unwrap();
    let events = [fixture.end_of_a()];
    let (_, finished) = fixture.driver.decide(&events).await.unwrap();
    assert_eq!(finished.unwrap().outcome, Outcome::Cancelled);
    let log = fixture.log().await;
    assert!(matches!(log[1].events[..], [Event::CancelAsked { .. }]));
    assert!(matches!(
        log[2].events[..],
        [
            Event::StepEnded(_),
            Event::Ended { .. },
            Event::Closing { .. }
        ]
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
    let events = [fixture.end_of_a()];
    let error = fixture.driver.decide(&events).await.unwrap_err();
    assert!(matches!(error, DriveError::Superseded), "{error}");
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
    assert!(fixture.driver.commit(many).await.unwrap());
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
