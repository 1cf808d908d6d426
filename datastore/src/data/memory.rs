//! Values in this process. They are shared, not copied, and their digests are computed once, when they
//! are put.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;
use turlough_sdk::{Digest, RequestId, ValueRef};
use uuid::Uuid;

use super::error::{BucketError, Failure, GetError, Newer, PutError};
use super::sweeping::{Sweep, every_part_of};
use super::{DataStore, Dropped, Held, LEASE_MAX, Options, Stored, Usage, key};
use crate::store::{Budget, soft_of};

/// Locks that the buckets are spread over.
const SHARDS: usize = 64;

/// Values of requests, in memory.
#[derive(Debug)]
pub(super) struct InMemory {
    address: Arc<str>,
    boot: u64,
    lease: Duration,
    values: Arc<Buckets>,
    _sweeping: DropGuard,
}

#[derive(Debug)]
struct Buckets {
    bytes: Budget,
    refusals: AtomicU64,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug, Default)]
struct Shard {
    buckets: HashMap<RequestId, Bucket>,
    /// When each of the buckets goes.
    due: BTreeSet<(Instant, RequestId)>,
}

/// A request's values. One that was dropped holds none, and stays until its lease would have ended.
#[derive(Debug)]
struct Bucket {
    epoch: u64,
    is_dropped: bool,
    ends: Instant,
    bytes: u64,
    values: HashMap<Arc<str>, (Digest, Bytes)>,
}

impl InMemory {
    pub(super) fn new(options: &Options) -> Self {
        let values = Arc::new(Buckets {
            bytes: Budget::new(options.bytes_max),
            refusals: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        });
        Self {
            address: Arc::from("memory:"),
            boot: Uuid::new_v4().as_u64_pair().1,
            lease: options.lease.min(LEASE_MAX),
            _sweeping: every_part_of(options.lease, Arc::clone(&values)),
            values,
        }
    }
}

#[async_trait]
impl DataStore for InMemory {
    fn address(&self) -> &str {
        &self.address
    }

    async fn put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        envelope: Bytes,
    ) -> Result<ValueRef, PutError> {
        key::checked(request, key, envelope.len())?;
        let (size, digest) = (envelope.len() as u64, Digest::of(&envelope));
        let key: Arc<str> = Arc::from(key);
        let now = Instant::now();
        let mut shard = self.values.shard(request);
        self.values.lapse(&mut shard, now);
        let bucket = shard.buckets.get(&request);
        if let Some(newer) = bucket.and_then(|bucket| bucket.refuses(epoch)) {
            return Err(PutError::Stale {
                key: key.to_string(),
                epoch,
                newer,
            });
        }
        let standing = bucket.and_then(|bucket| bucket.values.get(&key));
        let is_new = standing.is_none();
        if standing.is_some_and(|(standing, _)| *standing != digest) {
            return Err(PutError::Exists {
                key: key.to_string(),
            });
        }
        if is_new {
            self.values.reserve(&key, size)?;
        }
        // Only now: a put that is refused leaves no bucket behind.
        let bucket = shard.open(request, epoch, now + self.lease);
        if is_new {
            bucket.bytes += size;
            bucket.values.insert(Arc::clone(&key), (digest, envelope));
        }
        Ok(ValueRef::Stored {
            store: Arc::clone(&self.address),
            boot: self.boot,
            key,
            size,
            digest,
        })
    }

    async fn get(&self, request: RequestId, at: Stored<'_>) -> Result<Bytes, GetError> {
        let mut shard = self.values.shard(request);
        self.values.lapse(&mut shard, Instant::now());
        let bucket = shard.buckets.get(&request).filter(|_| at.boot == self.boot);
        match bucket.and_then(|bucket| bucket.values.get(at.key)) {
            None => Err(at.lost()),
            // It never left this process: that it is the value of the reference is all there is to check.
            Some((digest, envelope))
                if *digest == at.digest && envelope.len() as u64 == at.size =>
            {
                Ok(envelope.clone())
            }
            Some(_) => Err(GetError::Corrupt {
                key: at.key.to_owned(),
                digest: at.digest,
            }),
        }
    }

    async fn drop_bucket(&self, request: RequestId, epoch: u64) -> Result<Dropped, BucketError> {
        let now = Instant::now();
        let mut shard = self.values.shard(request);
        self.values.lapse(&mut shard, now);
        shard.check(request, epoch, "dropping")?;
        let bucket = shard.at(request, epoch, now + self.lease);
        bucket.is_dropped = true;
        let (values, bytes) = (std::mem::take(&mut bucket.values), bucket.bytes);
        bucket.bytes = 0;
        drop(shard);
        self.values.bytes.give_back(bytes);
        Ok(Dropped {
            keys: values.len() as u64,
            bytes,
        })
    }

    async fn lease(
        &self,
        request: RequestId,
        epoch: u64,
        lease: Duration,
    ) -> Result<bool, BucketError> {
        let now = Instant::now();
        let mut shard = self.values.shard(request);
        self.values.lapse(&mut shard, now);
        shard.check(request, epoch, "setting the lease of")?;
        let bucket = shard.buckets.get_mut(&request);
        let Some(bucket) = bucket.filter(|bucket| !bucket.is_dropped) else {
            return Ok(false);
        };
        bucket.epoch = epoch;
        shard.last_until(request, now + lease.min(LEASE_MAX));
        Ok(true)
    }

    fn held(&self) -> Option<Held> {
        Some(Held {
            bytes: self.values.bytes.held(),
            refusals: self.values.refusals.load(Ordering::Relaxed),
        })
    }

    async fn usage(&self) -> Result<Option<Usage>, Failure> {
        Ok(Some(Usage {
            bytes: self.values.bytes.held(),
            soft: soft_of(self.values.bytes.limit()),
        }))
    }
}

impl Buckets {
    fn shard(&self, request: RequestId) -> MutexGuard<'_, Shard> {
        let ix = request.as_uuid().as_u128() as usize % self.shards.len();
        self.shards[ix]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, key: &str, size: u64) -> Result<(), PutError> {
        self.bytes.take(size).map_err(|(held, limit)| {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            let key = key.to_owned();
            if size > limit {
                let reason = format!("limit {limit}; raise TURLOUGH_DATA_BYTES_MAX");
                return PutError::Invalid { key, size, reason };
            }
            let reason =
                format!("{held} of {limit} bytes are held; wait, or raise TURLOUGH_DATA_BYTES_MAX");
            PutError::Full { key, size, reason }
        })
    }

    /// Takes away the buckets whose leases are over.
    fn lapse(&self, shard: &mut Shard, now: Instant) {
        while let Some((ends, request)) = shard.due.first().copied()
            && ends <= now
        {
            shard.due.pop_first();
            if let Some(bucket) = shard.buckets.remove(&request) {
                self.bytes.give_back(bucket.bytes);
            }
        }
    }
}

#[async_trait]
impl Sweep for Buckets {
    async fn sweep(&self) {
        let now = Instant::now();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            self.lapse(&mut shard, now);
        }
    }
}

impl Shard {
    /// A bucket that takes values of an epoch, anew where it was dropped.
    fn open(&mut self, request: RequestId, epoch: u64, ends: Instant) -> &mut Bucket {
        if let Some(bucket) = self.buckets.get_mut(&request)
            && bucket.is_dropped
        {
            bucket.is_dropped = false;
            let ends = bucket.ends.max(ends);
            self.last_until(request, ends);
        }
        self.at(request, epoch, ends)
    }

    /// A bucket, which has now heard of an epoch.
    fn at(&mut self, request: RequestId, epoch: u64, ends: Instant) -> &mut Bucket {
        let bucket = self.buckets.entry(request).or_insert_with(|| {
            self.due.insert((ends, request));
            Bucket {
                epoch,
                is_dropped: false,
                ends,
                bytes: 0,
                values: HashMap::new(),
            }
        });
        bucket.epoch = epoch;
        bucket
    }

    fn last_until(&mut self, request: RequestId, ends: Instant) {
        if let Some(bucket) = self.buckets.get_mut(&request) {
            self.due.remove(&(bucket.ends, request));
            bucket.ends = ends;
            self.due.insert((ends, request));
        }
    }

    fn check(&self, request: RequestId, epoch: u64, doing: &str) -> Result<(), BucketError> {
        match self.buckets.get(&request) {
            Some(bucket) if epoch < bucket.epoch => Err(BucketError::Stale {
                attempted: format!("{doing} the bucket of request {request}"),
                epoch,
                newer: bucket.newer(),
            }),
            _ => Ok(()),
        }
    }
}

impl Bucket {
    /// Why it takes no value at an epoch.
    fn refuses(&self, epoch: u64) -> Option<Newer> {
        let is_late = epoch < self.epoch || self.is_dropped && epoch == self.epoch;
        is_late.then(|| self.newer())
    }

    const fn newer(&self) -> Newer {
        Newer {
            epoch: self.epoch,
            is_dropped: self.is_dropped,
        }
    }
}
