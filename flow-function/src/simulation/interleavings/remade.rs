//! Steps that are made again, ends of attempts that are none any more, and values that are kept twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use turlough_sdk::{RequestId, Value};
use turlough_statestore::event::{Outcome, StepEnd, StepEnded};
use turlough_statestore::{Event, Seq};

use super::super::flows::Kind;
use super::super::trap::Does;
use super::super::world::World;
use super::force::{answer, child_of, control, fails_with, is_released, settled};
use super::{appends, ask, cluster, ends_well, events};
use crate::data::{RequestData, Stores};
use crate::engine::{CallbackError, Control};
use crate::fault::Fault;
use crate::settings::Settings;
use crate::tokens::Waiting;

const fn is_step_end(event: &Event) -> bool {
    matches!(event, Event::StepEnded(_))
}

/// S1: whoever made a value is gone, and another makes it again.
fn made_again() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Large, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    world.hosts[0].kill();
    world.functions.let_go("b");
    ends_well(&mut world, Kind::Large, 1);
    let all = events(&world, id);
    let attempts = |step: &str, is: fn(&StepEnd) -> bool| {
        let of = |event: &Event| match event {
            Event::StepEnded(StepEnded {
                step: of,
                attempt,
                end,
                ..
            }) if of.as_str() == step && is(end) => Some(*attempt),
            _ => None,
        };
        all.iter().filter_map(of).collect::<Vec<_>>()
    };
    let is_lost = |end: &StepEnd| matches!(end, StepEnd::Lost { .. });
    assert_eq!(attempts("size", is_lost), [1]);
    assert_eq!(attempts("text", |_| true), [1, 2], "numbers of attempts");
    assert_eq!(attempts("size", |_| true), [1, 2]);
}

#[test]
fn i12_a_step_that_is_made_again_has_another_number_and_costs_no_attempt() {
    made_again();
    fails_with(Fault::NumberKept, "numbers of attempts", made_again);
    fails_with(Fault::LostIsFailure, "it ended as", made_again);
}

/// S1: a request is cancelled and restarted while whoever drives its sub-flow is stopped; then word of
/// that comes, to an attempt from before the reset.
fn word_from_before() {
    let mut world = cluster(|settings| settings.keep_failed = Duration::from_secs(20));
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Parent, 1);
    world.until("its rest", |world| is_released(world, id));
    let before = child_of(id, 0, 1);
    world.until("the call", |world| world.functions.calls("b", 1) == 1);
    world.hosts[0].stopped_until = Some(Duration::MAX);
    let cancel = control(&world, 1, id, (Control::Cancel, None));
    assert!(answer(&mut world, cancel).is_ok());
    let is_end = |event: &Event| matches!(event, Event::Ended { .. });
    world.until("its end", |world| {
        !appends(world, id, is_end).is_empty() && is_released(world, id)
    });
    let again = Control::Restart {
        from: None,
        current: false,
    };
    let restart = control(&world, 1, id, (again, None));
    assert!(answer(&mut world, restart).is_ok());
    world.until("the next call", |world| world.functions.calls("b", 1) == 2);
    world.until("its rest", |world| is_released(world, id));
    assert!(appends(&world, before, is_end).is_empty());
    world.hosts[0].stopped_until = Some(world.now);
    let of_before = settled(&mut world, before);
    assert_eq!(of_before.outcome, Some(Outcome::Cancelled));
    world.functions.let_go("b");
    let standing = settled(&mut world, id);
    let is_right = matches!(standing.outcome, Some(Outcome::Succeeded { .. }));
    assert!(is_right, "word of another attempt: {:?}", standing.outcome);
    assert_eq!((standing.output, standing.ends), (Some(1), 2));
    assert_eq!(settled(&mut world, child_of(id, 1, 2)).output, Some(1));
}

#[test]
fn i12_word_to_an_attempt_from_before_a_restart_is_refused() {
    word_from_before();
    fails_with(
        Fault::EndOfAnyAttempt,
        "word of another attempt",
        word_from_before,
    );
}

/// S1: whoever made what the flow returns is gone before the flow's other last step has ended.
fn output_made_again() {
    let mut world = cluster(|_| ());
    world.functions.hold("b");
    let id = ask(&world, 0, Kind::Early, 1);
    world.until("the text", |world| {
        !appends(world, id, is_step_end).is_empty()
    });
    world.hosts[0].kill();
    world.functions.let_go("b");
    ends_well(&mut world, Kind::Early, 1);
    let is_lost = |event: &&Event| matches!(event, Event::OutputLost { .. });
    assert_eq!(events(&world, id).iter().filter(is_lost).count(), 1);
    assert_eq!(world.functions.calls("write", 1), 2);
}

#[test]
fn s1_an_output_that_is_lost_before_the_end_is_made_again() {
    output_made_again();
    fails_with(Fault::OutputNotMadeAgain, "it ended as", output_made_again);
}

/// V1: two drivers keep what the same attempt gave, each something else.
fn kept_by_two() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let stores = Arc::new(Stores::in_memory(&Settings::from_environment()));
    let writer = || {
        let request = RequestId::from_uuid(uuid::Uuid::from_u128(1));
        RequestData::new(request, (0, 1), &stores, 16, HashMap::new())
    };
    let (first, second) = (writer(), writer());
    let keep = |data: &RequestData, text: &str| {
        let value = Value::encode(text).expect("a text");
        let kept = data.store("a", 1, &value).now_or_never();
        (value, kept.expect("there is room"))
    };
    for (value, kept) in [
        keep(&first, "what the first attempt gave"),
        keep(&second, "and something else, since its reply was lost"),
    ] {
        let at = kept.expect("a place for each");
        assert_eq!(
            first
                .load(&at)
                .now_or_never()
                .expect("at once")
                .expect("it is there"),
            value
        );
    }
}

#[test]
fn i13_what_is_kept_again_under_the_same_attempt_has_a_place_of_its_own() {
    kept_by_two();
    fails_with(Fault::KeyWithoutNonce, "a place for each", kept_by_two);
}

/// Completes the step `child` of a request from outside, with a text of so many bytes.
fn callback(
    world: &World,
    host: usize,
    request: RequestId,
    size: usize,
) -> JoinHandle<Result<(), CallbackError>> {
    let host = &world.hosts[host];
    let engine = host.engine().expect("a replica").clone();
    let token = engine.shared.tokens.sign(&Waiting {
        request,
        generation: 0,
        step: "child".into(),
        attempt: 1,
    });
    let value = Value::encode(&"y".repeat(size)).expect("a text");
    let asked = host.spawn(async move { engine.complete(&token, value, None).await });
    asked.expect("the host is alive")
}

/// A request whose step `child` waits to be completed.
fn waiting(world: &mut World) -> RequestId {
    world.functions.hold("write");
    let id = ask(world, 0, Kind::Reads, 1);
    world.until("its rest", |world| is_released(world, id));
    id
}

fn is_completed(world: &mut World, id: RequestId, size: u64) {
    world.functions.let_go("write");
    let standing = settled(world, id);
    let is_right = matches!(standing.outcome, Some(Outcome::Succeeded { .. }));
    assert!(
        is_right,
        "what the callback brought: {:?}",
        standing.outcome
    );
    assert_eq!((standing.output, standing.ends), (Some(size), 1));
    settled(world, child_of(id, 0, 1));
}

/// V1: the value of a callback is stored, and its replica is killed before it records the end.
fn callback_comes_again() {
    let mut world = cluster(|_| ());
    let id = waiting(&mut world);
    let trap = world.trap(1, Does::Lose, move |sent| sent.appends(id, is_step_end));
    drop(callback(&world, 1, id, 600_000));
    world.until("the end", |_| trap.is_sprung());
    let is_part = |event: &Event| matches!(event, Event::Part { .. });
    assert_eq!(appends(&world, id, is_part).len(), 2);
    world.hosts[1].kill();
    let again = callback(&world, 0, id, 20_000);
    assert!(answer(&mut world, again).is_ok());
    is_completed(&mut world, id, 20_000);
}

#[test]
fn i13_a_callback_that_comes_again_after_its_value_was_stored_counts() {
    callback_comes_again();
    fails_with(
        Fault::OneUpload,
        "what the callback brought",
        callback_comes_again,
    );
}

/// A4, A5: the value of a callback is stored in two parts, and the log loses the second.
fn parts_of_a_callback_are_lost() {
    let mut world = cluster(|_| ());
    let id = waiting(&mut world);
    let trap = world.trap(1, Does::Hold, move |sent| sent.appends(id, is_step_end));
    let asked = callback(&world, 1, id, 600_000);
    world.until("the end", |_| trap.is_sprung());
    let last = world.records(id).pop().expect("a part");
    assert!(matches!(last.append.events[..], [Event::Part { .. }]));
    world.lose_after(Seq::new(last.seq.get() - 1), Duration::from_millis(100));
    trap.release();
    if answer(&mut world, asked).is_err() {
        let again = callback(&world, 1, id, 600_000);
        assert!(answer(&mut world, again).is_ok());
    }
    is_completed(&mut world, id, 600_000);
}

#[test]
fn a5_a_callback_whose_parts_are_lost_sends_them_again() {
    parts_of_a_callback_are_lost();
    fails_with(
        Fault::PartsForgotten,
        "what the callback brought",
        parts_of_a_callback_are_lost,
    );
}
