//! Requests that outlive the head of their logs.

use std::collections::BTreeMap;
use std::time::Duration;

use turlough_sdk::RequestId;
use turlough_statestore::Event;

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::acts::{
    answered, at_last, claims, control, fails_with, is_accepted, is_part, is_released, is_settled,
    is_snapshot, settles, signal, stands,
};
use super::{ask, cluster};
use crate::fault::Fault;

/// A cluster in which appends expire after so many seconds.
fn forgetful(s: u64) -> World {
    cluster(|settings| settings.state.max_age = Duration::from_secs(s))
}

fn outlives_its_head(world: &mut World, id: RequestId) {
    world.until("a beginning", |world| stands(world, id, is_accepted));
    let is_gone = |world: &World| !stands(world, id, is_accepted);
    at_last(world, 150, "the expiry of the head", is_gone);
}

/// 16 (L1): its driver never lets go, and is lost when the head is gone.
fn a_loop_that_polls() {
    let mut world = forgetful(40);
    let id = ask(&world, 0, Kind::Polls, 1);
    outlives_its_head(&mut world, id);
    world.run_for(Duration::from_secs(20));
    assert!(!stands(&world, id, is_released), "it is never let go of");
    let looks = world.functions.calls("a", 1);
    assert!((30..50).contains(&looks), "{looks} looks");
    world.hosts[0].kill();
    let is_over = |world: &World| stands(world, id, is_settled);
    at_last(&mut world, 100, "the end", is_over);
    let standing = settles(&mut world, Kind::Polls, 1);
    assert_eq!(standing.output, Some(1));
    assert!(
        world.functions.calls("a", 1) <= 61,
        "it goes on where it was"
    );
}

#[test]
fn i16_a_loop_that_is_never_let_go_of_writes_its_snapshots_unasked() {
    a_loop_that_polls();
    fails_with(
        Fault::NoSnapshot,
        "an end that counts did not come",
        a_loop_that_polls,
    );
}

/// 16 (L1): nothing ends for longer than appends are kept.
fn a_call_that_takes_long() {
    let mut world = forgetful(60);
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Chain, 1);
    outlives_its_head(&mut world, id);
    world.run_for(Duration::from_secs(30));
    assert!(
        stands(&world, id, is_snapshot),
        "a snapshot is written beside the call"
    );
    assert_eq!(world.functions.calls("b", 1), 1);
    world.functions.let_go("b");
    let standing = settles(&mut world, Kind::Chain, 1);
    assert_eq!(standing.output, Some(1));
    assert_eq!(world.functions.calls("b", 1), 1);
}

#[test]
fn i16_a_call_that_outlives_the_head_of_its_log_has_a_snapshot_written_beside_it() {
    a_call_that_takes_long();
    fails_with(
        Fault::NoSnapshot,
        "a snapshot is written",
        a_call_that_takes_long,
    );
}

/// 16 (L1): all claims that gave the newest epochs have expired.
fn epochs_that_expire() {
    let mut world = forgetful(60);
    let id = ask(&world, 0, Kind::Asks, 1);
    let mut epochs = BTreeMap::new();
    let mut first = None;
    for _ in 0..250 {
        world.run_for(Duration::from_secs(1));
        for record in world.records(id) {
            let claim = record.append.events.iter().find_map(|event| match event {
                Event::Claimed { epoch, .. } => Some(*epoch),
                _ => None,
            });
            epochs.extend(claim.map(|epoch| (record.seq, epoch)));
        }
        first = first.or_else(|| epochs.values().next().copied());
    }
    let given: Vec<_> = epochs.into_values().collect();
    assert!(given.len() >= 4, "it is claimed no more: {given:?}");
    assert!(
        given.is_sorted_by(|a, b| a < b),
        "an epoch is given twice: {given:?}"
    );
    assert!(
        claims(&world, id)
            .iter()
            .all(|(_, epoch)| Some(*epoch) > first)
    );
    let asked = control(&world, 1, id, signal(1));
    answered(&mut world, asked).expect("it waits for it");
    assert_eq!(settles(&mut world, Kind::Asks, 1).output, Some(1));
}

#[test]
fn i16_an_epoch_is_remembered_when_its_claim_has_expired() {
    epochs_that_expire();
    fails_with(
        Fault::EpochNotSaved,
        "it is claimed no more",
        epochs_that_expire,
    );
}

/// 16 (L1): a signal lands between the parts that a snapshot needs and the snapshot.
fn a_signal_beside_a_snapshot() {
    let mut world = cluster(|settings| {
        settings.inline_bytes_max = 1;
        settings.state.max_age = Duration::from_secs(60);
    });
    world.functions.hold("c");
    let id = ask(&world, 0, Kind::Asks, 1);
    world.until("its rest", |world| stands(world, id, is_released));
    let traps = [0, 1].map(|host| {
        world.trap(host, Does::HoldAnswer, move |sent| {
            sent.appends(id, is_part)
        })
    });
    let sprung = |host: usize| traps[host].is_sprung();
    world.until("parts of a snapshot", |_| sprung(0) || sprung(1));
    let (writer, other) = if sprung(0) { (0, 1) } else { (1, 0) };
    assert!(!stands(&world, id, is_snapshot));
    // What the signal brings lies in a part as well.
    traps[other].release();
    let asked = control(&world, other, id, signal(1));
    answered(&mut world, asked).expect("it waits for it");
    assert!(!stands(&world, id, is_snapshot));
    traps[writer].release();
    world.until("both to expire", |world| {
        !stands(world, id, is_accepted) && !stands(world, id, is_signal)
    });
    world.hosts[writer].kill();
    world.functions.let_go("c");
    let standing = settles(&mut world, Kind::Asks, 1);
    assert_eq!(
        standing.output,
        Some(1),
        "it ended as {:?}",
        standing.outcome
    );
}

const fn is_signal(event: &Event) -> bool {
    matches!(event, Event::Signalled { .. })
}

#[test]
fn i16_a_signal_between_the_parts_of_a_snapshot_is_in_the_next_one() {
    a_signal_beside_a_snapshot();
    fails_with(
        Fault::SentAgain,
        "the head of its log is gone",
        a_signal_beside_a_snapshot,
    );
}
