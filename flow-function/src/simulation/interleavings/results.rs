//! Ends: word that is owed, data that is dropped, restarts that come just then, parents that are gone.

use std::time::Duration;

use turlough_sdk::RequestId;
use turlough_statestore::Event;
use turlough_statestore::event::Outcome;

use super::super::check::Reader;
use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::acts::is_delivered;
use super::force::{
    answer, child_of, control, fails_with, is_released, is_settled, settled, within,
};
use super::{appends, ask, cluster, ends_well};
use crate::engine::{Control, ControlError};
use crate::fault::Fault;
use crate::machine::Refusal;

const AWAY: Duration = Duration::from_millis(100);

const fn is_step_end(event: &Event) -> bool {
    matches!(event, Event::StepEnded(_))
}

const fn is_end(event: &Event) -> bool {
    matches!(event, Event::Ended { .. })
}

const fn is_closing(event: &Event) -> bool {
    matches!(event, Event::Closing { .. })
}

/// V2, E2: a sub-flow has told its parent, and dropped its data; its driver is killed before it is
/// settled, and the log loses all that came after its end.
fn told_and_lost() {
    let mut world = cluster(|_| ());
    world.functions.hold("write");
    let id = ask(&world, 0, Kind::Reads, 1);
    world.until("its rest", |world| is_released(world, id));
    let child = child_of(id, 0, 1);
    let is_settle = |event: &Event| matches!(event, Event::Settled { .. });
    let trap = world.trap(0, Does::Lose, move |sent| sent.appends(child, is_settle));
    world.functions.let_go("write");
    world.until("all but the settling", |_| trap.is_sprung());
    assert!(!appends(&world, id, is_step_end).is_empty(), "it was told");
    let engine = world.hosts[0].engine().expect("a replica");
    assert_eq!(engine.store_bytes(), 0, "its data is dropped");
    world.hosts[0].kill();
    let mut records = world.records(child).into_iter();
    let end = records.find(|record| record.append.events.iter().any(is_end));
    world.lose_after(end.expect("its end").seq, AWAY);
    assert!(appends(&world, id, is_step_end).is_empty());
    assert!(appends(&world, child, is_closing).is_empty());
    let reader = Reader::of(&world);
    within(&mut world, 60, "the second word", |world| {
        is_settled(&reader, world, id)
    });
    ends_well(&mut world, Kind::Reads, 1);
    let standing = settled(&mut world, child);
    assert_eq!(standing.ends, 1);
}

/// E2: a sub-flow has told its parent, and its driver is about to append something, when the log loses all
/// that came after its end.
fn told_and_lost_before(appended: fn(&Event) -> bool) {
    let mut world = cluster(|_| ());
    world.functions.hold("write");
    let id = ask(&world, 0, Kind::Reads, 1);
    world.until("its rest", |world| is_released(world, id));
    let child = child_of(id, 0, 1);
    let trap = world.trap(0, Does::Hold, move |sent| sent.appends(child, appended));
    world.functions.let_go("write");
    world.until("all but that", |_| trap.is_sprung());
    assert!(!appends(&world, id, is_step_end).is_empty(), "it was told");
    let mut records = world.records(child).into_iter();
    let end = records.find(|record| record.append.events.iter().any(is_end));
    world.lose_after(end.expect("its end").seq, AWAY);
    assert!(appends(&world, id, is_step_end).is_empty());
    trap.release();
    let reader = Reader::of(&world);
    within(&mut world, 60, "the second word", |world| {
        is_settled(&reader, world, id)
    });
    ends_well(&mut world, Kind::Reads, 1);
    let standing = settled(&mut world, child);
    assert_eq!(standing.ends, 1);
}

#[test]
fn e2_word_that_the_log_lost_is_not_recorded_as_told() {
    let scenario = || told_and_lost_before(is_delivered);
    scenario();
    let how = "the second word did not come about";
    fails_with(Fault::LostWordTold, how, scenario);
}

#[test]
fn e2_word_that_the_log_lost_is_told_again_before_the_request_is_closed() {
    let scenario = || told_and_lost_before(is_closing);
    scenario();
    let how = "the second word did not come about";
    fails_with(Fault::ClosedUntold, how, scenario);
}

#[test]
fn i9_word_that_is_told_a_second_time_has_the_result_still() {
    told_and_lost();
    fails_with(Fault::ResultNotKept, "it ended as", told_and_lost);
    fails_with(
        Fault::WordOfAnother,
        "the second word did not come about",
        told_and_lost,
    );
}

/// A request that failed, and is about to be closed: its closing is caught.
fn about_to_close(does: Does) -> (World, RequestId, super::super::trap::Trap) {
    let mut world = cluster(|settings| settings.keep_failed = Duration::from_secs(30));
    world.hosts[1].kill();
    let id = ask(&world, 0, Kind::Shaky, 1);
    world.until("its failure", |world| {
        !appends(world, id, is_end).is_empty() && is_released(world, id)
    });
    let trap = world.trap(0, does, move |sent| sent.appends(id, is_closing));
    world.until("its closing", |_| trap.is_sprung());
    world.hosts[1] = world.replica();
    (world, id, trap)
}

const AGAIN: Control = Control::Restart {
    from: None,
    current: false,
};

/// E4: a restart comes before the closing, and nothing is dropped by then.
fn restart_comes_first() {
    let (mut world, id, trap) = about_to_close(Does::Hold);
    let asked = control(&world, 1, id, (AGAIN, None));
    assert!(answer(&mut world, asked).is_ok());
    assert!(appends(&world, id, is_closing).is_empty());
    trap.release();
    let standing = settled(&mut world, id);
    assert_eq!(standing.output, Some(1), "{:?}", standing.outcome);
    assert_eq!(standing.ends, 2, "one in each generation");
    assert_eq!(
        world.functions.calls("write", 1),
        1,
        "calls for what was kept"
    );
}

#[test]
fn i10_a_restart_just_before_the_closing_has_the_data_still() {
    restart_comes_first();
    fails_with(
        Fault::DroppedEarly,
        "calls for what was kept",
        restart_comes_first,
    );
}

/// E4: the closing comes first.
#[test]
fn i10_a_restart_just_after_the_closing_is_refused() {
    let (mut world, id, trap) = about_to_close(Does::HoldAnswer);
    world.until("its closing", |world| {
        !appends(world, id, is_closing).is_empty()
    });
    let asked = control(&world, 1, id, (AGAIN, None));
    let refused = answer(&mut world, asked);
    let is_closed = |refusal: &Refusal| *refusal == Refusal::Closed;
    assert!(
        matches!(&refused, Err(ControlError::Refused { refusal, .. }) if is_closed(refusal)),
        "{refused:?}"
    );
    trap.release();
    let standing = settled(&mut world, id);
    assert!(matches!(standing.outcome, Some(Outcome::Failed { .. })));
    assert_eq!(standing.ends, 1);
}

/// E2: word of a sub-flow's end is on its way when its parent ends.
fn parent_ends_first() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Parent, 1);
    world.until("its rest", |world| is_released(world, id));
    let child = child_of(id, 0, 1);
    let word = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_step_end));
    world.functions.let_go("b");
    world.until("the word", |_| word.is_sprung());
    assert!(!appends(&world, child, is_end).is_empty());
    let asked = control(&world, 1, id, (Control::Cancel, None));
    assert!(answer(&mut world, asked).is_ok());
    let reader = Reader::of(&world);
    within(&mut world, 5, "the end of the parent", |world| {
        is_settled(&reader, world, id)
    });
    assert!(!is_settled(&reader, &world, child));
    word.release();
    within(&mut world, 10, "the end of the sub-flow", |world| {
        is_settled(&reader, world, child)
    });
    let given_up = |event: &Event| matches!(event, Event::Delivered { error: Some(_), .. });
    assert!(appends(&world, child, given_up).is_empty());
    let (of_parent, of_child) = (settled(&mut world, id), settled(&mut world, child));
    assert_eq!((of_parent.ends, of_child.ends), (1, 1));
    assert_eq!(of_parent.outcome, Some(Outcome::Cancelled));
    assert_eq!(of_child.output, Some(1));
}

#[test]
fn i11_a_sub_flow_whose_parent_ended_first_is_settled() {
    parent_ends_first();
    fails_with(
        Fault::RefusalRetried,
        "the end of the sub-flow did not come about",
        parent_ends_first,
    );
}
