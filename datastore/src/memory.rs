//! The store in the process that uses it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::data::Dropped;
use bytes::Bytes;
use turlough_sdk::{Digest, RequestId, ValueRef};

/// Locks that the buckets are spread over.
const SHARDS: usize = 64;

/// Values of requests, in memory.
#[derive(Debug)]
pub struct MemoryStore {
    address: Arc<str>,
    boot: u64,
    bytes_max: u64,
    bytes: AtomicU64,
    refusals: AtomicU64,
    shards: Vec<Mutex<HashMap<RequestId, Bucket>>>,
}

/// A request's data.
#[derive(Debug, Default)]
struct Bucket {
    epoch: u64,
    bytes: u64,
    values: HashMap<Arc<str>, Bytes>,
}

/// Why a value was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The store is full; try the put again later, the step need not run again.
    #[error(
        "store holds {held} of {limit} bytes, no room for {size}; wait, or raise TURLOUGH_DATA_BYTES_MAX"
    )]
    Full {
        /// Bytes held.
        held: u64,
        /// The limit.
        limit: u64,
        /// Size of the value.
        size: u64,
    },
    /// Another value stands under the key.
    #[error("key {key} of request {request} holds another value already")]
    Exists {
        /// The request.
        request: RequestId,
        /// The key.
        key: String,
    },
    /// A newer claim owns the bucket.
    #[error("put at epoch {epoch} into the bucket of request {request}, which is at {newest}")]
    Stale {
        /// The request.
        request: RequestId,
        /// Epoch of the put.
        epoch: u64,
        /// Epoch of the bucket.
        newest: u64,
    },
}

/// Why a value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// It is gone: another boot of the store, or dropped.
    #[error("value {key} of request {request} is lost: the store no longer holds it")]
    Lost {
        /// The request.
        request: RequestId,
        /// The key.
        key: String,
    },
    /// What is there is not what was put.
    #[error("value {key} of request {request} does not match its digest {digest}")]
    Corrupt {
        /// The request.
        request: RequestId,
        /// The key.
        key: String,
        /// The digest in the reference.
        digest: Digest,
    },
}

impl MemoryStore {
    /// An empty store that holds up to `bytes_max`; `boot` is drawn by the caller at random.
    #[must_use]
    pub fn new(boot: u64, bytes_max: u64) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            address: Arc::from("memory:"),
            boot,
            bytes_max,
            bytes: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            shards,
        }
    }

    /// Stores an envelope under `key` in the request's bucket, and says where it lies. The same
    /// bytes under the same key succeed again.
    ///
    /// # Errors
    /// A full store, another value under the key, a newer claim.
    pub fn put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        envelope: Bytes,
    ) -> Result<ValueRef, PutError> {
        let (size, digest) = (envelope.len() as u64, Digest::of(&envelope));
        let key: Arc<str> = Arc::from(key);
        let mut buckets = self.shard(request);
        let bucket = buckets.get(&request);
        let newest = bucket.map_or(0, |bucket| bucket.epoch);
        if epoch < newest {
            return Err(PutError::Stale {
                request,
                epoch,
                newest,
            });
        }
        let held = bucket.and_then(|bucket| bucket.values.get(&key));
        let is_new = held.is_none();
        if held.is_some_and(|held| Digest::of(held) != digest) {
            return Err(PutError::Exists {
                request,
                key: key.to_string(),
            });
        }
        if is_new {
            self.reserve(size)?;
        }
        // Only now: a put that is refused leaves no bucket behind.
        let bucket = buckets.entry(request).or_default();
        bucket.epoch = epoch;
        if is_new {
            bucket.bytes += size;
            bucket.values.insert(Arc::clone(&key), envelope);
        }
        Ok(ValueRef::Stored {
            store: Arc::clone(&self.address),
            boot: self.boot,
            key,
            size,
            digest,
        })
    }

    fn reserve(&self, size: u64) -> Result<(), PutError> {
        let fits = |held: u64| held.checked_add(size).filter(|sum| *sum <= self.bytes_max);
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(drop)
            .map_err(|held| {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                PutError::Full {
                    held,
                    limit: self.bytes_max,
                    size,
                }
            })
    }

    /// Puts that the limit refused, since the start.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// The requests that hold a bucket, in no order.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestId> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let buckets = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(buckets.keys().copied());
        }
        all
    }

    /// How many requests hold a bucket.
    #[must_use]
    pub fn buckets(&self) -> usize {
        let count = |shard: &Mutex<HashMap<RequestId, Bucket>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).len()
        };
        self.shards.iter().map(count).sum()
    }

    /// Reads what lies at a stored reference, shared, not copied. The digest of a value that never
    /// left this process is not computed again, but its size and boot are checked.
    ///
    /// # Errors
    /// A value that is lost or is not the one that was put.
    pub fn get(
        &self,
        request: RequestId,
        key: &str,
        boot: u64,
        size: u64,
    ) -> Result<Bytes, GetError> {
        let held = {
            let buckets = self.shard(request);
            buckets
                .get(&request)
                .and_then(|bucket| bucket.values.get(key))
                .cloned()
        };
        match held {
            Some(envelope) if boot == self.boot && envelope.len() as u64 == size => Ok(envelope),
            Some(envelope) if boot == self.boot => Err(GetError::Corrupt {
                request,
                key: key.to_owned(),
                digest: Digest::of(&envelope),
            }),
            _ => Err(GetError::Lost {
                request,
                key: key.to_owned(),
            }),
        }
    }

    /// Drops all of a request's values at once; a drop below the bucket's epoch does nothing.
    pub fn drop_bucket(&self, request: RequestId, epoch: u64) -> Dropped {
        let bucket = {
            let mut buckets = self.shard(request);
            match buckets.get(&request) {
                Some(bucket) if bucket.epoch <= epoch => buckets.remove(&request),
                _ => None,
            }
        };
        let Some(bucket) = bucket else {
            return Dropped::default();
        };
        self.bytes.fetch_sub(bucket.bytes, Ordering::Relaxed);
        Dropped {
            keys: bucket.values.len() as u64,
            bytes: bucket.bytes,
        }
    }

    /// Bytes held, over all requests.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn shard(&self, request: RequestId) -> MutexGuard<'_, HashMap<RequestId, Bucket>> {
        let ix = request.as_uuid().as_u128() as usize % self.shards.len();
        self.shards[ix]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u128) -> RequestId {
        RequestId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn get(store: &MemoryStore, request: RequestId, at: &ValueRef) -> Result<Bytes, GetError> {
        let ValueRef::Stored {
            key, boot, size, ..
        } = at
        else {
            panic!("not stored")
        };
        store.get(request, key, *boot, *size)
    }

    #[test]
    fn a_drop_takes_all_of_one_request_and_nothing_of_another() {
        let store = MemoryStore::new(1, 100);
        let mine = store
            .put(request(1), 1, "a", Bytes::from_static(b"12345"))
            .unwrap();
        store
            .put(request(1), 1, "b", Bytes::from_static(b"1"))
            .unwrap();
        let other = store
            .put(request(2), 1, "a", Bytes::from_static(b"xyz"))
            .unwrap();
        assert_eq!(store.bytes(), 9);
        assert_eq!(
            store.drop_bucket(request(1), 1),
            Dropped { keys: 2, bytes: 6 }
        );
        assert_eq!(store.bytes(), 3);
        assert!(matches!(
            get(&store, request(1), &mine),
            Err(GetError::Lost { .. })
        ));
        assert_eq!(get(&store, request(2), &other).unwrap(), "xyz");
    }

    #[test]
    fn a_value_is_written_once_and_the_same_one_again() {
        let store = MemoryStore::new(1, 100);
        let first = store
            .put(request(1), 1, "a", Bytes::from_static(b"one"))
            .unwrap();
        assert_eq!(
            store
                .put(request(1), 2, "a", Bytes::from_static(b"one"))
                .unwrap(),
            first
        );
        let error = store
            .put(request(1), 2, "a", Bytes::from_static(b"two"))
            .unwrap_err();
        assert!(matches!(error, PutError::Exists { .. }));
        assert_eq!(store.bytes(), 3);
    }

    #[test]
    fn a_full_store_refuses_and_evicts_nothing() {
        let store = MemoryStore::new(1, 5);
        store
            .put(request(1), 1, "a", Bytes::from_static(b"123"))
            .unwrap();
        let error = store
            .put(request(2), 1, "a", Bytes::from_static(b"456"))
            .unwrap_err();
        assert_eq!(
            error,
            PutError::Full {
                held: 3,
                limit: 5,
                size: 3
            }
        );
        assert_eq!(
            (store.buckets(), store.refusals()),
            (1, 1),
            "nothing is left of it"
        );
        store.drop_bucket(request(1), 1);
        store
            .put(request(2), 1, "a", Bytes::from_static(b"456"))
            .unwrap();
    }

    #[test]
    fn an_older_claim_neither_puts_nor_drops() {
        let store = MemoryStore::new(1, 100);
        store
            .put(request(1), 5, "a", Bytes::from_static(b"1"))
            .unwrap();
        let error = store
            .put(request(1), 4, "b", Bytes::from_static(b"2"))
            .unwrap_err();
        assert_eq!(
            error,
            PutError::Stale {
                request: request(1),
                epoch: 4,
                newest: 5
            }
        );
        assert_eq!(store.drop_bucket(request(1), 4), Dropped::default());
        assert_eq!(store.bytes(), 1);
    }

    #[test]
    fn a_store_that_came_back_empty_says_lost() {
        let before = MemoryStore::new(1, 100);
        let at = before
            .put(request(1), 1, "a", Bytes::from_static(b"1"))
            .unwrap();
        let after = MemoryStore::new(2, 100);
        after
            .put(request(1), 1, "a", Bytes::from_static(b"1"))
            .unwrap();
        assert!(matches!(
            get(&after, request(1), &at),
            Err(GetError::Lost { .. })
        ));
    }
}
