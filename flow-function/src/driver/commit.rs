//! Appends of a driver: how they are made, what a conflict means, and what an answer that never came.
//!
//! Invariants: until the fate of an append is known nothing else is appended, and the request stays
//! this driver's; after a connection was lost the log is read before anything else is done; a claim
//! that is not in the log any more is none.

use std::time::{Duration, Instant};

use tracing::{debug, warn};
use turlough_sdk::{Value, ValueRef};
use turlough_statestore::{
    Append, AppendId, Envelope, Event, Kind, Record, Seq, Standing, StateError,
};

use super::begin::claimed;
use super::pieces::{parts_of, split};
use super::{DriveError, Driver, random};
use crate::clock::{boot, now_us};
use crate::data::{Touched, touched};
use crate::engine::parts;
use crate::fault::{Fault, planted};
use crate::runner::Attempted;

/// The waits between tries of an append that was not answered or had no room.
const AGAIN_MIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(2);

impl Driver {
    fn envelope(&self, released_until_us: Option<u64>) -> Envelope {
        let standing = match self.execution.standing() {
            Standing::Running if released_until_us.is_some() => Standing::Sleeping,
            standing => standing,
        };
        Envelope {
            id: AppendId(random()),
            after: self.execution.last(),
            kind: Kind::Driver,
            epoch: self.execution.epoch(),
            replica: self.shared.replica,
            function: self.shared.settings.function.clone(),
            generation: self.execution.generation(),
            deadline_us: Some(self.execution.deadline_us()),
            wake_at_us: released_until_us,
            standing,
        }
    }

    /// Claims a log that nobody drives, above every epoch that was met. Whether somebody does is looked
    /// at again where the append meets another.
    pub(super) async fn claim(&mut self) -> Result<(), DriveError> {
        loop {
            let epoch = self.epoch_seen.max(self.execution.epoch()) + 1;
            let envelope = Envelope {
                epoch,
                ..self.envelope(None)
            };
            let append = Append::new(envelope, vec![claimed(&self.shared, epoch)]);
            if self.store(&append).await? {
                self.execution.fold(&append);
                self.epoch_seen = epoch;
                self.owned = true;
                self.claimed = (now_us(), boot());
                let claim = (self.request, epoch);
                self.shared.stores.take_on(claim, &self.touched);
                return self.renew_context().await;
            }
            self.fold_log().await?;
            self.may_claim(None).await?;
        }
    }

    /// Whether the log may be claimed as it stands.
    pub(super) async fn may_claim(&self, condemned: Option<AppendId>) -> Result<(), DriveError> {
        if self.execution.is_settled() && !planted(Fault::SettledClaimed) {
            return Err(DriveError::Gone);
        }
        match self.execution.holder() {
            Some(holder) if !self.shared.is_dead(holder, condemned).await? => {
                Err(DriveError::Held(holder))
            }
            _ => Ok(()),
        }
    }

    /// Stores events that the execution has applied already. False where somebody else appended
    /// first: then what was stored of them, if anything, is found by folding anew.
    pub(super) async fn commit(
        &mut self,
        events: Vec<Event>,
        released_until_us: Option<u64>,
    ) -> Result<bool, DriveError> {
        for events in split(events) {
            let append = Append::new(self.envelope(released_until_us), events);
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
            if !self.is_awaited(attempted) {
                continue;
            }
            for part in parts {
                if !self.commit(vec![part.clone()], None).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// One append. False where somebody else came first, or where the log is not as this driver knew
    /// it: then it is to be folded anew. While nobody answers, or the state does not take it, it is tried
    /// again: under its own id it can be stored once.
    pub(super) async fn store(&mut self, append: &Append) -> Result<bool, DriveError> {
        let begin = Instant::now();
        let mut wait = AGAIN_MIN;
        loop {
            if self.is_cut_off() {
                return self.look_for(append).await;
            }
            let sent = boot();
            let timer = self.timed_append();
            let stored = self.shared.log.append(self.request, self.seq, append).await;
            self.shared.metrics.append(begin.elapsed());
            self.told_append(timer, append, stored.as_ref().err());
            match stored {
                Ok(seq) => {
                    self.seq = seq;
                    self.appends += 1;
                    self.stored = sent;
                    self.trace(append);
                    return Ok(true);
                }
                Err(StateError::Conflict { .. }) if planted(Fault::ConflictIgnored) => {
                    return Ok(true);
                }
                Err(StateError::Conflict { last, .. }) if planted(Fault::SentAgain) => {
                    self.seq = last;
                }
                Err(StateError::Conflict { .. }) => return self.look_for(append).await,
                Err(error) if error.is_of_the_state() => {
                    self.shared.note(&error);
                    warn!(request = %self.request, %error, "append was not stored yet; it is tried again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the connection was lost since the log was last seen to be as this driver knows it.
    pub(super) fn is_cut_off(&self) -> bool {
        self.shared.state.link.borrow().era != self.era && !planted(Fault::NotReadAnew)
    }

    /// Whether an append whose fate is unknown stands in the log. False too where the log is not as
    /// this driver knew it.
    async fn look_for(&mut self, append: &Append) -> Result<bool, DriveError> {
        let cut_off = self.is_cut_off();
        let records = self.read_log(self.seq).await?;
        let is_own = |record: &&Record| record.append.envelope.id == append.envelope.id;
        let own = records.iter().find(is_own);
        if own.is_some() && planted(Fault::OwnUnseen) {
            return Err(DriveError::Superseded);
        }
        if let Some(record) = own
            && (!cut_off || planted(Fault::FoundIsStored))
        {
            // What others appended after it is read when it is looked for.
            self.seq = record.seq;
            self.appends += 1;
            self.trace(append);
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads the log, as soon as it answers.
    pub(super) async fn read_log(&self, after: Seq) -> Result<Vec<Record>, DriveError> {
        let mut wait = AGAIN_MIN;
        loop {
            match self.shared.log.read(self.request, after).await {
                Ok(records) => return Ok(records),
                Err(error) if error.is_of_the_state() => {
                    self.shared.note(&error);
                    debug!(request = %self.request, %error, "log was not read yet; it is tried again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what others appended. True where there was something.
    pub(super) async fn read_external(&mut self) -> Result<bool, DriveError> {
        self.heard = *self.pokes.borrow_and_update();
        if self.is_cut_off() {
            self.refold().await?;
            return Ok(true);
        }
        let records = self.read_log(self.seq).await?;
        let (epoch, generation) = (self.execution.epoch(), self.execution.generation());
        for record in &records {
            if self.execution.fold(&record.append) {
                self.observe(&record.append.events);
                self.trace(&record.append);
            }
            self.seq = record.seq;
        }
        self.appends += records.len();
        self.touch(touched(&records));
        self.learn_parts(&records).await?;
        if self.execution.epoch() != epoch && !planted(Fault::EpochUnchecked) {
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
        let all = self.read_log(Seq::START).await?;
        for (upload, envelope) in parts(&all) {
            self.context.data.learn(upload, envelope);
        }
        Ok(())
    }

    /// Folds the log from its start. A newer claim means that this driver is done; where its own is
    /// gone, with the tail of the log, it claims anew.
    pub(super) async fn refold(&mut self) -> Result<(), DriveError> {
        let (epoch, generation) = (self.execution.epoch(), self.execution.generation());
        self.fold_log().await?;
        if self.execution.is_settled() {
            return Ok(());
        }
        self.epoch_seen = self.epoch_seen.max(self.execution.epoch());
        if planted(Fault::EpochUnchecked) {
            return Ok(());
        }
        if self.execution.epoch() > epoch {
            return Err(DriveError::Superseded);
        }
        let own = self
            .execution
            .holder()
            .is_some_and(|holder| holder.replica == self.shared.replica);
        if self.execution.epoch() < epoch || !own {
            warn!(request = %self.request, "the log lost its tail, and the claim with it");
            self.may_claim(None).await?;
            // What runs began under a claim that nobody knows of any more.
            self.outlive();
            self.claim().await?;
            self.tell_known();
            return Ok(());
        }
        let touched = std::mem::take(&mut self.touched);
        self.touch(touched);
        if self.execution.generation() != generation {
            self.renew_context().await?;
        }
        Ok(())
    }

    /// Others put something there for this request: what that is goes with it, too.
    fn touch(&mut self, touched: Touched) {
        if !touched.is_empty() {
            let claim = (self.request, self.execution.epoch());
            self.shared.stores.take_on(claim, &touched);
            self.touched.extend(touched);
        }
    }

    /// A store has heard of a newer claim than the log holds, which lost it, or stood there before: this
    /// driver claims above it, and what could not be put is made again.
    pub(super) async fn claim_above(&mut self, epoch: u64) -> Result<(), DriveError> {
        warn!(request = %self.request, epoch, "a store knows of a claim that the log does not");
        self.epoch_seen = self.epoch_seen.max(epoch);
        self.refold().await?;
        if self.execution.epoch() <= epoch && !self.execution.is_settled() {
            self.outlive();
            self.claim().await?;
            self.tell_known();
        }
        Ok(())
    }

    /// Folds the log from its start.
    pub(super) async fn fold_log(&mut self) -> Result<(), DriveError> {
        debug!(request = %self.request, "its log is folded anew");
        let era = self.shared.state.link.borrow().era;
        let records = self.read_log(Seq::START).await?;
        let Some(last) = records.last() else {
            return Err(DriveError::Gone);
        };
        self.shared.learn_versions(self.request, &records).await?;
        let execution = self.shared.execution(self.request, &records)?;
        self.learn_parts(&records).await?;
        records.iter().for_each(|record| self.trace(&record.append));
        self.touched = touched(&records);
        // The machine tells of everything anew.
        self.delayed.clear();
        self.output.forget();
        self.seq = last.seq;
        self.execution = execution;
        self.era = era;
        self.hear_anew();
        Ok(())
    }

    /// Stores what is kept in the log in parts; where. None where somebody else appended first.
    pub(super) async fn keep_in_parts(
        &mut self,
        value: &Value,
    ) -> Result<Option<ValueRef>, DriveError> {
        let (at, parts) = parts_of(value);
        for part in parts {
            if !self.commit(vec![part], None).await? {
                return Ok(None);
            }
        }
        Ok(Some(at))
    }

    /// Appends `settled`, after whatever others appended meanwhile, which counts for nothing. False where
    /// the log lost its end.
    pub(super) async fn settle(&mut self) -> Result<bool, DriveError> {
        let settled = vec![Event::Settled { at_us: now_us() }];
        while !self.execution.is_settled() && !self.commit(settled.clone(), None).await? {
            self.refold().await?;
            if !self.execution.is_closing() && !planted(Fault::SettledAnyway) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
