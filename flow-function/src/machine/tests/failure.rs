//! Failure of steps: retries, causes, fallbacks; what must not be repeated.

use super::*;

fn retrying(on: &str) -> Bench {
    Bench::new(&format!(
        "
flow: retrying
nodes:
  step: {{ apply: f, retry: {{ attempts: 3, backoff: 2s..2s{on} }} }}
"
    ))
}

#[test]
fn a_failed_attempt_is_tried_again_after_its_back_off_and_then_fails_the_request() {
    let mut bench = retrying("");
    for attempt in 1..3 {
        let run = bench.fail("step", Cause::Transient);
        assert_eq!(run.attempt, attempt);
        let next = bench.run("step").not_before_us;
        assert!((SECOND..=2 * SECOND).contains(&next), "{next}");
        let late = Event::StepEnded(bench.event("step", attempt, done(1)));
        bench.drive(late);
        assert_eq!(bench.names(), ["step"], "too late to count");
    }
    bench.fail("step", Cause::Timeout);
    assert_eq!(bench.failure(), "step");
}

#[test]
fn who_asks_to_be_left_alone_is_not_called_before_its_time_and_not_before_the_back_off() {
    let mut bench = retrying("");
    bench.busy("step", 40 * SECOND);
    assert_eq!(bench.run("step").not_before_us, 40 * SECOND);
    bench.tick(40 * SECOND);
    bench.busy("step", 40 * SECOND);
    let next = bench.run("step").not_before_us;
    assert!((41 * SECOND..=42 * SECOND).contains(&next), "{next}");
    bench.tick(next);
    bench.busy("step", 99 * SECOND);
    assert_eq!(bench.failure(), "step");

    let undone = "
flow: undone
nodes:
  a: { apply: f, compensate: { apply: g, retry: { attempts: 2, backoff: 1ms..1ms } } }
  b: { after: [a], apply: f }
";
    let mut bench = Bench::new(undone);
    bench.start("a");
    bench.succeed("a", 1);
    bench.fail("b", Cause::Permanent);
    bench.busy("a/~compensate", 40 * SECOND);
    assert_eq!(bench.run("a/~compensate").not_before_us, 40 * SECOND);
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    let mut bench = retrying("");
    bench.fail("step", Cause::Permanent);
    assert_eq!(bench.failure(), "step");
}

#[test]
fn a_retry_is_of_the_causes_that_it_names() {
    let mut bench = retrying(", on: [timeout, panic]");
    bench.fail("step", Cause::Timeout);
    bench.fail("step", Cause::Panic);
    assert_eq!(bench.names(), ["step"]);
    let mut bench = retrying(", on: [timeout, panic]");
    bench.fail("step", Cause::Unanswered);
    assert_eq!(bench.failure(), "step");
}

#[test]
fn a_fallback_that_is_a_value_takes_the_place_of_a_step_that_is_out_of_attempts() {
    let mut bench = Bench::new(
        "
flow: fallback
nodes:
  a: { apply: f, fallback: { value: 7 } }
  b: { after: [a], apply: f }
",
    );
    bench.fail("a", Cause::Permanent);
    assert_eq!(bench.run("b").inputs[0].1, Some(given(&7)));
}

#[test]
fn a_fallback_that_calls_has_attempts_of_its_own_and_is_told_what_happened() {
    let mut bench = Bench::new(
        "
flow: fallback
nodes:
  a: { apply: f, fallback: { apply: g, retry: { attempts: 2, backoff: 1ms..1ms } } }
",
    );
    bench.fail("a", Cause::Permanent);
    let run = bench.fail("a", Cause::Transient);
    assert!(matches!(run.work, Work::Fallback));
    assert_eq!(run.error.unwrap().cause, Cause::Permanent);
    assert_eq!(run.inputs[0].1, Some(given(&1)), "the same input");
    bench.fail("a", Cause::Transient);
    assert_eq!(bench.failure(), "a", "a fallback has no fallback");
}

#[test]
fn a_body_that_fails_gives_way_to_the_fallback_of_its_node() {
    let mut bench = Bench::new(
        "
flow: fallback
nodes:
  all: { for_each: { body: { nodes: { one: { apply: f } } } }, fallback: { value: 7 } }
",
    );
    bench.split("all", 2);
    bench.fail("all[1]/one", Cause::Permanent);
    assert_eq!(bench.stopped, ["all[0]/one"]);
    assert_eq!(bench.output(), given(&7));
}

const PAY: &str = "
flow: pay
nodes:
  pay: { apply: f, idempotent: false, timeout: 30s, fallback: { value: 7 } }
";

#[test]
fn s3_the_start_of_what_must_not_be_repeated_is_recorded_before_its_call() {
    let mut bench = Bench::new(PAY);
    assert_eq!(bench.names(), ["pay?"]);
    bench.start("pay");
    assert_eq!(bench.names(), ["pay"]);
}

#[test]
fn s4_the_end_of_such_a_call_is_taken_from_whoever_holds_it_at_any_epoch() {
    let mut bench = Bench::new(PAY);
    bench.start("pay");
    bench.take_over();
    let mut end = bench.event("pay", 1, done(2));
    end.epoch = 1;
    assert!(bench.external(Event::StepEnded(end)));
    assert_eq!(bench.output(), given(&2));
}

#[test]
fn s5_a_start_without_an_end_is_unknown_after_take_over_and_its_time_and_never_repeated() {
    let mut bench = Bench::new(PAY);
    bench.start("pay");
    bench.now = 10 * SECOND;
    bench.take_over();
    assert!(bench.names().is_empty(), "it is not called again");
    let due = 10 * SECOND + timers::HALF_HEARTBEAT_US + 30 * SECOND;
    assert_eq!(bench.execution.wake_at_us(), Some(due));
    // Whoever takes over after that, or is woken for it, does not put it off.
    bench.now = 12 * SECOND;
    bench.take_over();
    assert_eq!(bench.execution.wake_at_us(), Some(due));
    bench.tick(due - 1);
    assert!(bench.ended.is_empty());
    bench.tick(due);
    assert_eq!(bench.output(), given(&7), "unknown goes to the fallback");
    assert!(!bench.callback("pay", 1, done(2)), "it is decided");
}

#[test]
fn s3_a_start_that_was_never_called_is_recorded_again_and_called() {
    let mut bench = Bench::new(PAY);
    bench.start("pay");
    bench.take_over();
    assert!(bench.names().is_empty(), "nobody knows whether it was");
    // Whoever recorded it has claimed anew, and knows.
    let again = Event::StepStarted {
        step: "pay".into(),
        attempt: 1,
        at_us: bench.now,
    };
    assert!(bench.drive(again.clone()));
    assert_eq!(bench.names(), ["pay"]);
    bench.drive(again);
    assert_eq!(bench.names(), ["pay"], "once");
    assert_eq!(
        bench.execution.wake_at_us(),
        Some(bench.execution.deadline_us())
    );
    bench.succeed("pay", 2);
    assert_eq!(bench.output(), given(&2));
}

#[test]
fn s3_a_start_that_was_cut_off_is_asked_for_again() {
    let mut bench = Bench::new(PAY);
    bench.take_over();
    assert_eq!(bench.names(), ["pay?"]);
    // Whoever made the call under the first claim says both at once.
    let start = Event::StepStarted {
        step: "pay".into(),
        attempt: 1,
        at_us: 0,
    };
    let end = Event::StepEnded(bench.event("pay", 1, done(2)));
    assert!(bench.append(Kind::Driver, 2, vec![start, end]));
    assert!(bench.running.is_empty());
    assert_eq!(bench.output(), given(&2));
}

#[test]
fn a_fallback_that_must_not_be_repeated_is_not() {
    let mut bench = Bench::new(
        "
flow: fallback
nodes:
  a: { apply: f, fallback: { apply: g, idempotent: false, timeout: 20s } }
",
    );
    bench.fail("a", Cause::Permanent);
    assert_eq!(bench.names(), ["a?"]);
    bench.start("a");
    bench.take_over();
    assert!(bench.names().is_empty());
    bench.tick(60 * SECOND);
    let Conclusion::Failed(error) = bench.close() else {
        panic!("it goes on")
    };
    assert_eq!(error.cause, Cause::Unknown);
}

#[test]
fn an_idempotent_step_runs_again_after_take_over_under_the_same_attempt() {
    let mut bench = retrying("");
    bench.fail("step", Cause::Transient);
    let before = bench.run("step").clone();
    bench.take_over();
    let after = bench.run("step");
    assert_eq!(
        (after.attempt, after.not_before_us),
        (before.attempt, before.not_before_us)
    );
}
