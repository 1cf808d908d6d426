//! What is due for a request, and when.
//!
//! Invariants: what events say is due is due by the wall, all else by own time; nothing is said twice
//! within the interval of repetition, unless an append settled it in between.

use std::time::Duration;

use turlough_sdk::{FunctionName, RequestId};

use super::{Claim, Row};
use crate::clock::Now;

/// A thing that may be due, the weightiest first: one is said of those that are due together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Thing {
    /// It has ended, and need not be kept any longer.
    LetGo,
    /// It must have ended.
    Deadline,
    /// What it waits for has come; or it has ended, and must be settled.
    Due,
    /// Somebody appended, and no driver answered.
    Appended,
    /// It was accepted, and not claimed.
    Accepted,
    /// It was handed over, and not claimed.
    HandedOver,
    /// Its log grows old.
    Snapshot,
    /// Its claimant was silent for long.
    Ask,
}

pub(super) const THINGS: usize = 8;

const ALL: [Thing; THINGS] = [
    Thing::LetGo,
    Thing::Deadline,
    Thing::Due,
    Thing::Appended,
    Thing::Accepted,
    Thing::HandedOver,
    Thing::Snapshot,
    Thing::Ask,
];

/// The intervals, in µs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) grace_us: u64,
    pub(crate) repeat_us: u64,
    pub(crate) silent_us: u64,
    pub(crate) max_age_us: u64,
}

/// When to look at a request next, by either clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) wall_us: Option<u64>,
    pub(crate) own_us: Option<u64>,
}

/// Something to be done for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) request: RequestId,
    pub(crate) function: FunctionName,
    pub(crate) thing: Thing,
    /// Who holds it.
    pub(crate) claim: Option<Claim>,
    /// How often things were said without an append, with this time.
    pub(crate) said: u32,
    /// The place of its last append.
    pub(crate) last_seq: u64,
}

/// A thing is due once both times have come.
struct When {
    wall_us: u64,
    own_us: u64,
}

impl Rules {
    pub(crate) fn new(
        grace: Duration,
        repeat: Duration,
        silent: Duration,
        max_age: Duration,
    ) -> Self {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            grace_us: us(grace),
            repeat_us: us(repeat),
            silent_us: us(silent),
            max_age_us: us(max_age),
        }
    }

    /// No own time of a row lies further ahead.
    pub(crate) fn horizon_us(&self) -> u64 {
        self.grace_us.max(self.repeat_us).max(self.silent_us)
    }
}

impl Row {
    /// When to look at it next.
    pub(crate) fn plan(&self, wall_us: u64, rules: &Rules) -> Plan {
        let mut plan = Plan::default();
        let earlier = |at: Option<u64>, other| Some(at.map_or(other, |at: u64| at.min(other)));
        for when in ALL.iter().filter_map(|thing| self.when(*thing, rules)) {
            if when.wall_us > wall_us {
                plan.wall_us = earlier(plan.wall_us, when.wall_us);
            } else {
                plan.own_us = earlier(plan.own_us, when.own_us);
            }
        }
        plan
    }

    /// What is due now; all of it counts as said.
    pub(crate) fn take_due(&mut self, request: RequestId, now: Now, rules: &Rules) -> Vec<Work> {
        self.never_ahead(now.own_us);
        let is_due = |thing: &Thing| {
            let when = self.when(*thing, rules);
            when.is_some_and(|when| when.wall_us <= now.wall_us && when.own_us <= now.own_us)
        };
        let due: Vec<_> = ALL.into_iter().filter(is_due).collect();
        for thing in &due {
            self.said_us[*thing as usize] = now.own_us.max(1);
            if *thing == Thing::Ask {
                self.questioned_us = now.own_us;
            }
        }
        let (asks, says): (Vec<_>, Vec<_>) = due.into_iter().partition(|t| *t == Thing::Ask);
        self.said = self.said.saturating_add(u32::from(!says.is_empty()));
        let said = says.into_iter().take(1).chain(asks);
        said.map(|thing| self.work(request, thing)).collect()
    }

    pub(crate) fn work(&self, request: RequestId, thing: Thing) -> Work {
        Work {
            request,
            function: self.function.clone(),
            thing,
            claim: self.claim.filter(|_| self.is_held),
            said: self.said,
            last_seq: self.last_seq,
        }
    }

    /// It could not be said: again after the grace.
    pub(crate) fn say_again(&mut self, thing: Thing, own_us: u64, rules: &Rules) {
        let said_us = &mut self.said_us[thing as usize];
        let back_us = rules.repeat_us.saturating_sub(rules.grace_us);
        *said_us = own_us.saturating_sub(back_us).max(1);
    }

    fn when(&self, thing: Thing, rules: &Rules) -> Option<When> {
        if !self.is_open() {
            return None;
        }
        let after = |own_us: u64, interval_us: u64| Some((0, own_us.saturating_add(interval_us)));
        let is_free = !self.is_held;
        let (wall_us, own_us) = match thing {
            Thing::LetGo if is_free && self.is_let_go && self.ended.is_some() => Some((0, 0)),
            Thing::Deadline if self.ended.is_none() => {
                let wall_us = self.deadline_us?.saturating_add(rules.grace_us);
                Some((wall_us, self.counted_us.saturating_add(rules.grace_us)))
            }
            // Nothing is kept of it any more, whatever it was released until.
            Thing::Due if is_free && self.is_closing => after(self.counted_us, rules.grace_us),
            Thing::Due if is_free => match (self.wake_at_us, &self.ended) {
                (Some(wake_at_us), _) => Some((wake_at_us, 0)),
                (None, Some(_)) => after(self.counted_us, rules.grace_us),
                (None, None) => None,
            },
            Thing::Appended => after(self.poked_us?, rules.grace_us),
            Thing::Accepted if self.claim.is_none() && self.ended.is_none() => {
                after(self.counted_us, rules.grace_us)
            }
            Thing::HandedOver if is_free && self.is_handed_over => {
                after(self.counted_us, rules.grace_us)
            }
            Thing::Snapshot => Some((self.snapshot_us.saturating_add(rules.max_age_us / 2), 0)),
            Thing::Ask if self.is_held && self.unanswered > 0 => {
                after(self.questioned_us, rules.grace_us)
            }
            Thing::Ask if self.is_held => {
                after(self.seen_us.max(self.questioned_us), rules.silent_us)
            }
            _ => None,
        }?;
        let again_us = match self.said_us[thing as usize] {
            _ if thing == Thing::Ask => 0,
            0 => 0,
            said_us => said_us.saturating_add(rules.repeat_us),
        };
        Some(When {
            wall_us,
            own_us: own_us.max(again_us),
        })
    }

    /// Own time never goes back within a process; what an earlier process stored may lie ahead, where
    /// the wall went back between them.
    fn never_ahead(&mut self, own_us: u64) {
        let times = [
            &mut self.seen_us,
            &mut self.counted_us,
            &mut self.questioned_us,
            &mut self.condemned_us,
        ];
        let times = times.into_iter().chain(&mut self.said_us);
        for time in times.chain(&mut self.poked_us) {
            *time = (*time).min(own_us);
        }
    }
}
