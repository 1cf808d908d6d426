//! What waits for a time or a signal: waits, attempts that somebody else completes, attempts whose
//! outcome becomes unknown, the request's own limit.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use turlough_sdk::{Cause, Operation, StepPath, ValueRef, Wait};

use super::action::Conclusion;
use super::frame::{Begun, FrameIx, Stage, State};
use super::given::Given;
use super::{Execution, Phase, Slot};

/// Half of a heartbeat's lifetime: how long a driver that was stopped may still make a call that it
/// has recorded.
pub(crate) const HALF_HEARTBEAT_US: u64 = 5_000_000;
/// Most signals that are kept for those who will wait for them.
pub(crate) const SIGNALS_MAX: usize = 1_000;

/// Signals that nobody has taken, and steps that wait for one.
#[derive(Debug, Default, Clone)]
pub(super) struct Signals {
    pub(super) kept: HashMap<String, VecDeque<Arc<ValueRef>>>,
    pub(super) waiting: HashMap<String, VecDeque<StepPath>>,
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
        let signal = match &vertex.operation {
            Operation::Wait(Wait::Signal(name)) => Some(name.to_string()),
            _ => None,
        };
        if let Some(name) = &signal {
            if let Some(value) = self.signals.take(name) {
                let state = State::Done(Given::Value(value));
                self.later.push((path, ix, node, state));
                return;
            }
            self.signals.wait(name, &path);
        }
        let Some(State::Open(attempt)) = frame.states.get_mut(node) else {
            return;
        };
        attempt.stage = Stage::Sleep;
        attempt.until_us = until_us.unwrap_or(0);
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
        while let Some(step) = self.signals.next_waiting(name) {
            let Some(Slot::Node(ix, node)) = self.open.get(&step).copied() else {
                continue;
            };
            if self.stage(ix, node) == Some(Stage::Sleep) {
                self.resolve(&step, ix, node, State::Done(Given::Value(value)));
                return;
            }
        }
        if self.signals.count < SIGNALS_MAX {
            self.signals.keep(name, value);
        }
    }

    /// How many signals are kept that nobody has taken.
    pub(super) const fn signals_kept(&self) -> usize {
        self.signals.count
    }

    pub(super) fn ticked(&mut self, at_us: u64) {
        self.see(at_us);
        match &self.phase {
            Phase::Open if at_us >= self.deadline_us => {
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
            self.due(&step, due_us, at_us);
        }
    }

    fn due(&mut self, step: &StepPath, due_us: u64, at_us: u64) {
        match self.open.get(step).copied() {
            Some(Slot::Node(ix, node)) => {
                let Some(State::Open(attempt)) = self.frame(ix).map(|f| &f.states[node]) else {
                    return;
                };
                if attempt.due_us != due_us {
                    return;
                }
                let (stage, begun) = (attempt.stage, attempt.begun);
                let over = attempt.until_us > 0 && attempt.until_us <= at_us;
                match (stage, begun) {
                    (Stage::Sleep, _) if over => self.wake(step, ix, node),
                    (Stage::Sleep, _) => {
                        let text = "it waited longer than its timeout";
                        self.attempt_failed(step, ix, node, text, Cause::Timeout);
                    }
                    (_, Begun::Called) => {
                        let text = "no callback came within its timeout";
                        self.attempt_failed(step, ix, node, text, Cause::Timeout);
                    }
                    _ => self.attempt_failed(step, ix, node, UNKNOWN, Cause::Unknown),
                }
            }
            Some(Slot::Stray { undo, .. }) => self.stray_ended(step, undo, None),
            Some(Slot::Undo(_)) | None => {}
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
        let mut unknown = Vec::new();
        for (step, slot) in &self.open {
            match *slot {
                Slot::Node(ix, node) => {
                    let Some(frame) = self.frames[ix].as_mut() else {
                        continue;
                    };
                    let vertex = &frame.graph.nodes[node];
                    let State::Open(attempt) = &mut frame.states[node] else {
                        continue;
                    };
                    if attempt.begun != Begun::Called && attempt.stage != Stage::Sleep {
                        attempt.told = false;
                    }
                    let once = !vertex.idempotent && attempt.stage == Stage::Run;
                    if once && matches!(attempt.begun, Begun::Started(_)) {
                        let limit = vertex.timeout.map_or(self.deadline_us, |timeout| {
                            after(at_us.saturating_add(HALF_HEARTBEAT_US), timeout)
                        });
                        attempt.due_us = limit;
                        unknown.push((limit, step.clone()));
                    }
                }
                Slot::Undo(at) => {
                    if let Some(attempt) = &mut self.undo[at].attempt {
                        attempt.told = false;
                    }
                }
                Slot::Stray { .. } => {
                    unknown.push((
                        after(at_us, std::time::Duration::from_micros(HALF_HEARTBEAT_US)),
                        step.clone(),
                    ));
                }
            }
        }
        self.timers.extend(unknown);
        let mut steps: Vec<_> = self.open.keys().cloned().collect();
        steps.sort_unstable();
        self.fresh = steps.into();
    }
}

const UNKNOWN: &str = "its outcome is unknown: it was started, its driver was lost, and no end came \
                       within its timeout; see what it did, then restart";

/// A time after another, in µs.
pub(super) fn after(at_us: u64, wait: std::time::Duration) -> u64 {
    at_us.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX))
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

    fn wait(&mut self, name: &str, step: &StepPath) {
        let waiting = self.waiting.entry(name.to_owned()).or_default();
        waiting.push_back(step.clone());
    }

    fn next_waiting(&mut self, name: &str) -> Option<StepPath> {
        self.waiting.get_mut(name)?.pop_front()
    }
}
