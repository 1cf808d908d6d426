//! Pause, resume, cancel; what does not count.

use super::*;

const CHAIN: &str = "
flow: chain
nodes:
  a: { apply: f }
  b: { after: [a], apply: f }
";

#[test]
fn pause_lets_running_steps_end_and_starts_none_until_resume() {
    let mut bench = Bench::new(CHAIN);
    assert!(
        bench.pause() && bench.pause(),
        "on a paused one it changes nothing"
    );
    assert_eq!(bench.execution.status(), "paused");
    bench.succeed("a", 1);
    assert!(bench.names().is_empty());
    bench.take_over();
    assert!(bench.names().is_empty(), "it stays paused");
    assert!(bench.resume());
    assert_eq!(bench.names(), ["b"]);
    assert!(!bench.resume(), "it is not paused");
}

#[test]
fn time_goes_on_while_it_is_paused() {
    let mut bench = Bench::new(
        "
flow: nap
nodes:
  nap: { wait: 5s }
  go: { wait: { signal: go } }
  b: { after: [nap, go], apply: f }
",
    );
    bench.pause();
    bench.tick(5 * SECOND);
    bench.signal("go", 1);
    assert!(bench.names().is_empty());
    bench.resume();
    assert_eq!(bench.names(), ["b"]);
    bench.pause();
    bench.tick(600 * SECOND);
    assert_eq!(bench.close(), Conclusion::TimedOut);
}

#[test]
fn a_start_that_was_recorded_before_a_pause_is_made() {
    let mut bench = Bench::new("flow: pay\nnodes:\n  pay: { apply: f, idempotent: false }\n");
    let attempt = bench.starts["pay"];
    bench.pause();
    let start = Event::StepStarted {
        step: "pay".into(),
        attempt,
        at_us: 0,
    };
    bench.drive(start);
    assert_eq!(bench.names(), ["pay"], "otherwise nobody would ever end it");
}

#[test]
fn nothing_starts_after_a_cancel_and_the_end_is_told_once() {
    let mut bench = Bench::new(CHAIN);
    let late = Event::StepEnded(bench.event("a", 1, done(1)));
    assert!(bench.cancel());
    assert_eq!(bench.stopped, ["a"]);
    bench.drive(late);
    assert!(bench.names().is_empty());
    assert_eq!(bench.close(), Conclusion::Cancelled);
    assert!(bench.execution.next_actions().is_empty());
}

#[test]
fn a_request_that_ended_takes_neither_signals_nor_controls() {
    let mut bench = Bench::new(CHAIN);
    bench.cancel();
    bench.close();
    let refused = |event| bench.execution.allows(&event).unwrap_err();
    let (value, at_us) = (inline(&1), 0);
    assert_eq!(
        refused(Event::Signalled {
            name: "go".to_owned(),
            value,
            at_us
        }),
        Refusal::Ended
    );
    assert_eq!(refused(Event::PauseAsked { at_us }), Refusal::Ended);
    assert_eq!(refused(Event::ResumeAsked { at_us }), Refusal::Ended);
    assert_eq!(refused(Event::CancelAsked { at_us }), Refusal::Ended);
    assert!(!bench.signal("go", 1) && !bench.cancel());
}

#[test]
fn a_request_that_goes_on_succeeded_or_is_closed_is_not_restarted() {
    let mut bench = Bench::new(CHAIN);
    let restart = Event::RestartAsked {
        from: None,
        version: None,
        deadline_us: 1,
        at_us: 0,
    };
    assert_eq!(bench.execution.allows(&restart), Err(Refusal::Running));
    bench.succeed("a", 1);
    bench.succeed("b", 2);
    bench.close();
    assert_eq!(bench.execution.allows(&restart), Err(Refusal::Succeeded));
    let mut bench = Bench::new(CHAIN);
    bench.cancel();
    bench.close();
    assert_eq!(bench.execution.allows(&restart), Ok(()));
    bench.drive(Event::Closing { at_us: 0 });
    assert_eq!(bench.execution.allows(&restart), Err(Refusal::Closed));
}

#[test]
fn an_append_below_the_newest_claim_or_after_another_does_not_count() {
    let mut bench = Bench::new(CHAIN);
    let claimed = bench.claimed(2);
    bench.running.clear();
    assert!(bench.append(Kind::Driver, 2, vec![claimed.clone()]));
    bench.running.clear();
    assert!(
        !bench.append(Kind::Driver, 2, vec![claimed]),
        "a claim is above the newest"
    );
    let mut end = bench.event("a", 1, done(1));
    end.epoch = 1;
    assert!(
        !bench.append(Kind::Driver, 1, vec![Event::StepEnded(end.clone())]),
        "an older claim's append"
    );
    assert!(bench.append(Kind::Driver, 2, vec![Event::StepEnded(end)]));
    assert!(
        bench.names().is_empty(),
        "the append counts, its event of the older epoch does not"
    );
    assert!(bench.execution.awaits(&"a".into(), 1));
}

#[test]
fn s1_numbers_only_grow_and_no_number_has_two_inputs() {
    let mut bench = Bench::new(
        "
flow: numbers
nodes:
  a: { apply: f, retry: { attempts: 2, backoff: 1ms..1ms }, when: '.' }
",
    );
    assert_eq!(bench.end("a", StepEnd::Went).attempt, 1);
    assert_eq!(bench.fail("a", Cause::Timeout).attempt, 2);
    assert_eq!(bench.fail("a", Cause::Timeout).attempt, 3);
    bench.close();
    bench.restart(None, None);
    assert_eq!(bench.end("a", StepEnd::Went).attempt, 4);
}

#[test]
fn s8_what_keys_a_call_stays_the_same_over_retries_and_take_overs() {
    // The key is a hash of request, generation of the last reset, step, and input: all of them here.
    let mut bench = Bench::new(
        "flow: key\nnodes:\n  a: { apply: f, retry: { attempts: 2, backoff: 1ms..1ms } }\n",
    );
    let first = bench.fail("a", Cause::Unanswered);
    bench.take_over();
    let second = bench.run("a");
    assert_eq!((&first.step, &first.inputs), (&second.step, &second.inputs));
    assert_eq!(bench.execution.generation(), 0);
}
