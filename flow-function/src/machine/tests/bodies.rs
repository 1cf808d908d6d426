//! Bodies: `for_each`, `loop`, `expand`.

use super::*;

const EACH: &str = "
flow: each
nodes:
  extra: { apply: f }
  all:
    for_each:
      max_parallel: 2
      body:
        nodes:
          one: { after: [item, extra], apply: f }
          two: { after: [one], apply: f }
  sum: { after: [all], apply: f }
";

#[test]
fn items_run_within_their_bound_and_their_results_keep_their_order() {
    let mut bench = Bench::new(EACH);
    assert_eq!(
        bench.names(),
        ["extra"],
        "a value that the body uses is waited for"
    );
    bench.succeed("extra", 100);
    bench.split("all", 3);
    assert_eq!(bench.names(), ["all[0]/one", "all[1]/one"]);
    let one = bench.succeed("all[1]/one", 1);
    let manifest = Arc::new(inline(&3));
    assert_eq!(one.inputs[0].1, Some(Given::Item { manifest, index: 1 }));
    assert_eq!(one.inputs[1].1, Some(given(&100)));
    bench.succeed("all[1]/two", 11);
    assert_eq!(bench.names(), ["all[0]/one", "all[2]/one"]);
    for (step, value) in [
        ("all[2]/one", 2),
        ("all[0]/one", 0),
        ("all[2]/two", 12),
        ("all[0]/two", 10),
    ] {
        bench.succeed(step, value);
    }
    let Work::Gather(results) = &bench.run("all").work else {
        panic!("no gathering")
    };
    assert_eq!(results.given, [10, 11, 12].map(|n| Some(given(&n))));
    bench.succeed("all", 33);
    assert_eq!(bench.names(), ["sum"]);
}

#[test]
fn a_for_each_over_nothing_gathers_nothing() {
    let mut bench = Bench::new(EACH);
    bench.succeed("extra", 100);
    bench.split("all", 0);
    let Work::Gather(results) = &bench.run("all").work else {
        panic!("no gathering")
    };
    assert!(results.given.is_empty() && results.errors.is_empty());
}

const COLLECT: &str = "
flow: collect
nodes:
  all: { for_each: { errors: collect, body: { nodes: { one: { apply: f } } } } }
  end: { after: [all], apply: f }
";

#[test]
fn a_for_each_that_collects_goes_on_with_its_other_items() {
    let mut bench = Bench::new(COLLECT);
    bench.split("all", 3);
    bench.fail("all[1]/one", Cause::Permanent);
    bench.succeed("all[2]/one", 2);
    bench.succeed("all[0]/one", 0);
    let Work::Gather(results) = &bench.run("all").work else {
        panic!("no gathering")
    };
    assert_eq!(results.given, [Some(given(&0)), None, Some(given(&2))]);
    let (item, error) = &results.errors[0];
    assert_eq!(
        (*item, error.step.as_str(), error.message.as_str()),
        (1, "all[1]/one", "no")
    );
}

#[test]
fn the_first_item_that_fails_fails_a_for_each_that_stops() {
    let mut bench = Bench::new(EACH);
    bench.succeed("extra", 1);
    bench.split("all", 3);
    bench.fail("all[0]/one", Cause::Permanent);
    assert_eq!(bench.stopped, ["all[1]/one"]);
    assert_eq!(bench.failure(), "all[0]/one");
}

const LOOP: &str = "
flow: again
nodes:
  poll: { loop: { while: '.', max_iterations: 2, body: { nodes: { get: { apply: f } } } }, fallback: { apply: g } }
  end: { after: [poll], apply: f }
";

fn asked(again: bool) -> StepEnd {
    StepEnd::Asked { again, input: None }
}

#[test]
fn a_loop_asks_before_each_iteration_and_gives_its_last_state() {
    let mut bench = Bench::new(LOOP);
    assert!(matches!(bench.run("poll").work, Work::Ask(None)));
    bench.end("poll", asked(true));
    assert_eq!(bench.run("poll#1/get").inputs[0].1, Some(given(&1)));
    bench.succeed("poll#1/get", 2);
    let Work::Ask(state) = &bench.run("poll").work else {
        panic!("no asking")
    };
    assert_eq!(*state, Some(given(&2)));
    bench.end("poll", asked(true));
    bench.succeed("poll#2/get", 3);
    bench.end("poll", asked(false));
    assert_eq!(bench.run("end").inputs[0].1, Some(given(&3)));
}

#[test]
fn a_loop_whose_condition_does_not_hold_gives_its_input() {
    let mut bench = Bench::new(LOOP);
    bench.end("poll", asked(false));
    assert_eq!(bench.run("end").inputs[0].1, Some(given(&1)));
}

#[test]
fn a_loop_that_would_pass_its_bound_fails_and_its_fallback_knows_why() {
    let mut bench = Bench::new(LOOP);
    for step in ["poll#1/get", "poll#2/get"] {
        bench.end("poll", asked(true));
        bench.succeed(step, 2);
    }
    bench.end("poll", asked(true));
    let run = bench.run("poll");
    assert!(matches!(run.work, Work::Fallback));
    assert!(
        run.error
            .as_ref()
            .unwrap()
            .message
            .contains("bound of 2 iterations")
    );
}

const EXPAND: &str = "
flow: build
nodes:
  build: { expand: { apply: f } }
  end: { after: [build], apply: f }
";

fn expanded(graph: &str) -> StepEnd {
    let graph = graph.to_owned();
    StepEnd::Expanded { graph, input: None }
}

#[test]
fn a_graph_made_at_run_time_runs_in_the_place_of_its_node() {
    let mut bench = Bench::new(EXPAND);
    bench.end(
        "build",
        expanded("{ nodes: { a: { apply: f }, b: { after: [a], apply: f } } }"),
    );
    assert_eq!(
        bench.run("build/a").inputs[0].1,
        Some(given(&1)),
        "the node's input"
    );
    bench.succeed("build/a", 2);
    bench.succeed("build/b", 3);
    assert_eq!(bench.run("end").inputs[0].1, Some(given(&3)));
}

#[test]
fn a_graph_that_is_refused_fails_the_step_with_every_problem() {
    let mut bench = Bench::new(EXPAND);
    bench.end(
        "build",
        expanded("{ nodes: { a: { after: [x], apply: f }, b: { after: [y], apply: f } } }"),
    );
    let Conclusion::Failed(error) = bench.close() else {
        panic!("it is not refused")
    };
    assert_eq!(error.cause, Cause::Permanent);
    assert!(
        error.message.contains("\"x\"") && error.message.contains("\"y\""),
        "{}",
        error.message
    );
}

#[test]
fn graphs_made_at_run_time_stand_sixteen_deep_in_one_another_and_not_deeper() {
    let mut bench = Bench::new(EXPAND);
    let mut step = "build".to_owned();
    for _ in 0..16 {
        bench.end(
            &step,
            expanded("{ nodes: { a: { expand: { apply: f } } } }"),
        );
        step = format!("{step}/a");
    }
    bench.end(&step, expanded("{ nodes: { a: { apply: f } } }"));
    let Conclusion::Failed(error) = bench.close() else {
        panic!("it is not refused")
    };
    assert!(error.message.contains("16 deep"), "{}", error.message);
}

#[test]
fn a_request_has_a_hundred_thousand_nodes_of_graphs_made_at_run_time_and_not_more() {
    let mut bench = Bench::new(
        "
flow: large
nodes:
  all: { for_each: { max_parallel: 1, body: { nodes: { build: { expand: { apply: f } } } } } }
",
    );
    bench.split("all", 2);
    // Most of them are there already; the nodes of bodies count as well.
    bench.execution.expanded = crate::machine::bodies::EXPANDED_NODES_MAX - 5;
    let graph = "{ nodes: { each: { for_each: { body: { nodes: { a: { pass: . }, b: { pass: . } } } } } } }";
    bench.end("all[0]/build", expanded(graph));
    let each = "all[0]/build/each";
    bench.split(each, 0);
    bench.succeed(each, 0);
    bench.end("all[1]/build", expanded(graph));
    let Conclusion::Failed(error) = bench.close() else {
        panic!("it is not refused")
    };
    assert!(error.message.contains("100001 nodes"), "{}", error.message);
}
