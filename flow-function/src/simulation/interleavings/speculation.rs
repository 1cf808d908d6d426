//! What starts ahead of the log.

use std::time::Duration;

use turlough_statestore::event::Outcome;

use super::super::flows::Kind;
use super::super::trap::Does;
use super::acts::{answered, control, fails_with, is_end_of, settles, stands};
use super::{appends, ask, cluster, ends_well, events, request};
use crate::engine::Control;
use crate::fault::Fault;

/// 17 (S2): the append that releases a step is lost with its driver.
fn an_input_that_never_was() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Chain, 1);
    let trap = world.trap(0, Does::Lose, move |sent| sent.appends(id, is_end_of("a")));
    ask(&world, 0, Kind::Chain, 1);
    world.until("the end of a", |_| trap.is_sprung());
    world.run_for(Duration::from_secs(1));
    assert!(!stands(&world, id, is_end_of("a")));
    assert_eq!(world.functions.calls("b", 1), 0, "b waits for the log");
    world.hosts[0].kill();
    ends_well(&mut world, Kind::Chain, 1);
    let calls = ["a", "b", "c"].map(|name| world.functions.calls(name, 1));
    assert_eq!(calls, [2, 1, 1]);
}

#[test]
fn i17_what_leaves_a_trace_waits_for_the_append_that_releases_it() {
    an_input_that_never_was();
    fails_with(Fault::SinksSpeculated, "b waits", an_input_that_never_was);
}

/// S2: a pure step ran ahead of an append that is lost with its driver.
#[test]
fn s2_a_pure_step_that_ran_ahead_of_a_lost_append_runs_again() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Guess, 1);
    let trap = world.trap(0, Does::Lose, move |sent| sent.appends(id, is_end_of("a")));
    ask(&world, 0, Kind::Guess, 1);
    world.until("the end of a", |_| trap.is_sprung());
    world.until("p to run ahead", |world| world.functions.calls("p", 1) == 1);
    world.run_for(Duration::from_secs(1));
    assert!(!stands(&world, id, is_end_of("a")) && !stands(&world, id, is_end_of("p")));
    assert_eq!(world.functions.calls("c", 1), 0);
    world.hosts[0].kill();
    ends_well(&mut world, Kind::Guess, 1);
    let calls = ["a", "p", "c"].map(|name| world.functions.calls(name, 1));
    assert_eq!(calls, [2, 2, 1]);
    assert_eq!(appends(&world, id, is_end_of("p")).len(), 1);
}

/// S2: a cancel comes before the append that a pure step ran ahead of.
fn ahead_of_a_cancel() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Guess, 1);
    let trap = world.trap(0, Does::Hold, move |sent| sent.appends(id, is_end_of("a")));
    ask(&world, 0, Kind::Guess, 1);
    world.until("the end of a", |_| trap.is_sprung());
    world.until("p to run ahead", |world| world.functions.calls("p", 1) == 1);
    let asked = control(&world, 1, id, Control::Cancel);
    answered(&mut world, asked).expect("it is open");
    trap.release();
    let standing = settles(&mut world, Kind::Guess, 1);
    assert_eq!(standing.outcome, Some(Outcome::Cancelled));
    let ends = |step| {
        events(&world, id)
            .iter()
            .filter(|event| is_end_of(step)(event))
            .count()
    };
    assert_eq!(
        (ends("a"), ends("p")),
        (0, 0),
        "nothing is left of what was withdrawn"
    );
    assert_eq!(world.functions.calls("c", 1), 0);
}

#[test]
fn s2_what_ran_ahead_of_a_cancel_leaves_nothing_in_the_log() {
    ahead_of_a_cancel();
    fails_with(Fault::EndsUnasked, "nothing is left", ahead_of_a_cancel);
}
