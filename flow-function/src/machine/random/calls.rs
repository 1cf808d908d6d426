//! What calls come to: values, failures by every cause, lost data, graphs.

use turlough_sdk::{Cause, Digest, Operation, ValueRef, Wait};
use turlough_statestore::Event;
use turlough_statestore::event::StepEnd;

use super::flows;
use super::world::World;
use crate::machine::given::Given;
use crate::machine::{Run, Work};

impl World {
    pub(super) fn fresh_value(&mut self, path: &str) -> ValueRef {
        let data = if self.dice.chance(85) {
            Digest::of(path.as_bytes()).0 as u64
        } else {
            self.dice.next()
        };
        self.place(data)
    }

    pub(super) fn failure(&mut self) -> StepEnd {
        let causes = [
            Cause::Transient,
            Cause::Permanent,
            Cause::Timeout,
            Cause::Panic,
            Cause::Unanswered,
        ];
        let cause = causes[self.dice.roll(causes.len())];
        StepEnd::Failed {
            message: "no".to_owned(),
            cause,
        }
    }

    pub(super) fn end(&mut self, path: &str, run: &Run) -> Event {
        let vertex = run.vertex();
        let remote = matches!(run.work, Work::Operation) && vertex.operation.is_remote();
        if remote && self.dice.chance(70) {
            return Event::StepCalled {
                step: path.into(),
                attempt: run.attempt,
                at_us: self.plain.now,
            };
        }
        let end = match self.dice.roll(100) {
            0..=13 => self.failure(),
            at if at >= 14 && at < 14 + self.losses => match self.lost(run) {
                Some(value) => StepEnd::Lost { value },
                None => self.failure(),
            },
            _ => self.success(path, run),
        };
        let mut ended = self.end_of(path, run.attempt, end);
        ended.end_us += self.dice.roll(1_000) as u64;
        if matches!(run.work, Work::Operation) && self.dice.chance(5) {
            let value = self.fresh_value("v");
            ended.set.push(("v".to_owned(), value));
        }
        self.old.push(ended.clone());
        Event::StepEnded(ended)
    }

    /// A value that an attempt is given, and that is gone.
    fn lost(&mut self, run: &Run) -> Option<ValueRef> {
        let mut left: Vec<Given> = run
            .inputs
            .iter()
            .filter_map(|(_, given)| given.clone())
            .collect();
        match &run.work {
            Work::Ask(Some(state)) => left.push(state.clone()),
            Work::Gather(results) => left.extend(results.given.iter().flatten().cloned()),
            _ => {}
        }
        self.lost_of(left)
    }

    /// One of the values that these are put together from, where one may be gone.
    pub(super) fn lost_of(&mut self, mut left: Vec<Given>) -> Option<ValueRef> {
        let mut values = Vec::new();
        while let Some(given) = left.pop() {
            match given {
                Given::Empty => {}
                Given::Value(at) if matches!(*at, ValueRef::Stored { .. }) => {
                    values.push((*at).clone())
                }
                Given::Value(_) => {}
                Given::Item { .. } => values.push(self.place(1)),
                Given::Map(members) => left.extend(members.iter().map(|(_, given)| given.clone())),
            }
        }
        if values.is_empty() {
            return None;
        }
        Some(values.swap_remove(self.dice.roll(values.len())))
    }

    pub(super) fn success(&mut self, path: &str, run: &Run) -> StepEnd {
        let value = self.fresh_value(path);
        let input = self.dice.chance(20).then(|| value.clone());
        match (&run.work, &run.vertex().operation) {
            (Work::When, _) if self.dice.chance(70) => StepEnd::Went,
            (Work::When, _) => StepEnd::Skipped,
            (Work::Ask(state), _) => StepEnd::Asked {
                again: self.dice.chance(60),
                input: input.filter(|_| state.is_none()),
            },
            (Work::Operation, Operation::Switch(switch)) => {
                let cases = switch.cases.len() as u32;
                let mut taken: Vec<_> = (0..cases).filter(|_| self.dice.chance(60)).collect();
                taken.truncate(if switch.all { taken.len() } else { 1 });
                StepEnd::Took {
                    cases: taken,
                    input,
                }
            }
            (Work::Operation, Operation::ForEach(_)) => StepEnd::Split {
                items: self.dice.roll(5) as u32,
                manifest: value,
            },
            (Work::Operation, Operation::Expand(_)) => {
                let graph = match self.dice.roll(8) {
                    0 => "{ nodes: {} }".to_owned(),
                    _ => flows::graph(&mut self.dice),
                };
                StepEnd::Expanded { graph, input }
            }
            (Work::Operation, Operation::Wait(Wait::Until(_))) => StepEnd::Waits {
                until_us: (self.plain.now + self.dice.roll(9_000_000) as u64)
                    .saturating_sub(2_000_000),
            },
            _ => StepEnd::Succeeded { value },
        }
    }
}
