//! Claims and the clock, read plainly.

use turlough_sdk::Cause;

use super::plain::{Begun, End, How, Plain, Stage};
use super::rules::{join, limit, once};
use super::undo::Unwound;
use crate::machine::timers::HALF_HEARTBEAT_US;

impl Plain {
    /// A claim: what an earlier driver had started.
    pub(super) fn claimed(&mut self, epoch: u64, at: u64) {
        self.now = self.now.max(at);
        self.epoch = epoch;
        let (now, deadline) = (self.now, self.bound());
        let unknown = |limit: u64| match limit {
            0 => deadline.max(now + HALF_HEARTBEAT_US),
            limit => now + HALF_HEARTBEAT_US + limit,
        };
        let leaves = self.leaves();
        let found: Vec<_> = leaves
            .iter()
            .filter(|leaf| {
                matches!(leaf.step.begun, Begun::Started(_)) && leaf.stage != Stage::Sleep
            })
            .map(|leaf| {
                let due =
                    once(leaf.vertex, leaf.stage).then(|| unknown(limit(leaf.vertex, leaf.stage)));
                (leaf.path.clone(), due, leaf.remaking)
            })
            .collect();
        for (path, due, remaking) in found {
            self.with(&path, |step| match due {
                // From the first take-over on.
                Some(due) if step.due == 0 => step.due = due,
                Some(_) => {}
                None => step.held = remaking,
            });
        }
        let mut strays = self.strays.values_mut();
        for stray in strays
            .by_ref()
            .filter(|stray| !stray.called && stray.due == 0)
        {
            stray.due = unknown(stray.limit);
        }
        for group in self.undo.iter_mut().filter(|group| group.open) {
            let part = group.graph.nodes[group.node].compensate.as_ref().unwrap();
            if matches!(group.begun, Begun::Started(_)) && !part.idempotent && group.due == 0 {
                group.due = unknown(limit(part, Stage::Run));
            }
        }
        if self.phase == Unwound::Awaiting {
            self.unwind();
        }
    }

    /// When what runs now is over at the latest.
    pub(super) fn bound(&self) -> u64 {
        match self.phase {
            Unwound::Open => self.deadline,
            _ => self.until,
        }
    }

    pub(super) fn ticked(&mut self, at: u64) {
        self.now = self.now.max(at);
        match self.phase {
            Unwound::Over => return,
            Unwound::Open if at >= self.deadline => {
                self.conclude(How::TimedOut);
                return;
            }
            Unwound::Open => {}
            _ if at >= self.until => return self.give_up(),
            _ => {}
        }
        loop {
            let mut due: Vec<(u64, String)> = Vec::new();
            due.extend(
                self.leaves()
                    .into_iter()
                    .map(|leaf| (leaf.step.due, leaf.path)),
            );
            due.extend(
                self.strays
                    .iter()
                    .map(|(path, stray)| (stray.due, path.clone())),
            );
            let open = self.undo.iter().filter(|group| group.open);
            due.extend(open.map(|group| (group.due, format!("{}/~compensate", group.path))));
            due.retain(|(when, _)| *when > 0 && *when <= at);
            let Some((_, path)) = due.into_iter().min() else {
                return;
            };
            self.due(&path);
        }
    }

    fn due(&mut self, path: &str) {
        if let Some(owner) = path.strip_suffix("/~compensate") {
            return self.undo_failed(owner, Cause::Unknown);
        }
        if let Some(stray) = self.strays.remove(path) {
            if stray.undone {
                self.undo_learns(path, stray.text.as_ref(), None, Some(Cause::Unknown));
            }
            return self.unwind();
        }
        let mut news = self.news();
        let found = self.at(path, |scope, outer, node| {
            let stage = scope.stage(node)?;
            let is_once = once(&scope.graph.nodes[node], stage);
            let step = &scope.steps[node];
            if stage == Stage::Sleep && step.until > 0 && step.until <= step.due {
                let given = join(scope.inputs(outer, node));
                scope.end(node, End::Done(given), &mut news);
                return Some(Ok(()));
            }
            let unknown = is_once && stage != Stage::Sleep && step.begun != Begun::Called;
            Some(Err(if unknown {
                Cause::Unknown
            } else {
                Cause::Timeout
            }))
        });
        match found.flatten() {
            Some(Ok(())) => self.settle(news),
            Some(Err(cause)) => self.failed(path, cause),
            None => {}
        }
    }
}
