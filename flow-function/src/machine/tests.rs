//! The machine by itself: events in, actions out.

use std::collections::VecDeque;
use std::time::Duration;

use turlough_sdk::{ReplicaId, Retry, StepError, Value, read_yaml};
use turlough_statestore::event::Outcome;
use turlough_statestore::{Envelope, Seq};
use uuid::Uuid;

use super::*;

/// A request whose log is kept, so that it can be folded anew from any prefix.
struct Bench {
    flow: Arc<Flow>,
    execution: Execution,
    log: Vec<Append>,
    running: VecDeque<Run>,
    ended: Option<Conclusion>,
}

fn replica() -> ReplicaId {
    ReplicaId::from_uuid(Uuid::from_u128(7))
}

fn inline(value: &impl serde::Serialize) -> ValueRef {
    ValueRef::Inline(Value::encode(value).unwrap().envelope().clone())
}

fn append(id: u128, after: Option<AppendId>, epoch: u64, events: Vec<Event>) -> Append {
    let envelope = Envelope {
        id: AppendId(id),
        after,
        kind: Kind::Driver,
        epoch,
        replica: replica(),
        function: "flows".parse().unwrap(),
        generation: 0,
        deadline_us: None,
        wake_at_us: None,
    };
    Append::new(envelope, events)
}

impl Bench {
    fn new(flow: Flow) -> Self {
        let flow = Arc::new(flow);
        let execution = Execution::new(Arc::clone(&flow));
        let (log, running) = (Vec::new(), VecDeque::new());
        let mut bench = Self {
            flow,
            execution,
            log,
            running,
            ended: None,
        };
        let accepted = Event::Accepted {
            flow: bench.flow.name().clone(),
            version: bench.flow.version().to_string(),
            tenant: "default".parse().unwrap(),
            input: inline(&1),
            at_us: 0,
        };
        let claimed = Event::Claimed {
            replica: replica(),
            epoch: 1,
            at_us: 0,
        };
        bench.append(1, vec![accepted, claimed]);
        bench
    }

    fn yaml(text: &str) -> Self {
        Self::new(read_yaml(text).unwrap())
    }

    fn append(&mut self, epoch: u64, events: Vec<Event>) -> bool {
        let id = self.log.len() as u128 + 1;
        let append = append(id, self.execution.last(), epoch, events);
        let counted = self.execution.fold(&append);
        self.log.push(append);
        for action in self.execution.next_actions() {
            match action {
                Action::Run(run) => self.running.push_back(run),
                Action::End(conclusion) => self.ended = Some(conclusion),
            }
        }
        counted
    }

    fn names(&self) -> Vec<&str> {
        self.running.iter().map(|run| run.step.as_str()).collect()
    }

    fn event(run: &Run, end: StepEnd) -> Event {
        Event::StepEnded(StepEnded {
            step: run.step.clone(),
            generation: 0,
            attempt: run.attempt,
            epoch: 1,
            replica: replica(),
            begin_us: 0,
            end_us: 1_000_000,
            end,
        })
    }

    fn take(&mut self, step: &str) -> Run {
        let found = self
            .running
            .iter()
            .position(|run| run.step.as_str() == step);
        let at = found.unwrap_or_else(|| panic!("{step} does not run, but {:?}", self.names()));
        self.running.remove(at).unwrap()
    }

    fn end(&mut self, step: &str, end: StepEnd) -> Run {
        let run = self.take(step);
        self.append(1, vec![Self::event(&run, end)]);
        run
    }

    fn succeed(&mut self, step: &str, value: u32) -> Run {
        self.end(
            step,
            StepEnd::Succeeded {
                value: inline(&value),
            },
        )
    }

    fn fail(&mut self, step: &str, cause: Cause) -> Run {
        self.end(
            step,
            StepEnd::Failed {
                message: "no".to_owned(),
                cause,
            },
        )
    }

    fn split(&mut self, step: &str, items: u32) {
        self.end(
            step,
            StepEnd::Split {
                items,
                manifest: inline(&items),
            },
        );
    }

    /// After a fold of every prefix, what is wanted is what was wanted then and has not ended since.
    fn wants_the_same_after_a_fold(&self) {
        let mut execution = Execution::new(Arc::clone(&self.flow));
        for append in &self.log {
            execution.fold(append);
        }
        let wanted = |actions: Vec<Action>| {
            let name = |action: Action| match action {
                Action::Run(run) => format!("{}#{}", run.step, run.attempt),
                Action::End(conclusion) => format!("{conclusion:?}"),
            };
            let mut names: Vec<_> = actions.into_iter().map(name).collect();
            names.sort();
            names
        };
        let mut live: Vec<_> = self.running.iter().cloned().map(Action::Run).collect();
        if let Some(conclusion) = self.ended.clone() {
            live = vec![Action::End(conclusion)];
        }
        assert_eq!(wanted(execution.next_actions()), wanted(live));
    }
}

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
    let mut bench = Bench::yaml(DIAMOND);
    assert_eq!(bench.names(), ["a"]);
    bench.succeed("a", 1);
    assert_eq!(bench.names(), ["b", "c"]);
    let c = bench.succeed("c", 3);
    assert_eq!(bench.names(), ["b"]);
    let again = Bench::event(&c, StepEnd::Succeeded { value: inline(&3) });
    bench.append(1, vec![again.clone(), again]);
    assert_eq!(bench.names(), ["b"], "a completion counts once");
    bench.succeed("b", 2);
    let join: Vec<_> = bench.running[0]
        .inputs
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    assert_eq!(
        (bench.names(), join),
        (vec!["d"], vec!["b".to_owned(), "c".to_owned()])
    );
    bench.wants_the_same_after_a_fold();
    bench.succeed("d", 4);
    assert_eq!(
        bench.ended,
        Some(Conclusion::Succeeded(Given::Value(inline(&4))))
    );
    bench.wants_the_same_after_a_fold();
}

const SWITCH: &str = "
flow: switch
nodes:
  route: { switch: [{ when: '.a', to: a }, { when: '.b', to: b }] }
  a: { apply: f }
  a2: { after: [a], apply: f }
  b: { apply: f }
  end: { after: [a2, b], apply: f }
";

#[test]
fn a_case_that_is_not_taken_is_skipped_with_all_that_hangs_on_it() {
    let mut bench = Bench::yaml(SWITCH);
    bench.end("route", StepEnd::Took { case: Some(1) });
    assert_eq!(bench.names(), ["b"]);
    assert_eq!(
        bench.running[0].inputs[0].1,
        Some(Given::Value(inline(&1))),
        "the switch's input"
    );
    bench.succeed("b", 5);
    let end = &bench.running[0];
    assert_eq!(
        (end.inputs[0].1.clone(), end.inputs[1].1.is_some()),
        (None, true)
    );
    bench.wants_the_same_after_a_fold();
}

#[test]
fn a_switch_without_a_case_that_holds_skips_to_an_empty_output() {
    let mut bench = Bench::yaml(SWITCH);
    bench.end("route", StepEnd::Took { case: None });
    assert_eq!(bench.ended, Some(Conclusion::Succeeded(Given::Empty)));
}

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
    let mut bench = Bench::yaml(EACH);
    assert_eq!(
        bench.names(),
        ["extra"],
        "a value that the body uses is waited for"
    );
    bench.succeed("extra", 100);
    bench.split("all", 3);
    assert_eq!(bench.names(), ["all[0]/one", "all[1]/one"]);
    let one = bench.succeed("all[1]/one", 1);
    assert_eq!(
        one.inputs[0].1,
        Some(Given::Item {
            manifest: inline(&3),
            index: 1
        })
    );
    assert_eq!(one.inputs[1].1, Some(Given::Value(inline(&100))));
    bench.succeed("all[1]/two", 11);
    assert_eq!(bench.names(), ["all[0]/one", "all[2]/one"]);
    bench.wants_the_same_after_a_fold();
    bench.succeed("all[2]/one", 2);
    bench.succeed("all[0]/one", 0);
    bench.succeed("all[2]/two", 12);
    bench.succeed("all[0]/two", 10);
    let Work::Gather(results) = &bench.running[0].work else {
        panic!("no gathering")
    };
    let expect: Vec<_> = [10, 11, 12].map(|n| Given::Value(inline(&n))).into();
    assert_eq!(**results, expect);
    bench.wants_the_same_after_a_fold();
    bench.succeed("all", 33);
    assert_eq!(bench.names(), ["sum"]);
}

#[test]
fn a_for_each_over_nothing_gathers_nothing() {
    let mut bench = Bench::yaml(EACH);
    bench.succeed("extra", 100);
    bench.split("all", 0);
    let Work::Gather(results) = &bench.running[0].work else {
        panic!("no gathering")
    };
    assert!(results.is_empty());
    bench.succeed("all", 0);
    assert_eq!(bench.names(), ["sum"]);
}

fn retrying() -> Bench {
    let flow = Flow::builder("retrying");
    let input = flow.input::<u32>();
    let backoff = Duration::from_secs(2)..Duration::from_secs(2);
    let step = flow
        .map("step", &input, |n: u32| -> Result<u32, StepError> { Ok(n) })
        .retry(Retry::exponential(2, backoff));
    Bench::new(flow.output(&step).build().unwrap())
}

#[test]
fn a_failed_attempt_is_tried_again_after_its_back_off_and_then_fails_the_request() {
    let mut bench = retrying();
    let first = bench.fail("step", Cause::Transient);
    let second = bench.running[0].clone();
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert!(
        (2_000_000..=3_000_000).contains(&second.not_before_us),
        "{}",
        second.not_before_us
    );
    bench.wants_the_same_after_a_fold();
    let late = Bench::event(&first, StepEnd::Succeeded { value: inline(&1) });
    bench.append(1, vec![late]);
    assert_eq!(
        (bench.names(), bench.ended.clone()),
        (vec!["step"], None),
        "too late to count"
    );
    bench.fail("step", Cause::Timeout);
    let Some(Conclusion::Failed {
        step,
        message,
        cause,
    }) = bench.ended.clone()
    else {
        panic!("{:?}", bench.ended)
    };
    assert_eq!(
        (step.as_str(), message.as_str(), cause),
        ("step", "no", Cause::Timeout)
    );
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    let mut bench = retrying();
    bench.fail("step", Cause::Permanent);
    assert!(matches!(bench.ended, Some(Conclusion::Failed { .. })));
}

#[test]
fn nothing_starts_after_a_cancel_and_the_end_is_told_once() {
    let mut bench = Bench::yaml(DIAMOND);
    bench.append(1, vec![Event::CancelAsked { at_us: 1 }]);
    assert_eq!(bench.ended.take(), Some(Conclusion::Cancelled));
    bench.succeed("a", 1);
    assert!(bench.running.is_empty() && bench.ended.is_none());
    let ended = Event::Ended {
        outcome: Outcome::Cancelled,
        at_us: 2,
    };
    bench.append(1, vec![ended]);
    assert!(bench.execution.is_ended() && bench.ended.is_none());
}

#[test]
fn an_append_below_the_newest_claim_or_after_another_does_not_count() {
    let mut bench = Bench::yaml(DIAMOND);
    let first = bench.running[0].clone();
    let claimed = Event::Claimed {
        replica: replica(),
        epoch: 2,
        at_us: 0,
    };
    assert!(bench.append(2, vec![claimed.clone()]));
    assert!(
        !bench.append(2, vec![claimed]),
        "a claim is above the newest"
    );
    let end = Bench::event(&first, StepEnd::Succeeded { value: inline(&1) });
    assert!(
        !bench.append(1, vec![end.clone()]),
        "an older claim's append"
    );
    assert!(
        bench.append(2, vec![end]),
        "the append counts, its event of the older epoch does not"
    );
    assert_eq!(bench.names(), ["a"]);
    let stray = append(
        99,
        Some(AppendId(1234)),
        2,
        vec![Event::CancelAsked { at_us: 1 }],
    );
    assert!(
        !bench.execution.fold(&stray),
        "it follows what does not count"
    );
    assert_ne!(Seq::START, "1".parse().unwrap());
}

#[test]
fn a_chain_of_ten_thousand_skipped_nodes_ends_without_recursion() {
    let mut text =
        "flow: long\nnodes:\n  route: { switch: [{ when: 'false', to: n0 }] }\n  n0: { pass: . }\n"
            .to_owned();
    for n in 1..10_000 {
        text.push_str(&format!("  n{n}: {{ after: [n{}], pass: . }}\n", n - 1));
    }
    let mut bench = Bench::yaml(&text);
    bench.end("route", StepEnd::Took { case: None });
    assert_eq!(bench.ended, Some(Conclusion::Succeeded(Given::Empty)));
}

#[test]
fn a_switch_whose_cases_lead_to_one_node_is_one_input_of_it() {
    let mut bench = Bench::yaml(
        "
flow: cases
nodes:
  first: { switch: [{ when: '.a', to: second }, { when: '.b', to: second }] }
  second: { switch: [{ when: 'true', to: end }] }
  end: { pass: . }
",
    );
    bench.end("first", StepEnd::Took { case: Some(1) });
    assert_eq!(bench.running[0].inputs.len(), 2);
    bench.end("second", StepEnd::Took { case: Some(0) });
    assert_eq!(bench.running[0].inputs[0].1, Some(Given::Value(inline(&1))));
}
