//! Calls that must not be repeated, and what must be undone.

use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::{Cause, RequestId};
use turlough_statestore::event::Outcome;
use turlough_statestore::{Event, Record, Seq, Why};

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::acts::{
    answered, claims, control, failed_by, fails_with, is_accepted, is_end, is_end_of, is_start,
    poke, replica_of, settles, stands, start, stop_for,
};
use super::{appends, ask, cluster, ends_well, events};
use crate::engine::{Call, Control};
use crate::fault::Fault;

/// Half of a heartbeat's lifetime and the payment's timeout, in µs.
const UNKNOWN_AFTER_US: u64 = 5_000_000 + 4_000_000;

/// Somebody finds, rightly or not, that a host is dead: the other one takes a request over.
fn condemn(world: &mut World, id: RequestId, host: usize) {
    let claim = appends(world, id, |event| matches!(event, Event::Claimed { .. }));
    let claim = claim.last().expect("it is claimed").envelope.id;
    let other = 1 - host;
    let shared = Arc::clone(&world.hosts[other].engine().expect("a replica").shared);
    let woken = world.hosts[other].spawn(async move {
        shared.wake_for(id, Why::ClaimantGone, Some(claim));
    });
    answered(world, woken.expect("it is alive"));
    world.until("a take-over", |world| {
        let newest = claims(world, id).last().copied();
        newest.is_some_and(|(replica, _)| replica == replica_of(world, other))
    });
}

/// When a request was taken over, and when it ended, in µs.
fn times(world: &World, id: RequestId) -> (u64, u64) {
    let mut times = (0, 0);
    for event in events(world, id) {
        match event {
            Event::Claimed {
                epoch: 2, at_us, ..
            } => times.0 = at_us,
            Event::Ended { at_us, .. } => times.1 = at_us,
            _ => {}
        }
    }
    times
}

/// 17 (S3, S7): what books is lost with its driver, and then the request is cancelled.
fn booked_and_cancelled() {
    let mut world = cluster(|_| ());
    world.functions.hold("book");
    let id = ask(&world, 0, Kind::Saga, 1);
    world.until("the booking", |world| world.functions.calls("book", 1) == 1);
    world.hosts[0].kill();
    let asked = control(&world, 1, id, Control::Cancel);
    answered(&mut world, asked).expect("it is open");
    assert_eq!(claims(&world, id).len(), 1, "nobody drives it");
    world.functions.let_go("book");
    let standing = settles(&mut world, Kind::Saga, 1);
    assert_eq!(standing.outcome, Some(Outcome::Cancelled));
    assert_eq!(
        world.functions.calls("undo", 1),
        1,
        "what was booked is undone"
    );
}

/// S4: the log loses the start of a booking that is under way, and its answer comes while the server is
/// away.
fn start_is_lost_under_way() {
    let mut world = cluster(|_| ());
    world.functions.hold("book");
    let id = ask(&world, 0, Kind::Saga, 1);
    world.until("the booking", |world| world.functions.calls("book", 1) == 1);
    let begins = |record: &Record| record.append.events.iter().any(is_start("book"));
    let started = world.records(id).into_iter().find(begins);
    let before = Seq::new(started.expect("it stands").seq.get() - 1);
    world.lose_after(before, Duration::from_secs(1));
    assert!(!stands(&world, id, is_start("book")));
    world.functions.let_go("book");
    settles(&mut world, Kind::Saga, 1);
    assert_eq!(claims(&world, id).len(), 1, "its driver goes on");
    assert_eq!(world.functions.calls("book", 1), 1, "it is booked once");
    assert_eq!(
        world.functions.calls("undo", 1),
        1,
        "what was booked is undone"
    );
}

#[test]
fn s4_the_end_of_a_call_whose_start_was_lost_brings_its_start_with_it() {
    start_is_lost_under_way();
    fails_with(
        Fault::EndWithoutStart,
        "what was booked is undone",
        start_is_lost_under_way,
    );
}

#[test]
fn i17_what_was_booked_by_a_driver_that_is_lost_is_undone_after_a_cancel() {
    booked_and_cancelled();
    fails_with(Fault::StartUnrecorded, "is undone", booked_and_cancelled);
}

/// 19 (S4): the heartbeat lapses during a payment of a minute, and another replica takes over.
fn paid_without_a_heartbeat() {
    let mut world = cluster(|_| ());
    world.functions.hold("pay");
    let id = ask(&world, 0, Kind::Pays, 1);
    world.until("the payment", |world| world.functions.calls("pay", 1) == 1);
    world.hosts[0].cut_until = Some(world.now + Duration::from_secs(25));
    world.run_for(Duration::from_secs(30));
    let (payer, other) = (replica_of(&world, 0), replica_of(&world, 1));
    assert_eq!(claims(&world, id), [(payer, 1), (other, 2)]);
    world.run_for(Duration::from_secs(30));
    world.functions.let_go("pay");
    let standing = settles(&mut world, Kind::Pays, 1);
    assert_eq!(
        standing.output,
        Some(1),
        "it ended as {:?}",
        standing.outcome
    );
    assert_eq!(world.functions.calls("pay", 1), 1);
    assert_eq!(world.functions.calls("c", 1), 1);
    let end = appends(&world, id, is_end_of("pay"));
    assert_eq!(end.len(), 1);
    assert_eq!(end[0].envelope.replica, payer);
}

#[test]
fn i19_the_answer_to_a_payment_counts_though_its_driver_was_replaced_meanwhile() {
    paid_without_a_heartbeat();
    fails_with(
        Fault::AnswerDropped,
        "it ended as",
        paid_without_a_heartbeat,
    );
}

/// S4: its driver has let go already, and the state is away when the answer comes.
fn answered_while_the_state_is_away() {
    let mut world = cluster(|_| ());
    world.functions.hold("pay");
    let id = ask(&world, 0, Kind::Pays, 1);
    world.until("the payment", |world| world.functions.calls("pay", 1) == 1);
    condemn(&mut world, id, 0);
    poke(&mut world, 0, id);
    world.run_for(Duration::from_secs(1));
    let engine = world.hosts[0].engine().expect("a replica");
    assert_eq!(engine.driving(), 0, "it knows that its claim is over");
    world.crash_server(Duration::from_secs(30), false);
    world.functions.let_go("pay");
    let standing = settles(&mut world, Kind::Pays, 1);
    assert_eq!(
        standing.output,
        Some(1),
        "it ended as {:?}",
        standing.outcome
    );
    assert_eq!(world.functions.calls("pay", 1), 1);
}

#[test]
fn s4_an_answer_that_comes_while_the_state_is_away_is_recorded_afterwards() {
    answered_while_the_state_is_away();
    fails_with(
        Fault::ReportedOnce,
        "it ended as",
        answered_while_the_state_is_away,
    );
}

/// 19 (S5): whoever made the call is gone.
fn nobody_knows() {
    let mut world = cluster(|_| ());
    world.functions.hold("pay");
    let id = ask(&world, 0, Kind::Once, 1);
    world.until("the payment", |world| world.functions.calls("pay", 1) == 1);
    world.hosts[0].kill();
    let standing = settles(&mut world, Kind::Once, 1);
    assert_eq!(world.functions.calls("pay", 1), 1, "it is called once");
    assert_eq!(failed_by(&standing), Some(Cause::Unknown));
    let (claimed_us, ended_us) = times(&world, id);
    let waited_us = ended_us - claimed_us;
    assert!(
        waited_us >= UNKNOWN_AFTER_US,
        "unknown after {waited_us} µs"
    );
    assert!(waited_us < UNKNOWN_AFTER_US + 1_000_000, "{waited_us} µs");
}

#[test]
fn i19_an_outcome_is_unknown_when_no_answer_can_come_any_more_and_not_before() {
    nobody_knows();
    fails_with(Fault::UnknownSoon, "unknown after", nobody_knows);
    fails_with(Fault::OnceAgain, "it is called once", nobody_knows);
}

/// Its driver is stopped when the start of its payment is stored, before it hears of that.
fn stopped_before_paying(world: &mut World, s: u64) -> RequestId {
    let id = super::request(world, Kind::Once, 1);
    let trap = world.trap(0, Does::HoldAnswer, move |sent| {
        sent.appends(id, is_start("pay"))
    });
    ask(world, 0, Kind::Once, 1);
    world.until("the start of the payment", |_| trap.is_sprung());
    world.until("it to be stored", |world| {
        stands(world, id, is_start("pay"))
    });
    assert!(stands(world, id, is_accepted));
    stop_for(world, 0, s);
    trap.release();
    id
}

/// 19 (S3): it goes on when another has found by now that nobody knows.
fn wakes_too_late(heartbeat_s: u64) {
    let mut world = cluster(|settings| {
        settings.state.heartbeat = Duration::from_secs(heartbeat_s);
    });
    let id = stopped_before_paying(&mut world, 15);
    condemn(&mut world, id, 0);
    world.until("the end", |world| stands(world, id, is_end));
    assert!(
        world.hosts[0].stopped_until.is_some(),
        "it is stopped still"
    );
    world.run_for(Duration::from_secs(20));
    assert_eq!(
        world.functions.calls("pay", 1),
        0,
        "it does not pay any more"
    );
    let standing = settles(&mut world, Kind::Once, 1);
    assert_eq!(failed_by(&standing), Some(Cause::Unknown));
}

fn wakes_too_late_with_a_long_heartbeat() {
    wakes_too_late(60);
}

#[test]
fn i19_a_driver_that_was_stopped_before_a_payment_does_not_make_it_later() {
    wakes_too_late(10);
    fails_with(Fault::CallsLate, "not pay any more", || wakes_too_late(10));
    wakes_too_late_with_a_long_heartbeat();
    let fault = Fault::CallsWithinAnyHeartbeat;
    fails_with(
        fault,
        "not pay any more",
        wakes_too_late_with_a_long_heartbeat,
    );
}

/// S3: it goes on, late, and nobody has taken over.
fn wakes_alone() {
    let mut world = cluster(|_| ());
    let id = stopped_before_paying(&mut world, 6);
    ends_well(&mut world, Kind::Once, 1);
    let starts = appends(&world, id, is_start("pay"));
    assert_eq!(starts.len(), 2, "its start is recorded again");
    assert_eq!(claims(&world, id).len(), 1);
    assert_eq!(world.functions.calls("pay", 1), 1);
}

#[test]
fn s3_a_start_that_is_too_old_is_recorded_again_before_its_call() {
    wakes_alone();
    fails_with(Fault::CallsLate, "recorded again", wakes_alone);
}

/// S3: its call was too late at first, and then the log loses the end of the one that was made.
fn late_and_then_lost() {
    let mut world = cluster(|_| ());
    let id = stopped_before_paying(&mut world, 6);
    let is_paid = |world: &World| stands(world, id, is_end_of("pay"));
    world.until("the payment", is_paid);
    let is_end = |record: &Record| record.append.events.iter().any(is_end_of("pay"));
    let paid = world.records(id).into_iter().find(is_end);
    let before = Seq::new(paid.expect("it stands").seq.get() - 1);
    world.lose_after(before, Duration::from_secs(1));
    assert!(!stands(&world, id, is_end_of("pay")));
    ends_well(&mut world, Kind::Once, 1);
    assert_eq!(world.functions.calls("pay", 1), 1, "it is paid once");
}

#[test]
fn s3_a_payment_that_was_late_at_first_is_made_once_though_the_log_loses_its_end() {
    late_and_then_lost();
    fails_with(Fault::LateKnown, "it paid 2 times", late_and_then_lost);
}

/// S4: the log loses the end of a payment, and its driver has the answer still.
fn answer_is_lost() {
    let mut world = cluster(|_| ());
    let id = ask(&world, 0, Kind::Once, 1);
    world.until("the payment", |world| stands(world, id, is_end_of("pay")));
    let ends = |record: &Record| record.append.events.iter().any(is_end_of("pay"));
    let paid = world.records(id).into_iter().find(ends);
    let before = Seq::new(paid.expect("it stands").seq.get() - 1);
    world.lose_after(before, Duration::from_secs(1));
    assert!(!stands(&world, id, is_end_of("pay")));
    ends_once(&mut world, id);
    assert_eq!(world.functions.calls("pay", 1), 1, "it is paid once");
}

#[test]
fn s4_the_answer_to_a_payment_is_told_again_when_the_log_has_lost_it() {
    answer_is_lost();
    fails_with(Fault::AnswerForgotten, "did not come", answer_is_lost);
}

/// S3: the log loses the start of a payment, and its driver dies. How often it is paid.
fn start_is_lost(waits: bool) -> u32 {
    let mut world = cluster(|settings| settings.once_after_sync = waits);
    let id = ask(&world, 0, Kind::Once, 1);
    world.until("its start", |world| stands(world, id, is_start("pay")));
    world.run_for(Duration::from_millis(100));
    let before = world.records(id)[0].seq;
    world.lose_after(before, Duration::from_secs(1));
    world.hosts[0].kill();
    assert!(stands(&world, id, is_accepted) && !stands(&world, id, is_start("pay")));
    ends_once(&mut world, id);
    world.functions.calls("pay", 1)
}

fn ends_once(world: &mut World, id: RequestId) {
    let standing = settles(world, Kind::Once, 1);
    assert_eq!((standing.ends, standing.output), (1, Some(1)));
    assert_eq!(appends(world, id, is_end).len(), 1);
}

#[test]
fn s3_where_it_is_asked_to_a_call_waits_until_its_start_is_on_the_disk() {
    assert_eq!(start_is_lost(true), 1);
    assert_eq!(start_is_lost(false), 2, "what durability.md says of it");
}

/// 24 (C4, S5): it is taken for dead within seconds, wakes, and makes the call while it still may.
fn wakes_in_time() {
    let mut world = cluster(|_| ());
    let id = stopped_before_paying(&mut world, 4);
    condemn(&mut world, id, 0);
    assert!(
        world.hosts[0].stopped_until.is_some(),
        "it is stopped still"
    );
    assert_eq!(world.functions.calls("pay", 1), 0);
    world.until("the payment", |world| world.functions.calls("pay", 1) == 1);
    ends_well(&mut world, Kind::Once, 1);
    assert_eq!(world.functions.calls("pay", 1), 1);
}

#[test]
fn i24_no_outcome_is_unknown_while_a_claimant_that_was_wrongly_judged_may_still_call() {
    wakes_in_time();
    fails_with(Fault::UnknownSoon, "it ended as", wakes_in_time);
}

/// 24 (S5): the same, and the clock of whoever took over jumps.
fn wakes_in_time_by_its_own_clock() {
    let mut world = cluster(|_| ());
    let id = stopped_before_paying(&mut world, 4);
    condemn(&mut world, id, 0);
    world.hosts[1].jump(20_000_000);
    world.run_for(Duration::from_secs(2));
    assert!(!stands(&world, id, is_end), "it is not unknown by a jump");
    ends_well(&mut world, Kind::Once, 1);
    assert_eq!(world.functions.calls("pay", 1), 1);
}

#[test]
fn i24_no_outcome_is_unknown_by_a_wall_clock_that_jumps() {
    wakes_in_time_by_its_own_clock();
    fails_with(
        Fault::WallTrusted,
        "unknown by a jump",
        wakes_in_time_by_its_own_clock,
    );
}

/// S5: the clock jumps, and no answer comes.
#[test]
fn s5_an_outcome_is_unknown_in_its_time_where_a_wall_clock_jumped() {
    let mut world = cluster(|_| ());
    let id = stopped_before_paying(&mut world, 60);
    condemn(&mut world, id, 0);
    world.hosts[1].jump(20_000_000);
    let from = world.now;
    world.until("the end", |world| stands(world, id, is_end));
    let gone = world.now - from;
    let expected = Duration::from_micros(UNKNOWN_AFTER_US);
    assert!(gone >= expected - Duration::from_millis(300), "{gone:?}");
    assert!(gone < expected + Duration::from_secs(1), "{gone:?}");
}

/// 21 (S7): a step beside a payment fails, and the request is restarted.
fn fails_beside_a_payment(holds_s: u64) {
    let mut world = cluster(|settings| settings.keep_failed = Duration::from_secs(120));
    world.functions.hold("pay");
    let started = start(&world, 0, (Kind::Both, 1, 1), Call::default());
    let id = answered(&mut world, started)
        .expect("it is accepted")
        .request;
    world.until("both calls", |world| {
        world.functions.calls("pay", 1) == 1 && world.functions.calls("fails", 1) == 1
    });
    world.run_for(Duration::from_secs(holds_s));
    let is_awaited = !stands(&world, id, is_end);
    world.functions.let_go("pay");
    world.until("the end", |world| stands(world, id, is_end));
    world.run_for(Duration::from_secs(5));
    let restart = Control::Restart {
        from: None,
        current: false,
    };
    let asked = control(&world, 1, id, restart);
    answered(&mut world, asked).expect("it is kept");
    let standing = settles(&mut world, Kind::Both, 1);
    assert_eq!(
        standing.output,
        Some(2),
        "it ended as {:?}",
        standing.outcome
    );
    assert_eq!(world.functions.calls("pay", 1), 1, "it pays once");
    assert_eq!(
        is_awaited,
        holds_s < 40,
        "the payment is awaited as long as may be"
    );
}

#[test]
fn i21_a_payment_is_awaited_before_the_end_and_not_made_again_after_a_restart() {
    fails_beside_a_payment(5);
    fails_with(Fault::NothingAwaited, "it pays once", || {
        fails_beside_a_payment(5)
    });
}

#[test]
fn i21_the_answer_to_a_payment_counts_after_the_end_of_a_request_that_waited_long_enough() {
    fails_beside_a_payment(45);
    fails_with(Fault::AnswerDropped, "it pays once", || {
        fails_beside_a_payment(45)
    });
}
