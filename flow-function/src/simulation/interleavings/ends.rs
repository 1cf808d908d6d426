//! How requests end, and who must not be harmed by it.

use std::time::Duration;

use turlough_statestore::Event;
use turlough_statestore::event::{Callback, Outcome};

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::acts::{
    answered, claims, control, fails_with, is_closing, is_end, is_released, is_settled, passes_on,
    replica_of, settles, signal, stands, start, within,
};
use super::{appends, ask, cluster, ends_well, request};
use crate::engine::{Call, Control, ControlError};
use crate::fault::Fault;
use crate::machine::Refusal;

const RESTART: Control = Control::Restart {
    from: None,
    current: false,
};

/// A2: the end is stored, and the connection breaks before its answer.
fn ended_unheard() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Chain, 1);
    let trap = world.trap(0, Does::HoldAnswer, move |sent| sent.appends(id, is_end));
    ask(&world, 0, Kind::Chain, 1);
    world.until("its end", |world| {
        trap.is_sprung() && stands(world, id, is_end)
    });
    let last = world.records(id).last().expect("it stands").seq;
    world.lose_after(last, Duration::from_secs(1));
    world.run_for(Duration::from_secs(1));
    trap.release();
    ends_well(&mut world, Kind::Chain, 1);
    assert_eq!(claims(&world, id).len(), 1, "its driver goes on");
}

#[test]
fn a2_an_end_that_was_stored_unheard_is_the_end() {
    ended_unheard();
    fails_with(Fault::EndUnseen, "its driver goes on", ended_unheard);
}

/// 26 (V3): the data is dropped, and then the log loses that it was closed.
fn closed_in_vain() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Large, 1);
    let trap = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_settled));
    ask(&world, 0, Kind::Large, 1);
    world.until("the settling", |_| trap.is_sprung());
    let store = world.hosts[0].engine().expect("a replica").clone();
    assert_eq!(store.store_bytes(), 0, "it is dropped");
    let records = world.records(id);
    let closed = records
        .iter()
        .position(|it| it.append.events.iter().any(is_closing));
    let before = records[closed.expect("it is closed") - 1].seq;
    world.lose_after(before, Duration::from_secs(1));
    assert!(!stands(&world, id, is_end));
    trap.release();
    ends_well(&mut world, Kind::Large, 1);
    assert_eq!(
        claims(&world, id).len(),
        2,
        "its driver goes on, under a claim whose values are taken"
    );
    assert_eq!(store.store_bytes(), 0);
}

#[test]
fn i26_a_request_whose_closing_is_cut_off_makes_its_dropped_values_again() {
    closed_in_vain();
    fails_with(Fault::DataStaysClosed, "it ended as", closed_in_vain);
    fails_with(Fault::SettledAnyway, "did not come", closed_in_vain);
}

/// 23 (E5): the receiver of its callback is down for long, and its claimants die one after another.
fn nobody_hears() {
    let mut world = cluster(|settings| {
        settings.http_allow = "127.0.0.1".parse().expect("an address");
    });
    let call = Call {
        callbacks: vec![Callback {
            url: "http://127.0.0.1:9/".to_owned(),
            failures_only: false,
            is_openfaas: false,
        }],
        ..Call::default()
    };
    let started = start(&world, 0, (Kind::Chain, 1, 1), call);
    let id = answered(&mut world, started)
        .expect("it is accepted")
        .request;
    world.until("the end", |world| stands(world, id, is_end));
    for claimant in [0, 1, 0] {
        world.run_for(Duration::from_secs(5));
        assert!(!stands(&world, id, is_delivered));
        passes_on(&mut world, id, claimant);
    }
    let is_over = |world: &World| stands(world, id, is_settled);
    within(&mut world, 10, "the settling", is_over);
    ends_well(&mut world, Kind::Chain, 1);
    let given_up = appends(&world, id, is_delivered);
    assert_eq!(given_up.len(), 1);
    assert_eq!(claims(&world, id).len(), 4);
}

const fn is_delivered(event: &Event) -> bool {
    matches!(event, Event::Delivered { .. })
}

#[test]
fn i23_a_success_whose_word_kills_three_claimants_stays_one_and_the_word_is_given_up() {
    nobody_hears();
    fails_with(
        Fault::DeliveredForEver,
        "the settling did not come",
        nobody_hears,
    );
}

/// E5: a request takes its replicas down, one after another, without the end of a step.
fn poison() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Chain, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    passes_on(&mut world, id, 0);
    world.until("the call again", |world| world.functions.calls("b", 1) == 2);
    let other = ask(&world, 0, Kind::Chain, 2);
    world.until("the other's call", |world| {
        world.functions.calls("b", 2) == 1
    });
    passes_on(&mut world, id, 1);
    world.until("the third call", |world| world.functions.calls("b", 1) == 3);
    assert!(
        stands(&world, other, is_released),
        "the other is handed over first"
    );
    world.until("the other to go on", |world| {
        world.functions.calls("b", 2) == 2
    });
    assert_eq!(claims(&world, other)[1].0, replica_of(&world, 1));
    passes_on(&mut world, id, 0);
    within(&mut world, 30, "its death", |world| {
        stands(world, id, is_end)
    });
    world.functions.let_go("b");
    let standing = settles(&mut world, Kind::Chain, 1);
    assert!(
        matches!(standing.outcome, Some(Outcome::Dead { .. })),
        "{standing:?}"
    );
    assert_eq!(world.functions.calls("b", 1), 3);
    ends_well(&mut world, Kind::Chain, 2);
}

#[test]
fn e5_what_takes_replicas_down_is_driven_alone_and_then_not_at_all() {
    poison();
    fails_with(Fault::NeverAlone, "handed over first", poison);
    fails_with(Fault::NeverDead, "its death did not come", poison);
}

/// E5: two requests lose the same replicas, and are taken over by the next one side by side.
fn two_of_them() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let ids = [1, 2].map(|n| ask(&world, 0, Kind::Chain, n));
    let called =
        |times| move |world: &World| [1, 2].map(|n| world.functions.calls("b", n)) == [times; 2];
    world.until("both calls", called(1));
    passes_on(&mut world, ids[0], 0);
    world.until("both calls again", called(2));
    // The first is claimed, and not driven yet, when the second is.
    let is_claim = |event: &Event| matches!(event, Event::Claimed { .. });
    let trap = world.trap(0, Does::HoldAnswer, move |sent| {
        sent.appends(ids[0], is_claim)
    });
    passes_on(&mut world, ids[0], 1);
    world.until("the other claim", |world| claims(world, ids[1]).len() == 3);
    trap.release();
    world.functions.let_go("b");
    for n in [1, 2] {
        let id = ids[n - 1];
        within(&mut world, 60, "its end", |world| {
            stands(world, id, is_settled)
        });
        ends_well(&mut world, Kind::Chain, n as u64);
    }
}

#[test]
fn e5_of_two_that_took_replicas_down_one_is_driven_alone_and_the_other_elsewhere() {
    two_of_them();
    fails_with(Fault::AloneAwaited, "its end did not come", two_of_them);
}

/// E4: a replica made a value and let its request go, which another ends while it is cut off.
fn left_behind() {
    let mut world = cluster(|_| ());
    let id = ask(&world, 0, Kind::Holds, 1);
    world.until("the wait", |world| stands(world, id, is_released));
    let held = |world: &World, host: usize| world.hosts[host].engine().map(|it| it.store_bytes());
    assert!(held(&world, 0) > Some(0), "it holds a value");
    world.hosts[0].cut_until = Some(world.now + Duration::from_secs(20));
    world.run_for(Duration::from_secs(1));
    let told = control(&world, 1, id, signal(1));
    answered(&mut world, told).expect("it is heard");
    ends_well(&mut world, Kind::Holds, 1);
    assert_eq!(
        claims(&world, id).last().map(|it| it.0),
        Some(replica_of(&world, 1))
    );
    assert!(held(&world, 0) > Some(0), "it knows of nothing yet");
    within(&mut world, 60, "the drop", |world| {
        held(world, 0) == Some(0)
    });
    assert_eq!(held(&world, 1), Some(0));
}

#[test]
fn e4_data_that_was_left_with_another_replica_is_dropped_after_the_end() {
    left_behind();
    fails_with(Fault::DataLeft, "the drop did not come", left_behind);
}

/// E3: a failed request is restarted by another replica, after the one that drove it died.
fn kept() {
    let mut world = cluster(|settings| settings.keep_failed = Duration::from_secs(60));
    let started = start(&world, 0, (Kind::Both, 1, 1), Call::default());
    let id = answered(&mut world, started)
        .expect("it is accepted")
        .request;
    world.until("the end", |world| stands(world, id, is_end));
    world.run_for(Duration::from_secs(5));
    world.hosts[0].kill();
    world.run_for(Duration::from_secs(20));
    let asked = control(&world, 1, id, RESTART);
    answered(&mut world, asked).expect("it is kept");
    assert_eq!(settles(&mut world, Kind::Both, 1).output, Some(2));
    assert_eq!(world.functions.calls("pay", 1), 1);
}

#[test]
fn e3_a_failed_request_is_kept_for_a_restart_whoever_dies_meanwhile() {
    kept();
    fails_with(Fault::NotKept, "it is kept", kept);
}

/// E3: nobody restarts it.
#[test]
fn e3_a_failed_request_is_let_go_when_its_time_is_over() {
    let mut world = cluster(|settings| settings.keep_failed = Duration::from_secs(60));
    let started = start(&world, 0, (Kind::Both, 1, 1), Call::default());
    let id = answered(&mut world, started)
        .expect("it is accepted")
        .request;
    world.until("the end", |world| stands(world, id, is_end));
    world.run_for(Duration::from_secs(55));
    assert!(!stands(&world, id, is_closing));
    within(&mut world, 15, "the settling", |world| {
        stands(world, id, is_settled)
    });
}

/// E4: a restart comes when a failed request is closed, and not settled yet.
fn restarted_late() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Saga, 1);
    let trap = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_settled));
    ask(&world, 0, Kind::Saga, 1);
    world.until("the settling", |_| trap.is_sprung());
    assert!(stands(&world, id, is_closing) && !stands(&world, id, is_settled));
    let asked = control(&world, 1, id, RESTART);
    let asked = answered(&mut world, asked);
    let is_refused = matches!(
        asked,
        Err(ControlError::Refused {
            refusal: Refusal::Closed,
            ..
        })
    );
    assert!(is_refused, "it is closed: {asked:?}");
    trap.release();
    ends_well(&mut world, Kind::Saga, 1);
}

#[test]
fn e4_a_restart_after_the_closing_is_refused() {
    restarted_late();
    fails_with(Fault::ClosedRestarted, "it is closed", restarted_late);
}
