//! The way to the end: what is awaited, what is undone, which handlers run.

use super::*;

const TRIP: &str = "
flow: trip
timeout: 600s
nodes:
  hotel: { apply: f, compensate: { apply: undo-hotel, retry: { attempts: 2, backoff: 1ms..1ms } } }
  seats: { after: [hotel], for_each: { body: { nodes: { seat: { apply: f, compensate: { apply: undo-seat } } } } } }
  end: { after: [seats], apply: f }
";

/// A trip whose two seats are booked.
fn booked() -> Bench {
    let mut bench = Bench::new(TRIP);
    bench.start("hotel");
    bench.succeed("hotel", 2);
    bench.split("seats", 2);
    for seat in ["seats[1]/seat", "seats[0]/seat"] {
        bench.start(seat);
        bench.succeed(seat, 3);
    }
    bench.succeed("seats", 4);
    bench
}

#[test]
fn what_was_done_is_undone_in_the_reverse_order_of_the_starts() {
    let mut bench = booked();
    bench.fail("end", Cause::Permanent);
    for step in ["seats[0]/seat", "seats[1]/seat", "hotel"] {
        let path = format!("{step}/~compensate");
        assert_eq!(
            bench.names(),
            std::slice::from_ref(&path),
            "one after the other"
        );
        let run = bench.succeed(&path, 0);
        let Work::Compensate(output) = run.work else {
            panic!("{:?}", run.work)
        };
        assert!(output.is_some() && run.error.is_some());
    }
    assert_eq!(bench.failure(), "end");
}

#[test]
fn a_start_that_is_known_to_have_failed_is_not_undone_and_one_that_may_not_have_is() {
    for (cause, undone) in [
        (Cause::Permanent, false),
        (Cause::Transient, false),
        (Cause::Timeout, true),
        (Cause::Panic, true),
        (Cause::Unanswered, true),
    ] {
        let mut bench = Bench::new(TRIP);
        bench.start("hotel");
        bench.fail("hotel", cause);
        assert_eq!(bench.names() == ["hotel/~compensate"], undone, "{cause:?}");
        if undone {
            assert!(matches!(
                bench.run("hotel/~compensate").work,
                Work::Compensate(None)
            ));
        }
    }
}

#[test]
fn a_compensation_that_is_out_of_attempts_is_recorded_and_the_others_go_on() {
    let mut bench = booked();
    bench.cancel();
    bench.fail("seats[0]/seat/~compensate", Cause::Permanent);
    bench.succeed("seats[1]/seat/~compensate", 0);
    bench.fail("hotel/~compensate", Cause::Transient);
    bench.succeed("hotel/~compensate", 0);
    assert_eq!(
        bench.execution.trouble()[0].step.as_str(),
        "seats[0]/seat/~compensate"
    );
    assert_eq!(bench.close(), Conclusion::Cancelled);
}

#[test]
fn s7_what_must_not_be_repeated_or_must_be_undone_is_awaited_before_the_end() {
    let mut bench = Bench::new(
        "
flow: awaits
nodes:
  a: { apply: f }
  pay: { apply: f, idempotent: false }
  book: { apply: f, compensate: { apply: undo } }
  email: { apply: f, idempotent: false }
",
    );
    bench.start("pay");
    bench.start("book");
    bench.cancel();
    assert_eq!(
        bench.names(),
        ["book", "email?", "pay"],
        "a is stopped, and email not started"
    );
    assert_eq!(bench.stopped, ["a"]);
    bench.starts.clear();
    assert!(!bench.cancel(), "its end is decided");
    bench.succeed("pay", 1);
    bench.succeed("book", 2);
    assert_eq!(
        bench.names(),
        ["book/~compensate"],
        "what was awaited is undone too"
    );
    bench.succeed("book/~compensate", 2);
    assert_eq!(bench.close(), Conclusion::Cancelled);
}

#[test]
fn an_item_that_fails_is_let_go_of_but_its_recorded_calls_are_awaited() {
    let mut bench = Bench::new(
        "
flow: strays
nodes:
  all:
    for_each:
      errors: collect
      body: { nodes: { one: { apply: f }, book: { apply: f, compensate: { apply: undo } } } }
",
    );
    bench.split("all", 1);
    bench.start("all[0]/book");
    bench.fail("all[0]/one", Cause::Permanent);
    bench.succeed("all", 3);
    assert!(bench.ended.is_empty(), "its outcome is awaited");
    bench.succeed("all[0]/book", 1);
    assert_eq!(bench.output(), given(&3));
}

const HANDLERS: &str = "
flow: handlers
timeout: 600s
nodes:
  a: { apply: f }
on_failure: { nodes: { mend: { apply: f } } }
finally: { nodes: { tidy: { apply: f } } }
";

#[test]
fn on_failure_and_then_finally_run_when_it_failed() {
    let mut bench = Bench::new(HANDLERS);
    bench.fail("a", Cause::Permanent);
    let run = bench.succeed("~on_failure/mend", 1);
    assert_eq!(run.error.unwrap().step.as_str(), "a");
    assert!(!bench.signal("go", 1) && !bench.cancel() && !bench.pause());
    bench.succeed("~finally/tidy", 1);
    assert_eq!(bench.failure(), "a");
}

#[test]
fn on_failure_does_not_run_after_a_cancel_and_finally_does() {
    let mut bench = Bench::new(HANDLERS);
    bench.cancel();
    bench.succeed("~finally/tidy", 1);
    assert_eq!(bench.close(), Conclusion::Cancelled);
}

#[test]
fn finally_runs_after_a_success_and_fails_it_where_it_fails() {
    let mut bench = Bench::new(HANDLERS);
    bench.succeed("a", 5);
    assert_eq!(bench.run("~finally/tidy").error, None);
    bench.succeed("~finally/tidy", 1);
    assert_eq!(bench.output(), given(&5));
    let mut bench = Bench::new(HANDLERS);
    bench.succeed("a", 5);
    bench.fail("~finally/tidy", Cause::Permanent);
    assert_eq!(bench.failure(), "~finally/tidy");
}

#[test]
fn what_goes_wrong_in_a_handler_is_recorded_and_the_end_is_as_it_was_decided() {
    let mut bench = Bench::new(HANDLERS);
    bench.tick(600 * SECOND);
    bench.fail("~on_failure/mend", Cause::Permanent);
    bench.fail("~finally/tidy", Cause::Permanent);
    assert_eq!(bench.execution.trouble().len(), 2);
    assert_eq!(bench.close(), Conclusion::TimedOut);
}

#[test]
fn unwinding_takes_as_long_again_as_the_flow_and_no_longer() {
    let mut bench = booked();
    bench.now = 10 * SECOND;
    bench.cancel();
    assert_eq!(bench.execution.wake_at_us(), Some(610 * SECOND));
    bench.tick(610 * SECOND);
    assert_eq!(
        bench.execution.trouble().len(),
        3,
        "what was not come to is recorded"
    );
    assert_eq!(bench.close(), Conclusion::Cancelled);
}

#[test]
fn what_comes_finally_and_takes_too_long_leaves_a_success_with_nothing_to_undo() {
    let text = "
flow: f
timeout: 600s
nodes: { a: { apply: f, compensate: { apply: undo } } }
finally: { nodes: { z: { apply: f, mode: async } } }
";
    let mut bench = Bench::new(text);
    bench.start("a");
    bench.succeed("a", 1);
    bench.start("~finally/z");
    bench.tick(600 * SECOND);
    let trouble: Vec<_> = bench
        .execution
        .trouble()
        .iter()
        .map(|it| &it.step)
        .collect();
    assert_eq!(trouble, [&StepPath::from("~handler")]);
    // Where the output cannot be had then, what was done is undone.
    let (message, cause, at_us) = ("it is too large".to_owned(), Cause::Permanent, bench.now);
    bench.drive(Event::OutputFailed {
        message,
        cause,
        at_us,
    });
    assert_eq!(bench.names(), ["a/~compensate"]);
}

#[test]
fn s4_an_end_that_nobody_waited_for_any_longer_is_taken_until_it_is_closed() {
    let mut bench =
        Bench::new("flow: pay\ntimeout: 600s\nnodes:\n  pay: { apply: f, idempotent: false }\n");
    bench.start("pay");
    bench.cancel();
    bench.tick(600 * SECOND);
    bench.close();
    assert!(bench.callback("pay", 1, done(2)));
    assert!(bench.restart(None, None));
    assert_eq!(bench.output(), given(&2), "it is not paid again");
}

#[test]
fn a_compensation_that_must_not_be_repeated_is_not() {
    let mut bench = Bench::new(
        "
flow: refund
nodes:
  pay: { apply: f, compensate: { apply: g, idempotent: false, timeout: 20s } }
  end: { after: [pay], apply: f }
",
    );
    bench.start("pay");
    bench.succeed("pay", 1);
    bench.fail("end", Cause::Permanent);
    bench.start("pay/~compensate");
    bench.take_over();
    assert!(bench.names().is_empty());
    bench.tick(30 * SECOND);
    assert_eq!(bench.execution.trouble()[0].cause, Cause::Unknown);
    assert_eq!(bench.failure(), "end");
}

#[test]
fn a_loop_that_asked_twice_before_it_began_is_undone() {
    let mut bench = Bench::new(
        "
flow: begins
nodes:
  turn:
    loop: { while: '.', max_iterations: 3, body: { nodes: { one: { apply: f } } } }
    retry: { attempts: 2, backoff: 1ms..1ms }
    compensate: { apply: f }
",
    );
    bench.fail("turn", Cause::Transient);
    let (again, input) = (true, None);
    bench.end("turn", StepEnd::Asked { again, input });
    bench.fail("turn#1/one", Cause::Permanent);
    assert_eq!(bench.names(), ["turn/~compensate"]);
}

#[test]
fn a_compensation_is_not_given_what_another_graph_in_its_place_gave() {
    let mut bench = Bench::new(
        "
flow: made
nodes:
  all: { expand: { apply: f } }
  last: { after: [all], apply: f }
",
    );
    let expanded = |graph: &str| StepEnd::Expanded {
        graph: graph.to_owned(),
        input: Some(stored(1, 1)),
    };
    let first = "{ nodes: { x: { apply: f, compensate: { apply: f } }, y: { apply: f } } }";
    bench.end("all", expanded(first));
    bench.start("all/x");
    bench.succeed("all/x", 1);
    let value = stored(1, 1);
    bench.end("all/y", StepEnd::Lost { value });
    bench.end("all", expanded("{ nodes: { x: { apply: f } } }"));
    bench.succeed("all/x", 5);
    bench.fail("last", Cause::Permanent);
    let run = bench.run("all/x/~compensate");
    let Work::Compensate(output) = &run.work else {
        panic!("{:?}", run.work)
    };
    assert_eq!(*output, Some(given(&1_u32)));
}

#[test]
fn a_handler_that_somebody_else_completes_has_its_own_time_after_a_timeout() {
    let mut bench = Bench::new(
        "
flow: late
timeout: 600s
nodes: { one: { apply: f } }
on_failure: { nodes: { tell: { apply: f, mode: async } } }
",
    );
    bench.tick(600 * SECOND);
    bench.start("~on_failure/tell");
    let attempt = bench.run("~on_failure/tell").attempt;
    bench.tick(601 * SECOND);
    assert!(bench.callback("~on_failure/tell", attempt, done(1)));
}
