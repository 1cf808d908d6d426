//! Whose turn it is: a lane per function, served in turn. Pure: no clock, no IO.
//!
//! A lane works on so many calls at once, and has so many more whose callbacks are
//! on the way; past either it waits, and the others go on. A lane is gone when
//! nothing of its function waits or is open.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How much is open at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneLimits {
    /// Calls that one function works on.
    pub(super) calling_per_function_max: usize,
    /// Calls that all functions together work on.
    pub(super) calling_max: usize,
    /// Calls and callbacks of one function.
    pub(super) open_per_function_max: usize,
    /// Bytes that callbacks hold, past which no call starts. Exceeded only by the
    /// answers of calls that had begun.
    pub(super) callback_bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Lanes<T> {
    limits: LaneLimits,
    lanes: HashMap<Arc<str>, Lane<T>>,
    /// Lanes that can start a call, each once; the front is next.
    ready: VecDeque<Arc<str>>,
    waiting: usize,
    calling: usize,
    callback_bytes: usize,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    calling: usize,
    calling_back: usize,
    /// Whether it is among the ready ones.
    listed: bool,
}

impl<T> Lanes<T> {
    pub(super) fn new(limits: LaneLimits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
            calling: 0,
            callback_bytes: 0,
        }
    }

    /// How many calls wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn push(&mut self, function: &str, call: T) {
        if !self.lanes.contains_key(function) {
            self.lanes.insert(function.into(), Lane::default());
        }
        self.waiting += 1;
        self.change(function, |lane| lane.waiting.push_back(call));
    }

    /// The call that is to be made now, if there is one; it counts as begun.
    pub(super) fn next(&mut self) -> Option<(Arc<str>, T)> {
        let full = self.calling >= self.limits.calling_max
            || self.callback_bytes >= self.limits.callback_bytes_max;
        if full {
            return None;
        }
        let function = self.ready.pop_front()?;
        let mut call = None;
        self.change(&function, |lane| {
            lane.listed = false;
            call = lane.waiting.pop_front();
            lane.calling += 1;
        });
        self.waiting -= 1;
        self.calling += 1;
        Some((function, call?))
    }

    /// A function has answered; with a callback to be made, that now holds so many bytes.
    pub(super) fn answered(&mut self, function: &str, callback_bytes: Option<usize>) {
        self.calling -= 1;
        self.callback_bytes += callback_bytes.unwrap_or(0);
        self.change(function, |lane| {
            lane.calling -= 1;
            lane.calling_back += usize::from(callback_bytes.is_some());
        });
    }

    /// A callback is over.
    pub(super) fn called_back(&mut self, function: &str, bytes: usize) {
        self.callback_bytes -= bytes;
        self.change(function, |lane| lane.calling_back -= 1);
    }

    /// Changes a lane; lists it if it can then start a call, forgets it if it is empty.
    fn change(&mut self, function: &str, change: impl FnOnce(&mut Lane<T>)) {
        let Some((function, _)) = self.lanes.get_key_value(function) else {
            return;
        };
        let function = Arc::clone(function);
        let Some(lane) = self.lanes.get_mut(&function) else {
            return;
        };
        change(lane);
        let open = lane.calling + lane.calling_back;
        let startable = !lane.waiting.is_empty()
            && lane.calling < self.limits.calling_per_function_max
            && open < self.limits.open_per_function_max;
        if lane.waiting.is_empty() && open == 0 {
            self.lanes.remove(&function);
        } else if startable && !lane.listed {
            lane.listed = true;
            self.ready.push_back(function);
        }
    }
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            calling: 0,
            calling_back: 0,
            listed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(limits: LaneLimits, calls: &[(&str, u32)]) -> Lanes<u32> {
        let mut lanes = Lanes::new(limits);
        for (function, call) in calls {
            lanes.push(function, *call);
        }
        lanes
    }

    fn limits() -> LaneLimits {
        LaneLimits {
            calling_per_function_max: 2,
            calling_max: 100,
            open_per_function_max: 3,
            callback_bytes_max: 10,
        }
    }

    fn startable(lanes: &mut Lanes<u32>) -> Vec<u32> {
        std::iter::from_fn(|| lanes.next())
            .map(|(_, call)| call)
            .collect()
    }

    #[test]
    fn functions_take_turns_and_keep_their_order() {
        let calls = [
            ("a", 1),
            ("a", 2),
            ("a", 3),
            ("b", 11),
            ("b", 12),
            ("c", 21),
        ];
        let mut lanes = lanes(limits(), &calls);
        assert_eq!(startable(&mut lanes), [1, 11, 21, 2, 12]);
        assert_eq!(lanes.waiting(), 1);
    }

    #[test]
    fn function_at_its_bound_waits_until_it_answers() {
        let mut lanes = lanes(limits(), &[("a", 1), ("a", 2), ("a", 3), ("a", 4)]);
        assert_eq!(startable(&mut lanes), [1, 2]);
        lanes.answered("a", None);
        assert_eq!(startable(&mut lanes), [3]);
        assert!(startable(&mut lanes).is_empty());
    }

    #[test]
    fn function_whose_callbacks_pile_up_waits_until_one_is_over() {
        let calls: Vec<_> = (1..=5).map(|call| ("a", call)).collect();
        let mut lanes = lanes(limits(), &calls);
        assert_eq!(startable(&mut lanes), [1, 2]);
        lanes.answered("a", Some(1));
        lanes.answered("a", Some(1));
        assert_eq!(startable(&mut lanes), [3]);
        lanes.answered("a", Some(1));
        assert!(startable(&mut lanes).is_empty());
        lanes.push("b", 11);
        assert_eq!(startable(&mut lanes), [11]);
        lanes.called_back("a", 1);
        assert_eq!(startable(&mut lanes), [4]);
    }

    #[test]
    fn nothing_starts_while_callbacks_hold_too_much() {
        let mut lanes = lanes(limits(), &[("a", 1), ("a", 2), ("b", 11)]);
        lanes.next();
        lanes.answered("a", Some(10));
        assert!(startable(&mut lanes).is_empty());
        lanes.called_back("a", 10);
        assert_eq!(startable(&mut lanes), [11, 2]);
    }

    #[test]
    fn all_functions_together_have_a_bound() {
        let limits = LaneLimits {
            calling_max: 2,
            ..limits()
        };
        let mut lanes = lanes(limits, &[("a", 1), ("b", 11), ("c", 21)]);
        assert_eq!(startable(&mut lanes), [1, 11]);
        lanes.answered("b", Some(1));
        assert_eq!(startable(&mut lanes), [21]);
    }

    #[test]
    fn lane_of_which_nothing_is_left_is_forgotten() {
        let mut lanes = lanes(limits(), &[("a", 1)]);
        startable(&mut lanes);
        lanes.answered("a", Some(1));
        assert_eq!(lanes.lanes.len(), 1);
        lanes.called_back("a", 1);
        assert!(lanes.lanes.is_empty() && lanes.ready.is_empty());
    }
}
