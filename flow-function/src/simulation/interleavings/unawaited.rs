//! Sub-flows that nobody waits for any more, while the state does not answer.

use std::time::Duration;

use turlough_statestore::Event;

use super::super::flows::Kind;
use super::super::trap::{Does, Message};
use super::super::world::World;
use super::acts::{
    answered, control, fails_with, is_accepted, is_end, is_settled, settles, stands, within,
};
use super::calls::child;
use super::{ask, cluster, request};
use crate::engine::Control;
use crate::fault::Fault;

const fn is_cancel(event: &Event) -> bool {
    matches!(event, Event::CancelAsked { .. })
}

/// The cancel of a sub-flow is under way when the connection is lost.
fn cancelled_in_vain() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Parent, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    let below = child(id, 1);
    let traps =
        [0, 1].map(|host| world.trap(host, Does::Lose, move |sent| sent.appends(below, is_cancel)));
    let asked = control(&world, 1, id, Control::Cancel);
    answered(&mut world, asked).expect("it is open");
    world.until("the cancel of the sub-flow", |_| {
        traps.iter().any(super::super::trap::Trap::is_sprung)
    });
    world.crash_server(Duration::from_secs(10), false);
    is_over(&mut world, id);
}

/// What nobody waits for ends, though its step does not.
fn is_over(world: &mut World, id: turlough_sdk::RequestId) {
    let below = child(id, 1);
    let is_over = |world: &World| stands(world, below, is_settled);
    within(world, 90, "the end of the sub-flow", is_over);
    assert!(stands(world, below, is_cancel));
    settles(world, Kind::Parent, 1);
}

#[test]
fn a_sub_flow_is_cancelled_though_the_state_was_away_just_then() {
    cancelled_in_vain();
    fails_with(
        Fault::UnawaitedRunsOn,
        "the end of the sub-flow did not come",
        cancelled_in_vain,
    );
}

/// A sub-flow begins when its parent is over, and does not hear that.
fn begins_unawaited() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = request(&world, Kind::Parent, 1);
    let below = child(id, 1);
    let begins = world.trap(0, Does::Hold, move |sent| sent.appends(below, is_accepted));
    ask(&world, 0, Kind::Parent, 1);
    world.until("the sub-flow", |_| begins.is_sprung());
    let asked = control(&world, 1, id, Control::Cancel);
    answered(&mut world, asked).expect("it is open");
    world.until("the end of the parent", |world| stands(world, id, is_end));
    world.run_for(Duration::from_millis(500));
    assert!(!stands(&world, below, is_accepted));
    let look = world.trap(
        0,
        Does::Lose,
        move |sent| matches!(sent, Message::Read(of) if *of == id),
    );
    begins.release();
    world.until("the look at the parent", |_| look.is_sprung());
    assert!(stands(&world, below, is_accepted));
    is_over(&mut world, id);
}

#[test]
fn a_sub_flow_that_begins_looks_for_its_parent_until_the_state_answers() {
    begins_unawaited();
    fails_with(
        Fault::UnawaitedRunsOn,
        "the end of the sub-flow did not come",
        begins_unawaited,
    );
}
