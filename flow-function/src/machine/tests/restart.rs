//! Restart: what is reset, and what keeps its output.

use turlough_statestore::Seq;

use super::*;

const CHAIN: &str = "
flow: chain
nodes:
  a: { apply: f }
  b: { after: [a], apply: f }
  c: { after: [b], apply: f }
";

#[test]
fn a_restart_goes_on_from_what_failed_with_attempts_numbered_on() {
    let mut bench = Bench::new(CHAIN);
    bench.succeed("a", 1);
    let late = bench.fail("b", Cause::Permanent);
    bench.close();
    let old = bench.event("b", late.attempt, done(9));
    assert!(bench.restart(None, None));
    assert_eq!(bench.execution.generation(), 1);
    assert_eq!(
        (bench.names(), bench.run("b").attempt),
        (vec!["b".to_owned()], 2)
    );
    bench.drive(Event::StepEnded(old));
    assert_eq!(
        bench.names(),
        ["b"],
        "an end of the generation before is void"
    );
    bench.succeed("b", 2);
    bench.succeed("c", 3);
    assert_eq!(bench.output(), given(&3));
}

#[test]
fn a_restart_of_a_named_step_resets_it_and_all_that_comes_after_it() {
    let mut bench = Bench::new(CHAIN);
    bench.succeed("a", 1);
    bench.succeed("b", 2);
    bench.fail("c", Cause::Permanent);
    bench.close();
    assert!(bench.restart(Some("a"), None));
    assert_eq!(
        (bench.names(), bench.run("a").attempt),
        (vec!["a".to_owned()], 2)
    );
    bench.succeed("a", 1);
    assert_eq!(bench.run("b").attempt, 2);
}

/// S8: what is made again after a restart that did not reset it is called by the key that it had.
#[test]
fn s8_what_a_restart_did_not_reset_is_known_by_the_generation_that_it_ran_in() {
    let mut bench = Bench::new(&format!(
        "{CHAIN}finally: {{ nodes: {{ clean: {{ apply: f }} }} }}\n"
    ));
    let a = lost::put(&mut bench, "a", 1);
    let b = lost::put(&mut bench, "b", 2);
    bench.fail("c", Cause::Permanent);
    assert_eq!(bench.succeed("~finally/clean", 0).generation, 0);
    bench.close();
    assert!(bench.restart(None, None));
    assert_eq!(bench.run("c").generation, 1);
    lost::lose(&mut bench, "c", &b);
    assert_eq!(bench.run("b").generation, 0);
    lost::lose(&mut bench, "b", &a);
    assert_eq!(bench.run("a").generation, 0);
    let saved = bench.execution.snapshot(Seq::START).unwrap();
    let (request, versions) = (bench.execution.request, bench.versions.clone());
    let (restored, _) = Execution::restore(request, versions, &saved).unwrap();
    assert_eq!(restored.resets, bench.execution.resets);
    bench.succeed("a", 1);
    bench.succeed("b", 2);
    bench.fail("c", Cause::Permanent);
    assert_eq!(bench.run("~finally/clean").generation, 1);
}

const EACH: &str = "
flow: each
nodes:
  all: { for_each: { errors: collect, body: { nodes: { one: { apply: f }, two: { after: [one], apply: f } } } } }
  end: { after: [all], apply: f }
";

fn collected() -> Bench {
    let mut bench = Bench::new(EACH);
    bench.split("all", 3);
    for item in [0, 2] {
        bench.succeed(&format!("all[{item}]/one"), item);
        bench.succeed(&format!("all[{item}]/two"), item);
    }
    bench.fail("all[1]/one", Cause::Permanent);
    bench.succeed("all", 5);
    bench.fail("end", Cause::Permanent);
    bench.close();
    bench
}

#[test]
fn of_a_for_each_that_is_named_only_the_items_that_failed_run_again() {
    let mut bench = collected();
    assert!(bench.restart(Some("all"), None));
    assert_eq!(
        (bench.names(), bench.run("all[1]/one").attempt),
        (vec!["all[1]/one".to_owned()], 2)
    );
    assert_eq!(bench.succeed("all[1]/one", 1).generation, 1);
    assert_eq!(bench.succeed("all[1]/two", 1).generation, 1);
    let Work::Gather(results) = &bench.run("all").work else {
        panic!("no gathering")
    };
    assert_eq!(results.given, [0, 1, 2].map(|n| Some(given(&n))));
}

#[test]
fn an_item_that_had_ended_runs_again_as_a_whole_where_a_step_of_it_is_named() {
    let mut bench = collected();
    assert!(bench.restart(Some("all[2]/two"), None));
    assert_eq!(bench.names(), ["all[2]/one"]);
    bench.succeed("all[2]/one", 8);
    bench.succeed("all[2]/two", 9);
    let Work::Gather(results) = &bench.run("all").work else {
        panic!("no gathering")
    };
    assert_eq!(results.given, [Some(given(&0)), None, Some(given(&9))]);
}

#[test]
fn an_item_that_never_was_is_no_step_to_restart_from() {
    let mut bench = collected();
    assert!(!bench.restart(Some("all[7]/one"), None));
}

#[test]
fn in_a_for_each_that_stopped_the_items_that_had_ended_stay() {
    let mut bench = Bench::new(&EACH.replace("collect", "stop"));
    bench.split("all", 3);
    bench.succeed("all[0]/one", 0);
    bench.succeed("all[0]/two", 0);
    bench.fail("all[1]/one", Cause::Permanent);
    bench.close();
    assert!(bench.restart(None, None));
    assert_eq!(bench.names(), ["all[1]/one", "all[2]/one"]);
}

#[test]
fn what_was_undone_runs_again_and_may_be_undone_again_under_another_number() {
    let mut bench = Bench::new(
        "
flow: undone
nodes:
  book: { apply: f, compensate: { apply: undo } }
  free: { apply: f }
  end: { after: [book, free], apply: f }
",
    );
    bench.succeed("free", 1);
    bench.start("book");
    bench.succeed("book", 2);
    bench.fail("end", Cause::Permanent);
    let undone = bench.succeed("book/~compensate", 0);
    assert_eq!((undone.attempt, undone.generation), (1, 0));
    bench.close();
    assert!(bench.restart(None, None));
    assert_eq!(bench.names(), ["book?"], "free keeps its output");
    bench.start("book");
    assert_eq!(bench.succeed("book", 3).attempt, 2);
    bench.fail("end", Cause::Permanent);
    let undone = bench.succeed("book/~compensate", 0);
    assert_eq!((undone.attempt, undone.generation), (2, 1));
}

#[test]
fn a_compensation_that_was_stuck_is_tried_again_when_it_fails_once_more() {
    let mut bench = Bench::new(
        "
flow: stuck
nodes:
  book: { apply: f, compensate: { apply: undo } }
  end: { after: [book], apply: f }
",
    );
    bench.start("book");
    bench.succeed("book", 2);
    bench.fail("end", Cause::Permanent);
    bench.fail("book/~compensate", Cause::Permanent);
    bench.close();
    assert!(bench.restart(None, None));
    assert_eq!(bench.names(), ["end"], "it stands, and is not done again");
    bench.cancel();
    assert_eq!(bench.run("book/~compensate").attempt, 2);
}

#[test]
fn a_loop_that_came_to_its_bound_begins_anew_with_attempts_numbered_on() {
    let mut bench = Bench::new(
        "
flow: again
nodes:
  poll: { loop: { while: '.', max_iterations: 1, body: { nodes: { get: { apply: f } } } } }
",
    );
    let asked = || StepEnd::Asked {
        again: true,
        input: None,
    };
    bench.end("poll", asked());
    bench.succeed("poll#1/get", 1);
    bench.end("poll", asked());
    bench.close();
    assert!(bench.restart(None, None));
    bench.end("poll", asked());
    assert_eq!(bench.run("poll#1/get").attempt, 2);
}

#[test]
fn attempts_in_bodies_within_bodies_are_numbered_on() {
    let mut bench = Bench::new(
        "
flow: nested
nodes:
  all: { for_each: { body: { nodes: { each: { for_each: { body: { nodes: { one: { apply: f } } } } } } } } }
",
    );
    for attempt in 1..4 {
        bench.split("all", 1);
        bench.split("all[0]/each", 1);
        let run = bench.run("all[0]/each[0]/one");
        assert!(run.attempt >= attempt, "{}", run.attempt);
        bench.cancel();
        bench.close();
        assert!(bench.restart(Some("all"), None));
    }
}

#[test]
fn on_another_version_what_changed_is_reset_and_what_did_not_stays() {
    let other = CHAIN.replace("b: { after: [a], apply: f }", "b: { after: [a], apply: g }");
    let mut bench = Bench::of(&[CHAIN, &other]);
    bench.succeed("a", 1);
    bench.succeed("b", 2);
    bench.fail("c", Cause::Permanent);
    bench.close();
    let version = read_yaml(&other).unwrap().version().to_string();
    assert!(bench.restart(None, Some(&version)));
    assert_eq!(
        (bench.names(), bench.run("b").attempt),
        (vec!["b".to_owned()], 2)
    );
    assert_eq!(bench.execution.flow().version().as_str(), version);
}

#[test]
fn what_does_not_fit_another_version_is_refused_and_named() {
    let other = CHAIN.replace("b:", "x:").replace("[b]", "[x]");
    let mut bench = Bench::of(&[CHAIN, &other]);
    bench.succeed("a", 1);
    bench.fail("b", Cause::Permanent);
    bench.close();
    let version = read_yaml(&other).unwrap().version().to_string();
    let asked = |from: &str, version: &str| Event::RestartAsked {
        from: Some(from.into()),
        version: Some(version.to_owned()),
        deadline_us: 1,
        at_us: 0,
    };
    let refused = |event| bench.execution.allows(&event).unwrap_err();
    assert_eq!(
        refused(asked("b", &version)),
        Refusal::Misfit {
            step: "b".into(),
            version: version.clone()
        }
    );
    assert_eq!(refused(asked("y", &version)), Refusal::NoStep("y".into()));
    assert_eq!(
        refused(asked("b", "none")),
        Refusal::NoVersion("none".to_owned())
    );
}

#[test]
fn the_time_limit_begins_anew() {
    let mut bench = Bench::new(CHAIN);
    bench.tick(600 * SECOND);
    assert_eq!(bench.close(), Conclusion::TimedOut);
    assert!(bench.restart(None, None));
    assert_eq!(bench.execution.wake_at_us(), Some(1_200 * SECOND));
}
