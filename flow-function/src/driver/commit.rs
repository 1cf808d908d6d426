//! Appends of a driver: how they are made, and what a conflict means.

use std::sync::Arc;
use std::time::Instant;

use turlough_sdk::{Value, ValueRef};
use turlough_statestore::event::Outcome;
use turlough_statestore::{Append, AppendError, AppendId, Envelope, Event, Kind, Record, Seq};

use super::pieces::{parts_of, split};
use super::start::{FIRST_EPOCH, claimed};
use super::{DriveError, Driver, failure, random};
use crate::clock::now_us;
use crate::machine::Execution;

/// Where a request's output is kept.
#[derive(Debug)]
pub(super) enum Kept {
    Here(ValueRef),
    /// It is too large for the log: the waiting caller alone gets it.
    Nowhere,
}

impl Kept {
    pub(super) fn place(self) -> Option<ValueRef> {
        match self {
            Self::Here(at) => Some(at),
            Self::Nowhere => None,
        }
    }
}

impl Driver {
    fn envelope(&self, epoch: u64) -> Envelope {
        Envelope {
            id: AppendId(random()),
            after: self.execution.last(),
            kind: Kind::Driver,
            epoch,
            replica: self.shared.replica,
            function: self.shared.settings.function.clone(),
            generation: self.execution.generation(),
            deadline_us: Some(self.deadline_us),
            wake_at_us: None,
        }
    }

    /// Claims a log that was accepted when there was no room.
    pub(super) async fn claim(&mut self) -> Result<(), DriveError> {
        loop {
            let append = Append::new(self.envelope(FIRST_EPOCH), vec![claimed(&self.shared)]);
            if self.store(&append).await? {
                self.execution.fold(&append);
                return Ok(());
            }
            self.refold().await?;
        }
    }

    /// Stores events that the execution has applied already. False where somebody else appended
    /// first: then what was stored of them, if anything, is found by folding anew.
    pub(super) async fn commit(&mut self, events: Vec<Event>) -> Result<bool, DriveError> {
        for events in split(events) {
            let append = Append::new(self.envelope(self.execution.epoch()), events);
            if !self.store(&append).await? {
                return Ok(false);
            }
            self.execution.stored(append.envelope.id, &append.events);
        }
        Ok(true)
    }

    /// One append. An answer that is lost looks like a conflict with itself: its own id in the log
    /// means that it was stored.
    pub(super) async fn store(&mut self, append: &Append) -> Result<bool, DriveError> {
        let begin = Instant::now();
        let stored = self.shared.log.append(self.request, self.seq, append).await;
        self.shared.metrics.append(begin.elapsed());
        match stored {
            Ok(seq) => {
                self.seq = seq;
                Ok(true)
            }
            Err(AppendError::Conflict { .. }) => {
                let records = self.shared.log.read(self.request, self.seq).await?;
                let is_own = |record: &&Record| record.append.envelope.id == append.envelope.id;
                let own = records.iter().find(is_own);
                if let Some(record) = own {
                    // What others appended after it is read when it is looked for.
                    self.seq = record.seq;
                }
                Ok(own.is_some())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what others appended. True where there was something.
    pub(super) async fn read_external(&mut self) -> Result<bool, DriveError> {
        let records = self.shared.log.read(self.request, self.seq).await?;
        let own = self.execution.epoch();
        for record in &records {
            self.execution.fold(&record.append);
            self.seq = record.seq;
        }
        if self.execution.epoch() != own {
            return Err(DriveError::Superseded);
        }
        Ok(!records.is_empty())
    }

    /// Folds the log from its start; a newer claim, or an end, means that this driver is done.
    pub(super) async fn refold(&mut self) -> Result<(), DriveError> {
        match self.fold_log().await? {
            None => Ok(()),
            Some(_) => Err(DriveError::Ended),
        }
    }

    /// Folds the log from its start, and gives the end that stands in it.
    async fn fold_log(&mut self) -> Result<Option<Outcome>, DriveError> {
        let own = self.execution.epoch();
        let records = self.shared.log.read(self.request, Seq::START).await?;
        let Some(last) = records.last() else {
            return Err(DriveError::Gone);
        };
        let mut execution = Execution::new(Arc::clone(&self.flow));
        let mut ended = None;
        for record in &records {
            let counts = execution.fold(&record.append);
            let end = record.append.events.iter().find_map(|event| match event {
                Event::Ended { outcome, .. } => Some(outcome.clone()),
                _ => None,
            });
            ended = ended.or(end.filter(|_| counts));
        }
        if execution.epoch() > own {
            return Err(DriveError::Superseded);
        }
        self.seq = last.seq;
        self.execution = execution;
        Ok(ended)
    }

    /// Appends that the request failed, unless its end stands in the log already; gives the end
    /// that does.
    pub(super) async fn record_failure(&mut self, why: &str) -> Result<Outcome, DriveError> {
        loop {
            if let Some(outcome) = self.fold_log().await? {
                return Ok(outcome);
            }
            let (outcome, at_us) = (failure(why), now_us());
            let ended = Event::Ended {
                outcome: outcome.clone(),
                at_us,
            };
            if self.commit(vec![ended, Event::Closing { at_us }]).await? {
                return Ok(outcome);
            }
        }
    }

    /// Keeps the output where it outlives the store. None where somebody else appended first.
    pub(super) async fn keep_output(&mut self, value: &Value) -> Result<Option<Kept>, DriveError> {
        let settings = &self.shared.settings;
        if value.envelope().len() <= settings.inline_bytes_max {
            return Ok(Some(Kept::Here(ValueRef::Inline(value.envelope().clone()))));
        }
        if value.body().len() > settings.durable_bytes_max || settings.inline_bytes_max == 0 {
            return Ok(Some(Kept::Nowhere));
        }
        let (at, parts) = parts_of(value);
        for part in parts {
            if !self.commit(vec![part]).await? {
                return Ok(None);
            }
        }
        Ok(Some(Kept::Here(at)))
    }

    /// Appends `settled`, after whatever others appended meanwhile, which counts for nothing.
    pub(super) async fn settle(&mut self) -> Result<(), DriveError> {
        let settled = vec![Event::Settled { at_us: now_us() }];
        while !self.commit(settled.clone()).await? {
            if !self.read_external().await? {
                return Err(DriveError::Gone);
            }
        }
        Ok(())
    }
}
