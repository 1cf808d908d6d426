//! Two drivers on one request, and those who only think that they drive it.

use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::RequestId;
use turlough_statestore::{Hint, Queue as _, Why};

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::{FUNCTION, World};
use super::acts::{
    by_server, claims, copy_of, copying, fails_with, is_end_of, place_of_last, poke, replica_of,
    stop_for, stores,
};
use super::{ask, cluster, ends_well};
use crate::fault::Fault;

/// A hint that somebody gave long ago.
fn hint(world: &mut World, request: RequestId, why: Why) {
    let server = Arc::clone(&world.server);
    let hint = Hint {
        request,
        why,
        condemned: None,
    };
    let queued = by_server(world, async move {
        server.queue.enqueue(FUNCTION, hint.encode()).await
    });
    queued.expect("it takes it");
}

/// A driver wakes while another drives its request, and both hear answers at once.
fn two_drivers() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Chain, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    stop_for(&mut world, 0, 25);
    world.until("the call of another", |world| {
        world.functions.calls("b", 1) == 2
    });
    world.until("the first to wake", |world| world.hosts[0].is_there());
    let before = world.records(id).len();
    world.functions.let_go("b");
    ends_well(&mut world, Kind::Chain, 1);
    let first = replica_of(&world, 0);
    let records = world.records(id);
    let by_first = records[before..]
        .iter()
        .filter(|it| it.append.envelope.replica == first);
    assert_eq!(by_first.count(), 0, "who is replaced writes nothing");
    assert_eq!(world.functions.calls("c", 1), 1, "c is called once");
    assert_eq!(claims(&world, id).len(), 2);
}

#[test]
fn of_two_drivers_the_one_whose_claim_is_over_writes_nothing() {
    two_drivers();
    fails_with(Fault::EpochUnchecked, "c is called once", two_drivers);
}

/// 22 (A3, A4): a claim is cut off, an old append takes its place, and what followed the claim lands
/// after that.
fn in_the_place_of_a_claim() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Chain, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    let (trap, of_first) = copying(&world, 0, Does::Lose, id, is_end_of("b"));
    world.functions.let_go("b");
    world.until("the first one's append", |_| trap.is_sprung());
    let below = place_of_last(&world, id);
    world.functions.hold("b");
    stop_for(&mut world, 0, 90);
    world.until("the call of another", |world| {
        world.functions.calls("b", 1) == 2
    });
    let claim = place_of_last(&world, id);
    let (trap, of_second) = copying(&world, 1, Does::Lose, id, is_end_of("b"));
    world.functions.let_go("b");
    world.until("the second one's append", |_| trap.is_sprung());
    world.lose_after(below, Duration::from_secs(1));
    let place = stores(&mut world, id, below, copy_of(&of_first));
    assert_eq!(place, claim, "it stands where the claim stood");
    stores(&mut world, id, place, copy_of(&of_second));
    assert_eq!(claims(&world, id).len(), 1);
    world.until("the first one to wake", |world| world.hosts[0].is_there());
    ends_well(&mut world, Kind::Chain, 1);
    assert_eq!(
        world.functions.calls("c", 1),
        1,
        "what follows is called once"
    );
    let epochs: Vec<_> = claims(&world, id).iter().map(|(_, epoch)| *epoch).collect();
    assert_eq!(epochs, [1, 2]);
}

#[test]
fn i22_what_follows_a_claim_that_was_cut_off_does_not_count_though_it_was_stored() {
    in_the_place_of_a_claim();
    fails_with(
        Fault::FoundIsStored,
        "is called once",
        in_the_place_of_a_claim,
    );
}

/// 23 (C2, C3): words and hints come to the last driver of a settled request.
fn poked_late() {
    let mut world = cluster(|_| ());
    let id = ask(&world, 0, Kind::Chain, 1);
    world.until("a beginning", |world| !world.records(id).is_empty());
    ends_well(&mut world, Kind::Chain, 1);
    let before = world.records(id);
    poke(&mut world, 0, id);
    hint(&mut world, id, Why::Appended);
    hint(&mut world, id, Why::Snapshot);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.records(id), before, "nothing follows the settling");
    assert_eq!(world.hints(), 0);
}

#[test]
fn i23_a_settled_request_is_not_claimed_whoever_asks_for_it() {
    poked_late();
    fails_with(Fault::SettledClaimed, "nothing follows", poked_late);
}

/// 20 (C2, E5): the server is away for longer than a heartbeat lasts, twice, and stale hints wait.
fn away_twice() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let of = |n: u64| usize::from(n > 3);
    let ids = [1, 2, 3, 4, 5, 6].map(|n| ask(&world, of(n), Kind::Chain, n));
    world.until("all calls", |world| {
        (1..=6).all(|n| world.functions.calls("b", n) == 1)
    });
    for _ in 0..2 {
        let away = Duration::from_secs(15);
        world.crash_server(away, false);
        // One of them is back later than the other.
        world.hosts[0].cut_until = Some(world.now + away + Duration::from_secs(3));
        world.run_for(away + Duration::from_millis(100));
        ids.iter()
            .for_each(|id| hint(&mut world, *id, Why::ClaimantGone));
        world.run_for(Duration::from_secs(30));
    }
    for (id, n) in ids.into_iter().zip(1..) {
        let replica = replica_of(&world, of(n));
        assert_eq!(claims(&world, id), [(replica, 1)], "nobody takes over");
    }
    world.functions.let_go("b");
    for n in 1..=6 {
        ends_well(&mut world, Kind::Chain, n);
    }
}

#[test]
fn i20_a_server_that_was_away_makes_nobody_dead_and_no_request_poison() {
    away_twice();
    fails_with(Fault::DeadUnseen, "nobody takes over", away_twice);
}
