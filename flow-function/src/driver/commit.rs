//! Appends of a driver: how they are made, split, and what a conflict means.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use turlough_sdk::{Digest, Flow, RequestId, Value, ValueRef};
use turlough_statestore::event::{Outcome, StepEnd, StepEnded};
use turlough_statestore::{Append, AppendError, AppendId, Envelope, Event, Kind, Record, Seq};

use super::{DriveError, Driver, failure, random};
use crate::clock::now_us;
use crate::engine::Shared;
use crate::machine::Execution;

/// Size of a part in the log: an append holds one, with room for its envelope.
const PART_BYTES: usize = 480 * 1024;
/// Events are put into one append up to this estimate of their size.
const APPEND_BYTES_AIM: usize = 384 * 1024;
/// What an event takes beside its value and message, generously.
const EVENT_BYTES: usize = 512;
/// The claim of whoever accepts; there is no other with this backend.
const FIRST_EPOCH: u64 = 1;

/// What a new log comes to: its fold, where it ends, and the way to hear of more.
type Began = (Execution, Seq, watch::Receiver<Seq>);

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

/// A log that begins.
pub(super) struct Start<'a> {
    shared: &'a Arc<Shared>,
    flow: &'a Arc<Flow>,
    request: RequestId,
    deadline_us: u64,
    seq: Seq,
    after: Option<AppendId>,
    parts: Vec<Append>,
}

impl<'a> Start<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        flow: &'a Arc<Flow>,
        request: RequestId,
        deadline_us: u64,
    ) -> Self {
        let (seq, after, parts) = (Seq::START, None, Vec::new());
        Self {
            shared,
            flow,
            request,
            deadline_us,
            seq,
            after,
            parts,
        }
    }

    /// Records the input and `accepted`, with the claim where there is room to drive; or nothing.
    pub(super) async fn accept(
        mut self,
        input: &Value,
        at_us: u64,
        claim: bool,
    ) -> Result<(ValueRef, Began), AppendError> {
        let stored = match self.keep_input(input).await {
            Ok(at) => self.commit(at.clone(), at_us, claim).await.map(|b| (at, b)),
            Err(error) => Err(error),
        };
        if stored.is_err() {
            // Parts that nothing names, a value that nobody reads.
            self.shared.log.expire(self.request);
            self.shared.store.drop_bucket(self.request, FIRST_EPOCH);
        }
        stored
    }

    /// Keeps the input where it outlives the store: in `accepted`, or in parts before it. With an
    /// inline limit of 0 no payload goes into the log.
    async fn keep_input(&mut self, input: &Value) -> Result<ValueRef, AppendError> {
        let envelope = input.envelope();
        let inline_bytes_max = self.shared.settings.inline_bytes_max;
        if inline_bytes_max == 0 {
            let key = format!("{{{}}}input", self.request);
            let store = &self.shared.store;
            let kept = store.put(self.request, FIRST_EPOCH, &key, envelope.clone());
            // Where the store is full, the reference names a value that the request's data holds in
            // memory anyway.
            return Ok(kept.unwrap_or_else(|_| reference_only(envelope)));
        }
        if envelope.len() <= inline_bytes_max {
            return Ok(ValueRef::Inline(envelope.clone()));
        }
        let (at, parts) = parts_of(input);
        for part in parts {
            let append = Append::new(self.envelope(0), vec![part]);
            self.store(&append).await?;
            self.after = Some(append.envelope.id);
            self.parts.push(append);
        }
        Ok(at)
    }

    async fn commit(
        &mut self,
        input: ValueRef,
        at_us: u64,
        claim: bool,
    ) -> Result<Began, AppendError> {
        let mut events = vec![Event::Accepted {
            flow: self.flow.name().clone(),
            version: self.flow.version().as_str().to_owned(),
            tenant: self.shared.settings.tenant.clone(),
            input,
            at_us,
        }];
        if claim {
            events.push(claimed(self.shared));
        }
        let append = Append::new(self.envelope(if claim { FIRST_EPOCH } else { 0 }), events);
        self.store(&append).await?;
        let mut execution = Execution::new(Arc::clone(self.flow));
        for append in self.parts.iter().chain([&append]) {
            execution.fold(append);
        }
        let (request, seq) = (self.request, self.seq);
        let gone = AppendError::Conflict {
            request,
            expected: seq,
            last: Seq::START,
        };
        let tail = self.shared.log.tail(request).ok_or(gone)?;
        Ok((execution, seq, tail))
    }

    async fn store(&mut self, append: &Append) -> Result<(), AppendError> {
        let log = &self.shared.log;
        self.seq = log.append(self.request, self.seq, append).await?;
        Ok(())
    }

    fn envelope(&self, epoch: u64) -> Envelope {
        Envelope {
            id: AppendId(random()),
            after: self.after,
            kind: Kind::Driver,
            epoch,
            replica: self.shared.replica,
            function: self.shared.settings.function.clone(),
            generation: 0,
            deadline_us: Some(self.deadline_us),
            wake_at_us: None,
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

fn claimed(shared: &Shared) -> Event {
    Event::Claimed {
        replica: shared.replica,
        epoch: FIRST_EPOCH,
        at_us: now_us(),
    }
}

fn reference_only(envelope: &bytes::Bytes) -> ValueRef {
    let (size, digest) = (envelope.len() as u64, Digest::of(envelope));
    ValueRef::Parts {
        upload: random(),
        count: 0,
        size,
        digest,
    }
}

/// A value as parts, and the reference that names them.
fn parts_of(value: &Value) -> (ValueRef, Vec<Event>) {
    let envelope = value.envelope();
    let upload = random();
    let starts = (0..envelope.len()).step_by(PART_BYTES);
    let part = |(index, from): (usize, usize)| {
        let to = (from + PART_BYTES).min(envelope.len());
        Event::part(
            upload,
            u32::try_from(index).unwrap_or(u32::MAX),
            &envelope.slice(from..to),
        )
    };
    let parts: Vec<_> = starts.enumerate().map(part).collect();
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let (size, digest) = (envelope.len() as u64, Digest::of(envelope));
    (
        ValueRef::Parts {
            upload,
            count,
            size,
            digest,
        },
        parts,
    )
}

/// Spreads events over appends so that each fits.
fn split(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut appends = vec![Vec::new()];
    let mut size = 0;
    for event in events {
        let bytes = EVENT_BYTES + payload_bytes(&event);
        // An end and its closing are one decision, and small beside what the aim leaves free.
        let apart = !matches!(event, Event::Closing { .. });
        if size + bytes > APPEND_BYTES_AIM && size > 0 && apart {
            appends.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(append) = appends.last_mut() {
            append.push(event);
        }
    }
    appends
}

fn payload_bytes(event: &Event) -> usize {
    match event {
        Event::StepEnded(StepEnded { step, end, .. }) => {
            let value = match end {
                StepEnd::Succeeded {
                    value: ValueRef::Inline(bytes),
                }
                | StepEnd::Split {
                    manifest: ValueRef::Inline(bytes),
                    ..
                } => bytes.len(),
                StepEnd::Failed { message, .. } => message.len(),
                _ => 0,
            };
            value + step.as_str().len()
        }
        Event::Ended { outcome, .. } => match outcome {
            Outcome::Succeeded {
                output: Some(ValueRef::Inline(bytes)),
                ..
            } => bytes.len(),
            Outcome::Failed { step, message, .. } => step.as_str().len() + message.len(),
            _ => 0,
        },
        _ => 0,
    }
}
