//! What is due, found by the indexes that are made for it.

use rusqlite::{OptionalExtension as _, params};
use turlough_sdk::{FunctionName, ReplicaId, RequestId};
use turlough_statestore::AppendId;
use uuid::Uuid;

use super::lists::request_of;
use super::store::number;
use super::{Index, IndexError, points};
use crate::options::Retention;
use crate::row::{Plan, Row, Thing, Work};

pub(super) const BY_WALL: &str = "SELECT id FROM requests WHERE due_wall_us IS NOT NULL \
    AND due_wall_us <= ?1 ORDER BY due_wall_us LIMIT ?2";
pub(super) const BY_OWN: &str = "SELECT id FROM requests WHERE due_own_us IS NOT NULL \
    AND due_own_us <= ?1 ORDER BY due_own_us LIMIT ?2";
pub(super) const FIRST_WALL: &str =
    "SELECT min(due_wall_us) FROM requests WHERE due_wall_us IS NOT NULL";
pub(super) const FIRST_OWN: &str =
    "SELECT min(due_own_us) FROM requests WHERE due_own_us IS NOT NULL";
pub(super) const NEXT_HOLDER: &str = "SELECT holder FROM requests WHERE holder IS NOT NULL \
    AND holder > ? ORDER BY holder LIMIT 1";
pub(super) const HELD_BY: &str = "SELECT id FROM requests WHERE holder = ?1 \
    AND condemned_us <= ?2 ORDER BY condemned_us LIMIT ?3";
pub(super) const OLDEST_KEPT: &str = "SELECT id FROM requests WHERE kept_until_us IS NOT NULL \
    ORDER BY kept_until_us LIMIT ?";
pub(super) const OLDEST_SETTLED: &str = "SELECT id, log_bytes FROM requests \
    WHERE settled_us IS NOT NULL ORDER BY settled_us LIMIT ?";
pub(super) const EXPIRED: &str = "SELECT id FROM requests WHERE settled_us IS NOT NULL \
    AND settled_us <= ?1 ORDER BY settled_us LIMIT ?2";
pub(super) const DOOMED: &str =
    "SELECT id FROM requests WHERE is_doomed IS NOT NULL AND is_doomed = 1 LIMIT ?";

/// A claim whose holder counts as dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condemned {
    pub(crate) request: RequestId,
    pub(crate) function: FunctionName,
    pub(crate) claim: AppendId,
}

/// What was asked about, and under which claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) request: RequestId,
    pub(crate) claim: AppendId,
    /// Whether the claimant drives it; none where it did not answer.
    pub(crate) is_driven: Option<bool>,
}

impl Index {
    /// When something is due next.
    pub(crate) fn next_due(&self) -> Result<Plan, IndexError> {
        let first = |sql: &str| -> Result<Option<u64>, IndexError> {
            let mut statement = self.connection.prepare_cached(sql)?;
            Ok(statement.query_row([], |row| row.get(0))?)
        };
        Ok(Plan {
            wall_us: first(FIRST_WALL)?,
            own_us: first(FIRST_OWN)?,
        })
    }

    /// What is due, of `max` requests at most; it counts as said from now on.
    pub(crate) fn take_due(&mut self, max: usize) -> Result<Vec<Work>, IndexError> {
        self.flush()?;
        let (now, rules) = (self.now(), self.rules);
        let mut requests = self.ids(BY_WALL, params![number(now.wall_us), max])?;
        let left = max.saturating_sub(requests.len());
        requests.extend(self.ids(BY_OWN, params![number(now.own_us), left])?);
        let mut due = Vec::new();
        for request in requests {
            let taken = self.change(request, |row| row.take_due(request, now, &rules))?;
            due.extend(taken.unwrap_or_default());
        }
        self.flush()?;
        Ok(due)
    }

    /// What could not be said is said again soon.
    pub(crate) fn say_again(&mut self, what: &[(RequestId, Thing)]) -> Result<(), IndexError> {
        let (own_us, rules) = (self.clock.own_us(), self.rules);
        for (request, thing) in what {
            self.change(*request, |row| row.say_again(*thing, own_us, &rules))?;
        }
        self.flush()
    }

    /// Replicas that hold anything.
    pub(crate) fn holders(&mut self) -> Result<Vec<ReplicaId>, IndexError> {
        self.flush()?;
        let mut holders = Vec::new();
        let mut statement = self.connection.prepare_cached(NEXT_HOLDER)?;
        let mut after: Vec<u8> = Vec::new();
        while let Some(holder) = statement
            .query_row([&after], |row| row.get::<_, [u8; 16]>(0))
            .optional()?
        {
            holders.push(ReplicaId::from_uuid(Uuid::from_bytes(holder)));
            after = holder.to_vec();
        }
        Ok(holders)
    }

    /// What a dead replica holds, and has not been said of within the interval of repetition.
    pub(crate) fn condemn_held_by(
        &mut self,
        holder: ReplicaId,
        max: usize,
    ) -> Result<Vec<Condemned>, IndexError> {
        self.flush()?;
        let own_us = self.clock.own_us();
        let before_us = own_us.saturating_sub(self.rules.repeat_us);
        let holder = holder.as_uuid();
        let holder = holder.as_bytes().as_slice();
        let requests = self.ids(HELD_BY, params![holder, number(before_us), max])?;
        let mut condemned = Vec::new();
        for request in requests {
            condemned.extend(self.condemn(request, own_us)?);
        }
        self.flush()?;
        Ok(condemned)
    }

    fn condemn(
        &mut self,
        request: RequestId,
        own_us: u64,
    ) -> Result<Option<Condemned>, IndexError> {
        let condemned = self.change(request, |row| {
            row.condemn(own_us);
            let claim = row.claim?.append;
            let function = row.function.clone();
            Some(Condemned {
                request,
                function,
                claim,
            })
        })?;
        Ok(condemned.flatten())
    }

    /// What their claimants answered. With it come the claims of those who count as dead by it.
    pub(crate) fn answered(
        &mut self,
        questions: &[Question],
    ) -> Result<Vec<Condemned>, IndexError> {
        let own_us = self.clock.own_us();
        let mut condemned = Vec::new();
        for question in questions {
            let is_of_claim = |row: &Row| {
                row.holder().is_some() && row.claim.is_some_and(|c| c.append == question.claim)
            };
            let is_dead = self.change(question.request, |row| {
                match question.is_driven.filter(|_| is_of_claim(row)) {
                    Some(is_driven) => {
                        row.answered(own_us);
                        !is_driven
                    }
                    None => is_of_claim(row) && row.unanswered(own_us),
                }
            })?;
            if is_dead == Some(true) {
                condemned.extend(self.condemn(question.request, own_us)?);
            }
        }
        self.flush()?;
        Ok(condemned)
    }

    /// The oldest of the failed requests that are kept past the bound are let go: that makes them due.
    pub(crate) fn let_go_past(&mut self, kept_max: usize, max: usize) -> Result<u64, IndexError> {
        self.flush()?;
        let excess = self.kept.saturating_sub(kept_max as u64);
        if excess == 0 {
            return Ok(0);
        }
        let max = excess.min(max as u64);
        for request in self.ids(OLDEST_KEPT, [number(max)])? {
            self.change(request, |row| row.is_let_go = true)?;
        }
        self.flush()?;
        Ok(max)
    }

    /// The oldest settled requests past the bounds.
    pub(crate) fn excess(
        &mut self,
        keep: Retention,
        max: usize,
    ) -> Result<Vec<RequestId>, IndexError> {
        let counts = self.classes.counts(self.kept);
        let (mut requests, mut bytes) = (counts.settled, counts.settled_bytes);
        let is_past = |requests: u64, bytes: u64| {
            requests > keep.ended_max as u64 || bytes > keep.ended_bytes_max
        };
        if !is_past(requests, bytes) {
            return Ok(Vec::new());
        }
        let mut statement = self.connection.prepare_cached(OLDEST_SETTLED)?;
        let mut rows = statement.query([max])?;
        let mut oldest = Vec::new();
        while is_past(requests, bytes)
            && let Some(row) = rows.next()?
        {
            oldest.push(request_of(row.get(0)?));
            requests -= 1;
            bytes = bytes.saturating_sub(row.get(1)?);
        }
        Ok(oldest)
    }

    /// Requests that were settled before then, the oldest first.
    pub(crate) fn settled_before(
        &mut self,
        at_us: u64,
        max: usize,
    ) -> Result<Vec<RequestId>, IndexError> {
        self.ids(EXPIRED, params![number(at_us), max])
    }

    /// Requests that somebody asked to delete.
    pub(crate) fn doomed(&mut self, max: usize) -> Result<Vec<RequestId>, IndexError> {
        self.flush()?;
        self.ids(DOOMED, [max])
    }

    /// Somebody asks to delete a request: false where it is open. It is stored when this returns.
    pub(crate) fn doom(&mut self, request: RequestId) -> Result<Option<bool>, IndexError> {
        if self.row(request)?.is_some_and(Row::is_open) {
            return Ok(Some(false));
        }
        let doomed = self.change(request, |row| row.is_doomed = true)?;
        self.flush()?;
        Ok(doomed.map(|()| true))
    }

    /// Points in the logs, the newest first.
    pub(crate) fn points(&mut self) -> Result<Vec<super::Point>, IndexError> {
        self.flush()?;
        points::all(&self.connection)
    }

    /// Requests that were touched after a place. It reads all rows: the logs have lost something.
    pub(crate) fn touched_after(&mut self, seq: u64) -> Result<Vec<RequestId>, IndexError> {
        self.flush()?;
        self.ids("SELECT id FROM requests WHERE last_seq > ?", [number(seq)])
    }

    /// Following goes on from here, or from the beginning.
    pub(crate) fn go_back_to(&mut self, point: Option<super::Point>) -> Result<(), IndexError> {
        self.flush()?;
        (self.position, self.is_moved) = (point, point.is_some());
        if point.is_none() {
            self.connection.execute_batch("DELETE FROM points;")?;
        }
        self.flush()
    }

    fn ids(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<RequestId>, IndexError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_map(params, |row| row.get(0))?;
        let found: Result<Vec<[u8; 16]>, _> = found.collect();
        Ok(found?.into_iter().map(request_of).collect())
    }
}
