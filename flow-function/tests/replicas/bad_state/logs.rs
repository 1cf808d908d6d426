//! A log holds what is none of ours, what a newer version wrote, or not all that it held.

use serde_json::json;
use turlough_sdk::RequestId;
use turlough_statestore::event::Outcome;
use turlough_statestore::{Event, Hint, Record, Seq, State, Why};
use turlough_testing::{Nats, Program, until};

use super::place::{BYTES_MAX, Place, serves, state};

#[tokio::test]
async fn what_is_none_of_ours_counts_for_nothing() {
    let nats = Nats::start("").await;
    let place = Place::new().await;
    let program = place.program(&nats.url(), &[]);
    serves(&program).await;
    let asks = program.begin("asks", "1").await;
    let held = program.call("held", "5");
    place.held(1).await;
    let state = state(&nats.url(), BYTES_MAX).await;
    for id in [asks.clone(), running(&state, &asks).await] {
        for foreign in [
            &b"garbage"[..],
            b"\x82\xa4name\x01\xa5other\x93\x01\x02\x03",
        ] {
            nats.ask("", &format!("tl.default.log.{id}"), foreign).await;
        }
    }
    place.let_go();
    let answer = held.await.unwrap();
    assert_eq!(
        (answer.status, &answer.json),
        (200, &6.into()),
        "{answer:?}"
    );
    let asked = program
        .post(&format!("/requests/{asks}/signals/go"), "\"yes\"")
        .await;
    assert!(asked.status < 300, "{asked:?}");
    settled(&state, &asks).await;
    let result = program
        .get(&format!("/requests/{asks}/result"))
        .await
        .unwrap();
    assert_eq!(
        (result.status, &result.json),
        (200, &json!("yes")),
        "{result:?}"
    );
    program
        .logged(&["WARN", "is no append, and counts for nothing", &asks])
        .await;
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_left_to_it() {
    let nats = Nats::start("").await;
    let place = Place::new().await;
    let program = place.program(&nats.url(), &[("TURLOUGH_SYNC_WAIT", "2s")]);
    serves(&program).await;
    let asks = program.begin("asks", "1").await;
    let held = program.call("held", "5");
    place.held(1).await;
    let state = state(&nats.url(), BYTES_MAX).await;
    let id = running(&state, &asks).await;
    let last = state.log.last(id.parse().unwrap()).await.unwrap().unwrap();
    let mut newer = last.append.encode(id.parse().unwrap()).unwrap();
    let at = newer
        .windows(6)
        .position(|window| window == b"format")
        .unwrap();
    newer[at + 6] = 9;
    nats.ask("", &format!("tl.default.log.{id}"), &newer).await;
    place.let_go();
    let says = "format 9, this version reads up to 1; use a newer one";
    program
        .logged(&["driver stopped before the request's end", &id, says])
        .await;
    // Whoever waits is told where it is: another replica may end it.
    let answer = held.await.unwrap();
    assert_eq!((answer.status, &answer.request), (202, &id), "{answer:?}");
    for path in [format!("/requests/{id}"), format!("/requests/{id}/result")] {
        let answer = program.get(&path).await.unwrap();
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.detail().contains(says), "{answer:?}");
    }
    let asked = program.post(&format!("/requests/{id}/cancel"), "").await;
    assert_eq!(asked.status, 500, "{asked:?}");
    hint(&state, &id, Why::Appended).await;
    program
        .logged(&["ERROR", "request cannot be driven here", &id, says])
        .await;
    serves(&program).await;
}

#[tokio::test]
async fn a_log_without_its_head_ends_as_dead() {
    let nats = Nats::start("").await;
    let place = Place::new().await;
    let program = place.program(&nats.url(), &[]);
    serves(&program).await;
    let (state, id) = asleep(&nats, &program).await;
    purge(&nats, &id, 1).await;
    let says = "the head of its log is gone";
    for answer in [
        program.get(&format!("/requests/{id}")).await.unwrap(),
        program
            .post(&format!("/requests/{id}/signals/go"), "1")
            .await,
    ] {
        assert_eq!(answer.status, 410, "{answer:?}");
        assert!(answer.detail().contains(says), "{answer:?}");
    }
    hint(&state, &id, Why::Appended).await;
    program
        .logged(&["ERROR", "request is dead", &id, says])
        .await;
    let records = settled(&state, &id).await;
    let mut events = records.iter().flat_map(|record| &record.append.events);
    let is_dead = |event: &Event| matches!(event, Event::Ended { outcome: Outcome::Dead { message }, .. } if message.contains(says));
    assert!(events.any(is_dead), "{records:?}");
    let result = program
        .get(&format!("/requests/{id}/result"))
        .await
        .unwrap();
    assert_eq!(
        (result.status, &result.json["outcome"]),
        (500, &json!("dead")),
        "{result:?}"
    );
    // Once is enough.
    hint(&state, &id, Why::Appended).await;
    serves(&program).await;
    assert_eq!(program.log().matches("request is dead").count(), 1);
}

#[tokio::test]
async fn a_log_without_its_head_goes_on_from_its_snapshot_and_is_shown() {
    let nats = Nats::start("").await;
    let place = Place::new().await;
    let program = place.program(&nats.url(), &[]);
    serves(&program).await;
    let (state, id) = asleep(&nats, &program).await;
    hint(&state, &id, Why::Snapshot).await;
    let request = id.parse().unwrap();
    until("its snapshot", async || {
        let records = state.log.read(request, Seq::START).await.unwrap();
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let is_there = events.any(|event| matches!(event, Event::Snapshot(_)));
        is_there.then_some(())
    })
    .await;
    let_go(&state, &id).await;
    purge(&nats, &id, 2).await;
    let shown = program.get(&format!("/requests/{id}")).await.unwrap();
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(shown.json["flow"], "asks", "{shown:?}");
    assert_eq!(shown.json["status"], "sleeping", "{shown:?}");
    let path = format!("/requests/{id}/result");
    let open = program.get(&path).await.unwrap();
    assert_eq!(open.status, 202, "{open:?}");
    let asked = program
        .post(&format!("/requests/{id}/signals/go"), "\"yes\"")
        .await;
    assert!(asked.status < 300, "{asked:?}");
    settled(&state, &id).await;
    let result = program.get(&path).await.unwrap();
    assert_eq!(
        (result.status, &result.json),
        (200, &json!("yes")),
        "{result:?}"
    );
}

/// A request that waits for a signal.
async fn asleep(nats: &Nats, program: &Program) -> (State, String) {
    let id = program.begin("asks", "1").await;
    let state = state(&nats.url(), BYTES_MAX).await;
    let_go(&state, &id).await;
    (state, id)
}

pub(super) async fn let_go(state: &State, id: &str) {
    until("it was let go", async || {
        let last = state.log.last(id.parse().unwrap()).await.unwrap()?;
        let released = |event: &Event| matches!(event, Event::Released { .. });
        last.append.events.iter().any(released).then_some(())
    })
    .await;
}

/// All of a log but its newest appends goes, as if it had expired.
async fn purge(nats: &Nats, id: &str, keep: usize) {
    let purge = format!(r#"{{"filter": "tl.default.log.{id}", "keep": {keep}}}"#);
    nats.ask("", "$JS.API.STREAM.PURGE.TL_default_LOG", purge.as_bytes())
        .await;
}

/// The request that is open beside another one.
async fn running(state: &State, other: &str) -> String {
    let mut follow = state.log.follow(Seq::START).await.unwrap();
    loop {
        for followed in follow.next(10).await.unwrap() {
            let request = followed.request.unwrap().to_string();
            let append = followed.append.unwrap();
            let is_held = |event: &Event| matches!(event, Event::Accepted(accepted) if accepted.flow.as_str() == "held");
            if request != other && append.events.iter().any(is_held) {
                return request;
            }
        }
    }
}

/// Says what the keeper says of a request that is due.
async fn hint(state: &State, id: &str, why: Why) {
    let hint = Hint {
        request: id.parse().unwrap(),
        why,
        condemned: None,
    };
    state.queue.enqueue("flows", hint.encode()).await.unwrap();
}

async fn settled(state: &State, id: &str) -> Vec<Record> {
    let id: RequestId = id.parse().unwrap();
    until("it is settled", async || {
        let records = state.log.read(id, Seq::START).await.unwrap();
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let is_settled = events.any(|event| matches!(event, Event::Settled { .. }));
        is_settled.then_some(records)
    })
    .await
}
