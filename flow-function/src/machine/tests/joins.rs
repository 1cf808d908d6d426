//! Readiness, skips, joins, switches.

use super::*;

const DIAMOND: &str = "
flow: diamond
nodes:
  a: { apply: f }
  b: { after: [a], apply: f }
  c: { after: [a], apply: f }
  d: { after: [b, c], apply: f }
";

#[test]
fn a_join_fires_once_when_all_before_it_ended() {
    let mut bench = Bench::new(DIAMOND);
    assert_eq!(bench.names(), ["a"]);
    bench.succeed("a", 1);
    assert_eq!(bench.names(), ["b", "c"]);
    let c = bench.succeed("c", 3);
    let again = Event::StepEnded(bench.event("c", c.attempt, done(3)));
    bench.append(Kind::Driver, 1, vec![again.clone(), again]);
    assert_eq!(
        bench.names(),
        ["b"],
        "a completion counts once, by its name"
    );
    bench.succeed("b", 2);
    let inputs = &bench.run("d").inputs;
    assert_eq!(inputs[0], (Arc::from("b"), Some(given(&2))));
    assert_eq!(inputs[1], (Arc::from("c"), Some(given(&3))));
    bench.succeed("d", 4);
    assert_eq!(bench.output(), given(&4));
}

#[test]
fn an_edge_of_order_alone_is_waited_for_and_brings_no_value() {
    let mut bench = Bench::new(
        "
flow: order
nodes:
  a: { apply: f }
  b: { after: [{ node: a, data: false }], apply: f }
",
    );
    assert_eq!(bench.names(), ["a"]);
    bench.succeed("a", 1);
    assert!(bench.run("b").inputs.is_empty());
}

const SWITCH: &str = "
flow: switch
nodes:
  route: { switch: [{ when: '.a', to: a }, { when: '.b', to: b }], match: all }
  a: { apply: f }
  a2: { after: [a], apply: f }
  b: { apply: f }
  end: { after: [a2, b], apply: f }
";

fn took(cases: &[u32]) -> StepEnd {
    let cases = cases.to_vec();
    StepEnd::Took { cases, input: None }
}

#[test]
fn a_case_that_is_not_taken_is_skipped_with_all_that_hangs_on_it() {
    let mut bench = Bench::new(SWITCH);
    bench.end("route", took(&[1]));
    assert_eq!(bench.names(), ["b"]);
    assert_eq!(
        bench.run("b").inputs[0].1,
        Some(given(&1)),
        "the switch's input"
    );
    bench.succeed("b", 5);
    let inputs = bench.run("end").inputs.clone();
    assert_eq!(
        (inputs[0].1.clone(), inputs[1].1.clone()),
        (None, Some(given(&5))),
        "without the dead"
    );
}

#[test]
fn a_switch_that_matches_all_takes_every_case_that_holds() {
    let mut bench = Bench::new(SWITCH);
    bench.end("route", took(&[0, 1]));
    assert_eq!(bench.names(), ["a", "b"]);
}

#[test]
fn a_switch_without_a_case_that_holds_skips_to_an_empty_output() {
    let mut bench = Bench::new(SWITCH);
    bench.end("route", took(&[]));
    assert_eq!(bench.output(), Given::Empty);
}

#[test]
fn a_switch_whose_cases_lead_to_one_node_is_one_input_of_it() {
    let mut bench = Bench::new(
        "
flow: cases
nodes:
  first: { switch: [{ when: '.a', to: second }, { when: '.b', to: second }] }
  second: { switch: [{ when: 'true', to: end }] }
  end: { pass: . }
",
    );
    bench.end("first", took(&[1]));
    assert_eq!(bench.run("second").inputs.len(), 2);
    bench.end("second", took(&[0]));
    assert_eq!(bench.run("end").inputs[0].1, Some(given(&1)));
}

#[test]
fn a_node_whose_condition_does_not_hold_is_skipped_before_everything_else() {
    let text = "
flow: when
nodes:
  a: { apply: f, idempotent: false, when: '.go' }
  b: { after: [a], apply: f }
";
    let mut bench = Bench::new(text);
    assert!(matches!(bench.run("a").work, Work::When));
    bench.end("a", StepEnd::Skipped);
    assert_eq!(bench.output(), Given::Empty);
    let mut bench = Bench::new(text);
    bench.end("a", StepEnd::Went);
    assert_eq!(bench.names(), ["a?"], "its start is recorded first");
}

#[test]
fn a_chain_of_ten_thousand_skipped_nodes_ends_without_recursion() {
    let mut text =
        "flow: long\nnodes:\n  route: { switch: [{ when: 'false', to: n0 }] }\n  n0: { pass: . }\n"
            .to_owned();
    for n in 1..10_000 {
        text.push_str(&format!("  n{n}: {{ after: [n{}], pass: . }}\n", n - 1));
    }
    let mut bench = Bench::new(&text);
    bench.end("route", took(&[]));
    assert_eq!(bench.output(), Given::Empty);
}

#[test]
fn a_step_sees_the_variables_as_they_stood_when_it_started() {
    let mut bench = Bench::new(
        "
flow: variables
nodes:
  a: { apply: f, set: { who: . } }
  b: { apply: f }
  c: { after: [b], apply: f }
",
    );
    let mut end = bench.event("a", 1, done(1));
    end.set = vec![("who".to_owned(), inline(&"x"))];
    bench.drive(Event::StepEnded(end));
    assert!(bench.run("b").variables.is_empty());
    bench.succeed("b", 2);
    assert_eq!(bench.run("c").variables.get("who"), Some(&inline(&"x")));
}
