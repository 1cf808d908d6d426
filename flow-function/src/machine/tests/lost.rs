//! Lost data: it is made again, and what used it is void where it differs.

use super::*;

const CHAIN: &str = "
flow: chain
nodes:
  a: { apply: f }
  b: { after: [a], apply: f }
  c: { after: [a, b], apply: f }
";

/// Places of values, each used once.
pub(super) fn put(bench: &mut Bench, step: &str, data: u64) -> ValueRef {
    let value = stored(bench.log.len() as u64, data);
    bench.end(
        step,
        StepEnd::Succeeded {
            value: value.clone(),
        },
    );
    value
}

pub(super) fn lose(bench: &mut Bench, step: &str, value: &ValueRef) {
    bench.end(
        step,
        StepEnd::Lost {
            value: value.clone(),
        },
    );
}

fn at(value: &ValueRef) -> Option<Given> {
    Some(Given::Value(Arc::new(value.clone())))
}

#[test]
fn a_value_that_is_gone_is_made_again_and_where_it_is_the_same_only_its_reader_goes_on() {
    let mut bench = Bench::new(CHAIN);
    let a = put(&mut bench, "a", 1);
    let b = put(&mut bench, "b", 2);
    lose(&mut bench, "c", &a);
    assert_eq!(
        (bench.names(), bench.run("a").attempt),
        (vec!["a".to_owned()], 2),
        "c waits"
    );
    let again = put(&mut bench, "a", 1);
    assert_eq!(bench.names(), ["c"]);
    let run = bench.run("c");
    assert_eq!(
        (
            run.attempt,
            run.inputs[0].1.clone(),
            run.inputs[1].1.clone()
        ),
        (2, at(&again), at(&b))
    );
}

#[test]
fn where_it_differs_all_that_used_it_is_void() {
    let mut bench = Bench::new(CHAIN);
    let a = put(&mut bench, "a", 1);
    put(&mut bench, "b", 2);
    lose(&mut bench, "c", &a);
    let again = put(&mut bench, "a", 9);
    assert_eq!(
        (bench.names(), bench.run("b").attempt),
        (vec!["b".to_owned()], 2)
    );
    assert_eq!(bench.run("b").inputs[0].1, at(&again));
}

#[test]
fn where_what_used_it_must_not_be_repeated_the_request_fails() {
    let once = CHAIN.replace(
        "b: { after: [a], apply: f }",
        "b: { after: [a], apply: f, idempotent: false }",
    );
    let mut bench = Bench::new(&once);
    let a = put(&mut bench, "a", 1);
    bench.start("b");
    put(&mut bench, "b", 2);
    lose(&mut bench, "c", &a);
    put(&mut bench, "a", 9);
    let Conclusion::Failed(error) = bench.close() else {
        panic!("it goes on")
    };
    assert!(
        error.message.starts_with("data diverged"),
        "{}",
        error.message
    );
}

#[test]
fn what_must_not_be_repeated_is_not_made_again() {
    let once = CHAIN.replace("a: { apply: f }", "a: { apply: f, idempotent: false }");
    let mut bench = Bench::new(&once);
    bench.start("a");
    let a = put(&mut bench, "a", 1);
    lose(&mut bench, "b", &a);
    assert_eq!(bench.failure(), "a");
}

#[test]
fn a_value_is_made_again_three_times_and_not_a_fourth() {
    let mut bench = Bench::new(CHAIN);
    let mut a = put(&mut bench, "a", 1);
    for _ in 0..3 {
        lose(&mut bench, "b", &a);
        a = put(&mut bench, "a", 1);
    }
    lose(&mut bench, "b", &a);
    assert_eq!(bench.failure(), "a");
}

#[test]
fn making_it_again_does_not_count_against_the_retries_of_its_reader() {
    let text = CHAIN.replace(
        "b: { after: [a], apply: f }",
        "b: { after: [a], apply: f, retry: { attempts: 2, backoff: 1ms..1ms } }",
    );
    let mut bench = Bench::new(&text);
    let a = put(&mut bench, "a", 1);
    bench.fail("b", Cause::Transient);
    lose(&mut bench, "b", &a);
    put(&mut bench, "a", 1);
    bench.fail("b", Cause::Transient);
    assert_eq!(bench.failure(), "b");
}

#[test]
fn what_must_not_be_repeated_may_start_after_its_input_was_made_again() {
    let mut bench = Bench::new(
        "
flow: pay
nodes:
  a: { apply: f }
  pay: { after: [a], apply: f, idempotent: false }
",
    );
    let a = put(&mut bench, "a", 1);
    bench.start("pay");
    lose(&mut bench, "pay", &a);
    assert_eq!(bench.names(), ["a"]);
    put(&mut bench, "a", 1);
    assert_eq!(bench.names(), ["pay?"], "no call was made");
    assert_eq!(bench.starts["pay"], 2);
}

#[test]
fn a_value_from_outside_is_made_again_without_letting_go_of_the_body() {
    let mut bench = Bench::new(
        "
flow: outside
nodes:
  a: { apply: f }
  all: { for_each: { body: { nodes: { one: { after: [item, a], apply: f }, pay: { after: [item], apply: f, idempotent: false } } } } }
",
    );
    let a = put(&mut bench, "a", 1);
    bench.split("all", 1);
    bench.start("all[0]/pay");
    bench.succeed("all[0]/pay", 1);
    lose(&mut bench, "all[0]/one", &a);
    assert_eq!(bench.names(), ["a"]);
    put(&mut bench, "a", 1);
    assert_eq!(bench.names(), ["all[0]/one"], "and nothing is paid again");
}

#[test]
fn a_wait_whose_value_is_lost_does_not_wait_again() {
    let mut bench = Bench::new(
        "
flow: nap
nodes:
  a: { apply: f }
  nap: { after: [a], wait: 5s }
  b: { after: [nap], apply: f }
",
    );
    let a = put(&mut bench, "a", 1);
    bench.tick(5 * SECOND);
    lose(&mut bench, "b", &a);
    assert_eq!(bench.names(), ["a"]);
    let again = put(&mut bench, "a", 1);
    assert_eq!(bench.run("b").inputs[0].1, at(&again));
}

#[test]
fn an_input_that_is_lost_fails_the_request() {
    let mut bench = Bench::new(CHAIN);
    let input = inline(&1);
    lose(&mut bench, "a", &input);
    let Conclusion::Failed(error) = bench.close() else {
        panic!("it goes on")
    };
    assert!(error.message.contains("input is lost"), "{}", error.message);
}

#[test]
fn items_that_are_listed_while_an_outer_value_is_made_again_wait_for_it() {
    let mut bench = Bench::new(
        "
flow: outside
nodes:
  a: { apply: f }
  b: { after: [a], apply: f }
  all: { after: [input], for_each: { body: { nodes: { one: { after: [a], apply: f } } } } }
",
    );
    let a = put(&mut bench, "a", 1);
    lose(&mut bench, "b", &a);
    bench.split("all", 1);
    assert_eq!(bench.names(), ["a"], "the item is neither skipped nor run");
    put(&mut bench, "a", 1);
    assert_eq!(bench.names(), ["all[0]/one", "b"]);
}

#[test]
fn a_value_that_was_made_again_already_reaches_a_reader_behind_a_wait() {
    let mut bench = Bench::new(
        "
flow: nap
nodes:
  a: { apply: f }
  nap: { after: [a], wait: 5s }
  b: { after: [a], apply: f }
  c: { after: [nap], apply: f }
",
    );
    let a = put(&mut bench, "a", 1);
    bench.tick(5 * SECOND);
    lose(&mut bench, "b", &a);
    let again = put(&mut bench, "a", 1);
    lose(&mut bench, "c", &a);
    assert_eq!(bench.run("c").inputs[0].1, at(&again));
}

#[test]
fn a_body_that_runs_anew_waits_anew() {
    let mut bench = Bench::new(
        "
flow: nap
nodes:
  all: { for_each: { body: { nodes: { nap: { wait: 5s }, one: { after: [nap], apply: f } } } } }
",
    );
    let manifest = stored(50, 1);
    let split = |manifest| StepEnd::Split { items: 1, manifest };
    bench.end("all", split(manifest));
    bench.tick(5 * SECOND);
    lose(&mut bench, "all[0]/one", &stored(51, 1));
    bench.end("all", split(stored(52, 1)));
    assert_eq!(bench.names(), Vec::<String>::new(), "it waits");
    bench.tick(10 * SECOND);
    assert_eq!(bench.names(), ["all[0]/one"]);
}

#[test]
fn a_take_over_does_not_wait_for_a_value_that_nobody_makes_again() {
    let mut bench = Bench::new(
        "
flow: gone
nodes:
  a: { apply: f }
  b: { after: [a], apply: f }
  c: { after: [a], apply: f, compensate: { apply: f } }
  d: { apply: f }
",
    );
    let a = put(&mut bench, "a", 1);
    bench.start("c");
    lose(&mut bench, "b", &a);
    bench.fail("d", Cause::Permanent);
    bench.take_over();
    assert_eq!(
        bench.names(),
        ["c/~compensate"],
        "nobody knows whether it was done"
    );
}

/// What the flow returns turns out to be gone when it is to be read.
fn lose_output(bench: &mut Bench, value: &ValueRef) {
    bench.ended.pop_front().expect("it is told how it ends");
    let (value, at_us) = (value.clone(), bench.now);
    bench.drive(Event::OutputLost { value, at_us });
}

#[test]
fn an_output_that_is_gone_is_made_again() {
    let mut bench = Bench::new(
        "flow: two\nnodes: { a: { apply: f }, b: { apply: f }, w: { after: [a], wait: 1s } }",
    );
    let a = put(&mut bench, "a", 1);
    bench.tick(2 * SECOND);
    let b = put(&mut bench, "b", 2);
    assert_eq!(bench.ended.len(), 1);
    // That of the wait is what it was given.
    lose_output(&mut bench, &a);
    assert_eq!(
        (bench.names(), bench.run("a").attempt),
        (vec!["a".to_owned()], 2)
    );
    let again = put(&mut bench, "a", 1);
    let Given::Map(members) = bench.output() else {
        panic!("two sinks are joined")
    };
    let members: Vec<_> = members
        .iter()
        .map(|(_, given)| Some(given.clone()))
        .collect();
    assert_eq!(members, [at(&b), at(&again)]);
}

#[test]
fn what_comes_finally_comes_once_though_the_output_is_made_again() {
    let text = "flow: f\nnodes: { a: { apply: f } }\nfinally: { nodes: { z: { apply: f } } }";
    let mut bench = Bench::new(text);
    let a = put(&mut bench, "a", 1);
    bench.succeed("~finally/z", 0);
    lose_output(&mut bench, &a);
    bench.take_over();
    let again = put(&mut bench, "a", 1);
    assert_eq!(bench.names(), [""; 0]);
    assert_eq!(Some(bench.output()), at(&again));
}

#[test]
fn an_output_that_cannot_be_made_again_fails_the_request() {
    let mut bench = Bench::new("flow: f\nnodes: { a: { apply: f, idempotent: false } }");
    bench.start("a");
    let a = put(&mut bench, "a", 1);
    lose_output(&mut bench, &a);
    assert_eq!(bench.failure(), "a");
    // Nobody loses it three times more.
    let mut bench = Bench::new("flow: f\nnodes: { a: { apply: f } }");
    for _ in 0..3 {
        let a = put(&mut bench, "a", 1);
        lose_output(&mut bench, &a);
    }
    let a = put(&mut bench, "a", 1);
    lose_output(&mut bench, &a);
    assert_eq!(bench.failure(), "a");
}

#[test]
fn an_output_that_cannot_be_put_together_fails_the_request_and_what_was_done_is_undone() {
    let text = "flow: f\nnodes: { a: { apply: f, compensate: { apply: undo } } }";
    let fails: [fn(&Bench) -> Event; 2] = [
        |bench| Event::OutputFailed {
            message: "it is too large".to_owned(),
            cause: Cause::Permanent,
            at_us: bench.now,
        },
        // No step gave that.
        |bench| Event::OutputLost {
            value: stored(77, 7),
            at_us: bench.now,
        },
    ];
    for event in fails {
        let mut bench = Bench::new(text);
        bench.start("a");
        put(&mut bench, "a", 1);
        bench.ended.pop_front().expect("it is told how it ends");
        bench.drive(event(&bench));
        assert_eq!(bench.names(), ["a/~compensate"]);
        bench.succeed("a/~compensate", 0);
        assert_eq!(bench.failure(), "output");
    }
}
