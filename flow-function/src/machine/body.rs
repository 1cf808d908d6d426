//! What nodes with bodies have come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use turlough_sdk::ValueRef;
use turlough_statestore::event::Trouble;

use super::action::Results;
use super::frame::FrameIx;
use super::given::Given;
use super::mutation::{Mutation, planted};

#[derive(Debug)]
pub(super) enum Body {
    Each(Box<Each>),
    Loop(Loop),
    Expand { frame: Option<FrameIx> },
}

/// The items of a `for_each`.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) manifest: Arc<ValueRef>,
    pub(super) results: Vec<Option<Given>>,
    pub(super) errors: Vec<(u32, Arc<Trouble>)>,
    pub(super) next: u32,
    /// Items that start again.
    pub(super) redo: Vec<u32>,
    pub(super) running: BTreeMap<u32, FrameIx>,
}

/// A loop in progress.
#[derive(Debug)]
pub(super) struct Loop {
    /// None for the node's input.
    pub(super) state: Option<Given>,
    pub(super) iteration: u32,
    pub(super) frame: Option<FrameIx>,
}

impl Each {
    pub(super) fn new(count: u32, manifest: Arc<ValueRef>) -> Self {
        Self {
            manifest,
            results: vec![None; count as usize],
            errors: Vec::new(),
            next: 0,
            redo: Vec::new(),
            running: BTreeMap::new(),
        }
    }

    /// The next item to start, if one may.
    pub(super) fn start_next(&mut self, parallel_max: usize) -> Option<u32> {
        let parallel_max = parallel_max + usize::from(planted(Mutation::ParallelOneMore));
        if self.running.len() >= parallel_max {
            return None;
        }
        if let Some(item) = self.redo.pop() {
            return Some(item);
        }
        let more = (self.next as usize) < self.results.len();
        more.then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    pub(super) fn end(&mut self, item: u32, output: Given) {
        self.running.remove(&item);
        self.results[item as usize] = Some(output);
    }

    pub(super) fn fail(&mut self, item: u32, error: Arc<Trouble>) {
        self.running.remove(&item);
        let at = self.errors.partition_point(|(earlier, _)| *earlier < item);
        self.errors.insert(at, (item, error));
    }

    pub(super) fn is_done(&self) -> bool {
        let forgotten = usize::from(planted(Mutation::ItemForgotten) && self.results.len() > 2);
        let begun = self.next as usize + forgotten >= self.results.len();
        self.running.is_empty() && self.redo.is_empty() && begun
    }

    /// An item that had ended runs again.
    pub(super) fn again(&mut self, item: u32) {
        if !self.has_ended(item) {
            return;
        }
        self.results[item as usize] = None;
        self.errors.retain(|(failed, _)| *failed != item);
        if !self.redo.contains(&item) {
            self.redo.push(item);
            self.redo.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    pub(super) fn has_ended(&self, item: u32) -> bool {
        item < self.next && !self.running.contains_key(&item)
    }

    pub(super) fn results(&self) -> Results {
        Results {
            manifest: Arc::clone(&self.manifest),
            given: if planted(Mutation::ResultsReversed) {
                self.results.iter().rev().cloned().collect()
            } else {
                self.results.clone()
            },
            errors: self.errors.clone(),
        }
    }

    pub(super) fn ended(&self) -> (usize, usize) {
        let begun = self.next as usize - self.redo.len();
        (begun - self.running.len(), self.results.len())
    }
}

impl Body {
    /// The frames that run in it.
    pub(super) fn frames(&self) -> Vec<FrameIx> {
        match self {
            Self::Each(each) => each.running.values().copied().collect(),
            Self::Loop(Loop { frame, .. }) | Self::Expand { frame } => {
                frame.iter().copied().collect()
            }
        }
    }
}
