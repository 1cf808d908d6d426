//! A replica dies between each two effects that follow one another: append, enqueue, acknowledge,
//! deliver, drop, settle. What is left of the second is done by others, since a keeper looks.

use std::time::Duration;

use turlough_sdk::RequestId;
use turlough_statestore::{Event, Hint};

use super::super::flows::Kind;
use super::super::trap::{Does, Message, Trap};
use super::super::world::World;
use super::acts::{
    answered, fails_with, is_accepted, is_claim, is_closing, is_delivered, is_end, is_end_of,
    is_released, is_settled, replace, stands, start, within,
};
use super::calls::child;
use super::{appends, ask, cluster, ends_well, request};
use crate::engine::Call;
use crate::fault::Fault;

/// A host dies of its last message, whatever became of that.
fn dies(world: &mut World, host: usize, message: &Trap) {
    world.until("its last message", |_| message.is_sprung());
    world.run_for(Duration::from_millis(20));
    world.hosts[host].kill();
}

/// After a crash: with a keeper it ends as it must. Without one, where one is needed, it hangs.
fn goes_on(world: &mut World, kind: Kind, n: u64, (host, needs_keeper): (usize, bool)) {
    if needs_keeper {
        world.hosts[2].kill();
        replace(world, host);
        world.run_for(Duration::from_secs(90));
        let id = request(world, kind, n);
        assert!(!stands(world, id, is_settled), "it needs no keeper");
        let keeper = world.keeper();
        world.hosts[2] = keeper;
    } else {
        replace(world, host);
    }
    world.functions.let_go("b");
    ends_well(world, kind, n);
}

/// A replica without room, the other with it.
fn full(world: &mut World) {
    world.functions.hold("b");
    ask(world, 0, Kind::Chain, 9);
    world.until("the call", |world| world.functions.calls("b", 9) == 1);
}

fn narrow() -> World {
    cluster(|settings| settings.capacity = 1)
}

fn acknowledges(request: RequestId, sent: &Message<'_>) -> bool {
    match sent {
        Message::Acknowledge(hint) => Hint::decode(hint).is_some_and(|it| it.request == request),
        _ => false,
    }
}

#[test]
fn a_crash_between_the_acceptance_and_its_hint() {
    let mut world = narrow();
    full(&mut world);
    let id = request(&world, Kind::Chain, 1);
    let last = world.trap(0, Does::Lose, move |sent| sent.hints(id));
    let started = start(&world, 0, (Kind::Chain, 1, 1), Call::default());
    answered(&mut world, started).expect("it is accepted");
    dies(&mut world, 0, &last);
    assert!(stands(&world, id, is_accepted) && !stands(&world, id, is_claim));
    goes_on(&mut world, Kind::Chain, 1, (0, true));
}

#[test]
fn a_crash_between_taking_a_hint_and_acknowledging_it() {
    let mut world = narrow();
    full(&mut world);
    let id = request(&world, Kind::Chain, 1);
    let last = world.trap(1, Does::Lose, move |sent| acknowledges(id, sent));
    let started = start(&world, 0, (Kind::Chain, 1, 1), Call::default());
    answered(&mut world, started).expect("it is accepted");
    dies(&mut world, 1, &last);
    assert!(world.hints() > 0, "it comes again");
    goes_on(&mut world, Kind::Chain, 1, (1, false));
}

#[test]
fn a_crash_between_acknowledging_a_hint_and_the_claim() {
    let mut world = narrow();
    full(&mut world);
    let id = request(&world, Kind::Chain, 1);
    let last = world.trap(1, Does::Lose, move |sent| sent.appends(id, is_claim));
    let started = start(&world, 0, (Kind::Chain, 1, 1), Call::default());
    answered(&mut world, started).expect("it is accepted");
    world.until("an empty queue", |world| world.hints() == 0);
    dies(&mut world, 1, &last);
    assert!(!stands(&world, id, is_claim));
    goes_on(&mut world, Kind::Chain, 1, (1, true));
}

#[test]
fn a_crash_between_the_release_of_a_request_that_is_handed_over_and_its_hint() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Chain, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    let last = world.trap(0, Does::Lose, move |sent| sent.hints(id));
    let engine = world.hosts[0].engine().expect("a replica").clone();
    drop(world.hosts[0].spawn(async move { engine.drain(Duration::from_secs(5)).await }));
    dies(&mut world, 0, &last);
    assert!(stands(&world, id, is_released));
    goes_on(&mut world, Kind::Chain, 1, (0, true));
}

const fn is_word_given_up(event: &Event) -> bool {
    matches!(event, Event::Delivered { error: Some(_), .. })
}

/// E1: nothing happens.
fn told() {
    let mut world = cluster(|_| ());
    let id = ask(&world, 0, Kind::Parent, 1);
    let is_told = |world: &World| stands(world, id, is_end_of("child"));
    within(&mut world, 60, "word of the end", is_told);
    ends_well(&mut world, Kind::Parent, 1);
}

/// E1: a sub-flow has ended, and its parent was not told.
#[test]
fn a_crash_between_the_end_and_word_of_it() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Parent, 1);
    let is_word = is_end_of("child");
    let last = world.trap(0, Does::Lose, move |sent| sent.appends(id, is_word));
    ask(&world, 0, Kind::Parent, 1);
    within(&mut world, 60, "the end of the sub-flow", |world| {
        stands(world, child(id, 1), is_end)
    });
    assert!(!stands(&world, id, is_word), "it is not told yet");
    dies(&mut world, 0, &last);
    goes_on(&mut world, Kind::Parent, 1, (0, true));
    assert_eq!(appends(&world, id, is_word).len(), 1);
    fails_with(Fault::NothingOwed, "word of the end did not come", told);
}

/// E2: a parent was told, and that is not recorded.
fn told_unrecorded() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Parent, 1);
    let begun = child(id, 1);
    let last = world.trap(0, Does::Lose, move |sent| sent.appends(begun, is_delivered));
    ask(&world, 0, Kind::Parent, 1);
    dies(&mut world, 0, &last);
    assert!(stands(&world, id, is_end_of("child")) && !stands(&world, begun, is_delivered));
    goes_on(&mut world, Kind::Parent, 1, (0, false));
    within(&mut world, 600, "the settling of the sub-flow", |world| {
        stands(world, begun, is_settled)
    });
    assert_eq!(appends(&world, id, is_end_of("child")).len(), 1);
    assert!(
        !stands(&world, begun, is_word_given_up),
        "a refusal counts as taken"
    );
}

#[test]
fn a_crash_between_word_of_the_end_and_its_record() {
    told_unrecorded();
    fails_with(
        Fault::RefusalRetried,
        "a refusal counts as taken",
        told_unrecorded,
    );
}

/// E2: the state stands still, and no connection is lost, for longer than word is sent again and again.
fn word_while_the_state_is_stopped() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Parent, 1);
    let is_word = is_end_of("child");
    let last = world.trap(0, Does::Lose, move |sent| sent.appends(id, is_word));
    ask(&world, 0, Kind::Parent, 1);
    world.until("word", |_| last.is_sprung());
    let time = Duration::from_secs(450);
    world.stall(time);
    world.run_for(time);
    let is_told = |world: &World| stands(world, id, is_word);
    within(&mut world, 90, "word of the end", is_told);
    ends_well(&mut world, Kind::Parent, 1);
}

#[test]
fn e2_a_state_that_is_stopped_does_not_use_up_the_tries_of_word_to_a_parent() {
    word_while_the_state_is_stopped();
    fails_with(
        Fault::StateUsesTries,
        "word of the end did not come",
        word_while_the_state_is_stopped,
    );
}

#[test]
fn a_crash_between_the_record_of_word_and_the_closing() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Parent, 1);
    let begun = child(id, 1);
    let last = world.trap(0, Does::Lose, move |sent| sent.appends(begun, is_closing));
    ask(&world, 0, Kind::Parent, 1);
    dies(&mut world, 0, &last);
    assert!(stands(&world, begun, is_delivered) && !stands(&world, begun, is_closing));
    world.hosts[2].kill();
    replace(&mut world, 0);
    world.run_for(Duration::from_secs(90));
    assert!(!stands(&world, begun, is_settled), "it needs no keeper");
    world.hosts[2] = world.keeper();
    within(&mut world, 60, "the settling", |world| {
        stands(world, begun, is_settled)
    });
    ends_well(&mut world, Kind::Parent, 1);
}

/// E4: the data of a request was dropped, and it is not settled.
fn unsettled(does: Does, needs_keeper: bool) {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Large, 1);
    let last = world.trap(0, does, move |sent| sent.appends(id, is_settled));
    ask(&world, 0, Kind::Large, 1);
    dies(&mut world, 0, &last);
    assert!(stands(&world, id, is_closing));
    assert_eq!(stands(&world, id, is_settled), does == Does::LoseAnswer);
    goes_on(&mut world, Kind::Large, 1, (0, needs_keeper));
    assert_eq!(appends(&world, id, is_settled).len(), 1);
}

#[test]
fn a_crash_between_the_drop_and_the_settling() {
    unsettled(Does::Lose, true);
}

#[test]
fn a_crash_between_the_settling_and_its_answer() {
    unsettled(Does::LoseAnswer, false);
}
