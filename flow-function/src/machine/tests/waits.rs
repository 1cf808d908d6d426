//! Waits: for a time, a signal, somebody else.

use super::*;

#[test]
fn a_wait_is_over_when_its_time_has_come_from_when_it_was_ready_and_gives_its_input() {
    let mut bench = Bench::new(
        "
flow: nap
nodes:
  a: { apply: f }
  nap: { after: [a], wait: 5s }
  b: { after: [nap], apply: f }
",
    );
    bench.now = 3 * SECOND;
    bench.succeed("a", 2);
    assert!(bench.names().is_empty(), "nothing runs while it waits");
    assert_eq!(bench.execution.wake_at_us(), Some(8 * SECOND));
    bench.tick(8 * SECOND - 1);
    assert!(bench.names().is_empty());
    bench.tick(8 * SECOND);
    assert_eq!(bench.run("b").inputs[0].1, Some(given(&2)));
}

#[test]
fn a_wait_until_a_time_that_is_past_is_over_at_the_next_tick() {
    let mut bench = Bench::new("flow: until\nnodes:\n  a: { wait: { until: '.at' } }\n");
    bench.now = 5 * SECOND;
    bench.end("a", StepEnd::Waits { until_us: 0 });
    assert!(bench.execution.wake_at_us().unwrap() <= bench.now);
    bench.tick(5 * SECOND);
    assert_eq!(bench.output(), given(&1));
}

const SIGNALS: &str = "
flow: signals
nodes:
  a: { wait: { signal: go } }
  b: { wait: { signal: go }, timeout: 10s }
  c: { after: [a], wait: { signal: go } }
";

#[test]
fn signals_are_kept_until_somebody_waits_and_given_out_in_their_order_one_to_each() {
    let mut bench = Bench::new(SIGNALS);
    for value in 1..=3 {
        assert!(bench.signal("go", value));
    }
    let Given::Map(output) = bench.output() else {
        panic!("sinks are a map")
    };
    let mut values: Vec<_> = output.iter().map(|(_, given)| given.clone()).collect();
    values.sort_by_key(|given| format!("{given:?}"));
    assert_eq!(
        values,
        [given(&2), given(&3)],
        "a and b take the first two, and c the third"
    );
}

#[test]
fn a_signal_that_came_before_its_wait_is_taken_when_that_is_ready() {
    let mut bench = Bench::new(
        "
flow: early
nodes:
  a: { apply: f }
  b: { after: [a], wait: { signal: go } }
",
    );
    bench.signal("go", 7);
    bench.succeed("a", 1);
    assert_eq!(bench.output(), given(&7));
}

#[test]
fn a_thousand_signals_are_kept_and_no_more() {
    let mut bench = Bench::new("flow: keeps\nnodes:\n  a: { apply: f }\n");
    for value in 0..1_000 {
        assert!(bench.signal("go", value));
    }
    let (value, at_us) = (inline(&1), 0);
    let event = Event::Signalled {
        name: "go".to_owned(),
        value,
        at_us,
    };
    assert_eq!(bench.execution.allows(&event), Err(Refusal::Signals));
    assert!(!bench.signal("go", 1_000));
}

#[test]
fn a_wait_that_is_bounded_fails_by_its_timeout() {
    let mut bench = Bench::new(SIGNALS);
    bench.tick(10 * SECOND);
    let Conclusion::Failed(error) = bench.close() else {
        panic!("it waits on")
    };
    assert_eq!((error.step.as_str(), error.cause), ("b", Cause::Timeout));
}

#[test]
fn a_timeout_that_is_shorter_than_the_wait_ends_it_however_late_the_clock_is_looked_at() {
    let mut bench = Bench::new("flow: short\nnodes:\n  a: { wait: 20s, timeout: 10s }\n");
    bench.tick(30 * SECOND);
    assert_eq!(bench.failure(), "a");
}

const CALLED: &str = "
flow: called
nodes:
  a: { apply: f, mode: async, timeout: 10s, retry: { attempts: 2, backoff: 1ms..1ms } }
";

fn called(bench: &mut Bench) {
    bench.start("a");
    let attempt = bench.run("a").attempt;
    bench.running.clear();
    bench.drive(Event::StepCalled {
        step: "a".into(),
        attempt,
        at_us: bench.now,
    });
}

#[test]
fn a_callback_completes_its_attempt_once_and_only_its_own() {
    let mut bench = Bench::new(CALLED);
    assert!(!bench.callback("a", 1, done(2)), "nobody was called");
    called(&mut bench);
    assert!(!bench.callback("a", 2, done(2)), "another attempt");
    assert!(!bench.callback("b", 1, done(2)), "another step");
    assert!(bench.callback("a", 1, done(2)));
    assert!(!bench.callback("a", 1, done(2)), "once more");
    assert_eq!(bench.output(), given(&2));
}

#[test]
fn a_lost_callback_is_a_timeout_and_the_next_attempt_voids_its_token() {
    let mut bench = Bench::new(CALLED);
    called(&mut bench);
    bench.tick(10 * SECOND);
    assert_eq!(
        (bench.stopped.clone(), bench.starts["a"]),
        (vec!["a".to_owned()], 2)
    );
    called(&mut bench);
    assert!(!bench.callback("a", 1, done(2)), "too late");
    assert!(bench.callback("a", 2, done(2)));
}

#[test]
fn s6_a_start_whose_acceptance_is_not_recorded_is_called_again_with_the_same_attempt() {
    let mut bench = Bench::new(CALLED);
    bench.start("a");
    bench.take_over();
    assert_eq!(
        (bench.names(), bench.run("a").attempt),
        (vec!["a".to_owned()], 1)
    );
    called_again(&mut bench);
    bench.take_over();
    assert!(bench.names().is_empty(), "it was taken on");
    assert!(bench.callback("a", 1, done(2)));
}

fn called_again(bench: &mut Bench) {
    bench.running.clear();
    bench.drive(Event::StepCalled {
        step: "a".into(),
        attempt: 1,
        at_us: bench.now,
    });
}
