//! What waits for a time or a signal: waits, attempts that somebody else completes, attempts whose
//! outcome becomes unknown, the request's own limit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::{Cause, Operation, StepPath, ValueRef, Wait};

use super::action::Conclusion;
use super::frame::{Begun, FrameIx, Stage, State};
use super::given::Given;
use super::mutation::{Mutation, planted};
use super::steps::{is_once, limit_us};
use super::{Execution, HashMap, Phase, Slot};
use crate::fault::{self, Fault};

/// Half of a heartbeat's lifetime: how long a driver that was stopped may still make a call that it
/// has recorded.
pub(crate) const HALF_HEARTBEAT_US: u64 = 5_000_000;
/// Most signals that are kept for those who will wait for them.
pub(crate) const SIGNALS_MAX: usize = 1_000;

/// Signals that nobody has taken, and steps that wait for one.
#[derive(Debug, Default, Clone)]
pub(super) struct Signals {
    pub(super) kept: HashMap<String, VecDeque<Arc<ValueRef>>>,
    /// Each with its attempt: one that is over waits no more.
    pub(super) waiting: HashMap<String, VecDeque<(StepPath, u32)>>,
    pub(super) count: usize,
}

impl Execution {
    /// Opens a `wait` whose time is known, or whose signal may be there.
    pub(super) fn sleep(&mut self, ix: FrameIx, node: usize, until_us: Option<u64>) {
        let now_us = self.now_us;
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let vertex = &frame.graph.nodes[node];
        let limit_us = vertex.timeout.map_or(0, |limit| after(now_us, limit));
        let path = frame.path(node);
        let number = frame.attempts[node];
        let signal = match &vertex.operation {
            Operation::Wait(Wait::Signal(name)) => Some(name.to_string()),
            _ => None,
        };
        let Some(State::Open(attempt)) = frame.states.get_mut(node) else {
            return;
        };
        attempt.stage = Stage::Sleep;
        (attempt.told, attempt.begun) = (false, Begun::No);
        if let Some(name) = &signal {
            if let Some(value) = self.signals.take(name) {
                let state = State::Done(Given::Value(value));
                self.later.push((path, ix, node, state));
                return;
            }
            self.wait_for(name, (path.clone(), number));
        }
        let Some(State::Open(attempt)) = self.state_mut(ix, node) else {
            return;
        };
        // A time before all times is over as well.
        attempt.until_us = until_us.map_or(0, |until_us| until_us.max(1));
        attempt.due_us = match (attempt.until_us, limit_us) {
            (0, limit) => limit,
            (until, 0) => until,
            (until, limit) => until.min(limit),
        };
        let due_us = attempt.due_us;
        if due_us > 0 {
            self.timers.insert((due_us, path));
        }
    }

    pub(super) fn signalled(&mut self, name: &str, value: &ValueRef, at_us: u64) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        self.see(at_us);
        let value = self.place_of(value);
        while let Some((step, number)) = self.signals.next_waiting(name) {
            if let Some(Slot::Node(ix, node)) = self.open.get(&step).copied()
                && self.awaits(&step, number)
            {
                let state = State::Done(Given::Value(Arc::clone(&value)));
                self.resolve(&step, ix, node, state);
                if !planted(Mutation::SignalTwice) {
                    return;
                }
            }
        }
        if self.signals.count < SIGNALS_MAX {
            self.signals.keep(name, value);
        }
    }

    fn wait_for(&mut self, name: &str, step: (StepPath, u32)) {
        let mut waiting = self.signals.waiting.remove(name).unwrap_or_default();
        if waiting.len() >= 64 && waiting.len().is_power_of_two() {
            // Those that gave up stay in the line until somebody looks.
            waiting.retain(|(step, number)| self.awaits(step, *number));
        }
        waiting.push_back(step);
        self.signals.waiting.insert(name.to_owned(), waiting);
    }

    /// Whether somebody waits for a signal of this name.
    pub(super) fn is_wanted(&self, name: &str) -> bool {
        let waiting = self.signals.waiting.get(name);
        let mut waiting = waiting.into_iter().flatten();
        waiting.any(|(step, number)| self.awaits(step, *number))
    }

    /// How many signals are kept that nobody has taken.
    pub(super) const fn signals_kept(&self) -> usize {
        self.signals.count
    }

    /// When what runs now is over at the latest.
    pub(super) const fn bound_us(&self) -> u64 {
        match &self.phase {
            Phase::Unwinding(unwinding) => unwinding.until_us,
            _ => self.deadline_us,
        }
    }

    pub(super) fn ticked(&mut self, at_us: u64) {
        self.see(at_us);
        match &self.phase {
            Phase::Open if at_us >= self.deadline_us && !planted(Mutation::DeadlineIgnored) => {
                self.conclude(Conclusion::TimedOut);
                return;
            }
            Phase::Unwinding(unwinding) if at_us >= unwinding.until_us => {
                self.give_up_unwinding();
                return;
            }
            Phase::Open | Phase::Unwinding(_) => {}
            _ => return,
        }
        while let Some((due_us, _)) = self.timers.first()
            && *due_us <= at_us
        {
            let Some((due_us, step)) = self.timers.pop_first() else {
                return;
            };
            self.due(&step, due_us);
        }
    }

    fn due(&mut self, step: &StepPath, due_us: u64) {
        match self.open.get(step).copied() {
            Some(Slot::Node(ix, node)) => {
                let Some(frame) = self.frame(ix) else { return };
                let State::Open(attempt) = &frame.states[node] else {
                    return;
                };
                if attempt.due_us != due_us && !planted(Mutation::TimerTwice) {
                    return;
                }
                let (stage, begun, number) = (attempt.stage, attempt.begun, attempt.number);
                let over = attempt.until_us > 0 && attempt.until_us <= due_us;
                let once = is_once(&frame.graph.nodes[node], stage);
                if attempt.told && begun != Begun::Called {
                    self.stopped.push((step.clone(), number));
                }
                match (stage, begun) {
                    (Stage::Sleep, _) if over => self.wake(step, ix, node),
                    (Stage::Sleep, _) => {
                        let text = "it waited longer than its timeout";
                        self.attempt_failed(step, (ix, node), text, Cause::Timeout, None);
                    }
                    (_, Begun::Called) => {
                        let text = "no callback came within its timeout";
                        self.attempt_failed(step, (ix, node), text, Cause::Timeout, None);
                    }
                    _ if once => {
                        self.attempt_failed(step, (ix, node), UNKNOWN, Cause::Unknown, None)
                    }
                    _ => {
                        let text = "nobody took it on within its timeout";
                        self.attempt_failed(step, (ix, node), text, Cause::Timeout, None);
                    }
                }
            }
            Some(Slot::Stray(stray)) if stray.due_us == due_us => {
                self.stopped.push((step.clone(), stray.attempt));
                self.stray_ended(step, None);
            }
            Some(Slot::Undo(at)) => {
                let attempt = self.undo[at].attempt.as_ref();
                if attempt.is_some_and(|attempt| attempt.due_us == due_us) {
                    self.undo_failed(step, at, UNKNOWN, Cause::Unknown, None);
                }
            }
            Some(Slot::Stray(_)) | None => {}
        }
    }

    /// When the first outcome becomes unknown of those that do by then, Unix time in µs.
    pub(crate) fn unknown_by(&self, now_us: u64) -> Option<u64> {
        let due = self.timers.iter().take_while(|(due, _)| *due <= now_us);
        let mut unknown = due.filter(|(due_us, step)| self.becomes_unknown(*due_us, step));
        unknown.next().map(|(due_us, _)| *due_us)
    }

    fn becomes_unknown(&self, due_us: u64, step: &StepPath) -> bool {
        match self.open.get(step) {
            Some(Slot::Node(ix, node)) => self.frame(*ix).is_some_and(|frame| {
                let vertex = &frame.graph.nodes[*node];
                matches!(&frame.states[*node], State::Open(attempt)
                    if attempt.due_us == due_us
                        && matches!(attempt.begun, Begun::Started(_))
                        && is_once(vertex, attempt.stage))
            }),
            Some(Slot::Stray(stray)) => stray.due_us == due_us,
            Some(Slot::Undo(at)) => {
                let attempt = self.undo[*at].attempt.as_ref();
                attempt.is_some_and(|attempt| attempt.due_us == due_us)
            }
            None => false,
        }
    }

    /// A `wait` is over: its value is its input.
    fn wake(&mut self, step: &StepPath, ix: FrameIx, node: usize) {
        let given = self.own_input(ix, node);
        self.resolve(step, ix, node, State::Done(given));
    }

    /// A claim: what an earlier driver had started is waited for, or done again.
    pub(super) fn claimed(&mut self, epoch: u64, at_us: u64) {
        self.see(at_us);
        self.epoch = epoch;
        if let Phase::Ending { told, .. } = &mut self.phase {
            *told = false;
        }
        self.recorded.clear();
        self.parked.clear();
        let mut steps: Vec<_> = self.open.keys().cloned().collect();
        steps.sort_unstable();
        let recorded: Vec<_> = steps.iter().filter(|step| self.taken_over(step)).collect();
        for step in recorded {
            self.run_recorded(step);
        }
        self.fresh = steps.iter().cloned().collect();
        if !self.runs() {
            self.not_awaited(steps);
        }
    }

    /// Calls that would be made again, but for a value that nobody makes again any more.
    pub(super) fn not_awaited(&mut self, steps: Vec<StepPath>) {
        for step in steps {
            if let Some(Slot::Node(ix, node)) = self.open.get(&step).copied()
                && !self.must_end(ix, node)
            {
                self.let_go(step, ix, node);
            }
        }
        self.awaited();
    }

    /// What was open under an earlier claim: whether its start is recorded, and it is called again.
    fn taken_over(&mut self, step: &StepPath) -> bool {
        let (now_us, bound_us) = (self.now_us, self.bound_us());
        let unknown_us = |limit_us: u64| match limit_us {
            _ if fault::planted(Fault::UnknownSoon) => now_us,
            0 => bound_us.max(now_us.saturating_add(HALF_HEARTBEAT_US)),
            limit_us => now_us
                .saturating_add(HALF_HEARTBEAT_US)
                .saturating_add(limit_us),
        };
        let Some(slot) = self.open.get_mut(step) else {
            return false;
        };
        let (attempt, once, limit_us) = match slot {
            Slot::Stray(stray) => {
                if !stray.called && stray.due_us == 0 {
                    stray.due_us = unknown_us(stray.limit_us);
                    self.timers.insert((stray.due_us, step.clone()));
                }
                return false;
            }
            Slot::Undo(at) => {
                let record = &mut self.undo[*at];
                let part = record.graph.nodes[record.node].compensate.as_deref();
                let once = part.is_some_and(|part| !part.idempotent);
                let limit = part.and_then(|part| part.timeout).map_or(0, micros);
                (record.attempt.as_mut(), once, limit)
            }
            Slot::Node(ix, node) => {
                let Some(frame) = self.frames[*ix].as_mut() else {
                    return false;
                };
                let State::Open(attempt) = &mut frame.states[*node] else {
                    return false;
                };
                let vertex = &frame.graph.nodes[*node];
                let stage = attempt.stage;
                (
                    Some(attempt),
                    is_once(vertex, stage),
                    limit_us(vertex, stage),
                )
            }
        };
        let Some(attempt) = attempt.filter(|attempt| attempt.begun != Begun::Called) else {
            return false;
        };
        attempt.told = false;
        if !matches!(attempt.begun, Begun::Started(_)) {
            return false;
        }
        // From the first take-over on: whoever could have called was lost with that.
        if once && attempt.due_us == 0 {
            attempt.due_us = unknown_us(limit_us);
            self.timers.insert((attempt.due_us, step.clone()));
        }
        !once || planted(Mutation::OnceAgain) || fault::planted(Fault::OnceAgain)
    }
}

const UNKNOWN: &str = "its outcome is unknown: it was started, its driver was lost, and no end came \
                       within its timeout; see what it did, then restart";

/// A time after another, in µs.
pub(super) fn after(at_us: u64, wait: Duration) -> u64 {
    at_us.saturating_add(micros(wait))
}

pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Signals {
    fn take(&mut self, name: &str) -> Option<Arc<ValueRef>> {
        let value = self.kept.get_mut(name)?.pop_front()?;
        self.count -= 1;
        Some(value)
    }

    fn keep(&mut self, name: &str, value: Arc<ValueRef>) {
        self.kept
            .entry(name.to_owned())
            .or_default()
            .push_back(value);
        self.count += 1;
    }

    fn next_waiting(&mut self, name: &str) -> Option<(StepPath, u32)> {
        self.waiting.get_mut(name)?.pop_front()
    }
}
