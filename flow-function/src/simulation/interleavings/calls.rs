//! Attempts that somebody else completes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use turlough_sdk::{RequestId, Value};
use turlough_statestore::event::Parent;
use turlough_statestore::{Event, Log as _};

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::acts::{
    answered, by_server, fails_with, is_accepted, is_end_of, is_settled, is_start, settles, stands,
    within,
};
use super::{appends, ask, cluster, ends_well, request};
use crate::engine::{CallbackError, ControlError, child_id};
use crate::fault::Fault;
use crate::machine::Refusal;
use crate::tokens::Waiting;

/// The sub-flow that an attempt begins.
pub(super) fn child(request: RequestId, attempt: u32) -> RequestId {
    child_id(&Parent {
        request,
        generation: 0,
        step: "child".into(),
        attempt,
        depth: 0,
    })
}

const fn is_called(event: &Event) -> bool {
    matches!(event, Event::StepCalled { .. })
}

/// 18 (S6): its driver is lost between the start of an attempt that others complete, and the call.
fn lost_before_the_call() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Parent, 1);
    let begun = child(id, 1);
    let trap = world.trap(0, Does::Lose, move |sent| sent.appends(begun, is_accepted));
    ask(&world, 0, Kind::Parent, 1);
    world.until("the call", |_| trap.is_sprung());
    assert!(stands(&world, id, is_start("child")) && !stands(&world, id, is_called));
    assert!(!stands(&world, begun, is_accepted));
    world.hosts[0].kill();
    let begins = |world: &World| stands(world, begun, is_accepted);
    within(&mut world, 60, "the call that was not made", begins);
    ends_well(&mut world, Kind::Parent, 1);
    assert_eq!(appends(&world, id, is_start("child")).len(), 1);
    assert!(
        !stands(&world, child(id, 2), is_accepted),
        "it is the same attempt"
    );
    assert_eq!(world.functions.calls("a", 1), 1);
}

#[test]
fn i18_a_call_that_was_not_made_is_made_after_a_take_over_under_the_same_attempt() {
    lost_before_the_call();
    fails_with(
        Fault::NotCalledAgain,
        "the call that was not made",
        lost_before_the_call,
    );
}

/// 18 (S6): the same, after the call, before it is recorded that somebody took it on.
fn lost_after_the_call() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = request(&world, Kind::Parent, 1);
    let trap = world.trap(0, Does::Lose, move |sent| sent.appends(id, is_called));
    ask(&world, 0, Kind::Parent, 1);
    world.until("the call to be made", |_| trap.is_sprung());
    world.hosts[0].kill();
    let begun = child(id, 1);
    assert!(stands(&world, begun, is_accepted) && !stands(&world, id, is_called));
    let is_taken_on = |world: &World| stands(world, id, is_called);
    within(&mut world, 60, "the record of the call", is_taken_on);
    world.functions.let_go("b");
    ends_well(&mut world, Kind::Parent, 1);
    assert_eq!(appends(&world, begun, is_accepted).len(), 1);
    assert!(
        !stands(&world, child(id, 2), is_accepted),
        "it is the same attempt"
    );
    assert_eq!(world.functions.calls("c", 1), 1);
}

#[test]
fn i18_a_call_that_was_made_unrecorded_is_found_under_the_same_attempt() {
    lost_after_the_call();
    fails_with(
        Fault::NotCalledAgain,
        "the record of the call",
        lost_after_the_call,
    );
}

/// A callback for the first attempt of the sub-flow's step, at the other host.
fn call_back(world: &World, id: RequestId, n: u64) -> JoinHandle<Result<(), CallbackError>> {
    let host = &world.hosts[1];
    let engine = host.engine().expect("a replica").clone();
    let called = host.spawn(async move {
        let token = engine.shared.tokens.sign(&Waiting {
            request: id,
            generation: 0,
            step: "child".into(),
            attempt: 1,
        });
        let value = Value::encode(&n).expect("a number");
        engine.complete(&token, value, None).await
    });
    called.expect("it is alive")
}

/// A callback comes before the start that it answers is stored.
fn before_its_start() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Parent, 1);
    let trap = world.trap(0, Does::Hold, move |sent| {
        sent.appends(id, is_start("child"))
    });
    ask(&world, 0, Kind::Parent, 1);
    world.until("the start", |_| trap.is_sprung());
    assert!(stands(&world, id, is_accepted) && !stands(&world, id, is_start("child")));
    let called = call_back(&world, id, 99);
    let called = answered(&mut world, called);
    let is_refused = matches!(
        called,
        Err(CallbackError::Control(ControlError::Refused {
            refusal: Refusal::NotWaiting,
            ..
        }))
    );
    assert!(is_refused, "nobody waits for it: {called:?}");
    assert!(!stands(&world, id, is_end_of("child")));
    trap.release();
    ends_well(&mut world, Kind::Parent, 1);
}

#[test]
fn a_callback_before_its_start_is_stored_is_refused() {
    before_its_start();
    fails_with(
        Fault::UnstartedEnds,
        "nobody waits for it",
        before_its_start,
    );
}

/// A callback is on its way when the log expires or is deleted.
fn too_late(expires: bool) {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Parent, 1);
    world.until("the call", |world| stands(world, id, is_called));
    world.until("the sub-flow", |world| world.functions.calls("b", 1) == 1);
    let trap = world.trap(1, Does::Hold, move |sent| {
        sent.appends(id, is_end_of("child"))
    });
    let called = call_back(&world, id, 99);
    world.until("the callback", |_| trap.is_sprung());
    let server = Arc::clone(&world.server);
    let gone = async move {
        match expires {
            true => server.log.expire_to(server.log.last_place()),
            false => server.log.delete(id).await.expect("it is there"),
        }
    };
    by_server(&mut world, gone);
    assert!(world.records(id).is_empty());
    trap.release();
    let called = answered(&mut world, called);
    let is_unknown = matches!(
        called,
        Err(CallbackError::Control(ControlError::Unknown(_)))
    );
    assert!(is_unknown, "there is no such request: {called:?}");
    world.functions.let_go("b");
    world.run_for(Duration::from_secs(20));
    assert!(world.records(id).is_empty(), "nothing begins anew");
    if !expires {
        let is_over = |world: &World| stands(world, child(id, 1), is_settled);
        within(&mut world, 60, "the end of the sub-flow", is_over);
    }
}

#[test]
fn a_callback_that_comes_after_its_log_was_deleted_begins_no_log() {
    too_late(false);
    fails_with(Fault::StaleFold, "there is no such request", || {
        too_late(false)
    });
}

#[test]
fn a_callback_that_comes_after_its_log_expired_begins_no_log() {
    too_late(true);
    fails_with(Fault::StaleFold, "there is no such request", || {
        too_late(true)
    });
}

/// A sub-flow is asked for only once by a parent that is read by two.
#[test]
fn s6_a_sub_flow_that_had_ended_unheard_tells_its_parent_once() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Parent, 1);
    let trap = world.trap(0, Does::Lose, move |sent| sent.appends(id, is_called));
    ask(&world, 0, Kind::Parent, 1);
    world.until("the call to be made", |_| trap.is_sprung());
    let standing = settles(&mut world, Kind::Parent, 1);
    assert_eq!(standing.output, Some(1));
    assert_eq!(appends(&world, id, is_end_of("child")).len(), 1);
}
