//! Signals that race with a driver which lets go. No keeper looks here: nobody else would notice.

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::acts::{
    answered, claims, control, fails_with, is_released, is_settled, replica_of, signal, stands,
    within,
};
use super::{ask, cluster, ends_well, request};
use crate::fault::Fault;

/// A signal is stored while the release is under way, and the word of it is lost.
fn before_the_release() {
    let mut world = cluster(|_| ());
    world.hosts[2].kill();
    let id = request(&world, Kind::Asks, 1);
    let release = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_released));
    let poke = world.trap(1, Does::Lose, move |sent| sent.pokes(id));
    ask(&world, 0, Kind::Asks, 1);
    world.until("the release", |_| release.is_sprung());
    let asked = control(&world, 1, id, signal(1));
    answered(&mut world, asked).expect("it is open");
    world.until("the word", |_| poke.is_sprung());
    assert!(!stands(&world, id, is_released));
    release.release();
    let is_over = |world: &World| stands(world, id, is_settled);
    within(&mut world, 10, "the end", is_over);
    ends_well(&mut world, Kind::Asks, 1);
    assert_eq!(claims(&world, id), [(replica_of(&world, 0), 1)]);
}

#[test]
fn a_signal_before_a_release_that_is_under_way_keeps_the_driver() {
    before_the_release();
    fails_with(
        Fault::ConflictIgnored,
        "the end did not come",
        before_the_release,
    );
}

/// A signal is stored right after the release, of which its driver has not heard yet.
fn after_the_release(host: usize) {
    let mut world = cluster(|_| ());
    world.hosts[2].kill();
    let id = request(&world, Kind::Asks, 1);
    let release = world.trap(0, Does::HoldAnswer, move |sent| {
        sent.appends(id, is_released)
    });
    ask(&world, 0, Kind::Asks, 1);
    world.until("the release", |_| release.is_sprung());
    world.until("it to be stored", |world| stands(world, id, is_released));
    let asked = control(&world, host, id, signal(1));
    if host == 0 {
        // It waits its turn.
        release.release();
    }
    answered(&mut world, asked).expect("it is open");
    let is_over = |world: &World| stands(world, id, is_settled);
    within(&mut world, 10, "the end", is_over);
    release.release();
    ends_well(&mut world, Kind::Asks, 1);
    assert_eq!(claims(&world, id)[1], (replica_of(&world, host), 2));
    assert_eq!(world.functions.calls("c", 1), 1);
}

#[test]
fn a_signal_after_a_release_is_followed_up_by_whoever_appended_it() {
    let scenarios: [fn(); 2] = [|| after_the_release(0), || after_the_release(1)];
    for scenario in scenarios {
        scenario();
        fails_with(Fault::NobodyWoken, "the end did not come", scenario);
    }
}
