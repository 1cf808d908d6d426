//! Random small graphs under random schedules, held against a plain reading of the rules.
//!
//! Each case is a seed, so that a failure names what to run again.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use turlough_sdk::{Graph, Output, ReplicaId, Source, Value, read_yaml};
use turlough_statestore::Envelope;
use turlough_statestore::event::Outcome;
use uuid::Uuid;

use super::*;

/// Numbers from a seed (SplitMix64): enough to draw graphs and schedules.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }
}

/// Writes a graph's nodes. `outer` are nodes of enclosing graphs that a body may use.
fn nodes(
    dice: &mut Dice,
    outer: &[String],
    depth: usize,
    next: &mut usize,
    indent: usize,
) -> String {
    let pad = " ".repeat(indent);
    let count = 1 + dice.roll(if depth == 0 { 6 } else { 3 });
    let names: Vec<_> = (0..count)
        .map(|_| {
            *next += 1;
            format!("n{next}")
        })
        .collect();
    let mut text = String::new();
    for (ix, name) in names.iter().enumerate() {
        let mut after = BTreeSet::new();
        for _ in 0..dice.roll(3) {
            if ix > 0 && dice.chance(80) {
                after.insert(names[dice.roll(ix)].clone());
            } else if !outer.is_empty() {
                after.insert(outer[dice.roll(outer.len())].clone());
            }
        }
        if depth > 0 && dice.chance(30) {
            after.insert("item".to_owned());
        } else if dice.chance(10) {
            after.insert("input".to_owned());
        }
        let after: Vec<_> = after.into_iter().collect();
        text.push_str(&format!("{pad}{name}:\n"));
        if !after.is_empty() {
            text.push_str(&format!("{pad}  after: [{}]\n", after.join(", ")));
        }
        text.push_str(&format!(
            "{pad}  retry: {{ attempts: {}, backoff: 1ms..2ms }}\n",
            1 + dice.roll(3)
        ));
        // A switch's targets stand after it and must not name it again.
        let later = &names[ix + 1..];
        match dice.roll(10) {
            0..=2 if !later.is_empty() => {
                text.push_str(&format!("{pad}  switch:\n"));
                for _ in 0..1 + dice.roll(3) {
                    let to = &later[dice.roll(later.len())];
                    text.push_str(&format!("{pad}    - {{ when: '.', to: {to} }}\n"));
                }
            }
            3..=5 if depth < 2 => {
                let mut seen: Vec<_> = outer.to_vec();
                seen.extend(names[..ix].iter().cloned());
                text.push_str(&format!(
                    "{pad}  for_each:\n{pad}    max_parallel: {}\n{pad}    body:\n{pad}      nodes:\n",
                    1 + dice.roll(3)
                ));
                text.push_str(&nodes(dice, &seen, depth + 1, next, indent + 8));
            }
            _ => text.push_str(&format!("{pad}  pass: .\n")),
        }
    }
    text
}

fn flow(dice: &mut Dice) -> (String, Option<Flow>) {
    let text = format!("flow: random\nnodes:\n{}", nodes(dice, &[], 0, &mut 0, 2));
    // A node that comes after a switch and is a case of it is refused; such a draw is passed over.
    let flow = read_yaml(&text).ok();
    (text, flow)
}

fn inline(value: u64) -> ValueRef {
    ValueRef::Inline(Value::encode(&value).unwrap().envelope().clone())
}

/// How a node stands, by a plain reading of the ends that counted.
#[derive(Debug, Clone, PartialEq)]
enum Plain {
    Unresolved,
    Skipped,
    Done,
    Took(Option<u32>),
}

/// The rules of readiness, read anew each time from the ends that counted.
struct Rules<'a> {
    ends: &'a BTreeMap<String, Plain>,
}

/// A graph in its place: the prefix of its steps' paths, and the node that owns it.
#[derive(Clone, Copy)]
struct Place<'a> {
    graph: &'a Graph,
    prefix: &'a str,
    owner: Option<(&'a Place<'a>, usize)>,
}

impl Rules<'_> {
    fn node(&self, at: &Place<'_>, node: usize) -> Plain {
        let path = format!("{}{}", at.prefix, at.graph.nodes[node].id);
        if let Some(end) = self.ends.get(&path) {
            return end.clone();
        }
        match self.ready(at, node) {
            Some(false) => Plain::Skipped,
            _ => Plain::Unresolved,
        }
    }

    /// None while an edge is open; then whether one of them is live.
    fn ready(&self, at: &Place<'_>, node: usize) -> Option<bool> {
        let mut any = false;
        for edge in &at.graph.nodes[node].edges {
            any |= self.live(at, edge)? && !edge.capture;
        }
        Some(any)
    }

    fn live(&self, at: &Place<'_>, edge: &turlough_sdk::Edge) -> Option<bool> {
        match edge.from {
            Source::Input => Some(true),
            Source::Outer(outer) => {
                let (place, owner) = at.owner.unwrap();
                self.live(place, &place.graph.nodes[owner].edges[outer])
            }
            Source::Node(from) => match (self.node(at, from), edge.case) {
                (Plain::Unresolved, _) => None,
                (Plain::Skipped, _) => Some(false),
                (Plain::Done | Plain::Took(_), None) => Some(true),
                (Plain::Took(taken), Some(case)) => Some(taken == u32::try_from(case).ok()),
                (Plain::Done, Some(_)) => Some(false),
            },
        }
    }

    /// Steps that should be open, by path.
    fn open(&self, at: &Place<'_>, splits: &BTreeMap<String, u32>, into: &mut BTreeSet<String>) {
        for node in 0..at.graph.nodes.len() {
            let path = format!("{}{}", at.prefix, at.graph.nodes[node].id);
            if self.ends.contains_key(&path) || self.ready(at, node) != Some(true) {
                continue;
            }
            let (Some(items), Operation::ForEach(each)) =
                (splits.get(&path), &at.graph.nodes[node].operation)
            else {
                into.insert(path);
                continue;
            };
            // Items start in their order, and as many as may.
            let mut running = 0;
            for item in 0..*items {
                let prefix = format!("{path}[{item}]/");
                let body = Place {
                    graph: &each.body,
                    prefix: &prefix,
                    owner: Some((at, node)),
                };
                if (0..each.body.nodes.len()).all(|n| self.node(&body, n) != Plain::Unresolved) {
                    continue;
                }
                running += 1;
                if running > each.parallel_max {
                    break;
                }
                self.open(&body, splits, into);
            }
            if running == 0 {
                into.insert(path);
            }
        }
    }
}

struct Trial {
    dice: Dice,
    flow: Arc<Flow>,
    live: Execution,
    log: Vec<Append>,
    running: BTreeMap<String, Run>,
    ends: BTreeMap<String, Plain>,
    splits: BTreeMap<String, u32>,
    results: BTreeMap<String, ValueRef>,
    old: Vec<Event>,
    concluded: Option<Conclusion>,
    epoch: u64,
}

impl Trial {
    fn new(dice: Dice, flow: Flow) -> Self {
        let flow = Arc::new(flow);
        let mut trial = Self {
            dice,
            live: Execution::new(Arc::clone(&flow)),
            flow,
            log: Vec::new(),
            running: BTreeMap::new(),
            ends: BTreeMap::new(),
            splits: BTreeMap::new(),
            results: BTreeMap::new(),
            old: Vec::new(),
            concluded: None,
            epoch: 1,
        };
        let accepted = Event::Accepted {
            flow: trial.flow.name().clone(),
            version: String::new(),
            tenant: "default".parse().unwrap(),
            input: inline(0),
            at_us: 0,
        };
        let replica = ReplicaId::from_uuid(Uuid::from_u128(7));
        let claimed = Event::Claimed {
            replica,
            epoch: 1,
            at_us: 0,
        };
        trial.append(Kind::Driver, vec![accepted, claimed]);
        trial
    }

    fn append(&mut self, kind: Kind, events: Vec<Event>) {
        let envelope = Envelope {
            id: AppendId(self.log.len() as u128 + 1),
            after: self.live.last(),
            kind,
            epoch: self.epoch,
            replica: ReplicaId::from_uuid(Uuid::from_u128(7)),
            function: "flows".parse().unwrap(),
            generation: 0,
            deadline_us: None,
            wake_at_us: None,
        };
        let append = Append::new(envelope, events);
        assert!(self.live.fold(&append));
        self.log.push(append);
        for action in self.live.next_actions() {
            match action {
                Action::End(conclusion) => {
                    assert!(self.concluded.is_none(), "it ends twice");
                    self.running.clear();
                    self.concluded = Some(conclusion);
                }
                Action::Run(run) => {
                    let path = run.step.to_string();
                    let gathers = matches!(run.work, Work::Gather(_));
                    assert!(!self.ends.contains_key(&path), "{path} runs after its end");
                    assert_eq!(gathers, self.splits.contains_key(&path), "{path}");
                    let before = self.running.insert(path.clone(), run);
                    assert!(before.is_none(), "{path} runs twice");
                }
            }
        }
        self.agrees();
    }

    /// The live state, a fold of the log, and the rules read plainly want the same.
    fn agrees(&self) {
        let mut folded = Execution::new(Arc::clone(&self.flow));
        for append in &self.log {
            folded.fold(append);
        }
        let actions = folded.next_actions();
        if let Some(conclusion) = &self.concluded {
            assert!(
                matches!(&actions[..], [Action::End(found)] if found == conclusion),
                "{actions:?} is not {conclusion:?}"
            );
            return;
        }
        let key = |run: &Run| {
            (
                run.step.to_string(),
                run.attempt,
                run.not_before_us,
                run.inputs.clone(),
            )
        };
        let mut wanted: Vec<_> = actions
            .iter()
            .map(|action| match action {
                Action::Run(run) => key(run),
                Action::End(conclusion) => panic!("it ends by {conclusion:?}"),
            })
            .collect();
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        let live: Vec<_> = self.running.values().map(key).collect();
        assert_eq!(wanted, live);
        let mut plain = BTreeSet::new();
        let root = Place {
            graph: self.flow.graph(),
            prefix: "",
            owner: None,
        };
        Rules { ends: &self.ends }.open(&root, &self.splits, &mut plain);
        assert_eq!(plain, self.running.keys().cloned().collect());
        assert!(!live.is_empty(), "nothing runs, and it does not end");
    }

    /// The end of a running attempt, and what counts by it.
    fn end(&mut self) -> Event {
        let at = self.dice.roll(self.running.len());
        let (path, run) = self
            .running
            .iter()
            .nth(at)
            .map(|(p, r)| (p.clone(), r.clone()))
            .unwrap();
        self.running.remove(&path);
        let mark = self.log.len() as u64 * 1_000 + self.ends.len() as u64 + 1;
        let vertex = &run.graph.nodes[run.node];
        let end = if self.dice.chance(12) {
            let cause = if self.dice.chance(10) {
                Cause::Permanent
            } else {
                Cause::Transient
            };
            StepEnd::Failed {
                message: "no".to_owned(),
                cause,
            }
        } else {
            match (&run.work, &vertex.operation) {
                (Work::Operation, Operation::Switch(switch)) => {
                    let taken = self.dice.roll(switch.cases.len() + 1);
                    let case = u32::try_from(taken)
                        .ok()
                        .filter(|_| taken < switch.cases.len());
                    self.ends.insert(path.clone(), Plain::Took(case));
                    StepEnd::Took { case }
                }
                (Work::Operation, Operation::ForEach(_)) => {
                    let items = self.dice.roll(4) as u32;
                    self.splits.insert(path.clone(), items);
                    StepEnd::Split {
                        items,
                        manifest: inline(mark),
                    }
                }
                (work, _) => {
                    if let Work::Gather(results) = work {
                        assert_eq!(results.len(), self.splits[&path] as usize);
                        self.in_order(&path, &run, results);
                    }
                    self.ends.insert(path.clone(), Plain::Done);
                    self.results.insert(path.clone(), inline(mark));
                    StepEnd::Succeeded {
                        value: inline(mark),
                    }
                }
            }
        };
        let event = Event::StepEnded(StepEnded {
            step: run.step.clone(),
            generation: 0,
            attempt: run.attempt,
            epoch: self.epoch,
            replica: ReplicaId::from_uuid(Uuid::from_u128(7)),
            begin_us: 0,
            end_us: mark,
            end,
        });
        self.old.push(event.clone());
        event
    }

    /// Where a body's output is a step's value, each item's result is that of its own step.
    fn in_order(&self, path: &str, run: &Run, results: &[Given]) {
        let Operation::ForEach(each) = &run.graph.nodes[run.node].operation else {
            panic!("{path} gathers")
        };
        let Output::Node(output) = each.body.output else {
            return;
        };
        if matches!(each.body.nodes[output].operation, Operation::Switch(_)) {
            return;
        }
        for (item, result) in results.iter().enumerate() {
            let step = format!("{path}[{item}]/{}", each.body.nodes[output].id);
            let expect = self
                .results
                .get(&step)
                .map_or(Given::Empty, |at| Given::Value(at.clone()));
            assert_eq!(*result, expect, "{step}");
        }
    }

    fn play(&mut self) {
        while self.concluded.is_none() {
            if self.dice.chance(1) {
                self.append(Kind::External, vec![Event::CancelAsked { at_us: 1 }]);
                assert_eq!(self.concluded, Some(Conclusion::Cancelled));
                break;
            }
            if self.dice.chance(3) {
                self.claim();
                continue;
            }
            let mut events = Vec::new();
            for _ in 0..=self.dice.roll(3) {
                if !self.running.is_empty() && self.dice.chance(80) {
                    events.push(self.end());
                }
                if !self.old.is_empty() && self.dice.chance(30) {
                    // Once more, or too late.
                    events.push(self.old[self.dice.roll(self.old.len())].clone());
                }
            }
            self.append(Kind::Driver, events);
        }
        let ended = Event::Ended {
            outcome: Outcome::Cancelled,
            at_us: 2,
        };
        let late = self.old.last().cloned();
        self.concluded = None;
        let before = self.log.len();
        let mut folded = Execution::new(Arc::clone(&self.flow));
        for append in &self.log {
            folded.fold(append);
        }
        folded.apply(&ended);
        late.iter().for_each(|event| folded.apply(event));
        assert!(folded.is_ended() && folded.next_actions().is_empty() && before == self.log.len());
    }

    /// A new driver takes over: what runs is wanted again, and ends under the old claim are stale.
    fn claim(&mut self) {
        self.epoch += 1;
        let replica = ReplicaId::from_uuid(Uuid::from_u128(7));
        let epoch = self.epoch;
        self.append(
            Kind::Driver,
            vec![Event::Claimed {
                replica,
                epoch,
                at_us: 0,
            }],
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_graph_under_any_schedule_ends_by_the_rules_and_folds_to_the_same(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let (text, flow) = flow(&mut dice);
        if let Some(flow) = flow {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                Trial::new(dice, flow).play();
            }));
            prop_assert!(result.is_ok(), "seed {seed}:\n{text}");
        }
    }
}

#[test]
fn most_of_the_random_graphs_are_valid() {
    let valid = (0..500)
        .filter(|seed| flow(&mut Dice(*seed)).1.is_some())
        .count();
    assert!(valid > 250, "{valid} of 500");
}
