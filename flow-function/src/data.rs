//! Values on their way between steps: small ones in the event, larger ones in the store, and what
//! must outlive the store in the log.
//!
//! Invariants: a value that is gone is told apart from every other error, by its place, so that it
//! can be made again; nothing is put once the request's data is dropped.
//! Absent: who reads the log; parts come from the driver.

mod keep;
mod manifest;

pub(crate) use manifest::{Manifest, Split};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use turlough_datastore::{GetError, MemoryStore, PutError};
use turlough_sdk::{ContentType, Digest, Inputs, Producer, RequestId, Value, ValueError, ValueRef};

use crate::machine::Given;

/// Deepest join of joins that is put together: below the 128 that JSON's readers follow, and far
/// below what a thread's stack holds.
const JOIN_DEPTH_MAX: usize = 100;
/// Most bytes of a step's inputs together: an envelope holds up to 4 GiB, and whoever reads them as
/// JSON needs several times as much. A stack of joins doubles with each, so that it needs a bound.
const INPUT_BYTES_MAX: u64 = 1 << 30;
/// What a member of a join is counted for beside its value and name.
const MEMBER_BYTES: u64 = 32;

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
    Lost { at: Box<ValueRef>, source: GetError },
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
                        at: Box::new(at.clone()),
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
