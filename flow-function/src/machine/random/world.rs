//! A request's world: whoever drives it, calls for it, signals, crashes, and is late.

use std::collections::BTreeMap;
use std::sync::Arc;

use turlough_sdk::{Cause, Digest, Flow, ReplicaId, RequestId, ValueRef};
use turlough_statestore::event::{Accepted, Outcome, StepEnd, StepEnded};
use turlough_statestore::{Append, AppendId, Envelope, Event, Kind};
use uuid::Uuid;

use super::plain::{How, Plain, Scope};
use super::undo::Unwound;
use crate::dice::Dice;
use crate::machine::given::Given;
use crate::machine::{Execution, Run, Versions};

/// How large a schedule was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) nodes: usize,
    pub(super) steps: usize,
    pub(super) events: usize,
}

/// What an attempt may be told to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    Start,
    Run,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) flow: Arc<Flow>,
    pub(super) other: Option<Arc<Flow>>,
    /// Nodes that are the same in both versions.
    pub(super) same: Vec<String>,
    pub(super) versions: Versions,
    pub(super) live: Execution,
    pub(super) plain: Plain,
    pub(super) log: Vec<Append>,
    pub(super) running: BTreeMap<String, Run>,
    pub(super) starts: BTreeMap<String, u32>,
    /// Attempts that somebody else took on.
    pub(super) remote: BTreeMap<String, u32>,
    /// Calls of drivers that are gone, each with its generation: they may end still.
    pub(super) offline: Vec<(Run, u32)>,
    pub(super) old: Vec<StepEnded>,
    pub(super) epoch: u64,
    pub(super) told_end: bool,
    pub(super) restarts: usize,
    pub(super) places: u64,
    pub(super) numbers: BTreeMap<String, u32>,
    pub(super) used: BTreeMap<(String, u32), Vec<(Arc<str>, Option<Given>)>>,
    pub(super) called: BTreeMap<(u32, String, bool), u32>,
    /// Variables of the request, as they stood.
    pub(super) stood: Vec<crate::machine::Variables>,
    pub(super) snapshot: Option<(Vec<u8>, usize)>,
    /// Of 100 attempts, how many find that a value is lost.
    pub(super) losses: usize,
    pub(super) size: Size,
    /// Whether events are told as they come.
    pub(super) trace: bool,
}

pub(super) fn replica() -> ReplicaId {
    ReplicaId::from_uuid(Uuid::from_u128(7))
}

pub(super) fn request() -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(9))
}

fn plain(flow: &Arc<Flow>, input: &ValueRef) -> Plain {
    Plain {
        flow: Arc::clone(flow),
        root: Scope::new(
            flow.graph(),
            String::new(),
            Given::Value(Arc::new(input.clone())),
        ),
        handler: None,
        event: 0,
        now: 0,
        epoch: 0,
        generation: 0,
        paused: false,
        deadline: u64::MAX,
        until: 0,
        how: None,
        phase: Unwound::Open,
        ended: false,
        finished: false,
        strays: BTreeMap::new(),
        undo: Vec::new(),
        signals: BTreeMap::new(),
        variables: BTreeMap::new(),
        remakes: BTreeMap::new(),
        trouble: 0,
        sleepers_opened: Vec::new(),
    }
}

impl World {
    pub(super) fn new(
        dice: Dice,
        flow: &Arc<Flow>,
        other: Option<&Arc<Flow>>,
        same: Vec<String>,
    ) -> Self {
        let input = stored(0, 1);
        let all: Vec<_> = [flow].into_iter().chain(other).cloned().collect();
        let versions = Versions(Arc::new(move |version: &str| {
            all.iter()
                .find(|flow| flow.version().as_str() == version)
                .cloned()
        }));
        let mut world = Self {
            dice,
            flow: Arc::clone(flow),
            other: other.cloned(),
            same,
            live: Execution::new(request(), Arc::clone(flow), versions.clone()),
            versions,
            plain: plain(flow, &input),
            log: Vec::new(),
            running: BTreeMap::new(),
            starts: BTreeMap::new(),
            remote: BTreeMap::new(),
            offline: Vec::new(),
            old: Vec::new(),
            epoch: 0,
            told_end: false,
            restarts: 0,
            places: 1,
            numbers: BTreeMap::new(),
            used: BTreeMap::new(),
            called: BTreeMap::new(),
            stood: vec![Arc::default()],
            snapshot: None,
            losses: 5,
            size: Size::default(),
            trace: std::env::var_os("TURLOUGH_SEED").is_some(),
        };
        let accepted = Event::Accepted(Accepted {
            flow: flow.name().clone(),
            version: flow.version().to_string(),
            tenant: "default".parse().unwrap(),
            input,
            query: Vec::new(),
            headers: Vec::new(),
            parent: None,
            callbacks: Vec::new(),
            call_id: None,
            delivery: None,
            trace: None,
            deadline_us: 100_000_000,
            at_us: 1,
        });
        if world.dice.chance(10) {
            world.losses = 50;
        }
        world.epoch = 1;
        let claimed = Event::Claimed {
            replica: replica(),
            epoch: 1,
            at_us: 1,
        };
        world.drive(vec![accepted, claimed]);
        world
    }

    pub(super) fn envelope(&self, kind: Kind, epoch: u64) -> Envelope {
        Envelope {
            id: AppendId(self.log.len() as u128 + 1),
            after: self.live.last(),
            kind,
            epoch,
            replica: replica(),
            function: "flows".parse().unwrap(),
            generation: self.plain.generation,
            deadline_us: None,
            wake_at_us: None,
            standing: turlough_statestore::Standing::Running,
        }
    }

    /// The driver appends: it applies what it is about to append, event by event.
    pub(super) fn drive(&mut self, events: Vec<Event>) {
        let envelope = self.envelope(Kind::Driver, self.epoch);
        let id = envelope.id;
        for event in &events {
            if !matches!(event, Event::Ended { .. } | Event::Closing { .. }) {
                self.live.apply(event);
            }
            self.read(event, false);
            if !matches!(event, Event::Ended { .. } | Event::Closing { .. }) {
                self.agree();
            }
        }
        self.live.stored(id, &events);
        self.log.push(Append::new(envelope, events));
        self.tell();
    }

    /// Somebody else appends; whether it counts must be as the rules say.
    pub(super) fn tell_of(&mut self, event: Event, counts: bool) {
        let append = Append::new(self.envelope(Kind::External, 0), vec![event]);
        let counted = self.live.fold(&append);
        assert_eq!(counted, counts, "whether it counts: {:?}", append.events);
        if counts {
            self.read(&append.events[0], true);
            self.agree();
            let again = self.dice.chance(10) && self.live.fold(&append);
            assert!(!again, "an append counts twice");
        }
        self.log.push(append);
        self.tell();
    }

    /// The plain reading of an event.
    fn read(&mut self, event: &Event, external: bool) {
        if self.trace {
            let text = format!("{event:?}");
            println!(
                "{} {:.300}",
                self.plain.event + 1,
                text.replace("Stored { store: \"s\", boot: 1, ", "{")
            );
        }
        let plain = &mut self.plain;
        plain.event += 1;
        self.size.events += 1;
        match event {
            Event::Accepted(accepted) => {
                (plain.now, plain.deadline) = (accepted.at_us, accepted.deadline_us);
                plain.settle(plain.news());
            }
            Event::Claimed { epoch, at_us, .. } => plain.claimed(*epoch, *at_us),
            Event::StepStarted {
                step,
                attempt,
                at_us,
            } => {
                self.starts.remove(step.as_str());
                plain.now = plain.now.max(*at_us);
                match plain.open_attempt(step.as_str()) {
                    Some((Some(number), false)) if number == *attempt => {
                        plain.started_by_name(step.as_str(), *attempt, *at_us);
                    }
                    Some((Some(number), true)) if number == *attempt => {
                        plain.started_again(step.as_str(), *at_us);
                    }
                    _ => {}
                }
            }
            Event::StepCalled {
                step,
                attempt,
                at_us,
            } if plain.open_attempt(step.as_str()) == Some((Some(*attempt), true)) => {
                self.running.remove(step.as_str());
                self.remote.insert(step.to_string(), *attempt);
                plain.took_on(step.as_str(), *at_us);
            }
            Event::StepEnded(ended) => {
                plain.now = plain.now.max(ended.end_us);
                if external || self.counts(ended) {
                    self.running.remove(ended.step.as_str());
                    self.starts.remove(ended.step.as_str());
                    self.remote.remove(ended.step.as_str());
                    if matches!(ended.end, StepEnd::Lost { .. }) {
                        let attempt = ended.attempt;
                        let (step, generation) = (ended.step.as_str(), self.plain.generation);
                        self.called.retain(|(at, path, _), number| {
                            *at != generation || path != step || *number != attempt
                        });
                    }
                    self.plain
                        .ended(ended.step.as_str(), &ended.end, &ended.set, ended.end_us);
                    if !ended.set.is_empty() {
                        self.stood.push(Arc::new(self.plain.variables.clone()));
                    }
                }
            }
            Event::Ticked { at_us } => plain.ticked(*at_us),
            Event::Signalled { name, value, at_us } => {
                plain.now = plain.now.max(*at_us);
                self.signalled(name, value);
            }
            Event::PauseAsked { at_us } => {
                (plain.now, plain.paused) = (plain.now.max(*at_us), true)
            }
            Event::ResumeAsked { at_us } => {
                (plain.now, plain.paused) = (plain.now.max(*at_us), false)
            }
            Event::CancelAsked { at_us } => {
                plain.now = plain.now.max(*at_us);
                plain.conclude(How::Cancelled);
            }
            Event::RestartAsked {
                from,
                version,
                deadline_us,
                at_us,
            } => {
                plain.now = plain.now.max(*at_us);
                let other = version
                    .as_ref()
                    .and_then(|version| (self.versions.0)(version));
                let same = if version.as_deref() == Some(plain.flow.version().as_str()) {
                    plain
                        .flow
                        .graph()
                        .nodes
                        .iter()
                        .map(|node| node.id.to_string())
                        .collect()
                } else {
                    self.same.clone()
                };
                let version = other.as_ref().map(|flow| (flow, &same[..]));
                plain.restart(
                    from.as_ref().map(|from| from.as_str()),
                    version,
                    *deadline_us,
                );
            }
            Event::OutputLost { value, at_us } => {
                plain.now = plain.now.max(*at_us);
                self.told_end = false;
                plain.output_lost(value);
            }
            Event::OutputFailed { at_us, .. } => {
                plain.now = plain.now.max(*at_us);
                self.told_end = false;
                plain.output_failed();
            }
            Event::Ended { .. } => plain.ended = true,
            _ => {}
        }
    }

    /// Whether an end is that of an attempt that is open.
    fn counts(&self, ended: &StepEnded) -> bool {
        let plain = &self.plain;
        ended.generation == plain.generation
            && ended.epoch == plain.epoch
            && plain
                .open_attempt(ended.step.as_str())
                .is_some_and(|(attempt, _)| attempt == Some(ended.attempt))
    }

    /// A value at a new place.
    pub(super) fn place(&mut self, data: u64) -> ValueRef {
        self.places += 1;
        stored(self.places, data)
    }

    pub(super) fn end_of(&self, path: &str, attempt: u32, end: StepEnd) -> StepEnded {
        StepEnded {
            step: path.into(),
            generation: self.plain.generation,
            attempt,
            epoch: self.epoch,
            replica: replica(),
            begin_us: 0,
            end_us: self.plain.now,
            end,
            set: Vec::new(),
            again_us: None,
        }
    }

    pub(super) fn ended_event(&self) -> Event {
        let outcome = match self.plain.how.as_ref().unwrap() {
            How::Succeeded(_) => Outcome::Succeeded {
                output: None,
                size: 0,
            },
            How::Failed(step) => Outcome::Failed {
                step: step.as_str().into(),
                message: "no".to_owned(),
                cause: Cause::Permanent,
            },
            How::TimedOut => Outcome::TimedOut,
            How::Cancelled => Outcome::Cancelled,
        };
        let (trouble, owed) = (Vec::new(), Vec::new());
        Event::Ended {
            outcome,
            trouble,
            owed,
            at_us: self.plain.now,
        }
    }
}

fn stored(place: u64, data: u64) -> ValueRef {
    ValueRef::Stored {
        store: Arc::from("s"),
        boot: 1,
        key: Arc::from(place.to_string()),
        size: 8,
        digest: Digest(u128::from(data)),
    }
}
