//! Values on their way between steps: small ones in the event, larger ones in the store, and what
//! must outlive the store in the log.
//!
//! Invariants: a value that is gone is told apart from every other error, by its place, so that it
//! can be made again; nothing is put once the request's data is dropped.
//! Absent: who reads the log; parts come from the driver.

mod manifest;

pub(crate) use manifest::{Manifest, Split};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use turlough_datastore::{GetError, MemoryStore, PutError};
use turlough_sdk::{
    ContentType, Digest, Inputs, Producer, RequestId, StepPath, Value, ValueError, ValueRef,
};
use turlough_statestore::Event;

use crate::driver::parts_of;
use crate::machine::Given;

/// Longest step path in a store key; a longer one is replaced by its hash.
const PATH_BYTES_MAX: usize = 400;
/// Deepest join of joins that is put together: below the 128 that JSON's readers follow, and far
/// below what a thread's stack holds.
const JOIN_DEPTH_MAX: usize = 100;
/// Most bytes of a step's inputs together: an envelope holds up to 4 GiB, and whoever reads them as
/// JSON needs several times as much. A stack of joins doubles with each, so that it needs a bound.
const INPUT_BYTES_MAX: u64 = 1 << 30;
/// What a member of a join is counted for beside its value and name.
const MEMBER_BYTES: u64 = 32;
/// Items that are kept in one go before other tasks have their turn: some 100 µs.
const ITEMS_PER_TURN: usize = 128;
/// First and longest wait before a put that found the store full is tried again.
const PUT_WAIT_MIN: Duration = Duration::from_millis(5);
const PUT_WAIT_MAX: Duration = Duration::from_secs(1);

/// The data of one request, as its driver and its steps see it.
#[derive(Debug)]
pub(crate) struct RequestData {
    request: RequestId,
    generation: u32,
    epoch: u64,
    store: Arc<MemoryStore>,
    inline_bytes_max: usize,
    /// Envelopes that lie in the log in parts, by upload.
    parts: Mutex<HashMap<u128, Assembled>>,
    /// Manifests that were read: their items are looked up one by one.
    manifests: Mutex<HashMap<ValueRef, Arc<Manifest>>>,
    /// Whether the request's bucket was dropped: a put after that would bring it to life again.
    closed: RwLock<bool>,
}

/// An envelope that was put together from its parts.
#[derive(Debug)]
struct Assembled {
    envelope: Bytes,
    /// Whether its digest was found to be right.
    is_checked: bool,
}

impl Assembled {
    const fn new(envelope: Bytes) -> Self {
        Self {
            envelope,
            is_checked: false,
        }
    }

    fn checked(&mut self, digest: Digest) -> Option<Bytes> {
        self.is_checked = self.is_checked || Digest::of(&self.envelope) == digest;
        self.is_checked.then(|| self.envelope.clone())
    }
}

/// How a step reads its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As they are.
    Raw,
    /// As data: a body that nobody gave a type is JSON where it reads as JSON.
    Typed,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("{source}")]
    Lost { at: ValueRef, source: GetError },
    #[error(transparent)]
    Corrupt(GetError),
    #[error(transparent)]
    Put(#[from] PutError),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("item {index} of {items} is not in its manifest")]
    Item { index: u32, items: usize },
    #[error("value in the log of request {0} cannot be read here")]
    Elsewhere(RequestId),
    #[error(
        "output is {size} bytes and must outlive the store, limit {limit}; raise TURLOUGH_DURABLE_BYTES_MAX"
    )]
    NotDurable { size: usize, limit: usize },
    #[error("inputs are joins of joins, deeper than {JOIN_DEPTH_MAX}; put a step between them")]
    TooDeep,
    #[error("inputs are over {INPUT_BYTES_MAX} bytes together; hand on less")]
    TooLarge,
    #[error("request {0} has ended, and its data is dropped")]
    Closed(RequestId),
}

impl RequestData {
    pub(crate) fn new(
        request: RequestId,
        generation: u32,
        epoch: u64,
        store: Arc<MemoryStore>,
        inline_bytes_max: usize,
        parts: HashMap<u128, Bytes>,
    ) -> Self {
        Self {
            request,
            generation,
            epoch,
            store,
            inline_bytes_max,
            parts: Mutex::new(
                parts
                    .into_iter()
                    .map(|(upload, envelope)| (upload, Assembled::new(envelope)))
                    .collect(),
            ),
            manifests: Mutex::default(),
            closed: RwLock::new(false),
        }
    }

    /// Drops the request's data. Attempts that still run keep nothing any more.
    pub(crate) fn close(&self) {
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        *closed = true;
        self.store.drop_bucket(self.request, self.epoch);
    }

    /// From now on, what lies in parts under `upload` can be read.
    pub(crate) fn learn(&self, upload: u128, envelope: Bytes) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(upload, Assembled::new(envelope));
    }

    /// Reads what lies at a reference.
    pub(crate) fn load(&self, at: &ValueRef) -> Result<Value, DataError> {
        let envelope = match at {
            ValueRef::Inline(envelope) => envelope.clone(),
            ValueRef::Stored {
                key, boot, size, ..
            } => {
                let got = self.store.get(self.request, key, *boot, *size);
                got.map_err(|source| match source {
                    GetError::Lost { .. } => DataError::Lost {
                        at: at.clone(),
                        source,
                    },
                    GetError::Corrupt { .. } => DataError::Corrupt(source),
                })?
            }
            ValueRef::Parts { upload, digest, .. } => {
                let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
                let whole = parts.get_mut(upload).and_then(|part| part.checked(*digest));
                whole.ok_or(DataError::Elsewhere(self.request))?
            }
        };
        Ok(Value::from_envelope(envelope)?)
    }

    /// Reads a value as the machine knows it, joining what it names.
    pub(crate) fn resolve(&self, given: &Given) -> Result<Value, DataError> {
        match given {
            Given::Empty => Ok(Value::empty()),
            Given::Value(at) => self.load(at),
            Given::Item { manifest, index } => self.load(&self.item(manifest, *index)?),
            Given::Map(members) => {
                self.measure(given, 0, &mut INPUT_BYTES_MAX.clone())?;
                let read = |(name, given): &(Arc<str>, Given)| {
                    Ok::<_, DataError>((Arc::clone(name), typed(self.resolve(given)?)))
                };
                let members = members.iter().map(read).collect::<Result<Vec<_>, _>>()?;
                let view: Vec<_> = members
                    .iter()
                    .map(|(name, value)| (&**name, value))
                    .collect();
                Ok(Value::map(&view)?)
            }
        }
    }

    /// The members of a list, as data; nothing where there is none.
    pub(crate) fn members(&self, given: &[Option<Given>]) -> Result<Vec<Option<Value>>, DataError> {
        let mut room = INPUT_BYTES_MAX;
        let read = |given: &Option<Given>| {
            let Some(given) = given else { return Ok(None) };
            self.measure(given, 0, &mut room)?;
            Ok(Some(typed(self.resolve(given)?)))
        };
        given.iter().map(read).collect()
    }

    /// Size of a step's inputs, in bytes, about.
    pub(crate) fn size(&self, members: &[(Arc<str>, Option<Given>)]) -> Result<u64, DataError> {
        let mut room = INPUT_BYTES_MAX;
        for given in members.iter().flat_map(|(_, given)| given) {
            self.measure(given, 0, &mut room)?;
        }
        Ok(INPUT_BYTES_MAX - room)
    }

    /// The inputs of a step, member by member.
    pub(crate) fn inputs(
        &self,
        members: &[(Arc<str>, Option<Given>)],
        reading: Reading,
    ) -> Result<Inputs, DataError> {
        self.size(members)?;
        let read = |given: &Given| {
            let value = self.resolve(given)?;
            Ok::<_, DataError>(match reading {
                Reading::Raw => value,
                Reading::Typed => typed(value),
            })
        };
        let load = |(name, given): &(Arc<str>, Option<Given>)| {
            Ok::<_, DataError>((Arc::clone(name), given.as_ref().map(read).transpose()?))
        };
        let members = members.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        Ok(Inputs {
            members,
            ..Inputs::default()
        })
    }

    /// Takes the size of a value out of `room` before anything of it is read: a join of joins is
    /// deep and large before it is long.
    fn measure(&self, given: &Given, depth: usize, room: &mut u64) -> Result<(), DataError> {
        let size = match given {
            _ if depth > JOIN_DEPTH_MAX => return Err(DataError::TooDeep),
            Given::Empty => 0,
            Given::Value(at) => at.size(),
            Given::Item { manifest, index } => self.item(manifest, *index)?.size(),
            Given::Map(members) => {
                for (name, member) in members.iter() {
                    let size = name.len() as u64 + MEMBER_BYTES;
                    *room = room.checked_sub(size).ok_or(DataError::TooLarge)?;
                    self.measure(member, depth + 1, room)?;
                }
                0
            }
        };
        *room = room.checked_sub(size).ok_or(DataError::TooLarge)?;
        Ok(())
    }

    /// Keeps what an attempt made: in its event where it is small, otherwise in the store. A full
    /// store is waited for; the attempt's own timeout bounds that.
    pub(crate) async fn keep(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
    ) -> Result<ValueRef, DataError> {
        let envelope = value.envelope();
        if envelope.len() <= self.inline_bytes_max {
            return Ok(ValueRef::Inline(Bytes::copy_from_slice(envelope)));
        }
        self.store(step, attempt, value).await
    }

    /// Keeps what must outlive the store: in its event where it is small, otherwise in parts, which
    /// stand in the log before what names them. With an inline limit of 0 no payload goes into the
    /// log, and only the store is left.
    pub(crate) async fn keep_durable(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
        durable_bytes_max: usize,
    ) -> Result<(ValueRef, Vec<Event>), DataError> {
        let envelope = value.envelope();
        if envelope.len() <= self.inline_bytes_max || self.inline_bytes_max == 0 {
            return Ok((self.keep(step, attempt, value).await?, Vec::new()));
        }
        let (size, limit) = (value.body().len(), durable_bytes_max);
        if size > limit {
            return Err(DataError::NotDurable { size, limit });
        }
        let (at, parts) = parts_of(value);
        if let ValueRef::Parts { upload, .. } = &at {
            self.learn(*upload, envelope.clone());
        }
        Ok((at, parts))
    }

    /// Keeps a value in the store, whatever its size.
    pub(crate) async fn store(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
    ) -> Result<ValueRef, DataError> {
        let envelope = value.envelope();
        let key = self.key(step, attempt);
        let mut wait = PUT_WAIT_MIN;
        loop {
            match self.put(&key, envelope) {
                Err(DataError::Put(PutError::Full { limit, size, .. })) if size <= limit => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(PUT_WAIT_MAX);
                }
                kept => return kept,
            }
        }
    }

    fn put(&self, key: &str, envelope: &Bytes) -> Result<ValueRef, DataError> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(DataError::Closed(self.request));
        }
        let kept = self
            .store
            .put(self.request, self.epoch, key, envelope.clone());
        Ok(kept?)
    }

    /// `{request}generation/step/attempt.epoch.nonce`: a late attempt never overwrites another.
    fn key(&self, step: &str, attempt: u32) -> String {
        let nonce = uuid::Uuid::new_v4().as_u128() as u32;
        let (request, generation, epoch) = (self.request, self.generation, self.epoch);
        if step.len() > PATH_BYTES_MAX {
            let hash = Digest::of(step.as_bytes());
            return format!("{{{request}}}{generation}/{hash}/{attempt}.{epoch}.{nonce:08x}");
        }
        format!("{{{request}}}{generation}/{step}/{attempt}.{epoch}.{nonce:08x}")
    }

    /// Keeps the items of a `for_each`, each a value of its own, and the manifest that lists them.
    pub(crate) async fn keep_items(
        &self,
        step: &StepPath,
        attempt: u32,
        split: Split,
    ) -> Result<ValueRef, DataError> {
        let mut kept = Vec::with_capacity(split.items.len());
        for (index, item) in split.items.iter().enumerate() {
            if index % ITEMS_PER_TURN == ITEMS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            kept.push(
                self.keep(&format!("{step}[{index}]"), attempt, item)
                    .await?,
            );
        }
        let manifest = Manifest {
            items: kept,
            keys: split.keys,
        };
        let at = self
            .keep(step.as_str(), attempt, &Value::encode(&manifest)?)
            .await?;
        self.remember(at.clone(), Arc::new(manifest));
        Ok(at)
    }

    fn item(&self, manifest: &ValueRef, index: u32) -> Result<ValueRef, DataError> {
        let manifest = self.manifest(manifest)?;
        let found = manifest.items.get(index as usize).cloned();
        found.ok_or(DataError::Item {
            index,
            items: manifest.items.len(),
        })
    }

    /// What lists the items of a `for_each`.
    pub(crate) fn manifest(&self, at: &ValueRef) -> Result<Arc<Manifest>, DataError> {
        let known = self
            .manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(at)
            .cloned();
        if let Some(manifest) = known {
            return Ok(manifest);
        }
        let manifest: Arc<Manifest> = Arc::new(self.load(at)?.decode()?);
        self.remember(at.clone(), Arc::clone(&manifest));
        Ok(manifest)
    }

    fn remember(&self, at: ValueRef, manifest: Arc<Manifest>) {
        self.manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(at, manifest);
    }
}

/// Media types that clients and frameworks write where nobody said what the body is.
const UNSAID: [&str; 4] = [
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "text/html",
    "text/plain",
];

/// A body from outside whose type nobody gave is JSON where it reads as JSON; its bytes stay.
pub(crate) fn typed(value: Value) -> Value {
    if matches!(value.producer(), Producer::Closure | Producer::Platform) || value.is_empty() {
        return value;
    }
    let essence = value.content_type().as_str().split(';').next();
    let essence = essence.unwrap_or_default().trim();
    let unsaid = UNSAID.iter().any(|name| name.eq_ignore_ascii_case(essence));
    let body = value.body();
    if unsaid && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() {
        return Value::new(ContentType::JSON, value.producer(), &body);
    }
    value
}
