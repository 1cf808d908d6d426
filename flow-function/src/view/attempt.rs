//! What is seen of one step: its latest attempt, and those before it.

use turlough_statestore::event::{StepEnd, StepEnded};

/// Earlier attempts that are shown of a step, the latest ones: who retries a thousand times is told
/// enough by these, and the event stream has them all.
const EARLIER_MAX: usize = 20;

/// A step, as far as its events tell.
#[derive(Debug, Default)]
pub(super) struct Row<'a> {
    pub(super) generation: u32,
    /// The latest attempt that began; 0 for none.
    pub(super) attempt: u32,
    pub(super) begin_us: u64,
    pub(super) mark: Mark<'a>,
    /// How many items a `for_each` has.
    pub(super) items: Option<u32>,
    /// Iterations of a loop that began.
    pub(super) iterations: u32,
    /// Whether what runs stands in for the node.
    pub(super) fallback: bool,
    /// Attempts before the latest that came to nothing.
    pub(super) earlier: Vec<&'a StepEnded>,
    /// Whether its body runs, or it waits: further attempts are about the same run of it.
    inside: bool,
}

/// How far the latest attempt has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Mark<'a> {
    /// Nothing is known of it.
    #[default]
    None,
    /// It runs, or its start is recorded.
    Begun,
    /// Somebody else took it on.
    Called(u64),
    /// It ended.
    Ended(&'a StepEnded),
}

impl<'a> Row<'a> {
    /// An attempt begins, or is known to have begun. One that is known already stays as it is.
    pub(super) fn begins(&mut self, generation: u32, attempt: u32, at_us: u64) {
        if (generation, attempt) <= (self.generation, self.attempt) {
            return;
        }
        if let Mark::Ended(ended) = self.mark
            && matches!(ended.end, StepEnd::Failed { .. } | StepEnd::Lost { .. })
        {
            if self.earlier.len() == EARLIER_MAX {
                self.earlier.remove(0);
            }
            self.earlier.push(ended);
        }
        if !self.inside {
            self.begin_us = at_us;
        }
        (self.generation, self.attempt) = (generation, attempt);
        (self.mark, self.fallback) = (Mark::Begun, false);
    }

    pub(super) fn started(&mut self, generation: u32, attempt: u32, at_us: u64) {
        self.begins(generation, attempt, at_us);
        if (generation, attempt) == (self.generation, self.attempt) {
            self.begin_us = at_us;
        }
    }

    pub(super) fn called(&mut self, generation: u32, attempt: u32, at_us: u64) {
        self.begins(generation, attempt, at_us);
        if (generation, attempt) == (self.generation, self.attempt) {
            self.mark = Mark::Called(at_us);
        }
    }

    /// False for an end that comes too late, or a second time.
    pub(super) fn ended(&mut self, ended: &'a StepEnded) -> bool {
        self.begins(ended.generation, ended.attempt, ended.begin_us);
        let late = (ended.generation, ended.attempt) < (self.generation, self.attempt);
        if late || matches!(self.mark, Mark::Ended(_)) {
            return false;
        }
        if !self.inside || matches!(ended.end, StepEnd::Split { .. }) {
            self.begin_us = ended.begin_us;
        }
        match &ended.end {
            StepEnd::Split { items, .. } => self.items = Some(*items),
            StepEnd::Asked { again: true, .. } if self.inside => self.iterations += 1,
            StepEnd::Asked { again: true, .. } => self.iterations = 1,
            _ => {}
        }
        self.mark = Mark::Ended(ended);
        self.inside = match ended.end {
            StepEnd::Failed { .. } | StepEnd::Lost { .. } => self.inside,
            _ => self.goes_on_inside(),
        };
        true
    }

    /// Whether the last that was heard is that its body runs, or that it waits.
    pub(super) const fn goes_on_inside(&self) -> bool {
        let Mark::Ended(ended) = self.mark else {
            return false;
        };
        matches!(
            ended.end,
            StepEnd::Split { .. }
                | StepEnd::Asked { again: true, .. }
                | StepEnd::Expanded { .. }
                | StepEnd::Waits { .. }
        )
    }

    /// Whether the attempt before the latest failed.
    pub(super) fn failed_before(&self) -> bool {
        self.earlier.last().is_some_and(|last| {
            last.generation == self.generation && matches!(last.end, StepEnd::Failed { .. })
        })
    }
}
