//! The machine: a request's state as the fold of its log, and what is to be done next.
//!
//! Invariants: no IO, no clock, no randomness; order, readiness, joins, skips, retries, timers,
//! unwinding and ends are decided here and nowhere else; a completion counts once; after a fold of
//! any prefix of a log the actions are those that a fresh machine would want. Every event costs time
//! in proportion to the edges that it resolves. Time is what the events say.

mod action;
mod bodies;
mod body;
mod control;
mod ends;
mod fold;
mod frame;
mod given;
mod mutation;
mod per_node;
mod remake;
mod reset;
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "logs in memory never lose their heads")
)]
mod snapshot;
mod sparse;
mod steps;
mod stop;
mod timers;
mod undo;
mod unwind;

pub(crate) use action::{Action, Conclusion, Results, Run, Variables, Work};
pub(crate) use control::Refusal;
pub(crate) use frame::StepState;
pub(crate) use given::Given;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use turlough_sdk::{Flow, RequestId, StepPath, ValueRef, Vertex};
use turlough_statestore::AppendId;
use turlough_statestore::event::{Accepted, Delivery, Trouble};

use frame::{Begun, Frame, FrameIx, State};
use mutation::{Mutation, planted};
use undo::Undo;
use unwind::Unwinding;

/// Keys are paths of steps, looked up several times for every event; the seed is fixed, since nothing in
/// the machine is random.
type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::FixedState>;

/// Where a machine finds the definitions of flows, by version.
#[derive(Clone)]
pub(crate) struct Versions(pub(crate) Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<Arc<Flow>> + Send + Sync;

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Versions")
    }
}

/// A request's state.
#[derive(Debug)]
pub(crate) struct Execution {
    request: RequestId,
    versions: Versions,
    flow: Arc<Flow>,
    phase: Phase,
    paused: bool,
    generation: u32,
    epoch: u64,
    last: Option<AppendId>,
    /// External appends that counted: none counts twice.
    heard: HashSet<AppendId>,
    accepted: Option<Box<Accepted>>,
    deadline_us: u64,
    /// The latest time that an event carried.
    now_us: u64,
    frames: Vec<Option<Box<Frame>>>,
    free: Vec<FrameIx>,
    /// Attempts that run, or wait for their time or for somebody else.
    open: HashMap<StepPath, Slot>,
    /// Steps that became open and were not told of.
    fresh: VecDeque<StepPath>,
    /// Attempts whose start is recorded: they run, whatever has happened since.
    recorded: Vec<Run>,
    /// Steps that wait for a value that is made again.
    parked: Vec<StepPath>,
    /// Attempts that were told of, and that nobody waits for any more.
    stopped: Vec<(StepPath, u32)>,
    /// When something is due, by step.
    timers: BTreeSet<(u64, StepPath)>,
    signals: timers::Signals,
    variables: Variables,
    /// Steps that are undone if the flow fails, in the order of their starts.
    undo: Vec<Undo>,
    undo_at: HashMap<StepPath, usize>,
    trouble: Vec<Trouble>,
    /// What a step failed by, while its fallback runs.
    failures: HashMap<StepPath, Arc<Trouble>>,
    /// How often steps were made again; what they had come to, while they are.
    remade: HashMap<StepPath, (u32, Option<State>)>,
    /// The highest attempt number in handlers that are over.
    handled: u32,
    /// Nodes of graphs that were made at run time.
    expanded: usize,
    /// Steps whose end was there before they began, in the event that is being applied.
    later: Vec<(StepPath, FrameIx, usize, State)>,
    /// Room for what follows from an event; empty between events.
    room: Vec<Consequence>,
}

/// Where an open attempt stands.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Node(FrameIx, usize),
    /// A compensation: its place in `undo`.
    Undo(usize),
    /// A start that must be awaited, of a body that is gone.
    Stray(Stray),
}

#[derive(Debug, Clone, Copy)]
struct Stray {
    attempt: u32,
    /// Whether somebody else took it on.
    called: bool,
    /// How long it may take, in µs; 0 where it does not say.
    limit_us: u64,
    /// When its outcome is unknown; 0 for not yet.
    due_us: u64,
    /// Whether it is undone if the flow fails.
    undone: bool,
}

#[derive(Debug, Clone)]
enum Phase {
    New,
    Open,
    Unwinding(Box<Unwinding>),
    Ending {
        conclusion: Conclusion,
        told: bool,
    },
    Ended {
        restartable: bool,
        owed: Vec<Delivery>,
    },
    Closing,
    Settled,
}

/// Room that lists keep which are empty between events: where more comes at once, making room anew
/// costs little for each.
const ROOM_KEPT: usize = 8;

/// What follows from an event.
#[derive(Debug)]
enum Consequence {
    Resolved(FrameIx, usize),
    FrameDone(FrameIx),
}

impl Execution {
    pub(crate) fn new(request: RequestId, flow: Arc<Flow>, versions: Versions) -> Self {
        Self {
            request,
            versions,
            flow,
            phase: Phase::New,
            paused: false,
            generation: 0,
            epoch: 0,
            last: None,
            heard: HashSet::new(),
            accepted: None,
            deadline_us: u64::MAX,
            now_us: 0,
            frames: Vec::new(),
            free: Vec::new(),
            open: HashMap::default(),
            fresh: VecDeque::new(),
            recorded: Vec::new(),
            parked: Vec::new(),
            stopped: Vec::new(),
            timers: BTreeSet::new(),
            signals: timers::Signals::default(),
            variables: Variables::default(),
            undo: Vec::new(),
            undo_at: HashMap::default(),
            trouble: Vec::new(),
            failures: HashMap::default(),
            remade: HashMap::default(),
            handled: 0,
            expanded: 0,
            later: Vec::new(),
            room: Vec::new(),
        }
    }

    /// The flow, in the version on which it runs now.
    pub(crate) const fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Epoch of the newest claim that counted.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last append that counted.
    pub(crate) const fn last(&self) -> Option<AppendId> {
        self.last
    }

    /// How it began.
    pub(crate) fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_deref()
    }

    pub(crate) const fn deadline_us(&self) -> u64 {
        self.deadline_us
    }

    /// Whether its end is decided and reached, though it may not be stored yet.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) const fn is_concluded(&self) -> bool {
        !matches!(self.phase, Phase::New | Phase::Open | Phase::Unwinding(_))
    }

    pub(crate) const fn is_ended(&self) -> bool {
        matches!(
            self.phase,
            Phase::Ended { .. } | Phase::Closing | Phase::Settled
        )
    }

    /// Whether it ended so that it may be restarted.
    pub(crate) const fn is_restartable(&self) -> bool {
        matches!(
            self.phase,
            Phase::Ended {
                restartable: true,
                ..
            }
        )
    }

    /// Whether its data may go.
    pub(crate) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Settled)
    }

    /// What went wrong while it was unwound.
    pub(crate) fn trouble(&self) -> &[Trouble] {
        &self.trouble
    }

    /// Word of its end that is still owed.
    pub(crate) fn owed(&self) -> &[Delivery] {
        match &self.phase {
            Phase::Ended { owed, .. } => owed,
            _ => &[],
        }
    }

    /// How it stands, as the API names it.
    pub(crate) const fn status(&self) -> &'static str {
        match &self.phase {
            Phase::New | Phase::Open if self.paused => "paused",
            Phase::New | Phase::Open => "running",
            Phase::Unwinding(_) | Phase::Ending { .. } => "unwinding",
            Phase::Ended { .. } | Phase::Closing | Phase::Settled => "ended",
        }
    }

    /// What is to be done that was not told before.
    pub(crate) fn next_actions(&mut self) -> Vec<Action> {
        let stop = |(step, attempt)| Action::Stop { step, attempt };
        let mut actions: Vec<_> = self.stopped.drain(..).map(stop).collect();
        for run in std::mem::take(&mut self.recorded) {
            if self.is_running(&run.step, run.attempt) {
                actions.push(Action::Run(Box::new(run)));
            }
        }
        if let Phase::Ending { conclusion, told } = &mut self.phase {
            if !std::mem::replace(told, true) {
                actions.push(Action::End(conclusion.clone()));
            }
            return actions;
        }
        if self.is_held() {
            return actions;
        }
        let mut asked = HashSet::new();
        actions.reserve(self.fresh.len());
        while let Some(step) = self.fresh.pop_front() {
            match self.tell(step) {
                // It may have become open twice since the last time.
                Some(Action::Start { step, .. }) if !asked.insert(step.clone()) => {}
                action => actions.extend(action),
            }
        }
        // What was wide open once is not kept for what is narrow.
        if self.fresh.capacity() > ROOM_KEPT {
            self.fresh = VecDeque::new();
        }
        actions
    }

    /// Whether nothing may start now.
    fn is_held(&self) -> bool {
        self.paused && matches!(self.phase, Phase::Open) && !planted(Mutation::PauseStarts)
    }

    /// When something is due next, Unix time in µs.
    pub(crate) fn wake_at_us(&self) -> Option<u64> {
        let limit = match &self.phase {
            Phase::Open => Some(self.deadline_us),
            Phase::Unwinding(unwinding) => Some(unwinding.until_us),
            _ => return None,
        };
        let first = self.timers.first().map(|(due_us, _)| *due_us);
        limit.into_iter().chain(first).min()
    }

    /// Whether an attempt whose start is recorded is still to be ended by whoever drives.
    fn is_running(&self, step: &StepPath, attempt: u32) -> bool {
        self.awaits(step, attempt)
            && match self.open.get(step) {
                Some(Slot::Node(ix, node)) => match self.frame(*ix).map(|f| &f.states[*node]) {
                    Some(State::Open(attempt)) => matches!(attempt.begun, Begun::Started(_)),
                    _ => false,
                },
                Some(Slot::Stray(stray)) => !stray.called,
                Some(Slot::Undo(_)) => true,
                None => false,
            }
    }

    /// Whether an attempt is still waited for.
    pub(crate) fn awaits(&self, step: &StepPath, attempt: u32) -> bool {
        self.open
            .get(step)
            .is_some_and(|slot| self.attempt_number(*slot) == Some(attempt))
    }

    /// The state of each node of the flow's own graph, for pictures of an open request.
    pub(crate) fn root_states(&self) -> Vec<StepState> {
        self.frame(0).map(Frame::step_states).unwrap_or_default()
    }

    /// Where the value of a step lies, while its frame is there.
    pub(crate) fn value_at(&self, step: &StepPath) -> Option<Given> {
        let (frame, node) = self.find(step)?;
        Self::value_of(self.frame(frame)?, node)
    }

    /// What a step is given, while its frame is there.
    pub(crate) fn inputs_at(&self, step: &StepPath) -> Option<Given> {
        let (ix, node) = self.find(step)?;
        let frame = self.frame(ix)?;
        Some(Given::join(self.inputs(frame, &frame.graph.nodes[node])))
    }

    /// Whether a step stands in a graph that is there.
    pub(crate) fn knows(&self, step: &StepPath) -> bool {
        self.find(step).is_some()
    }

    fn frame(&self, ix: FrameIx) -> Option<&Frame> {
        self.frames.get(ix)?.as_deref()
    }

    fn frame_mut(&mut self, ix: FrameIx) -> Option<&mut Frame> {
        self.frames.get_mut(ix)?.as_deref_mut()
    }

    fn vertex(&self, ix: FrameIx, node: usize) -> Option<&Vertex> {
        self.frame(ix)?.graph.nodes.get(node)
    }

    fn see(&mut self, at_us: u64) {
        self.now_us = self.now_us.max(at_us);
    }

    fn attempt_number(&self, slot: Slot) -> Option<u32> {
        match slot {
            Slot::Node(ix, node) => match &self.frame(ix)?.states[node] {
                State::Open(attempt) => Some(attempt.number),
                _ => None,
            },
            Slot::Undo(at) => self.undo[at].attempt.as_ref().map(|a| a.number),
            Slot::Stray(stray) => Some(stray.attempt),
        }
    }

    /// Where an action for a step that became open is made.
    fn tell(&mut self, step: StepPath) -> Option<Action> {
        match *self.open.get(&step)? {
            Slot::Node(ix, node) => self.tell_node(step, ix, node),
            Slot::Undo(at) => self.tell_undo(step, at),
            Slot::Stray(_) => None,
        }
    }

    fn place_of(&self, at: &ValueRef) -> Arc<ValueRef> {
        Arc::new(at.clone())
    }
}

#[cfg(test)]
#[allow(
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "a rule is read in one go"
)]
mod random;
#[cfg(test)]
mod tests;
