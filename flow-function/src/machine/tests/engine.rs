//! Defects of an earlier engine that this one must not have. Those of its queues, stores, HTTP and
//! validation are tested where those are; here are the ones of its engine, by their numbers.

use super::*;

#[test]
fn defect_1_a_join_of_which_both_arrive_at_once_fires_once() {
    let mut bench = Bench::new(
        "
flow: join
nodes:
  a: { apply: f }
  b: { apply: f }
  c: { after: [a, b], apply: f }
",
    );
    let ends = ["a", "b", "a", "b"].map(|step| Event::StepEnded(bench.event(step, 1, done(1))));
    bench.running.clear();
    assert!(bench.append(Kind::Driver, 1, ends.to_vec()));
    assert_eq!(bench.names(), ["c"]);
}

#[test]
fn defect_2_and_7_a_step_whose_driver_is_lost_has_its_inputs_still() {
    let mut bench =
        Bench::new("flow: two\nnodes:\n  a: { apply: f }\n  b: { after: [a], apply: f }\n");
    bench.succeed("a", 5);
    let before = bench.run("b").inputs.clone();
    for _ in 0..3 {
        bench.take_over();
        assert_eq!(bench.run("b").inputs, before);
    }
    bench.succeed("b", 6);
    assert_eq!(bench.output(), given(&6));
}

#[test]
fn defect_3_a_crash_after_any_append_neither_loses_nor_doubles_a_branch() {
    let text = "
flow: branches
nodes:
  all: { for_each: { max_parallel: 2, body: { nodes: { one: { apply: f } } } } }
";
    for crash in 0..5 {
        let mut bench = Bench::new(text);
        bench.split("all", 4);
        for item in 0..4 {
            if item == crash {
                bench.take_over();
            }
            bench.succeed(&format!("all[{item}]/one"), item);
        }
        let Work::Gather(results) = &bench.run("all").work else {
            panic!("no gathering")
        };
        assert_eq!(results.given, [0, 1, 2, 3].map(|n| Some(given(&n))));
    }
}

#[test]
fn defect_5_a_paused_request_does_not_forward_and_a_resume_runs_nothing_twice() {
    let mut bench =
        Bench::new("flow: two\nnodes:\n  a: { apply: f }\n  b: { after: [a], apply: f }\n");
    bench.pause();
    bench.succeed("a", 1);
    assert!(bench.names().is_empty());
    bench.resume();
    bench.pause();
    bench.resume();
    assert_eq!(bench.names(), ["b"]);
    assert_eq!(bench.order, ["a", "b"]);
    bench.succeed("b", 1);
    bench.close();
    assert!(!bench.resume(), "and one that has ended does not run on");
    assert_eq!(bench.execution.status(), "ended");
}

#[test]
fn defect_8_a_step_with_three_attempts_runs_three_times() {
    let mut bench = Bench::new(
        "flow: three\nnodes:\n  a: { apply: f, retry: { attempts: 3, backoff: 1ms..1ms } }\n",
    );
    for _ in 0..3 {
        bench.fail("a", Cause::Transient);
    }
    assert_eq!((bench.order.len(), bench.failure()), (3, "a".to_owned()));
}

#[test]
fn defect_9_the_same_graph_twice_runs_twice() {
    let graph = "{ nodes: { x: { apply: f }, y: { after: [x], apply: f } } }";
    let mut bench = Bench::new(
        "flow: twice\nnodes:\n  a: { expand: { apply: f } }\n  b: { expand: { apply: f } }\n  end: { after: [a, b], apply: f }\n",
    );
    for step in ["a", "b"] {
        bench.end(
            step,
            StepEnd::Expanded {
                graph: graph.to_owned(),
                input: None,
            },
        );
    }
    for step in ["a/x", "b/x", "a/y", "b/y"] {
        bench.succeed(step, 1);
    }
    assert_eq!(bench.names(), ["end"]);
}

#[test]
fn defect_10_a_panic_of_one_step_is_a_failure_of_that_step() {
    let mut bench = Bench::new("flow: panics\nnodes:\n  a: { apply: f, fallback: { value: 7 } }\n");
    bench.fail("a", Cause::Panic);
    assert_eq!(bench.output(), given(&7));
}

#[test]
fn defect_11_an_empty_for_each_succeeds_and_a_node_that_gives_nothing_gives_nothing() {
    let mut bench = Bench::new(
        "
flow: empty
nodes:
  all: { for_each: { body: { nodes: { one: { apply: f } } } } }
  none: { after: [all], switch: [{ when: '.', to: never }] }
  never: { apply: f }
  end: { after: [never, { node: all, data: false }], apply: f }
",
    );
    bench.split("all", 0);
    bench.succeed("all", 0);
    bench.end(
        "none",
        StepEnd::Took {
            cases: Vec::new(),
            input: None,
        },
    );
    assert_eq!(
        bench.run("end").inputs,
        [(Arc::from("never"), None)],
        "and not the input of another"
    );
}

#[test]
fn defect_15_what_follows_is_told_with_the_event_that_releases_it() {
    let mut bench =
        Bench::new("flow: two\nnodes:\n  a: { apply: f }\n  b: { after: [a], apply: f }\n");
    bench.succeed("a", 1);
    assert_eq!(bench.names(), ["b"], "nobody polls");
}

#[test]
fn defect_17_a_request_that_is_open_does_not_say_that_it_ended() {
    let bench = Bench::new("flow: one\nnodes:\n  a: { apply: f }\n");
    assert!(!bench.execution.is_ended() && !bench.execution.is_concluded());
    assert_eq!(bench.execution.status(), "running");
}

#[test]
fn defect_21_a_graph_is_shared_by_all_its_steps_and_not_built_for_each() {
    let mut bench =
        Bench::new("flow: two\nnodes:\n  a: { apply: f }\n  b: { after: [a], apply: f }\n");
    let first = Arc::clone(&bench.run("a").graph);
    bench.succeed("a", 1);
    assert!(Arc::ptr_eq(&first, &bench.run("b").graph));
}
