//! What the keeper knows of a request: what its log says as far as it can be told without its flow,
//! and what was said about it already.
//!
//! Invariants: pure; an append that does not count changes nothing but what was seen last; the same
//! log gives the same row, but for the keeper's own times.

mod fold;
mod plan;

pub(crate) use fold::happened_us;
pub(crate) use plan::{Plan, Rules, Thing, Work};

use serde::{Deserialize, Serialize};
use turlough_sdk::{FlowName, FunctionName, ReplicaId, RequestId};
use turlough_statestore::{AppendId, Standing};

use crate::summary::{Claimant, Ended, Status, Summary};
use plan::THINGS;

/// What the keeper knows of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) function: FunctionName,
    pub(crate) flow: FlowName,
    pub(crate) version: String,
    pub(crate) parent: Option<RequestId>,
    pub(crate) call_id: Option<String>,
    pub(crate) accepted_us: u64,
    pub(crate) deadline_us: Option<u64>,
    pub(crate) wake_at_us: Option<u64>,
    pub(crate) generation: u32,
    pub(crate) standing: Standing,
    pub(crate) ended: Option<Ended>,
    pub(crate) settled_us: Option<u64>,
    is_closing: bool,
    /// Of the newest claim that counted, 0 before the first.
    epoch: u64,
    pub(crate) claim: Option<Claim>,
    /// Whether whoever claimed it has not let go of it.
    pub(crate) is_held: bool,
    /// Whether whoever let go of it had more to do at once.
    is_handed_over: bool,
    /// It need not be kept for a restart any longer, for there are too many.
    pub(crate) is_let_go: bool,
    /// Its log is gone though it was open.
    pub(crate) is_lost: bool,
    /// Somebody asked to delete it.
    pub(crate) is_doomed: bool,
    candidates: Candidates,
    pub(crate) last_seq: u64,
    pub(crate) log_bytes: u64,
    /// When the last snapshot was written, or the log begun; Unix time in µs.
    snapshot_us: u64,
    /// Own time of the last append, of the last one that counted, and of the first external one that
    /// its driver has not answered.
    seen_us: u64,
    counted_us: u64,
    poked_us: Option<u64>,
    /// Own time of the last question to its claimant, and how many went unanswered since.
    questioned_us: u64,
    unanswered: u8,
    /// Own time at which the claim was last called a dead one's; 0 for never.
    pub(crate) condemned_us: u64,
    /// Own time at which each thing was last said; 0 for never.
    said_us: [u64; THINGS],
    /// How often things were said since the last append.
    said: u32,
}

/// A claim that counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) claimant: Claimant,
    /// The append that holds it.
    pub(crate) append: AppendId,
}

/// What a driver's next append may name as the last that counted. Which external events counted, only
/// the fold of the flow can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Candidates {
    /// The last driver's append that counted, and every external one since.
    Known(Vec<AppendId>),
    /// The log's head is gone, or there were too many: anything.
    Any,
}

impl Row {
    /// Whether anything is still to be done for it.
    pub(crate) fn is_open(&self) -> bool {
        self.settled_us.is_none() && !self.is_lost
    }

    pub(crate) fn status(&self) -> Status {
        match &self.ended {
            _ if self.is_lost => Status::Lost,
            Some(ended) => ended.status,
            None => self.standing.into(),
        }
    }

    /// Who holds it now.
    pub(crate) fn holder(&self) -> Option<ReplicaId> {
        let claim = self.claim.filter(|_| self.is_held && self.is_open())?;
        Some(claim.claimant.replica)
    }

    /// Until when it is kept for a restart.
    pub(crate) fn kept_until_us(&self) -> Option<u64> {
        let is_kept = self.ended.is_some() && self.is_open() && !self.is_closing;
        let is_kept = is_kept && !self.is_held && !self.is_let_go;
        self.wake_at_us.filter(|_| is_kept)
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            function: Some(self.function.clone()),
            flow: self.flow.clone(),
            version: self.version.clone(),
            accepted_us: self.accepted_us,
            deadline_us: self.deadline_us,
            wake_at_us: self.wake_at_us,
            standing: self.standing,
            generation: self.generation,
            parent: self.parent,
            call_id: self.call_id.clone(),
            ended: self.ended.clone(),
            kept_until_us: self.kept_until_us(),
            claimant: self.claim.filter(|_| self.is_held).map(|c| c.claimant),
            is_lost: self.is_lost,
            is_doomed: self.is_doomed,
            log_bytes: self.log_bytes,
            last_seq: self.last_seq,
        }
    }

    /// Its log is gone. True where that is news.
    pub(crate) fn lose(&mut self) -> bool {
        let is_news = self.is_open();
        self.is_lost = self.is_lost || is_news;
        // Places are given again: a log that begins anew may lie below.
        self.last_seq = 0;
        is_news
    }

    /// The claimant drives it.
    pub(crate) fn answered(&mut self, own_us: u64) {
        (self.questioned_us, self.unanswered) = (own_us, 0);
    }

    /// The claimant gave no answer. True where that was once too often.
    pub(crate) fn unanswered(&mut self, own_us: u64) -> bool {
        self.questioned_us = own_us;
        self.unanswered = self.unanswered.saturating_add(1);
        self.unanswered >= 2
    }

    /// The claimant counts as dead.
    pub(crate) fn condemn(&mut self, own_us: u64) {
        self.answered(own_us);
        self.condemned_us = own_us.max(1);
    }

    /// What was kept of it before its log was read anew.
    pub(crate) fn keep_wishes(&mut self, before: &Self) {
        self.is_doomed = before.is_doomed;
        self.is_let_go = before.is_let_go && before.generation == self.generation;
        if self.version.is_empty() {
            // The head of its log expired since.
            (self.flow, self.version) = (before.flow.clone(), before.version.clone());
            (self.parent, self.accepted_us) = (before.parent, before.accepted_us);
            self.call_id.clone_from(&before.call_id);
        }
    }

    /// The row without the keeper's own times: what its log says.
    #[cfg(test)]
    pub(crate) fn said_by_log(&self) -> Self {
        Self {
            seen_us: 0,
            counted_us: 0,
            poked_us: self.poked_us.map(|_| 0),
            questioned_us: 0,
            unanswered: 0,
            condemned_us: 0,
            said_us: [0; THINGS],
            said: 0,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests;
