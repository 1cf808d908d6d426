//! A request's world: whoever drives it, calls for it, signals, crashes, and is late.

use std::collections::BTreeMap;
use std::sync::Arc;

use turlough_sdk::{Cause, Digest, Flow, ReplicaId, RequestId, ValueRef};
use turlough_statestore::event::{Accepted, Outcome, StepEnd, StepEnded};
use turlough_statestore::{Append, AppendId, Envelope, Event, Kind};
use uuid::Uuid;

use super::flows::Dice;
use super::plain::{Begun, How, Plain, Scope, Stage, commits, once};
use super::undo::Unwound;
use crate::machine::frame::Root;
use crate::machine::given::Given;
use crate::machine::{Action, Conclusion, Execution, Run, Versions, Work};

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
    /// Calls of drivers that are gone: they may end still.
    pub(super) offline: Vec<(String, u32, u32)>,
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
        root: Scope::new(flow.graph(), String::new(), Given::Value(Arc::new(input.clone()))),
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
    pub(super) fn new(dice: Dice, flow: &Arc<Flow>, other: Option<&Arc<Flow>>, same: Vec<String>) -> Self {
        let input = stored(0, 1);
        let all: Vec<_> = [flow].into_iter().chain(other).cloned().collect();
        let versions = Versions(Arc::new(move |version: &str| {
            all.iter().find(|flow| flow.version().as_str() == version).cloned()
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
            deadline_us: 100_000_000,
            at_us: 1,
        });
        world.epoch = 1;
        let claimed = Event::Claimed { replica: replica(), epoch: 1, at_us: 1 };
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
            println!("{} {:.300}", self.plain.event + 1, text.replace("Stored { store: \"s\", boot: 1, ", "{"));
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
            Event::StepStarted { step, attempt, at_us } => {
                plain.started_by_name(step.as_str(), *attempt, *at_us);
            }
            Event::StepCalled { step, attempt, at_us } => {
                if self.running.remove(step.as_str()).is_some() {
                    self.remote.insert(step.to_string(), *attempt);
                    plain.took_on(step.as_str(), *at_us);
                }
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
                    self.plain.ended(ended.step.as_str(), &ended.end, &ended.set, ended.end_us);
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
            Event::PauseAsked { at_us } => (plain.now, plain.paused) = (plain.now.max(*at_us), true),
            Event::ResumeAsked { at_us } => (plain.now, plain.paused) = (plain.now.max(*at_us), false),
            Event::CancelAsked { at_us } => {
                plain.now = plain.now.max(*at_us);
                plain.conclude(How::Cancelled);
            }
            Event::RestartAsked { from, version, deadline_us, at_us } => {
                plain.now = plain.now.max(*at_us);
                let other = version.as_ref().and_then(|version| (self.versions.0)(version));
                let same = if version.as_deref() == Some(plain.flow.version().as_str()) {
                    plain.flow.graph().nodes.iter().map(|node| node.id.to_string()).collect()
                } else {
                    self.same.clone()
                };
                let version = other.as_ref().map(|flow| (flow, &same[..]));
                plain.restart(from.as_ref().map(|from| from.as_str()), version, *deadline_us);
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
            && plain.open_attempt(ended.step.as_str()).is_some_and(|(attempt, _)| attempt == Some(ended.attempt))
    }

    fn signalled(&mut self, name: &str, value: &ValueRef) {
        let sleepers = self.plain.sleepers(name);
        let Some(first) = sleepers.iter().map(|(slept, _)| *slept).min() else {
            self.plain.signals.entry(name.to_owned()).or_default().push_back(value.clone());
            return;
        };
        let all = sleepers.iter().filter(|(slept, _)| *slept == first);
        let gone: Vec<_> = all.filter(|(_, path)| !self.is_open(path)).map(|(_, path)| path.clone()).collect();
        assert_eq!(gone.len(), 1, "{name} is given to {gone:?} of {sleepers:?}");
        self.plain.wakes(&gone[0], value);
    }

    fn is_open(&self, path: &str) -> bool {
        self.live.open.contains_key(&path.into())
    }

    /// Kept signals are taken by those who open, and compensations begin: where the rules leave a
    /// choice, the machine's is asked for. Then the same steps are open.
    fn agree(&mut self) {
        loop {
            let opened = std::mem::take(&mut self.plain.sleepers_opened);
            let mut woken = false;
            for (path, name) in &opened {
                let kept = self.plain.signals.get(name).is_some_and(|kept| !kept.is_empty());
                let sleeps = self.plain.sleepers(name).iter().any(|(_, sleeper)| sleeper == path);
                if kept && sleeps && !self.is_open(path) && self.plain.phase != Unwound::Awaiting {
                    let value = self.plain.signals.get_mut(name).and_then(|kept| kept.pop_front());
                    self.plain.wakes(path, &value.unwrap());
                    woken = true;
                }
            }
            if !woken {
                break;
            }
        }
        if let Some(handler) = self.plain.handler.as_mut().filter(|it| it.input == Given::Empty) {
            // What a handler is given is checked by examples.
            let mut frames = self.live.frames.iter().flatten();
            let frame = frames.find(|frame| frame.owner.is_none() && frame.root != Root::Flow);
            handler.input = frame.map_or(Given::Empty, |frame| frame.input.clone());
        }
        self.plain.pick(|path| self.live.open.contains_key(&format!("{path}/~compensate").as_str().into()));
        let mut plain: Vec<String> = self.plain.open_paths();
        plain.sort_unstable();
        let mut live: Vec<_> = self.live.open.keys().map(|step| step.to_string()).collect();
        live.sort_unstable();
        assert_eq!(live, plain, "what is open, by the machine and by the rules");
        assert_eq!(self.live.is_concluded(), self.plain.phase == Unwound::Over, "whether it is at its end");
        assert_eq!(self.live.trouble().len(), self.plain.trouble, "troubles");
    }

    /// What the machine wants now.
    pub(super) fn tell(&mut self) {
        let before = self.wanted(true);
        for action in self.live.next_actions() {
            match action {
                Action::Stop { step, attempt } => {
                    let step = step.to_string();
                    if self.running.get(&step).is_some_and(|run| run.attempt == attempt) {
                        self.running.remove(&step);
                        self.starts.remove(&step);
                    }
                    self.remote.retain(|path, number| *path != step || *number != attempt);
                }
                Action::Start { step, attempt } => {
                    assert!(!self.plain.ended, "{step} starts after the end");
                    self.number(&step.to_string(), attempt);
                    let expects = self.plain.expects(step.as_str());
                    assert!(!expects.is_some_and(|(_, _, remaking)| remaking), "{step} starts on what is lost");
                    self.plain.told(step.as_str(), attempt);
                    self.starts.insert(step.to_string(), attempt);
                }
                Action::Run(run) => self.told_run(*run),
                Action::End(conclusion) => {
                    assert!(!self.told_end, "its end is told twice");
                    self.told_end = true;
                    self.is_end(&conclusion);
                }
            }
        }
        let open: Vec<_> = self.plain.open_paths();
        self.starts.retain(|path, _| open.contains(path));
        let mut live: Vec<_> = self.running.keys().map(|path| (path.clone(), Want::Run)).collect();
        live.extend(self.starts.keys().map(|path| (path.clone(), Want::Start)));
        live.sort();
        // What was told before a value was lost goes on.
        let waits = self.plain.waits_for_values();
        live.retain(|(path, _)| !waits.contains(path));
        if self.plain.paused {
            // What ran before goes on; nothing new but what is recorded.
            let held = self.wanted(false);
            live.retain(|want| !before.contains(want) || held.contains(want));
            let may = self.wanted(true);
            assert!(live.iter().all(|want| held.contains(want) || may.contains(want)), "{live:?} while paused");
            assert!(held.iter().all(|want| live.contains(want)), "{held:?} of {live:?} while paused");
        } else {
            assert_eq!(live, self.wanted(true), "what runs, by the machine and by the rules");
        }
    }

    /// What should run or start. `unpaused`: as if it were not paused.
    pub(super) fn wanted(&self, unpaused: bool) -> Vec<(String, Want)> {
        let (plain, mut wanted) = (&self.plain, Vec::new());
        if plain.ended || plain.phase == Unwound::Over {
            return wanted;
        }
        for leaf in plain.leaves().into_iter().filter(|leaf| leaf.stage != Stage::Sleep) {
            let is_once = once(leaf.vertex, leaf.stage);
            match leaf.step.begun {
                Begun::Called => {}
                Begun::Started(at) if leaf.step.held || at < plain.epoch && is_once => {}
                Begun::Started(_) => wanted.push((leaf.path, Want::Run)),
                Begun::No if leaf.remaking || plain.paused && !unpaused => {}
                Begun::No if commits(leaf.vertex, leaf.stage) => wanted.push((leaf.path, Want::Start)),
                Begun::No => wanted.push((leaf.path, Want::Run)),
            }
        }
        for (path, stray) in &plain.strays {
            if stray.epoch == plain.epoch && !stray.called {
                wanted.push((path.clone(), Want::Run));
            }
        }
        for group in plain.undo.iter().filter(|group| group.open) {
            let path = format!("{}/~compensate", group.path);
            let part = group.graph.nodes[group.node].compensate.as_ref().unwrap();
            match group.begun {
                Begun::No if !part.idempotent => wanted.push((path, Want::Start)),
                Begun::Started(at) if at < plain.epoch && !part.idempotent => {}
                _ => wanted.push((path, Want::Run)),
            }
        }
        wanted.sort();
        wanted
    }

    /// Attempt numbers only grow, and none is used for two inputs.
    fn number(&mut self, path: &str, attempt: u32) {
        let last = self.numbers.entry(path.to_owned()).or_default();
        assert!(attempt >= *last, "{path} has attempt {attempt} after {last}");
        *last = attempt;
    }

    fn told_run(&mut self, run: Run) {
        let path = run.step.to_string();
        assert!(!self.plain.ended, "{path} runs after the end");
        self.number(&path, run.attempt);
        self.size.steps += 1;
        if let Some((stage, is_once, remaking)) = self.plain.expects(&path) {
            assert!(!remaking, "{path} runs on what is lost");
            let inputs = self.plain.inputs(&path);
            let fits = match (&run.work, stage) {
                (Work::When, Stage::When) | (Work::Operation, Stage::Run) => true,
                (Work::Ask(_), Stage::Ask) | (Work::Fallback, Stage::Fallback) => true,
                (Work::Gather(results), Stage::Gather) => {
                    self.plain.gathers(&path, results);
                    true
                }
                _ => false,
            };
            assert!(fits, "{path} does {:?} at {stage:?}", run.work);
            assert_eq!(run.inputs, inputs, "inputs of {path}");
            if commits(run.node(), stage) {
                // They stood so when its start was recorded.
                assert!(self.stood.contains(&run.variables), "variables of {path}");
            } else {
                assert_eq!(*run.variables, self.plain.variables, "variables of {path}");
            }
            if is_once {
                let key = (self.plain.generation, path.clone(), stage == Stage::Fallback);
                let before = self.called.insert(key, run.attempt);
                assert_eq!(before, None, "{path} must not be repeated");
            }
        } else if path.ends_with("~compensate") {
            self.plain.undoes(&path, &run);
        }
        let inputs = self.used.entry((path.clone(), run.attempt)).or_insert_with(|| run.inputs.clone());
        assert_eq!(inputs.len(), run.inputs.len(), "{path}");
        let same = inputs.iter().zip(&run.inputs).all(|((_, a), (_, b))| match (a, b) {
            (Some(a), Some(b)) => super::settle::same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        });
        assert!(same, "attempt {} of {path} has two inputs", run.attempt);
        self.plain.told(&path, run.attempt);
        self.starts.remove(&path);
        let before = self.running.insert(path.clone(), run);
        assert!(before.is_none(), "{path} runs twice");
    }

    fn is_end(&self, conclusion: &Conclusion) {
        let same = match (conclusion, self.plain.how.as_ref().unwrap()) {
            (Conclusion::Succeeded(a), How::Succeeded(b)) => a == b,
            (Conclusion::Failed(error), How::Failed(step)) => error.step.as_str() == step,
            (Conclusion::TimedOut, How::TimedOut) | (Conclusion::Cancelled, How::Cancelled) => true,
            _ => false,
        };
        assert!(same, "{conclusion:?} is not {:?}", self.plain.how);
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
        }
    }

    pub(super) fn ended_event(&self) -> Event {
        let outcome = match self.plain.how.as_ref().unwrap() {
            How::Succeeded(_) => Outcome::Succeeded { output: None, size: 0 },
            How::Failed(step) => Outcome::Failed {
                step: step.as_str().into(),
                message: "no".to_owned(),
                cause: Cause::Permanent,
            },
            How::TimedOut => Outcome::TimedOut,
            How::Cancelled => Outcome::Cancelled,
        };
        let (trouble, owed) = (Vec::new(), Vec::new());
        Event::Ended { outcome, trouble, owed, at_us: self.plain.now }
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
