//! Appends of a driver: how they are made, split, and what a conflict means.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use turlough_sdk::{Digest, Flow, RequestId, Value, ValueRef};
use turlough_statestore::event::{StepEnd, StepEnded};
use turlough_statestore::{Append, AppendError, AppendId, Envelope, Event, Kind, Seq};

use super::{DriveError, Driver, random};
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

    /// Keeps the input where it outlives the store: in `accepted`, or in parts before it. With an
    /// inline limit of 0 no payload goes into the log.
    pub(super) async fn keep_input(&mut self, input: &Value) -> Result<ValueRef, AppendError> {
        let envelope = input.envelope();
        let inline_bytes_max = self.shared.settings.inline_bytes_max;
        if inline_bytes_max == 0 {
            let key = format!("{{{}}}input", self.request);
            let kept = self
                .shared
                .store
                .put(self.request, FIRST_EPOCH, &key, envelope.clone());
            // The store is empty for a new request and admission bounds it; where it is full, the
            // reference names a value that the request's data holds in memory anyway.
            return Ok(kept.unwrap_or_else(|_| reference_only(envelope)));
        }
        if envelope.len() <= inline_bytes_max {
            return Ok(ValueRef::Inline(envelope.clone()));
        }
        let (at, parts) = parts_of(input);
        for part in parts {
            let append = Append::new(self.envelope(0), vec![part]);
            self.seq = self
                .shared
                .log
                .append(self.request, self.seq, &append)
                .await?;
            self.after = Some(append.envelope.id);
            self.parts.push(append);
        }
        Ok(at)
    }

    /// Appends `accepted`, with the claim where there is room to drive.
    pub(super) async fn commit(
        self,
        accepted: Event,
        claim: bool,
    ) -> Result<(Execution, Seq, watch::Receiver<Seq>), AppendError> {
        let mut events = vec![accepted];
        if claim {
            events.push(claimed(self.shared));
        }
        let append = Append::new(self.envelope(if claim { FIRST_EPOCH } else { 0 }), events);
        let seq = self
            .shared
            .log
            .append(self.request, self.seq, &append)
            .await?;
        let mut execution = Execution::new(Arc::clone(self.flow));
        for append in self.parts.iter().chain([&append]) {
            execution.fold(append);
        }
        let (request, last) = (self.request, seq);
        let gone = AppendError::Conflict {
            request,
            expected: last,
            last: Seq::START,
        };
        let mut tail = self.shared.log.tail(request).ok_or(gone)?;
        tail.mark_unchanged();
        Ok((execution, seq, tail))
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
                self.tail.mark_unchanged();
                Ok(true)
            }
            Err(AppendError::Conflict { .. }) => {
                let records = self.shared.log.read(self.request, self.seq).await?;
                let own = records
                    .last()
                    .filter(|r| r.append.envelope.id == append.envelope.id);
                if let Some(record) = own {
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
        let own = self.execution.epoch();
        let records = self.shared.log.read(self.request, Seq::START).await?;
        let mut execution = Execution::new(Arc::clone(&self.flow));
        for record in &records {
            execution.fold(&record.append);
            self.seq = record.seq;
        }
        if records.is_empty() {
            return Err(DriveError::Gone);
        }
        if execution.epoch() > own || execution.is_ended() {
            return Err(DriveError::Superseded);
        }
        self.execution = execution;
        Ok(())
    }

    /// Keeps the output where it outlives the store; nothing where it is too large for the log.
    pub(super) async fn keep_output(
        &mut self,
        value: &Value,
    ) -> Result<Option<ValueRef>, DriveError> {
        let settings = &self.shared.settings;
        let size = value.envelope().len();
        if size <= settings.inline_bytes_max {
            return Ok(Some(ValueRef::Inline(value.envelope().clone())));
        }
        if size > settings.durable_bytes_max || settings.inline_bytes_max == 0 {
            return Ok(None);
        }
        let (at, parts) = parts_of(value);
        for part in parts {
            loop {
                let append = Append::new(self.envelope(self.execution.epoch()), vec![part.clone()]);
                if self.store(&append).await? {
                    self.execution.stored(append.envelope.id, &append.events);
                    break;
                }
                self.read_external().await?;
            }
        }
        Ok(Some(at))
    }

    /// Appends `settled`; the size of the log tells how long it may stay.
    pub(super) async fn settle(&mut self) -> Result<u64, DriveError> {
        self.commit(vec![Event::Settled { at_us: now_us() }])
            .await?;
        Ok(self.shared.log.bytes(self.request))
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
        if size + bytes > APPEND_BYTES_AIM && size > 0 {
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
        _ => 0,
    }
}
