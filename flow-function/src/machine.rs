//! The machine: a request's state as the fold of its log, and what is to be done next.
//!
//! Invariants: no IO, no clock, no randomness; order, readiness, joins, skips, retries and ends are
//! decided here and nowhere else; a completion counts once; after a fold of any prefix of a log the
//! actions are those that a fresh machine would want. Every event costs time in proportion to the
//! edges that it resolves.

mod action;
mod frame;
mod inputs;

pub(crate) use action::{Action, Conclusion, Given, Run, Work};
pub(crate) use frame::StepState;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use turlough_sdk::{Cause, Digest, Flow, Operation, StepPath, ValueRef};
use turlough_statestore::event::{StepEnd, StepEnded};
use turlough_statestore::{Append, AppendId, Event, Kind};

use frame::{Frame, FrameIx, Items, Owner, Stage, State};

/// A request's state.
#[derive(Debug)]
pub(crate) struct Execution {
    flow: Arc<Flow>,
    phase: Phase,
    generation: u32,
    epoch: u64,
    last: Option<AppendId>,
    input: Option<ValueRef>,
    frames: Vec<Option<Frame>>,
    free: Vec<FrameIx>,
    /// Steps that run, or wait for their next attempt.
    open: HashMap<StepPath, (FrameIx, usize)>,
    /// Steps that became open since the last call of `next_actions`.
    fresh: Vec<StepPath>,
}

#[derive(Debug, Clone)]
enum Phase {
    New,
    Open,
    Ending { conclusion: Conclusion, told: bool },
    Ended,
    Settled,
}

/// What follows from an event.
enum Consequence {
    Resolved(FrameIx, usize),
    FrameDone(FrameIx),
}

impl Execution {
    pub(crate) fn new(flow: Arc<Flow>) -> Self {
        Self {
            flow,
            phase: Phase::New,
            generation: 0,
            epoch: 0,
            last: None,
            input: None,
            frames: Vec::new(),
            free: Vec::new(),
            open: HashMap::new(),
            fresh: Vec::new(),
        }
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

    /// Whether its end is decided, though it may not be stored yet.
    pub(crate) const fn is_concluded(&self) -> bool {
        !matches!(self.phase, Phase::New | Phase::Open)
    }

    pub(crate) const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Settled)
    }

    /// Folds an append. A driver's counts only if it names the last append that counted, and its
    /// epoch is that of the newest claim (a claim: above it); one that does not count changes nothing.
    pub(crate) fn fold(&mut self, append: &Append) -> bool {
        let envelope = &append.envelope;
        let claims = append
            .events
            .iter()
            .any(|event| matches!(event, Event::Claimed { .. }));
        let counts = match envelope.kind {
            Kind::External => !self.is_ended(),
            Kind::Driver if claims => envelope.epoch > self.epoch && envelope.after == self.last,
            Kind::Driver => envelope.epoch == self.epoch && envelope.after == self.last,
        };
        if !counts {
            return false;
        }
        self.last = Some(envelope.id);
        for event in &append.events {
            self.apply(event);
        }
        true
    }

    /// An append of events that were applied before it was stored counts now.
    pub(crate) fn stored(&mut self, id: AppendId, events: &[Event]) {
        self.last = Some(id);
        for event in events {
            if matches!(event, Event::Ended { .. } | Event::Settled { .. }) {
                self.apply(event);
            }
        }
    }

    /// Applies one event of an append that counts, or of one that is about to be appended.
    pub(crate) fn apply(&mut self, event: &Event) {
        match (event, &self.phase) {
            (Event::Accepted { input, .. }, Phase::New) => {
                self.input = Some(input.clone());
                self.phase = Phase::Open;
                let graph = Arc::clone(self.flow.graph());
                let mut consequences = Vec::new();
                self.open_frame(graph, None, &mut consequences);
                self.follow(consequences);
            }
            (Event::Claimed { epoch, .. }, _) => self.epoch = *epoch,
            (Event::StepEnded(ended), Phase::Open) => self.step_ended(ended),
            (Event::CancelAsked { .. }, Phase::Open) => self.conclude(Conclusion::Cancelled),
            (Event::DeadlinePassed { .. }, Phase::Open) => self.conclude(Conclusion::TimedOut),
            (Event::Ended { .. }, Phase::Open | Phase::Ending { .. }) => {
                self.phase = Phase::Ended;
                self.release();
            }
            (Event::Settled { .. }, _) => self.phase = Phase::Settled,
            _ => {}
        }
    }

    /// What is to be done that was not told before: runs of steps, or the request's end.
    pub(crate) fn next_actions(&mut self) -> Vec<Action> {
        if let Phase::Ending { conclusion, told } = &mut self.phase {
            self.fresh.clear();
            if std::mem::replace(told, true) {
                return Vec::new();
            }
            return vec![Action::End(conclusion.clone())];
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        // A fold of many events opens a step once for each of its attempts; the last one stands.
        let mut seen = HashSet::with_capacity(fresh.len());
        fresh.retain(|path| seen.insert(path.clone()));
        let run = |path: StepPath| {
            let (frame_ix, node) = *self.open.get(&path)?;
            let frame = self.frame(frame_ix)?;
            let State::Open {
                attempt,
                not_before_us,
                stage,
            } = frame.states[node]
            else {
                return None;
            };
            let work = match stage {
                Stage::Run => Work::Operation,
                Stage::Gather => Work::Gather(frame.gathered(node)),
            };
            Some(Action::Run(Run {
                inputs: self.inputs(frame, &frame.graph.nodes[node]),
                graph: Arc::clone(&frame.graph),
                node,
                step: path,
                attempt,
                not_before_us,
                work,
            }))
        };
        fresh.into_iter().filter_map(run).collect()
    }

    /// The state of each node of the flow's own graph, for pictures of an open request.
    pub(crate) fn root_states(&self) -> Vec<StepState> {
        self.frame(0).map(Frame::step_states).unwrap_or_default()
    }

    fn step_ended(&mut self, ended: &StepEnded) {
        let stale = ended.generation != self.generation || ended.epoch != self.epoch;
        let Some((frame_ix, node)) = self.open.get(&ended.step).copied().filter(|_| !stale) else {
            return;
        };
        let Some(frame) = self.frames[frame_ix].as_mut() else {
            return;
        };
        let State::Open { attempt, stage, .. } = frame.states[node] else {
            return;
        };
        if attempt != ended.attempt {
            return;
        }
        let vertex = &frame.graph.nodes[node];
        match (&ended.end, stage, &vertex.operation) {
            (StepEnd::Failed { message, cause }, _, _) => {
                self.step_failed(ended, frame_ix, node, message, *cause);
            }
            (StepEnd::Split { items, manifest }, Stage::Run, Operation::ForEach(_)) => {
                let items = Items::new(attempt, *items, manifest.clone());
                frame.states[node] = State::Each(Box::new(items));
                self.open.remove(&ended.step);
                let mut consequences = Vec::new();
                self.open_items(frame_ix, node, &mut consequences);
                self.follow(consequences);
            }
            (StepEnd::Took { case }, Stage::Run, Operation::Switch(_)) => {
                let input = Given::join(self.inputs_of(frame_ix, node));
                self.resolve(&ended.step, frame_ix, node, State::Took(*case, input));
            }
            (StepEnd::Succeeded { value }, Stage::Gather, Operation::ForEach(_))
            | (
                StepEnd::Succeeded { value },
                Stage::Run,
                Operation::Apply(_) | Operation::Map(_) | Operation::Pass(_),
            ) => self.resolve(&ended.step, frame_ix, node, State::Done(value.clone())),
            // An end that its operation cannot have; a log that holds one was not written by us.
            _ => {}
        }
    }

    fn step_failed(
        &mut self,
        ended: &StepEnded,
        frame_ix: FrameIx,
        node: usize,
        message: &str,
        cause: Cause,
    ) {
        let Some(frame) = self.frames[frame_ix].as_mut() else {
            return;
        };
        let retry = &frame.graph.nodes[node].retry;
        if cause.may_retry() && ended.attempt < retry.attempts() {
            let wait = retry.wait_after(ended.attempt, jitter(&ended.step, ended.attempt));
            let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
            if let State::Open {
                attempt,
                not_before_us,
                ..
            } = &mut frame.states[node]
            {
                *attempt += 1;
                *not_before_us = ended.end_us.saturating_add(wait_us);
            }
            self.fresh.push(ended.step.clone());
            return;
        }
        self.conclude(Conclusion::Failed {
            step: ended.step.clone(),
            message: message.to_owned(),
            cause,
        });
    }

    fn conclude(&mut self, conclusion: Conclusion) {
        self.phase = Phase::Ending {
            conclusion,
            told: false,
        };
        self.open.clear();
    }

    fn resolve(&mut self, path: &StepPath, frame: FrameIx, node: usize, state: State) {
        self.open.remove(path);
        if let Some(frame) = self.frames[frame].as_mut() {
            frame.end(node, state);
        }
        self.follow(vec![Consequence::Resolved(frame, node)]);
    }

    /// Works off what follows from what, without recursion: a chain of 10,000 skipped nodes is deep.
    fn follow(&mut self, mut consequences: Vec<Consequence>) {
        while let Some(consequence) = consequences.pop() {
            if !matches!(self.phase, Phase::Open) {
                return;
            }
            match consequence {
                Consequence::Resolved(frame, node) => {
                    self.tell_successors(frame, node, &mut consequences);
                }
                Consequence::FrameDone(frame) => self.frame_done(frame, &mut consequences),
            }
        }
    }

    fn tell_successors(&mut self, ix: FrameIx, node: usize, consequences: &mut Vec<Consequence>) {
        let Some(frame) = self.frames[ix].as_mut() else {
            return;
        };
        let graph = Arc::clone(&frame.graph);
        for (successor, edge) in &graph.successors[node] {
            let edge = &graph.nodes[*successor].edges[*edge];
            let live = frame.is_live(edge);
            if let State::Waiting {
                unresolved,
                live: any,
            } = &mut frame.states[*successor]
            {
                *unresolved -= 1;
                *any |= live && !edge.capture;
                if *unresolved == 0 {
                    Self::release_node(
                        frame,
                        ix,
                        *successor,
                        &mut self.open,
                        &mut self.fresh,
                        consequences,
                    );
                }
            }
        }
        frame.unresolved -= 1;
        if frame.unresolved == 0 {
            consequences.push(Consequence::FrameDone(ix));
        }
    }

    /// All in-edges of a node are resolved: it opens, or is skipped.
    fn release_node(
        frame: &mut Frame,
        ix: FrameIx,
        node: usize,
        open: &mut HashMap<StepPath, (FrameIx, usize)>,
        fresh: &mut Vec<StepPath>,
        consequences: &mut Vec<Consequence>,
    ) {
        if matches!(frame.states[node], State::Waiting { live: true, .. }) {
            frame.states[node] = State::Open {
                attempt: 1,
                not_before_us: 0,
                stage: Stage::Run,
            };
            let path = frame.path(node);
            open.insert(path.clone(), (ix, node));
            fresh.push(path);
        } else {
            frame.states[node] = State::Skipped;
            consequences.push(Consequence::Resolved(ix, node));
        }
    }

    fn open_frame(
        &mut self,
        graph: Arc<turlough_sdk::Graph>,
        owner: Option<Owner>,
        consequences: &mut Vec<Consequence>,
    ) {
        let outer_live: Vec<bool> = match &owner {
            Some(owner) => {
                let outer = self.frames[owner.frame].as_ref();
                let edges = outer.map(|outer| &outer.graph.nodes[owner.node].edges);
                let live = |outer: &Frame, edge| outer.is_live(edge);
                edges
                    .into_iter()
                    .flatten()
                    .map(|e| outer.is_some_and(|o| live(o, e)))
                    .collect()
            }
            None => Vec::new(),
        };
        let frame = Frame::new(graph, owner, outer_live);
        let ix = match self.free.pop() {
            Some(ix) => ix,
            None => {
                self.frames.push(None);
                self.frames.len() - 1
            }
        };
        let frame = self.frames[ix].insert(frame);
        for node in frame.unblocked() {
            Self::release_node(
                frame,
                ix,
                node,
                &mut self.open,
                &mut self.fresh,
                consequences,
            );
        }
    }

    fn open_items(&mut self, ix: FrameIx, node: usize, consequences: &mut Vec<Consequence>) {
        loop {
            let Some(frame) = self.frames[ix].as_mut() else {
                return;
            };
            let path = frame.path(node);
            let Operation::ForEach(each) = &frame.graph.nodes[node].operation else {
                return;
            };
            let body = Arc::clone(&each.body);
            let State::Each(items) = &mut frame.states[node] else {
                return;
            };
            if items.is_done() {
                let attempt = items.attempt;
                frame.keep_gathered(node);
                frame.states[node] = State::Open {
                    attempt,
                    not_before_us: 0,
                    stage: Stage::Gather,
                };
                self.open.insert(path.clone(), (ix, node));
                self.fresh.push(path);
                return;
            }
            let Some(item) = items.start_next(each.parallel_max) else {
                return;
            };
            self.open_frame(
                body,
                Some(Owner {
                    frame: ix,
                    node,
                    item,
                    path,
                }),
                consequences,
            );
        }
    }

    fn frame_done(&mut self, ix: FrameIx, consequences: &mut Vec<Consequence>) {
        let Some(frame) = self.frame(ix) else { return };
        let output = self.output(frame);
        let Some(owner) = frame.owner.clone() else {
            self.phase = Phase::Ending {
                conclusion: Conclusion::Succeeded(output),
                told: false,
            };
            return;
        };
        self.frames[ix] = None;
        self.free.push(ix);
        if let Some(outer) = self.frames[owner.frame].as_mut()
            && let State::Each(items) = &mut outer.states[owner.node]
        {
            items.end(owner.item, output);
            self.open_items(owner.frame, owner.node, consequences);
        }
    }

    fn frame(&self, ix: FrameIx) -> Option<&Frame> {
        self.frames.get(ix)?.as_ref()
    }

    fn release(&mut self) {
        self.open.clear();
        self.fresh.clear();
    }
}

/// 0 to 1, the same for the same attempt of the same step: waits spread without a random number.
fn jitter(step: &StepPath, attempt: u32) -> f64 {
    let digest = Digest::of(format!("{step}#{attempt}").as_bytes());
    (digest.0 as u32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod random;
