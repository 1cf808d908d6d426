//! Who holds a request: forgotten claims, claims that are lost, verdicts, and who may be taken for dead.

use std::time::Duration;

use turlough_sdk::RequestId;
use turlough_statestore::{Event, Seq, Why};

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::force::{
    answer, claims, control, fails_with, failure, go, has_heartbeat, is_released, replica, within,
};
use super::{appends, ask, cluster, ends_well, events, request};
use crate::fault::Fault;

const AWAY: Duration = Duration::from_millis(100);

const fn is_start(event: &Event) -> bool {
    matches!(event, Event::StepStarted { .. })
}

/// A request that the first replica let go of, of which the log lost that it did.
fn forgotten(world: &mut World) -> RequestId {
    let id = ask(world, 0, Kind::Asks, 1);
    world.until("its rest", |world| is_released(world, id));
    let released = world.records(id).pop().expect("its last append").seq;
    world.lose_after(Seq::new(released.get() - 1), AWAY);
    world.run_for(2 * AWAY);
    let engine = world.hosts[0].engine().expect("a replica");
    assert_eq!(engine.driving(), 0, "it has forgotten it");
    assert_eq!(claims(world, id)[0].0, replica(world, 0));
    assert!(!is_released(world, id));
    id
}

/// C3: a signal comes by the other replica, which pokes the one that the log names.
fn forgotten_and_poked() {
    let mut world = cluster(|_| ());
    let id = forgotten(&mut world);
    let asked = control(&world, 1, id, (go(1), None));
    assert!(answer(&mut world, asked).is_ok());
    within(&mut world, 5, "a claim", |world| {
        claims(world, id).len() == 2
    });
    assert_eq!(claims(&world, id)[1].0, replica(&world, 0));
    ends_well(&mut world, Kind::Asks, 1);
}

#[test]
fn i2_a_claim_that_its_holder_has_forgotten_is_claimed_again_when_it_is_poked() {
    forgotten_and_poked();
    fails_with(
        Fault::OwnClaimHeld,
        "a claim did not come about",
        forgotten_and_poked,
    );
}

/// C3: a hint for it comes to the other replica.
fn forgotten_and_hinted_at() {
    let mut world = cluster(|_| ());
    let id = forgotten(&mut world);
    let engine = world.hosts[1].engine().expect("a replica").clone();
    let told = world.hosts[1].spawn(async move { engine.shared.wake_for(id, Why::Due, None) });
    assert!(told.is_some());
    within(&mut world, 5, "a claim", |world| {
        claims(world, id).len() == 2
    });
    assert_eq!(claims(&world, id)[1].0, replica(&world, 0));
    let asked = control(&world, 1, id, (go(1), None));
    assert!(answer(&mut world, asked).is_ok());
    ends_well(&mut world, Kind::Asks, 1);
}

#[test]
fn c3_a_hint_for_what_another_holds_is_handed_to_it() {
    forgotten_and_hinted_at();
    fails_with(
        Fault::HeldUnpoked,
        "a claim did not come about",
        forgotten_and_hinted_at,
    );
}

/// C4: nobody pokes it, and it has no room: it tells the keeper that it does not drive the request.
fn forgotten_and_asked() {
    let mut world = cluster(|settings| settings.capacity = 1);
    world.functions.hold("b");
    let id = forgotten(&mut world);
    ask(&world, 0, Kind::Chain, 2);
    world.until("a full replica", |world| world.functions.calls("b", 2) > 0);
    within(&mut world, 45, "a claim", |world| {
        claims(world, id).len() == 2
    });
    assert_eq!(claims(&world, id)[1].0, replica(&world, 1));
    let asked = control(&world, 1, id, (go(1), None));
    assert!(answer(&mut world, asked).is_ok());
    ends_well(&mut world, Kind::Asks, 1);
    world.functions.let_go("b");
    ends_well(&mut world, Kind::Chain, 2);
}

#[test]
fn i2_a_claim_that_its_holder_has_forgotten_is_condemned_when_the_keeper_asks() {
    forgotten_and_asked();
    fails_with(
        Fault::VerdictIgnored,
        "a claim did not come about",
        forgotten_and_asked,
    );
}

/// C4: a verdict on a claim comes late, and another claim stands by then.
fn late_verdict() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Chain, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    let condemned = claims(&world, id)[0].2;
    world.hosts[0].kill();
    world.until("the next claim", |world| claims(world, id).len() == 2);
    world.hosts[0] = world.replica();
    world.run_for(Duration::from_secs(1));
    let engine = world.hosts[0].engine().expect("a replica").clone();
    let told = world.hosts[0].spawn(async move {
        let shared = &engine.shared;
        shared.wake_for(id, Why::ClaimantGone, Some(condemned));
    });
    assert!(told.is_some());
    world.run_for(Duration::from_secs(2));
    assert_eq!(claims(&world, id).len(), 2, "claims after a late verdict");
    world.functions.let_go("b");
    ends_well(&mut world, Kind::Chain, 1);
}

#[test]
fn c4_a_verdict_is_over_once_another_claim_stands() {
    late_verdict();
    fails_with(
        Fault::VerdictForEver,
        "claims after a late verdict",
        late_verdict,
    );
}

/// C2: the server is away for longer than heartbeats last, and one replica is back before another.
fn all_were_away() {
    let mut world = cluster(|_| ());
    world.functions.hold("pay");
    let id = ask(&world, 0, Kind::Once, 1);
    world.until("the call", |world| world.functions.calls("pay", 1) == 1);
    world.functions.hold("c");
    world.functions.let_go("pay");
    world.until("the next call", |world| world.functions.calls("c", 1) == 1);
    let back = world.now + Duration::from_secs(18);
    world.hosts[0].cut_until = Some(back);
    world.hosts[2].cut_until = Some(back);
    world.run_for(Duration::from_secs(8));
    world.crash_server(Duration::from_secs(3), false);
    world.run_for(Duration::from_secs(4));
    assert!(!has_heartbeat(&world, 0));
    let engine = world.hosts[1].engine().expect("a replica").clone();
    let poked = world.hosts[1].spawn(async move { engine.shared.wake(id) });
    assert!(poked.is_some());
    world.run_for(Duration::from_secs(1));
    assert_eq!(claims(&world, id).len(), 1, "claims by who was cut off");
    world.functions.let_go("c");
    ends_well(&mut world, Kind::Once, 1);
}

#[test]
fn c2_who_was_cut_off_itself_takes_nobody_for_dead() {
    all_were_away();
    fails_with(
        Fault::DeadUnseen,
        "claims by who was cut off",
        all_were_away,
    );
}

/// C1: a replica that was cut off for longer than a heartbeat lasts is asked for something as soon as it
/// is back.
fn back_from_a_cut() {
    for after_ms in (0..2_500).step_by(500) {
        let mut world = cluster(|_| ());
        world.functions.hold("b");
        // It looks at heartbeats when none is due.
        world.run_for(Duration::from_millis(1_250));
        world.hosts[2].kill();
        world.hosts[2] = world.keeper();
        world.hosts[0].cut_until = Some(Duration::MAX);
        world.run_for(Duration::from_millis(24_000 + after_ms));
        world.hosts[0].cut_until = Some(world.now);
        world.run_for(Duration::from_millis(50));
        let id = ask(&world, 0, Kind::Chain, 1);
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.functions.calls("b", 1), 1, "calls by one replica");
        assert_eq!(claims(&world, id).len(), 1);
        world.functions.let_go("b");
        ends_well(&mut world, Kind::Chain, 1);
    }
}

#[test]
fn c1_a_replica_that_is_back_is_heard_before_it_is_taken_for_dead() {
    back_from_a_cut();
    fails_with(Fault::BeatLate, "calls by one replica", back_from_a_cut);
}

/// C1: a replica is killed, and back on its machine a second later.
fn back_again(is_same: bool) {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Chain, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    let id_before = replica(&world, 0);
    world.hosts[0].kill();
    world.run_for(Duration::from_secs(1));
    let back = world.replica_as(is_same.then_some(id_before));
    world.hosts[0] = back;
    within(&mut world, 22, "the next claim", |world| {
        claims(world, id).len() == 2
    });
    world.functions.let_go("b");
    ends_well(&mut world, Kind::Chain, 1);
    let held: Vec<_> = claims(&world, id).iter().map(|claim| claim.1).collect();
    assert_eq!(held, [1, 2]);
}

#[test]
fn i3_a_replica_that_is_back_at_once_is_another_and_what_it_held_is_taken_over() {
    back_again(false);
    let failed = failure(|| back_again(true));
    assert!(
        failed.contains("the next claim did not come about"),
        "{failed}"
    );
}

/// A3, A4, S3: the first replica is stopped, the second claims, and the log loses that claim; the first
/// goes on where the claim was, and the second wants to append after it.
fn claim_is_lost() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Once, 1);
    let sent = world.trap(0, Does::Lose, move |sent| sent.appends(id, is_start));
    ask(&world, 0, Kind::Once, 1);
    world.until("the first start", |_| sent.is_sprung());
    world.hosts[0].stopped_until = Some(Duration::MAX);
    let before = world.server.log.last_place();
    let other = world.trap(1, Does::Lose, move |sent| sent.appends(id, is_start));
    world.until("the second start", |_| other.is_sprung());
    assert_eq!(claims(&world, id).len(), 2);
    world.hosts[1].cut_until = Some(Duration::MAX);
    world.lose_after(before, AWAY);
    assert_eq!(claims(&world, id).len(), 1);
    world.run_for(2 * AWAY);
    let heard = world.trap(0, Does::HoldAnswer, move |sent| sent.appends(id, is_start));
    world.hosts[0].stopped_until = Some(world.now);
    world.until("the first start once more", |world| {
        heard.is_sprung() && appends(world, id, is_start).len() == 1
    });
    world.hosts[1].cut_until = Some(world.now);
    world.run_for(Duration::from_millis(1_500));
    heard.release();
    world.run_for(Duration::from_secs(12));
    assert_eq!(world.functions.calls("pay", 1), 1, "payments");
    assert_eq!(claims(&world, id).len(), 1, "{:#?}", events(&world, id));
    ends_well(&mut world, Kind::Once, 1);
}

#[test]
fn i4_of_two_drivers_the_one_whose_claim_is_lost_does_not_call() {
    claim_is_lost();
    fails_with(Fault::NotReadAnew, "payments", claim_is_lost);
    fails_with(Fault::EpochUnchecked, "payments", claim_is_lost);
}
