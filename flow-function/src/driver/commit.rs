//! Appends of a driver: how they are made, and what a conflict means.

use std::time::Instant;

use tracing::debug;
use turlough_sdk::{Value, ValueRef};
use turlough_statestore::{Append, AppendError, AppendId, Envelope, Event, Kind, Record, Seq};

use super::begin::claimed;
use super::pieces::{parts_of, split};
use super::{DriveError, Driver, random};
use crate::clock::now_us;
use crate::engine::parts;
use crate::machine::Execution;
use crate::runner::Attempted;

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
    fn envelope(&self, wake_at_us: Option<u64>) -> Envelope {
        Envelope {
            id: AppendId(random()),
            after: self.execution.last(),
            kind: Kind::Driver,
            epoch: self.execution.epoch(),
            replica: self.shared.replica,
            function: self.shared.settings.function.clone(),
            generation: self.execution.generation(),
            deadline_us: Some(self.execution.deadline_us()),
            wake_at_us,
        }
    }

    /// Claims a log that nobody drives.
    pub(super) async fn claim(&mut self) -> Result<(), DriveError> {
        loop {
            let epoch = self.execution.epoch() + 1;
            let envelope = Envelope {
                epoch,
                ..self.envelope(None)
            };
            let append = Append::new(envelope, vec![claimed(&self.shared, epoch)]);
            if self.store(&append).await? {
                self.execution.fold(&append);
                self.owned = true;
                return self.renew_context().await;
            }
            self.fold_log().await?;
        }
    }

    /// Stores events that the execution has applied already. False where somebody else appended
    /// first: then what was stored of them, if anything, is found by folding anew.
    pub(super) async fn commit(
        &mut self,
        events: Vec<Event>,
        rests: bool,
    ) -> Result<bool, DriveError> {
        let wake_at_us = rests.then(|| self.due_us());
        for events in split(events) {
            let append = Append::new(self.envelope(wake_at_us), events);
            if !self.store(&append).await? {
                return Ok(false);
            }
            self.execution.stored(append.envelope.id, &append.events);
        }
        Ok(true)
    }

    /// Stores the parts of values that are about to be named.
    pub(super) async fn commit_parts(
        &mut self,
        attempted: &[Attempted],
    ) -> Result<bool, DriveError> {
        for attempted in attempted {
            let Attempted::Ended { parts, .. } = attempted else {
                continue;
            };
            for part in parts {
                if !self.commit(vec![part.clone()], false).await? {
                    return Ok(false);
                }
            }
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
                self.appends += 1;
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
        let (epoch, generation) = (self.execution.epoch(), self.execution.generation());
        for record in &records {
            if self.execution.fold(&record.append) {
                self.observe(&record.append.events);
            }
            self.seq = record.seq;
        }
        self.appends += records.len();
        self.learn_parts(&records).await?;
        if self.execution.epoch() != epoch {
            return Err(DriveError::Superseded);
        }
        if self.execution.generation() != generation {
            self.renew_context().await?;
        }
        Ok(!records.is_empty())
    }

    /// Values that came into the log in parts can be read from now on.
    async fn learn_parts(&self, records: &[Record]) -> Result<(), DriveError> {
        let mut events = records.iter().flat_map(|record| &record.append.events);
        if !events.any(|event| matches!(event, Event::Part { .. })) {
            return Ok(());
        }
        // What is new may be the last part of a value that began earlier.
        let all = self.shared.log.read(self.request, Seq::START).await?;
        for (upload, envelope) in parts(&all) {
            self.context.data.learn(upload, envelope);
        }
        Ok(())
    }

    /// Folds the log from its start; a newer claim means that this driver is done.
    pub(super) async fn refold(&mut self) -> Result<(), DriveError> {
        let (epoch, generation) = (self.execution.epoch(), self.execution.generation());
        self.fold_log().await?;
        if self.execution.epoch() > epoch {
            return Err(DriveError::Superseded);
        }
        if self.execution.generation() != generation {
            self.renew_context().await?;
        }
        Ok(())
    }

    /// Folds the log from its start.
    pub(super) async fn fold_log(&mut self) -> Result<(), DriveError> {
        debug!(request = %self.request, "somebody else appended; its log is folded anew");
        let records = self.shared.log.read(self.request, Seq::START).await?;
        let Some(last) = records.last() else {
            return Err(DriveError::Gone);
        };
        let flow = self
            .shared
            .flow_of(self.request)
            .await
            .ok_or(DriveError::Gone)?;
        let versions = self.shared.registry.versions(flow.name());
        let mut execution = Execution::new(self.request, flow, versions);
        for record in &records {
            execution.fold(&record.append);
        }
        self.learn_parts(&records).await?;
        // The machine tells of everything anew.
        self.delayed.clear();
        self.seq = last.seq;
        self.execution = execution;
        Ok(())
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
            if !self.commit(vec![part], false).await? {
                return Ok(None);
            }
        }
        Ok(Some(Kept::Here(at)))
    }

    /// Appends `settled`, after whatever others appended meanwhile, which counts for nothing.
    pub(super) async fn settle(&mut self) -> Result<(), DriveError> {
        let settled = vec![Event::Settled { at_us: now_us() }];
        while !self.commit(settled.clone(), false).await? {
            if !self.read_external().await? {
                return Err(DriveError::Gone);
            }
        }
        Ok(())
    }
}
