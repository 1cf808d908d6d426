//! The machine by itself: events in, actions out. One test for each rule that it decides.

mod bodies;
mod controls;
mod engine;
mod failure;
mod joins;
mod lost;
mod restart;
mod unwinding;
mod waits;

use std::collections::{BTreeMap, VecDeque};

use turlough_sdk::{Cause, Digest, ReplicaId, Value, read_yaml};
use turlough_statestore::event::{Outcome, StepEnd, StepEnded};
use turlough_statestore::{Append, Envelope, Event, Kind};
use uuid::Uuid;

use super::*;

const SECOND: u64 = 1_000_000;

/// A request whose log is kept, so that it can be folded anew from any prefix.
struct Bench {
    execution: Execution,
    versions: Versions,
    log: Vec<Append>,
    running: BTreeMap<String, Run>,
    starts: BTreeMap<String, u32>,
    order: Vec<String>,
    stopped: Vec<String>,
    ended: VecDeque<Conclusion>,
    now: u64,
}

fn replica() -> ReplicaId {
    ReplicaId::from_uuid(Uuid::from_u128(7))
}

fn inline(value: &impl serde::Serialize) -> ValueRef {
    ValueRef::Inline(Value::encode(value).unwrap().envelope().clone())
}

fn given(value: &impl serde::Serialize) -> Given {
    Given::Value(Arc::new(inline(value)))
}

/// A value in a store, at a place.
fn stored(place: u64, data: u64) -> ValueRef {
    ValueRef::Stored {
        store: Arc::from("s"),
        boot: 1,
        key: Arc::from(place.to_string()),
        size: 8,
        digest: Digest(u128::from(data)),
    }
}

fn done(value: u32) -> StepEnd {
    let value = inline(&value);
    StepEnd::Succeeded { value }
}

fn failed(cause: Cause) -> StepEnd {
    let message = "no".to_owned();
    StepEnd::Failed { message, cause }
}

impl Bench {
    fn new(text: &str) -> Self {
        Self::of(&[text])
    }

    /// The first runs; the others are versions that a restart may name.
    fn of(texts: &[&str]) -> Self {
        let flows: Vec<_> = texts
            .iter()
            .map(|text| Arc::new(read_yaml(text).unwrap()))
            .collect();
        let flow = Arc::clone(&flows[0]);
        let versions = Versions(Arc::new(move |version: &str| {
            flows
                .iter()
                .find(|flow| flow.version().as_str() == version)
                .cloned()
        }));
        let accepted = Event::Accepted(Accepted {
            flow: flow.name().clone(),
            version: flow.version().to_string(),
            tenant: "default".parse().unwrap(),
            input: inline(&1),
            query: Vec::new(),
            headers: Vec::new(),
            parent: None,
            callbacks: Vec::new(),
            call_id: None,
            delivery: None,
            trace: None,
            deadline_us: 600 * SECOND,
            at_us: 0,
        });
        let request = RequestId::from_uuid(Uuid::from_u128(9));
        let mut bench = Self {
            execution: Execution::new(request, flow, versions.clone()),
            versions,
            log: Vec::new(),
            running: BTreeMap::new(),
            starts: BTreeMap::new(),
            order: Vec::new(),
            stopped: Vec::new(),
            ended: VecDeque::new(),
            now: 0,
        };
        let claimed = bench.claimed(1);
        assert!(bench.append(Kind::Driver, 1, vec![accepted, claimed]));
        bench
    }

    fn claimed(&self, epoch: u64) -> Event {
        let replica = replica();
        Event::Claimed {
            replica,
            epoch,
            at_us: self.now,
        }
    }

    fn append(&mut self, kind: Kind, epoch: u64, events: Vec<Event>) -> bool {
        let envelope = Envelope {
            id: AppendId(self.log.len() as u128 + 1),
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
        let append = Append::new(envelope, events);
        let counted = self.execution.fold(&append);
        self.log.push(append);
        self.ask();
        counted
    }

    fn ask(&mut self) {
        for action in self.execution.next_actions() {
            match action {
                Action::Start { step, attempt } => {
                    self.starts.insert(step.to_string(), attempt);
                    self.order.push(step.to_string());
                }
                Action::Run(run) => {
                    self.starts.remove(run.step.as_str());
                    self.order.push(run.step.to_string());
                    let before = self.running.insert(run.step.to_string(), *run);
                    assert!(before.is_none(), "{before:?} runs twice");
                }
                Action::Stop { step, .. } => {
                    self.running.remove(step.as_str());
                    self.stopped.push(step.to_string());
                }
                Action::End(conclusion) => self.ended.push_back(conclusion),
            }
        }
    }

    fn drive(&mut self, event: Event) -> bool {
        self.append(Kind::Driver, self.execution.epoch(), vec![event])
    }

    fn external(&mut self, event: Event) -> bool {
        self.append(Kind::External, 0, vec![event])
    }

    /// What runs, in the order of names; starts that wait for their record among it, marked.
    fn names(&self) -> Vec<String> {
        let starts = self.starts.keys().map(|step| format!("{step}?"));
        let mut names: Vec<_> = self.running.keys().cloned().chain(starts).collect();
        names.sort();
        names
    }

    fn run(&self, step: &str) -> &Run {
        self.running
            .get(step)
            .unwrap_or_else(|| panic!("{step} does not run, but {:?}", self.names()))
    }

    fn event(&self, step: &str, attempt: u32, end: StepEnd) -> StepEnded {
        StepEnded {
            step: step.into(),
            generation: self.execution.generation(),
            attempt,
            epoch: self.execution.epoch(),
            replica: replica(),
            begin_us: 0,
            end_us: self.now,
            end,
            set: Vec::new(),
            again_us: None,
        }
    }

    fn end(&mut self, step: &str, end: StepEnd) -> Run {
        let run = self.run(step).clone();
        self.running.remove(step);
        let event = self.event(step, run.attempt, end);
        assert!(self.drive(Event::StepEnded(event)));
        run
    }

    fn succeed(&mut self, step: &str, value: u32) -> Run {
        self.end(step, done(value))
    }

    fn fail(&mut self, step: &str, cause: Cause) -> Run {
        self.end(step, failed(cause))
    }

    /// Whoever was called does not want to be called again before a time.
    fn busy(&mut self, step: &str, until_us: u64) {
        let attempt = self.run(step).attempt;
        self.running.remove(step);
        let mut event = self.event(step, attempt, failed(Cause::Transient));
        event.again_us = Some(until_us);
        assert!(self.drive(Event::StepEnded(event)));
    }

    fn split(&mut self, step: &str, items: u32) {
        let manifest = inline(&items);
        self.end(step, StepEnd::Split { items, manifest });
    }

    /// Records the start that was asked for.
    fn start(&mut self, step: &str) {
        let asked = self.starts.remove(step);
        let attempt =
            asked.unwrap_or_else(|| panic!("{step} is not to start, but {:?}", self.names()));
        let event = Event::StepStarted {
            step: step.into(),
            attempt,
            at_us: self.now,
        };
        assert!(self.drive(event));
    }

    /// Somebody else says how an attempt ended.
    fn callback(&mut self, step: &str, attempt: u32, end: StepEnd) -> bool {
        let event = self.event(step, attempt, end);
        self.external(Event::StepEnded(event))
    }

    fn tick(&mut self, at_us: u64) {
        self.now = at_us;
        self.drive(Event::Ticked { at_us });
    }

    fn signal(&mut self, name: &str, value: u32) -> bool {
        let (value, at_us) = (inline(&value), self.now);
        self.external(Event::Signalled {
            name: name.to_owned(),
            value,
            at_us,
        })
    }

    fn pause(&mut self) -> bool {
        self.external(Event::PauseAsked { at_us: self.now })
    }

    fn resume(&mut self) -> bool {
        self.external(Event::ResumeAsked { at_us: self.now })
    }

    fn cancel(&mut self) -> bool {
        self.external(Event::CancelAsked { at_us: self.now })
    }

    /// Records its end as it was told.
    fn close(&mut self) -> Conclusion {
        let conclusion = self.ended.pop_front().expect("it has not ended");
        assert!(self.ended.is_empty(), "its end is told once");
        let (trouble, owed) = (self.execution.trouble().to_vec(), Vec::new());
        let outcome = Outcome::Cancelled;
        self.drive(Event::Ended {
            outcome,
            trouble,
            owed,
            at_us: self.now,
        });
        assert!(self.execution.is_ended());
        conclusion
    }

    fn restart(&mut self, from: Option<&str>, version: Option<&str>) -> bool {
        self.external(Event::RestartAsked {
            from: from.map(Into::into),
            version: version.map(str::to_owned),
            deadline_us: self.now + 600 * SECOND,
            at_us: self.now,
        })
    }

    /// Another driver takes over, from the log.
    fn take_over(&mut self) {
        let flow = Arc::clone(self.execution.flow());
        let mut folded = Execution::new(
            RequestId::from_uuid(Uuid::from_u128(9)),
            flow,
            self.versions.clone(),
        );
        for append in &self.log {
            folded.fold(append);
        }
        let epoch = folded.epoch() + 1;
        self.execution = folded;
        (self.running, self.starts, self.ended) =
            (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        let claimed = self.claimed(epoch);
        assert!(self.append(Kind::Driver, epoch, vec![claimed]));
    }

    fn output(&mut self) -> Given {
        match self.close() {
            Conclusion::Succeeded(output) => output,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&mut self) -> String {
        match self.close() {
            Conclusion::Failed(error) => error.step.to_string(),
            other => panic!("{other:?}"),
        }
    }
}
