//! Values on their way between steps: small ones in the event, larger ones in the store, and what
//! must outlive the store in the log.
//!
//! Invariants: a value that is gone is told apart from every other error, by its place, so that it
//! can be made again; nothing is put once the request's data is dropped.
//! Absent: who reads the log; parts come from the driver.

mod found;
mod keep;
mod kept;
mod lent;
#[cfg(test)]
mod local;
mod manifest;
mod reader;
mod room;
mod stores;

pub(crate) use found::Found;
pub(crate) use kept::Touched;
pub(crate) use lent::Lent;
#[cfg(test)]
pub(crate) use local::LocalStore;
pub(crate) use manifest::{Manifest, Split};
pub(crate) use stores::{Durable, Stores, touched};

use reader::{INPUT_BYTES_MAX, JOIN_DEPTH_MAX, Reader};

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use turlough_datastore::ReferenceError;
use turlough_datastore::data::{Failure, GetError, PutError};
use turlough_sdk::{ContentType, Digest, Producer, RequestId, Value, ValueError, ValueRef};

use crate::machine::Given;

/// The data of one request, as its driver and its steps see it.
#[derive(Debug)]
pub(crate) struct RequestData {
    request: RequestId,
    generation: u32,
    epoch: u64,
    stores: Arc<Stores>,
    inline_bytes_max: usize,
    /// Envelopes that lie in the log in parts, by upload.
    parts: Mutex<HashMap<u128, Assembled>>,
    /// Manifests that were read: their items are looked up one by one.
    manifests: Mutex<HashMap<ValueRef, Arc<Manifest>>>,
    /// Whether its bucket was dropped: a put after that is refused by the store as well.
    is_closed: AtomicBool,
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

#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    /// It is gone, or is not what was put: whoever made it makes it again.
    #[error("{source}")]
    Lost { at: Box<ValueRef>, source: GetError },
    #[error(transparent)]
    Get(GetError),
    #[error("the store at {store} did not answer within {patience:?}; ask again")]
    Away { store: String, patience: Duration },
    #[error(transparent)]
    Put(#[from] PutError),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("item {index} of {items} is not in its manifest")]
    Item { index: u32, items: usize },
    #[error("a value was not read before it was used")]
    Unread,
    /// A function's reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("output lies under {key}, and the key that was lent for it is {assigned}")]
    Foreign { key: String, assigned: String },
    #[error("output says of itself that it is of {0:?}; a function writes producer 1")]
    Pretended(Producer),
    #[error(transparent)]
    Lend(#[from] Failure),
    #[error("value in the log of request {0} cannot be read here")]
    Elsewhere(RequestId),
    #[error(
        "output is {size} bytes and must outlive the store, limit {limit}; raise TURLOUGH_DURABLE_BYTES_MAX, or set TURLOUGH_DURABLE"
    )]
    NotDurable { size: usize, limit: usize },
    #[error("inputs are joins of joins, deeper than {JOIN_DEPTH_MAX}; put a step between them")]
    TooDeep,
    #[error("inputs are over {INPUT_BYTES_MAX} bytes together; hand on less")]
    TooLarge,
    #[error("request {0} has ended, and its data is dropped")]
    Closed(RequestId),
}

impl DataError {
    fn of_get(at: &ValueRef, source: GetError) -> Self {
        match source {
            GetError::Lost { .. } | GetError::Corrupt { .. } => Self::Lost {
                at: Box::new(at.clone()),
                source,
            },
            GetError::Failed(_) => Self::Get(source),
        }
    }
}

impl RequestData {
    pub(crate) fn new(
        request: RequestId,
        (generation, epoch): (u32, u64),
        stores: &Arc<Stores>,
        inline_bytes_max: usize,
        parts: HashMap<u128, Bytes>,
    ) -> Self {
        let assembled = |(upload, envelope)| (upload, Assembled::new(envelope));
        Self {
            request,
            generation,
            epoch,
            stores: Arc::clone(stores),
            inline_bytes_max,
            parts: Mutex::new(parts.into_iter().map(assembled).collect()),
            manifests: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Drops the request's data. Attempts that still run keep nothing any more.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        Box::pin(self.stores.drop_all(self.request, self.epoch)).await;
    }

    /// Attempts that still run keep nothing any more; what is held stays for its lease.
    pub(crate) fn leave(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.stores.forget(self.request);
    }

    /// From now on, what lies in parts under `upload` can be read.
    pub(crate) fn learn(&self, upload: u128, envelope: Bytes) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(upload, Assembled::new(envelope));
    }

    /// Reads what lies at a reference.
    pub(crate) async fn load(&self, at: &ValueRef) -> Result<Value, DataError> {
        self.reader(None).load(at).await
    }

    /// Reads a value as the machine knows it, with all that it is joined of.
    pub(crate) async fn read(&self, given: &Given) -> Result<Found, DataError> {
        self.reader(None).read(given).await
    }

    /// The same, of stores that answer within so long.
    pub(crate) async fn read_within(
        &self,
        given: &Given,
        patience: Duration,
    ) -> Result<Found, DataError> {
        self.reader(Some(patience)).read(given).await
    }

    /// Reads the members of a list; nothing where there is none.
    pub(crate) fn read_all<'a>(
        &'a self,
        given: impl Iterator<Item = Option<&'a Given>>,
    ) -> impl Future<Output = Result<Vec<Option<Found>>, DataError>> {
        self.reader(None).read_all(given.collect())
    }

    /// What lists the items of a `for_each`.
    pub(crate) async fn manifest(&self, at: &ValueRef) -> Result<Arc<Manifest>, DataError> {
        self.reader(None).manifest(at).await
    }

    const fn reader(&self, patience: Option<Duration>) -> Reader<'_> {
        Reader::new(self, patience)
    }

    /// What lies in the log at a reference; None where it lies in a store.
    fn at_hand(&self, at: &ValueRef) -> Result<Option<Bytes>, DataError> {
        match at {
            ValueRef::Inline(envelope) => Ok(Some(envelope.clone())),
            ValueRef::Stored { .. } => Ok(None),
            ValueRef::Parts { upload, digest, .. } => {
                let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
                let whole = parts.get_mut(upload).and_then(|part| part.checked(*digest));
                whole.map(Some).ok_or(DataError::Elsewhere(self.request))
            }
        }
    }

    fn known_manifest(&self, at: &ValueRef) -> Option<Arc<Manifest>> {
        let known = self.manifests.lock();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .get(at)
            .cloned()
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
