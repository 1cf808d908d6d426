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
mod holder;
mod looks;
mod mutation;
mod per_node;
mod remake;
mod reset;
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
pub(crate) use holder::Holder;
pub(crate) use snapshot::{RestoreError, step_in};
pub(crate) use timers::HALF_HEARTBEAT_US;

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
    holder: Option<Holder>,
    /// Take-overs without progress between them.
    take_overs: u32,
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
    /// Steps that a restart reset, with all that stands in them, and in which generation it last did.
    resets: HashMap<StepPath, u32>,
    /// Whether what comes finally was done, in this generation.
    is_finished: bool,
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
            holder: None,
            take_overs: 0,
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
            is_finished: false,
            resets: HashMap::default(),
            expanded: 0,
            later: Vec::new(),
            room: Vec::new(),
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
