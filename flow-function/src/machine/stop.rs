//! What nobody waits for any more: attempts, bodies, frames. Calls that must be awaited stay open.

use turlough_sdk::{Cause, StepPath};

use super::frame::{Begun, Body, FrameIx, Owner, Stage, State};
use super::mutation::{Mutation, planted};
use super::steps::{is_once, limit_us};
use super::{Execution, Slot, Stray};

impl Execution {
    /// Lets go of what runs in a node's body.
    pub(super) fn drop_body(&mut self, ix: FrameIx, node: usize) {
        let frames = self.frame(ix).and_then(|frame| frame.bodies.get(&node));
        for frame in frames.map(Body::frames).unwrap_or_default() {
            self.drop_frame(frame);
        }
        if let Some(frame) = self.frame_mut(ix) {
            frame.bodies.remove(&node);
            // Attempts in its next body are numbered on.
            if let Some((floor, high)) = frame.numbers.get_mut(&node) {
                *floor = *high;
            }
        }
    }

    /// Lets go of a frame and of what runs in it. Starts that must be awaited stay open.
    pub(super) fn drop_frame(&mut self, ix: FrameIx) {
        let (mut left, mut inner_last) = (vec![ix], Vec::new());
        while let Some(ix) = left.pop() {
            let Some(frame) = self.frame(ix) else {
                continue;
            };
            let bodies = frame.bodies.values().flat_map(Body::frames);
            left.extend(bodies.filter(|body| *body != FrameIx::MAX));
            inner_last.push(ix);
            for node in 0..frame.states.len() {
                self.stop(ix, node);
                self.not_remade(ix, node);
            }
        }
        for ix in inner_last.into_iter().rev() {
            self.forget_frame(ix);
        }
    }

    /// Nobody waits for a node's attempt any more; but a start that must be awaited is.
    pub(super) fn stop(&mut self, ix: FrameIx, node: usize) {
        let Some(frame) = self.frame(ix) else { return };
        let State::Open(attempt) = &frame.states[node] else {
            return;
        };
        let path = frame.path(node);
        let stray = Stray {
            attempt: attempt.number,
            called: attempt.begun == Begun::Called,
            limit_us: limit_us(&frame.graph.nodes[node], attempt.stage),
            due_us: attempt.due_us,
            undone: attempt.stage == Stage::Run && self.is_undone(&path, ix, node),
        };
        self.failures.remove(&path);
        if self.must_end(ix, node) && !planted(Mutation::StrayForgotten) {
            self.open.insert(path, Slot::Stray(stray));
        } else {
            self.let_go(path, ix, node);
        }
    }

    /// Nobody waits for a node's attempt any more.
    pub(super) fn let_go(&mut self, path: StepPath, ix: FrameIx, node: usize) {
        self.open.remove(&path);
        let Some(State::Open(attempt)) = self.frame(ix).map(|frame| &frame.states[node]) else {
            return;
        };
        let (begun, told, number) = (attempt.begun, attempt.told, attempt.number);
        let stage = attempt.stage;
        if let (Begun::Started(at), false) = (begun, told) {
            // It waited for a value that is made again.
            if at == self.epoch {
                self.not_called(&path, ix, node);
            } else if stage == Stage::Run {
                self.undo_known(&path, (ix, node), None, Some(Cause::Unknown));
            }
        }
        if let Some(State::Open(attempt)) = self.state_mut(ix, node) {
            (attempt.begun, attempt.told) = (Begun::No, false);
        }
        if (told || begun == Begun::Called) && !planted(Mutation::StopForgotten) {
            self.stopped.push((path, number));
        }
    }

    /// The start of an open attempt is recorded, but its call was not made.
    pub(super) fn not_called(&mut self, path: &StepPath, ix: FrameIx, node: usize) {
        let Some(frame) = self.frame(ix) else { return };
        let State::Open(attempt) = &frame.states[node] else {
            return;
        };
        if attempt.begun == Begun::No {
            return;
        }
        let stage = attempt.stage;
        if is_once(&frame.graph.nodes[node], stage) {
            self.count_calls(ix, node, -1);
        }
        if stage == Stage::Run {
            self.undo_known(path, (ix, node), None, Some(Cause::Permanent));
        }
    }

    /// Frees a frame, and keeps the attempt numbers that were used in it; returns whose body it was.
    pub(super) fn forget_frame(&mut self, ix: FrameIx) -> Option<Owner> {
        let frame = self.frames[ix].take()?;
        self.free.push(ix);
        let inner = frame.numbers.values().map(|(_, high)| *high);
        let high = frame.attempts.iter().copied().chain(inner).max();
        let high = high.unwrap_or(0);
        match &frame.owner {
            None => self.handled = self.handled.max(high),
            Some(owner) => {
                if let Some(outer) = self.frame_mut(owner.frame) {
                    match outer.numbers.get_mut(&owner.node) {
                        Some(numbers) => numbers.1 = numbers.1.max(high),
                        None => outer.numbers.insert(owner.node, (0, high)),
                    }
                }
            }
        }
        frame.owner
    }
}
