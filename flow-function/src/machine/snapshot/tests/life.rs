//! Requests to whom everything happens that may.

use std::collections::VecDeque;

use turlough_sdk::{Cause, Operation, ReplicaId, StepPath, Value, read_yaml};
use turlough_statestore::event::{Accepted, Outcome, StepEnd, StepEnded};
use turlough_statestore::{Append, AppendId, Envelope, Kind};
use uuid::Uuid;

use super::*;
use crate::dice::Dice;

pub(super) const EVERYTHING: &str = "
flow: everything
timeout: 100s
on_failure: { nodes: { tell: { apply: f } } }
finally: { nodes: { clean: { apply: f } } }
nodes:
  load: { apply: f, compensate: { apply: f }, retry: { attempts: 3, backoff: 1s..2s }, set: { n: . } }
  route: { after: [load], switch: [{ when: .a, to: left }, { default: right }] }
  left: { apply: f, fallback: { value: 1 } }
  right: { apply: f, idempotent: false, fallback: { apply: f } }
  both: { after: [left, right, load], pass: . }
  each:
    after: [both]
    for_each:
      max_parallel: 2
      errors: collect
      body:
        nodes:
          one: { apply: f, compensate: { apply: f } }
          two:
            after: [one, left]
            for_each: { body: { nodes: { deep: { apply: f, retry: { attempts: 2, backoff: 1s..1s } } } } }
  poll:
    after: [both]
    loop: { while: ., max_iterations: 3, body: { nodes: { get: { apply: f } } } }
  made: { after: [both], expand: { apply: f } }
  nap: { after: [both], wait: 5s }
  ask: { after: [both], wait: { signal: go }, timeout: 30s, fallback: { value: 2 } }
  sub: { after: [both], flow: other, fallback: { value: 3 } }
  call: { after: [both], apply: f, mode: async, timeout: 9s, fallback: { value: 4 } }
  end: { after: [each, poll, made, nap, ask, sub, call], apply: f, when: . }
";

const MADE: &str = "{ nodes: { a: { apply: f, compensate: { apply: f } }, \
                    b: { after: [a], for_each: { body: { nodes: { c: { apply: f } } } } } } }";

pub(super) fn request() -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(1))
}

pub(super) fn replica() -> ReplicaId {
    ReplicaId::from_uuid(Uuid::from_u128(7))
}

pub(super) fn versions(flow: &Arc<Flow>) -> Versions {
    let flow = Arc::clone(flow);
    Versions(Arc::new(move |_| Some(Arc::clone(&flow))))
}

pub(super) fn everything() -> Arc<Flow> {
    Arc::new(read_yaml(EVERYTHING).unwrap_or_else(|error| panic!("{error}")))
}

pub(super) fn inline(number: u64) -> ValueRef {
    ValueRef::Inline(Value::encode(&number).unwrap().envelope().clone())
}

pub(super) fn stored(upload: u128) -> ValueRef {
    ValueRef::Parts {
        upload,
        count: 1,
        size: 9,
        digest: Digest(upload),
    }
}

pub(super) fn accepted(flow: &Flow) -> Event {
    Event::Accepted(Accepted {
        flow: flow.name().clone(),
        version: flow.version().to_string(),
        tenant: "default".parse().unwrap(),
        input: stored(100),
        query: Vec::new(),
        headers: Vec::new(),
        parent: None,
        callbacks: Vec::new(),
        call_id: None,
        delivery: None,
        trace: None,
        deadline_us: 100_000_000,
        at_us: 0,
    })
}

pub(super) fn claimed(epoch: u64, at_us: u64) -> Event {
    let replica = replica();
    Event::Claimed {
        replica,
        epoch,
        at_us,
    }
}

/// A machine that lives: its appends, and what it wanted and nobody has answered yet.
pub(super) struct Life {
    pub(super) execution: Execution,
    pub(super) log: Vec<Record>,
    running: Vec<Run>,
    starts: VecDeque<(StepPath, u32)>,
    ended: bool,
    now_us: u64,
}

impl Life {
    pub(super) fn new(flow: &Arc<Flow>) -> Self {
        let mut life = Self {
            execution: Execution::new(request(), Arc::clone(flow), versions(flow)),
            log: Vec::new(),
            running: Vec::new(),
            starts: VecDeque::new(),
            ended: false,
            now_us: 1,
        };
        life.append(Kind::Driver, vec![accepted(flow)]);
        life.append(Kind::Driver, vec![claimed(1, 0)]);
        life
    }

    pub(super) fn append(&mut self, kind: Kind, events: Vec<Event>) {
        let number = self.log.len() as u64 + 1;
        let epoch = match events.first() {
            Some(Event::Claimed { epoch, .. }) => *epoch,
            _ => self.execution.epoch(),
        };
        let envelope = Envelope {
            id: AppendId(u128::from(number)),
            after: self.execution.last(),
            kind,
            epoch,
            replica: replica(),
            function: "flows".parse().unwrap(),
            generation: self.execution.generation(),
            deadline_us: None,
            wake_at_us: None,
            standing: turlough_statestore::Standing::Running,
        };
        let record = Record {
            seq: number.to_string().parse().unwrap(),
            append: Append::new(envelope, events),
        };
        self.execution.fold(&record.append);
        self.log.push(record);
        for action in self.execution.next_actions() {
            match action {
                Action::Start { step, attempt } => self.starts.push_back((step, attempt)),
                Action::Run(run) => self.running.push(*run),
                Action::Stop { step, .. } => self.running.retain(|run| run.step != step),
                Action::End(_) => self.ended = true,
            }
        }
    }

    pub(super) fn seq(&self) -> Seq {
        self.log.last().map_or(Seq::START, |record| record.seq)
    }

    fn event(&self, run: &Run, end: StepEnd, number: u64) -> Event {
        let sets = !matches!(end, StepEnd::Failed { .. } | StepEnd::Lost { .. });
        let set = run.vertex().set.iter().filter(|_| sets);
        Event::StepEnded(StepEnded {
            step: run.step.clone(),
            generation: self.execution.generation(),
            attempt: run.attempt,
            epoch: self.execution.epoch(),
            replica: replica(),
            begin_us: self.now_us,
            end_us: self.now_us,
            end,
            set: set
                .map(|(name, _)| (name.clone(), inline(number)))
                .collect(),
            again_us: None,
        })
    }

    /// Something happens.
    pub(super) fn step(&mut self, dice: &mut Dice) {
        let number = dice.roll(1_000) as u64;
        self.now_us += dice.roll(400_000) as u64;
        let at_us = self.now_us;
        if self.ended && !self.execution.is_ended() {
            let (outcome, trouble, owed) = (Outcome::Cancelled, Vec::new(), Vec::new());
            let ended = Event::Ended {
                outcome,
                trouble,
                owed,
                at_us,
            };
            return self.append(Kind::Driver, vec![ended]);
        }
        if self.execution.is_ended() {
            (self.ended, self.running) = (false, Vec::new());
            let restart = Event::RestartAsked {
                from: Some("load".into()).filter(|_| number.is_multiple_of(2)),
                version: None,
                deadline_us: at_us + 100_000_000,
                at_us,
            };
            return self.append(Kind::External, vec![restart]);
        }
        if let Some((step, attempt)) = self.starts.pop_front() {
            let started = Event::StepStarted {
                step,
                attempt,
                at_us,
            };
            return self.append(Kind::Driver, vec![started]);
        }
        let (kind, event) = match dice.roll(40) {
            0 => (Kind::External, Event::PauseAsked { at_us }),
            1..3 => (Kind::External, Event::ResumeAsked { at_us }),
            3 if number < 300 => (Kind::External, Event::CancelAsked { at_us }),
            4 => (Kind::Driver, claimed(self.execution.epoch() + 1, at_us)),
            5..8 => {
                let (name, value) = ("go".to_owned(), stored(u128::from(number)));
                (Kind::External, Event::Signalled { name, value, at_us })
            }
            8..14 => {
                let at_us = self
                    .execution
                    .wake_at_us()
                    .unwrap_or(0)
                    .clamp(at_us, at_us + 9_000_000);
                self.now_us = at_us;
                (Kind::Driver, Event::Ticked { at_us })
            }
            _ if self.running.is_empty() => (Kind::Driver, Event::Ticked { at_us }),
            _ => {
                let at = dice.roll(self.running.len());
                let run = self.running.swap_remove(at);
                let end = end_of(&run, dice, number);
                (Kind::Driver, self.event(&run, end, number))
            }
        };
        self.append(kind, vec![event]);
    }
}

fn end_of(run: &Run, dice: &mut Dice, number: u64) -> StepEnd {
    let causes = [
        Cause::Transient,
        Cause::Timeout,
        Cause::Permanent,
        Cause::Panic,
    ];
    if dice.roll(12) == 0 {
        let (message, cause) = ("no".to_owned(), causes[number as usize % 4]);
        return StepEnd::Failed { message, cause };
    }
    if dice.roll(25) == 0
        && let Some((_, Some(Given::Value(value)))) = run.inputs.first()
    {
        let value = ValueRef::clone(value);
        return StepEnd::Lost { value };
    }
    let value = match number % 3 {
        0 => stored(u128::from(number)),
        _ => inline(number),
    };
    let input = None;
    match (&run.work, &run.node().operation) {
        (Work::When, _) => StepEnd::Went,
        (Work::Ask(_), _) => StepEnd::Asked {
            again: number.is_multiple_of(2),
            input,
        },
        (Work::Operation, Operation::Switch(_)) => StepEnd::Took {
            cases: vec![(number % 2) as u32],
            input,
        },
        (Work::Operation, Operation::ForEach(_)) => StepEnd::Split {
            items: (number % 4) as u32,
            manifest: value,
        },
        (Work::Operation, Operation::Expand(_)) => StepEnd::Expanded {
            graph: MADE.to_owned(),
            input,
        },
        _ => StepEnd::Succeeded { value },
    }
}
