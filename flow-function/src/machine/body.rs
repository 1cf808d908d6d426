//! What nodes with bodies have come to.

use std::sync::Arc;

use turlough_sdk::{StepPath, ValueRef};
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
    /// That of the node, which all its items share; none until the first starts.
    pub(super) path: Option<StepPath>,
    pub(super) items: Vec<Item>,
    /// How many items run.
    pub(super) running: usize,
    pub(super) errors: Vec<(u32, Arc<Trouble>)>,
    pub(super) next: u32,
    /// Items that start again.
    pub(super) redo: Vec<u32>,
}

/// How far an item has come.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// In this frame.
    Running(FrameIx),
    /// It came to this; nothing where it has not begun, or failed.
    Idle(Option<Given>),
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
            path: None,
            items: vec![Item::Idle(None); count as usize],
            running: 0,
            errors: Vec::new(),
            next: 0,
            redo: Vec::new(),
        }
    }

    /// The next item to start, if one may.
    pub(super) fn start_next(&mut self, parallel_max: usize) -> Option<u32> {
        let parallel_max = parallel_max + usize::from(planted(Mutation::ParallelOneMore));
        if self.running >= parallel_max {
            return None;
        }
        if let Some(item) = self.redo.pop() {
            return Some(item);
        }
        let more = (self.next as usize) < self.items.len();
        more.then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Notes how far an item has come.
    pub(super) fn set(&mut self, item: u32, now: Item) {
        let runs = |item: &Item| usize::from(matches!(item, Item::Running(_)));
        let item = &mut self.items[item as usize];
        self.running = self.running + runs(&now) - runs(item);
        *item = now;
    }

    pub(super) fn end(&mut self, item: u32, output: Given) {
        self.set(item, Item::Idle(Some(output)));
    }

    pub(super) fn fail(&mut self, item: u32, error: Arc<Trouble>) {
        self.set(item, Item::Idle(None));
        let at = self.errors.partition_point(|(earlier, _)| *earlier < item);
        self.errors.insert(at, (item, error));
    }

    pub(super) fn is_done(&self) -> bool {
        let forgotten = usize::from(planted(Mutation::ItemForgotten) && self.items.len() > 2);
        let begun = self.next as usize + forgotten >= self.items.len();
        self.running == 0 && self.redo.is_empty() && begun
    }

    /// An item that had ended runs again.
    pub(super) fn again(&mut self, item: u32) {
        if !self.has_ended(item) {
            return;
        }
        self.set(item, Item::Idle(None));
        self.errors.retain(|(failed, _)| *failed != item);
        if !self.redo.contains(&item) {
            self.redo.push(item);
            self.redo.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    pub(super) fn has_ended(&self, item: u32) -> bool {
        item < self.next && self.frame_of(item).is_none()
    }

    /// The frame in which an item runs.
    pub(super) fn frame_of(&self, item: u32) -> Option<FrameIx> {
        match self.items.get(item as usize)? {
            Item::Running(frame) => Some(*frame),
            Item::Idle(_) => None,
        }
    }

    /// The items that run, each with its frame.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u32, FrameIx)> {
        let items = (0..).zip(&self.items);
        items.filter_map(|(at, item)| match item {
            Item::Running(frame) => Some((at, *frame)),
            Item::Idle(_) => None,
        })
    }

    pub(super) fn results(&self) -> Results {
        let given = self.items.iter().map(Item::result);
        Results {
            manifest: Arc::clone(&self.manifest),
            given: if planted(Mutation::ResultsReversed) {
                given.rev().collect()
            } else {
                given.collect()
            },
            errors: self.errors.clone(),
        }
    }

    pub(super) fn ended(&self) -> (usize, usize) {
        let begun = self.next as usize - self.redo.len();
        (begun - self.running, self.items.len())
    }
}

impl Item {
    /// What it came to.
    pub(super) fn result(&self) -> Option<Given> {
        match self {
            Self::Idle(result) => result.clone(),
            Self::Running(_) => None,
        }
    }
}

impl Body {
    /// The frames that run in it.
    pub(super) fn frames(&self) -> Vec<FrameIx> {
        match self {
            Self::Each(each) => each.runs().map(|(_, frame)| frame).collect(),
            Self::Loop(Loop { frame, .. }) | Self::Expand { frame } => {
                frame.iter().copied().collect()
            }
        }
    }
}
