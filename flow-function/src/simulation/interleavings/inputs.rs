//! Inputs that are too large for one event: who brings them, where they lie, and for how long.

use std::time::Duration;

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::acts::{
    answered, at_last, fails_with, is_accepted, is_claim, is_part, is_snapshot, settles, stands,
    start,
};
use super::{appends, ask, cluster, ends_well, request};
use crate::engine::{Call, StartError};
use crate::fault::Fault;

/// 14 (A5): two callers with one key bring their inputs side by side, each in parts.
fn two_inputs() {
    let mut world = cluster(|settings| settings.inline_bytes_max = 1);
    let id = request(&world, Kind::Chain, 1);
    let early = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_accepted));
    let late = world.trap(1, Does::Hold, move |sent| sent.appends(id, is_accepted));
    let first = start(&world, 0, (Kind::Chain, 1, 1), Call::default());
    world.until("the first input", |_| early.is_sprung());
    let second = start(&world, 1, (Kind::Chain, 1, 1), Call::default());
    world.until("the second input", |_| late.is_sprung());
    assert_eq!(appends(&world, id, is_part).len(), 2);
    assert!(!stands(&world, id, is_accepted));
    late.release();
    assert!(answered(&mut world, second).expect("it is accepted").is_new);
    early.release();
    let first = answered(&mut world, first).expect("it is attached");
    assert!(!first.is_new, "one of them begins it");
    assert_eq!(appends(&world, id, is_accepted).len(), 1);
    let third = start(&world, 0, (Kind::Chain, 1, 2), Call::default());
    let third = answered(&mut world, third).map(|started| started.is_new);
    assert!(
        matches!(third, Err(StartError::KeyReused { .. })),
        "{third:?}"
    );
    ends_well(&mut world, Kind::Chain, 1);
}

#[test]
fn i14_of_two_that_accept_side_by_side_one_does() {
    two_inputs();
    fails_with(Fault::AcceptedTwice, "one of them begins it", two_inputs);
}

/// 15 (V2): nobody has room for minutes, and whoever took the input is gone by then.
fn an_input_that_waits() {
    let mut world = cluster(|settings| {
        settings.inline_bytes_max = 1;
        settings.capacity = 1;
    });
    world.functions.hold("b");
    ask(&world, 0, Kind::Chain, 8);
    ask(&world, 1, Kind::Chain, 9);
    world.until("both to be full", |world| {
        world.functions.calls("b", 8) == 1 && world.functions.calls("b", 9) == 1
    });
    let id = request(&world, Kind::Chain, 1);
    let started = start(&world, 0, (Kind::Chain, 1, 1), Call::default());
    assert!(
        answered(&mut world, started)
            .expect("it is accepted")
            .is_new
    );
    world.run_for(Duration::from_secs(120));
    assert!(!stands(&world, id, is_claim), "nobody has room");
    world.hosts[0].kill();
    world.functions.let_go("b");
    for n in [9, 8, 1] {
        ends_well(&mut world, Kind::Chain, n);
    }
}

#[test]
fn i15_an_input_outlives_whoever_took_it_until_somebody_has_room() {
    an_input_that_waits();
    fails_with(Fault::InputInStore, "it ended as", an_input_that_waits);
}

/// 25 (L1): the head of the log, where the input lies, expires; and then the input is needed again.
fn weeks() {
    let mut world = cluster(|settings| {
        settings.inline_bytes_max = 1;
        settings.state.max_age = Duration::from_secs(100);
    });
    let id = ask(&world, 0, Kind::Long, 1);
    world.until("a beginning", |world| stands(world, id, is_accepted));
    let is_gone = |world: &World| !stands(world, id, is_accepted);
    at_last(&mut world, 150, "the expiry of the head", is_gone);
    assert!(stands(&world, id, is_snapshot));
    // What was made of the input lay in this one's memory.
    world.hosts[0].kill();
    let standing = settles(&mut world, Kind::Long, 1);
    assert_eq!(
        standing.output,
        Some(1),
        "it ended as {:?}",
        standing.outcome
    );
    assert_eq!(world.functions.calls("a", 1), 2);
}

#[test]
fn i25_an_input_in_parts_outlives_the_head_of_its_log() {
    weeks();
    fails_with(Fault::PartsLeft, "it ended as", weeks);
}
