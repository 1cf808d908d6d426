//! How requests and steps begin.

use std::time::Duration;

use turlough_sdk::{RequestId, Value};
use turlough_statestore::{Event, Seq};

use super::super::check::Reader;
use super::super::flows::Kind;
use super::super::trap::{Does, Message};
use super::super::world::World;
use super::force::{answer, claims, fails_with, is_settled, replica, settled, start, within};
use super::{appends, ask, cluster, ends_well, request};
use crate::fault::Fault;

const fn is_accepted(event: &Event) -> bool {
    matches!(event, Event::Accepted(_))
}

const fn is_start(event: &Event) -> bool {
    matches!(event, Event::StepStarted { .. })
}

const fn is_part(event: &Event) -> bool {
    matches!(event, Event::Part { .. })
}

/// A2: the answers to its first append, and to the look whether that is stored, are lost.
fn accepted_unheard() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Chain, 1);
    let append = world.trap(0, Does::LoseAnswer, move |sent| {
        sent.appends(id, is_accepted)
    });
    ask(&world, 0, Kind::Chain, 1);
    world.until("the append", |_| append.is_sprung());
    let look = world.trap(
        0,
        Does::LoseAnswer,
        move |sent| matches!(sent, Message::Read(of) if *of == id),
    );
    ends_well(&mut world, Kind::Chain, 1);
    assert!(look.is_sprung());
    assert_eq!(appends(&world, id, is_accepted).len(), 1);
    assert_eq!(
        claims(&world, id).len(),
        1,
        "claims of who holds it already"
    );
}

#[test]
fn i1_a_request_that_was_accepted_unheard_is_not_waited_for_by_its_own_driver() {
    accepted_unheard();
    fails_with(
        Fault::OwnUnseen,
        "claims of who holds it already",
        accepted_unheard,
    );
}

/// A2: a caller asks again while its request is on its way into the log.
fn asked_again_too_soon() {
    let mut world = cluster(|_| ());
    let value = || Value::encode(&1_u64).expect("a number");
    let (id, first) = start(&world, 0, ("chain", "1"), value());
    let trap = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_accepted));
    world.until("the append", |_| trap.is_sprung());
    let (_, second) = start(&world, 0, ("chain", "1"), value());
    world.run_for(Duration::from_secs(1));
    assert!(world.records(id).is_empty());
    trap.release();
    assert!(answer(&mut world, first));
    assert!(answer(&mut world, second), "the second is taken for lost");
    ends_well(&mut world, Kind::Chain, 1);
    assert_eq!(world.functions.calls("a", 1), 1);
}

#[test]
fn a2_a_request_that_is_asked_for_again_while_it_is_recorded_is_the_same() {
    asked_again_too_soon();
    fails_with(
        Fault::FirstNotAwaited,
        "the second is taken for lost",
        asked_again_too_soon,
    );
}

/// A2: the answer to the append of a start is lost.
fn start_unheard() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Once, 1);
    let trap = world.trap(0, Does::LoseAnswer, move |sent| sent.appends(id, is_start));
    ask(&world, 0, Kind::Once, 1);
    world.until("the append", |_| trap.is_sprung());
    ends_well(&mut world, Kind::Once, 1);
    assert_eq!(appends(&world, id, is_start).len(), 1);
    assert_eq!(claims(&world, id).len(), 1);
}

#[test]
fn i7_a_start_that_was_stored_unheard_is_called_by_who_recorded_it() {
    start_unheard();
    fails_with(Fault::OwnUnseen, "it did not pay", start_unheard);
}

/// C1: a replica is asked for something while its first heartbeat is on its way.
fn heartbeat_under_way() {
    let mut world = cluster(|_| ());
    let host = world.replica();
    world.hosts.push(host);
    let name = replica(&world, 3).to_string();
    let beat = world.trap(
        3,
        Does::Hold,
        move |sent| matches!(sent, Message::Put(key) if *key == name),
    );
    let id = ask(&world, 3, Kind::Chain, 1);
    world.until("the heartbeat", |_| beat.is_sprung());
    world.run_for(Duration::from_secs(1));
    assert!(world.records(id).is_empty(), "a claim without a heartbeat");
    beat.release();
    within(&mut world, 2, "the claim", |world| {
        !world.records(id).is_empty()
    });
    ends_well(&mut world, Kind::Chain, 1);
}

#[test]
fn c1_a_replica_claims_nothing_before_its_heartbeat_is_written() {
    heartbeat_under_way();
    fails_with(
        Fault::ClaimsUnheard,
        "a claim without a heartbeat",
        heartbeat_under_way,
    );
}

/// The place of the first part in a log.
fn first_part(world: &World, request: RequestId) -> Seq {
    let mut records = world.records(request).into_iter();
    let first = records.find(|record| record.append.events.iter().any(is_part));
    first.expect("a part").seq
}

/// A4, A5: of an input in three parts all but the first are lost, before `accepted` names them.
fn parts_of_an_input_are_lost() {
    let mut world = cluster(|_| ());
    let text = Value::encode(&"x".repeat(1_200_000)).expect("a text");
    let (id, asked) = start(&world, 0, ("measure", "1"), text.clone());
    let trap = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_accepted));
    world.until("the input", |_| trap.is_sprung());
    assert_eq!(world.records(id).len(), 3);
    let first = first_part(&world, id);
    world.lose_after(first, Duration::from_millis(100));
    trap.release();
    within(&mut world, 20, "an answer", |_| asked.is_finished());
    if !answer(&mut world, asked) {
        assert!(appends(&world, id, is_accepted).is_empty());
        let (_, again) = start(&world, 0, ("measure", "1"), text);
        assert!(answer(&mut world, again));
    }
    let standing = settled(&mut world, id);
    assert_eq!(standing.output, Some(1_200_000), "{:?}", standing.outcome);
}

#[test]
fn a5_an_input_whose_parts_are_lost_is_not_accepted() {
    parts_of_an_input_are_lost();
    fails_with(
        Fault::PartsForgotten,
        "an answer did not come about",
        parts_of_an_input_are_lost,
    );
}

/// A4, A5: the same, and another with the same key writes where the lost parts were.
fn parts_of_another_stand_there() {
    let mut world = cluster(|_| ());
    world.functions.hold("measure");
    let text = Value::encode(&"x".repeat(900_000)).expect("a text");
    let (id, asked) = start(&world, 0, ("measure", "1"), text.clone());
    let ours = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_accepted));
    world.until("the input", |_| ours.is_sprung());
    let first = first_part(&world, id);
    world.hosts[0].cut_until = Some(Duration::MAX);
    world.lose_after(first, Duration::from_millis(100));
    world.run_for(Duration::from_millis(200));
    let theirs = world.trap(1, Does::Lose, move |sent| sent.appends(id, is_accepted));
    drop(start(&world, 1, ("measure", "1"), text.clone()));
    world.until("the other input", |_| theirs.is_sprung());
    world.hosts[1].kill();
    world.lose_after(Seq::new(first.get() + 1), Duration::from_millis(100));
    assert_eq!(world.records(id).len(), 2, "a part of each");
    world.hosts[0].cut_until = Some(world.now);
    ours.release();
    within(&mut world, 20, "an answer", |_| asked.is_finished());
    if !answer(&mut world, asked) {
        let (_, again) = start(&world, 0, ("measure", "1"), text);
        assert!(answer(&mut world, again));
    }
    world.until("the call", |world| {
        world.functions.calls("measure", 900_000) > 0
    });
    world.hosts[0].kill();
    world.hosts[1] = world.replica();
    world.functions.let_go("measure");
    let reader = Reader::of(&world);
    within(&mut world, 60, "the end", |world| {
        is_settled(&reader, world, id)
    });
    let standing = settled(&mut world, id);
    assert_eq!(standing.output, Some(900_000), "{:?}", standing.outcome);
}

#[test]
fn a5_an_input_is_not_accepted_over_the_parts_of_another() {
    parts_of_another_stand_there();
    fails_with(
        Fault::PartsForgotten,
        "the end did not come about",
        parts_of_another_stand_there,
    );
}

/// A5: a replica dies between the parts of an input and what names them.
#[test]
fn a5_parts_that_nothing_names_are_no_request() {
    let mut world = cluster(|_| ());
    let text = Value::encode(&"x".repeat(1_200_000)).expect("a text");
    let (id, asked) = start(&world, 1, ("measure", "1"), text);
    let trap = world.trap(1, Does::Lose, move |sent| sent.appends(id, is_accepted));
    world.until("the input", |_| trap.is_sprung());
    world.hosts[1].kill();
    drop(asked);
    assert_eq!(appends(&world, id, is_part).len(), 3);
    world.run_for(Duration::from_secs(40));
    assert_eq!((world.open(), world.hints()), (Vec::new(), 0));
}
