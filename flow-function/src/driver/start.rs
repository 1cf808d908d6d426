//! The first appends of a log: its input, its acceptance, its claim.

use std::sync::Arc;

use tokio::sync::watch;
use turlough_sdk::{Digest, Flow, RequestId, Value, ValueRef};
use turlough_statestore::{Append, AppendError, AppendId, Envelope, Event, Kind, Seq};

use super::pieces::parts_of;
use super::random;
use crate::clock::now_us;
use crate::machine::Execution;
use crate::shared::Shared;

/// The claim of whoever accepts; there is no other with this backend.
pub(super) const FIRST_EPOCH: u64 = 1;

/// What a new log comes to: its fold, where it ends, and the way to hear of more.
type Began = (Execution, Seq, watch::Receiver<Seq>);

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

pub(super) fn claimed(shared: &Shared) -> Event {
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
