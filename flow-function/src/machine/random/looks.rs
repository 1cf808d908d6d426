//! What is asked of the plain reading.

use std::sync::Arc;

use turlough_sdk::{Operation, ValueRef, Wait};

use super::ends::split;
use super::plain::{Begun, End, Item, Plain, Stage};
use super::rules::once;
use super::settle::same;
use super::undo::Unwound;
use crate::machine::given::Given;
use crate::machine::{Results, Run, Work};

impl Plain {
    pub(super) fn started_by_name(&mut self, path: &str, attempt: u32, at: u64) {
        let Some(owner) = path.strip_suffix("/~compensate") else {
            return self.started(path, attempt, at);
        };
        let epoch = self.epoch;
        self.now = self.now.max(at);
        if let Some(group) = self
            .undo
            .iter_mut()
            .find(|group| group.open && group.path == owner)
        {
            group.begun = Begun::Started(epoch);
        }
    }

    pub(super) fn took_on(&mut self, path: &str, at: u64) {
        self.now = self.now.max(at);
        match self.strays.get_mut(path) {
            Some(stray) => stray.called = true,
            None => self.with(path, |step| step.begun = Begun::Called),
        }
    }

    /// The attempt of an open step, as far as it was told, and whether its start is recorded.
    pub(super) fn open_attempt(&self, path: &str) -> Option<(Option<u32>, bool)> {
        if let Some(stray) = self.strays.get(path) {
            return Some((Some(stray.attempt), true));
        }
        if let Some(owner) = path.strip_suffix("/~compensate") {
            let group = self
                .undo
                .iter()
                .find(|group| group.open && group.path == owner)?;
            return Some((group.attempt, group.begun != Begun::No));
        }
        let leaf = self.leaves().into_iter().find(|leaf| leaf.path == path)?;
        Some((leaf.step.attempt, leaf.step.begun != Begun::No))
    }

    /// Whether there is such an item, where the items of its outermost node are listed.
    pub(super) fn may_have(&self, path: &str) -> bool {
        let Some((node, Some(place), Some(_))) = split(&self.root, path) else {
            return true;
        };
        let listed = self.root.steps[node].items.as_ref();
        listed.is_none_or(|(_, items)| (place as usize) < items.len())
    }

    /// Who waits for a signal: since when, and its path.
    pub(super) fn sleepers(&self, name: &str) -> Vec<(u64, String)> {
        let leaves = self
            .leaves()
            .into_iter()
            .filter(|leaf| leaf.stage == Stage::Sleep);
        let named = leaves.filter(|leaf| {
            matches!(&leaf.vertex.operation, Operation::Wait(Wait::Signal(it)) if it.as_str() == name)
        });
        named.map(|leaf| (leaf.step.slept, leaf.path)).collect()
    }

    pub(super) fn wakes(&mut self, path: &str, value: &ValueRef) {
        let mut news = self.news();
        let given = Given::Value(Arc::new(value.clone()));
        self.at(path, |scope, _, node| {
            scope.end(node, End::Done(given), &mut news)
        });
        self.settle(news);
    }

    /// The next compensation begins; where several are next, `open` says which.
    pub(super) fn pick(&mut self, open: impl Fn(&str) -> bool) {
        if self.phase != Unwound::Undoing || self.undo.iter().any(|group| group.open) {
            return;
        }
        let due = self.undo.iter_mut().filter(|group| group.is_due());
        let mut due: Vec<_> = due.collect();
        let Some(last) = due.iter().map(|group| group.started()).max() else {
            return;
        };
        due.retain(|group| group.started() == last);
        assert!(
            due.iter().any(|group| open(&group.path)),
            "one of {:?} is undone next",
            due.iter()
                .map(|group| (&group.path, &group.inputs, &group.attempts))
                .collect::<Vec<_>>()
        );
        if let Some(group) = due.into_iter().rfind(|group| open(&group.path)) {
            (group.open, group.failures, group.begun, group.due) = (true, 0, Begun::No, 0);
            group.attempt = None;
        }
    }

    pub(super) fn open_paths(&self) -> Vec<String> {
        let mut open: Vec<String> = self.leaves().into_iter().map(|leaf| leaf.path).collect();
        open.extend(self.strays.keys().cloned());
        let undone = self.undo.iter().filter(|group| group.open);
        open.extend(undone.map(|group| format!("{}/~compensate", group.path)));
        open
    }

    /// At which stage an open step is, whether that must not be repeated, whether a value is made again for it.
    pub(super) fn expects(&self, path: &str) -> Option<(Stage, bool, bool)> {
        let leaf = self.leaves().into_iter().find(|leaf| leaf.path == path)?;
        Some((leaf.stage, once(leaf.vertex, leaf.stage), leaf.remaking))
    }

    pub(super) fn inputs(&self, path: &str) -> Vec<(Arc<str>, Option<Given>)> {
        let leaf = self.leaves().into_iter().find(|leaf| leaf.path == path);
        leaf.map(|leaf| leaf.inputs).unwrap_or_default()
    }

    /// Open steps that were not begun, and for which a value is made again.
    pub(super) fn waits_for_values(&self) -> Vec<String> {
        let leaves = self.leaves().into_iter();
        let waits = leaves.filter(|leaf| leaf.remaking && leaf.step.begun == Begun::No);
        waits.map(|leaf| leaf.path).collect()
    }

    pub(super) fn told(&mut self, path: &str, attempt: u32) {
        if let Some(owner) = path.strip_suffix("/~compensate") {
            let group = self
                .undo
                .iter_mut()
                .find(|group| group.open && group.path == owner);
            group.unwrap().attempt = Some(attempt);
        } else if !self.strays.contains_key(path) {
            self.with(path, |step| step.attempt = Some(attempt));
        }
    }

    pub(super) fn gathers(&mut self, path: &str, results: &Results) {
        self.at(path, |scope, _, node| {
            let (manifest, items) = scope.steps[node].items.as_ref().unwrap();
            assert_eq!(results.manifest, *manifest, "{path}");
            assert_eq!(results.given.len(), items.len(), "{path} forgets items");
            for (at, item) in items.iter().enumerate() {
                let given = match item {
                    Item::Done(given) => Some(given.clone()),
                    _ => None,
                };
                assert_eq!(results.given[at], given, "{path}[{at}]");
            }
            let failed: Vec<_> = results
                .errors
                .iter()
                .map(|(item, _)| *item as usize)
                .collect();
            let expect = items.iter().enumerate();
            let expect = expect.filter(|(_, item)| matches!(item, Item::Failed));
            assert_eq!(
                failed,
                expect.map(|(at, _)| at).collect::<Vec<_>>(),
                "{path}"
            );
        });
    }

    pub(super) fn undoes(&self, path: &str, run: &Run) {
        let owner = path.strip_suffix("/~compensate").unwrap();
        let group = self
            .undo
            .iter()
            .find(|group| group.open && group.path == owner)
            .unwrap();
        let Work::Compensate(output) = &run.work else {
            panic!("{path} does {:?}", run.work)
        };
        match (output, &group.output) {
            (Some(a), Some(b)) => assert!(same(a, b), "{path} undoes {a:?}, not {b:?}"),
            (a, b) => assert_eq!(a, b, "output that {path} is given"),
        }
    }
}
