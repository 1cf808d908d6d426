//! What others append, and what the keeper notices: signals whose appender dies, words that are lost,
//! appends that are asked for again, and a tail that the keeper had followed.

use std::time::Duration;

use turlough_sdk::Value;
use turlough_statestore::event::Outcome;
use turlough_statestore::{Event, Record, Seq};

use super::super::flows::Kind;
use super::super::trap::Does;
use super::force::{answer, claims, control, fails_with, go, is_released, settled, within};
use super::{appends, ask, cluster, ends_well, request};
use crate::engine::{Control, ControlError};
use crate::fault::Fault;
use crate::machine::Refusal;

const fn is_signal(event: &Event) -> bool {
    matches!(event, Event::Signalled { .. })
}

/// L2: the keeper is cut off while the log loses what it had followed; where that was, other requests
/// stand when it comes back.
#[test]
fn i5_a_request_that_stands_where_a_lost_one_was_is_known_to_the_keeper() {
    let mut world = cluster(|_| ());
    for n in 1..=3 {
        ask(&world, 0, Kind::Chain, n);
        ends_well(&mut world, Kind::Chain, n);
    }
    world.run_for(Duration::from_secs(1));
    let followed = world.server.log.last_place();
    let third = world.records(request(&world, Kind::Chain, 3));
    world.hosts[2].cut_until = Some(Duration::MAX);
    world.lose_after(third[0].seq, Duration::from_millis(100));
    world.run_for(Duration::from_millis(200));
    let id = ask(&world, 0, Kind::Nap, 4);
    world.until("its rest", |world| is_released(world, id));
    let last = world.records(id).pop().expect("its last append").seq;
    assert!(last <= followed, "it lies where others were");
    for n in 5..=6 {
        ask(&world, 1, Kind::Chain, n);
        ends_well(&mut world, Kind::Chain, n);
    }
    assert!(world.server.log.last_place() > followed);
    world.run_for(Duration::from_secs(10));
    assert!(is_released(&world, id), "its time has come unnoticed");
    world.hosts[2].cut_until = Some(world.now);
    within(&mut world, 10, "a claim", |world| {
        claims(world, id).len() == 2
    });
    ends_well(&mut world, Kind::Nap, 4);
    ends_well(&mut world, Kind::Chain, 3);
}

/// A1, C5: whoever appends a signal to a request that nobody drives dies before it wakes anybody.
#[test]
fn i6_a_signal_whose_appender_dies_is_noticed() {
    let mut world = cluster(|_| ());
    let id = ask(&world, 0, Kind::Asks, 1);
    world.until("its rest", |world| is_released(world, id));
    let trap = world.trap(1, Does::LoseAnswer, move |sent| sent.appends(id, is_signal));
    drop(control(&world, 1, id, (go(1), None)));
    world.until("the signal", |world| {
        trap.is_sprung() && appends(world, id, is_signal).len() == 1
    });
    world.hosts[1].kill();
    world.run_for(Duration::from_millis(1_500));
    assert_eq!((claims(&world, id).len(), world.hints()), (1, 0));
    within(&mut world, 5, "a claim", |world| {
        claims(world, id).len() == 2
    });
    ends_well(&mut world, Kind::Asks, 1);
    assert_eq!(world.functions.calls("c", 1), 1);
}

/// C5: word of a cancel is lost on its way to the driver, which waits for a long call.
#[test]
fn c5_a_driver_whose_poke_was_lost_is_poked_again() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Chain, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    let poke = world.trap(1, Does::Lose, move |sent| sent.pokes(id));
    let asked = control(&world, 1, id, (Control::Cancel, None));
    assert!(answer(&mut world, asked).is_ok());
    world.until("the poke", |_| poke.is_sprung());
    world.run_for(Duration::from_secs(1));
    let is_end = |event: &Event| matches!(event, Event::Ended { .. });
    assert!(appends(&world, id, is_end).is_empty());
    within(&mut world, 5, "the end", |world| {
        !appends(world, id, is_end).is_empty()
    });
    let standing = settled(&mut world, id);
    assert_eq!(
        (standing.ends, standing.outcome),
        (1, Some(Outcome::Cancelled))
    );
    assert_eq!(claims(&world, id).len(), 1);
    world.functions.let_go("b");
}

/// A4: a cancel is lost with the log's tail, and the replica that appended it is asked for something else.
fn cancel_is_lost() {
    let mut world = cluster(|_| ());
    let id = ask(&world, 0, Kind::Asks, 1);
    world.until("its rest", |world| is_released(world, id));
    world.functions.hold("c");
    for n in 0..70 {
        let (name, value) = ("other".to_owned(), Value::encode(&n).expect("a number"));
        let asked = control(&world, 1, id, (Control::Signal { name, value }, None));
        assert!(answer(&mut world, asked).is_ok());
    }
    let asked = control(&world, 1, id, (Control::Cancel, None));
    assert!(answer(&mut world, asked).is_ok());
    let is_cancel = |event: &Event| matches!(event, Event::CancelAsked { .. });
    let records = world.records(id);
    let is_of = |record: &&Record| record.append.events.iter().any(is_cancel);
    let cancel = records.iter().find(is_of).expect("the cancel").seq;
    world.lose_after(Seq::new(cancel.get() - 1), Duration::from_millis(100));
    world.run_for(Duration::from_millis(200));
    let asked = control(&world, 1, id, (go(1), None));
    let taken = answer(&mut world, asked);
    assert!(taken.is_ok(), "after a cancel that is lost: {taken:?}");
    world.functions.let_go("c");
    ends_well(&mut world, Kind::Asks, 1);
}

#[test]
fn a4_what_was_lost_is_not_known_any_more() {
    cancel_is_lost();
    fails_with(
        Fault::FoldKept,
        "after a cancel that is lost",
        cancel_is_lost,
    );
}

/// A6: the answer to the append of a signal is lost.
fn signal_unheard() {
    let mut world = cluster(|_| ());
    let id = ask(&world, 0, Kind::Asks, 1);
    world.until("its rest", |world| is_released(world, id));
    world.functions.hold("c");
    let trap = world.trap(1, Does::LoseAnswer, move |sent| sent.appends(id, is_signal));
    let asked = control(&world, 1, id, (go(1), None));
    assert!(answer(&mut world, asked).is_ok());
    assert!(trap.is_sprung());
    world.functions.let_go("c");
    ends_well(&mut world, Kind::Asks, 1);
    assert_eq!(appends(&world, id, is_signal).len(), 1, "signals");
}

#[test]
fn i8_a_signal_whose_answer_was_lost_stands_once() {
    signal_unheard();
    fails_with(Fault::OwnUnseen, "signals", signal_unheard);
}

/// A6: whoever was asked dies before it answers, and another is asked with the same key, then, and once
/// more after the end.
fn signal_asked_for_again() {
    let mut world = cluster(|_| ());
    let id = ask(&world, 0, Kind::Asks, 1);
    world.until("its rest", |world| is_released(world, id));
    let trap = world.trap(1, Does::LoseAnswer, move |sent| sent.appends(id, is_signal));
    drop(control(&world, 1, id, (go(1), Some("key"))));
    world.until("the signal", |world| {
        trap.is_sprung() && appends(world, id, is_signal).len() == 1
    });
    world.hosts[1].kill();
    let again = control(&world, 0, id, (go(1), Some("key")));
    assert!(answer(&mut world, again).is_ok());
    assert_eq!(appends(&world, id, is_signal).len(), 1, "signals");
    ends_well(&mut world, Kind::Asks, 1);
    let late = control(&world, 0, id, (go(1), Some("key")));
    assert!(answer(&mut world, late).is_ok());
    let other = control(&world, 0, id, (go(1), Some("another")));
    assert!(is_refused(answer(&mut world, other), &Refusal::Ended));
    assert_eq!(appends(&world, id, is_signal).len(), 1, "signals");
}

#[test]
fn i8_a_signal_that_is_sent_again_to_another_stands_once() {
    signal_asked_for_again();
    fails_with(Fault::OwnUnseen, "signals", signal_asked_for_again);
}

fn is_refused(answer: Result<(), ControlError>, why: &Refusal) -> bool {
    matches!(answer, Err(ControlError::Refused { refusal, .. }) if refusal == *why)
}
