//! Logs in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use turlough_sdk::RequestId;

use crate::append::{Append, Record, Seq};
use crate::error::StateError;
use crate::log::{Follow, Followed, Log, Usage};

/// Locks that the requests are spread over; several times the cores of a large machine.
const SHARDS: usize = 64;

/// Logs of requests, in memory.
#[derive(Debug, Clone)]
pub struct MemoryLog(Arc<Logs>);

#[derive(Debug)]
struct Logs {
    shards: Vec<Mutex<Shard>>,
    /// Whose append stands at each place. Locked while a shard is, never before one.
    order: Mutex<BTreeMap<Seq, RequestId>>,
    tail: watch::Sender<Seq>,
    held: AtomicU64,
    bytes_max: u64,
}

type Shard = HashMap<RequestId, Vec<(Seq, Bytes)>>;

impl MemoryLog {
    /// Logs that may take so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self(Arc::new(Logs {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            order: Mutex::default(),
            tail: watch::Sender::new(Seq::START),
            held: AtomicU64::new(0),
            bytes_max,
        }))
    }

    /// The last place that was given.
    #[must_use]
    pub fn last_place(&self) -> Seq {
        *self.0.tail.borrow()
    }

    /// Forgets what stands after a place, in every log: what a machine that loses its power may do to
    /// logs on its disk. The places are given again.
    pub fn lose_after(&self, place: Seq) {
        for shard in &self.0.shards {
            let mut logs = lock(shard);
            for log in logs.values_mut() {
                let kept = log.partition_point(|(seq, _)| *seq <= place);
                self.0.let_go(&log.split_off(kept));
            }
            logs.retain(|_, log| !log.is_empty());
        }
        self.0.tail.send_replace(place);
    }

    /// Forgets what stands up to a place, in every log, as it expires by its age elsewhere.
    pub fn expire_to(&self, place: Seq) {
        for shard in &self.0.shards {
            let mut logs = lock(shard);
            for log in logs.values_mut() {
                let gone = log.partition_point(|(seq, _)| *seq <= place);
                let rest = log.split_off(gone);
                self.0.let_go(log);
                *log = rest;
            }
            logs.retain(|_, log| !log.is_empty());
        }
    }
}

impl Logs {
    fn shard(&self, request: RequestId) -> MutexGuard<'_, Shard> {
        // The low bits of a UUIDv7 are random.
        lock(&self.shards[request.as_uuid().as_u128() as usize % self.shards.len()])
    }

    fn let_go(&self, records: &[(Seq, Bytes)]) {
        let bytes: u64 = records.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        let mut order = lock(&self.order);
        for (seq, _) in records {
            order.remove(seq);
        }
    }

    fn followed(&self, seq: Seq, request: RequestId) -> Option<Followed> {
        let logs = self.shard(request);
        let log = logs.get(&request)?;
        let at = log.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        let append = Append::decode(request, seq, &log[at].1);
        Some(Followed {
            request: Some(request),
            seq,
            append: append.map_err(|error| error.to_string()),
        })
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(
        &self,
        request: RequestId,
        expected: Seq,
        append: &Append,
    ) -> Result<Seq, StateError> {
        let encoded = Bytes::from(append.encode(request)?);
        let mut logs = self.0.shard(request);
        let last = logs.get(&request).map_or(Seq::START, |log| last_of(log));
        if last != expected {
            return Err(StateError::Conflict {
                request,
                expected,
                last,
            });
        }
        let size = encoded.len() as u64;
        let held = self.0.held.load(Ordering::Relaxed);
        if held + size > self.0.bytes_max {
            return Err(StateError::Full {
                attempted: format!("append of {size} bytes to the log of request {request}"),
                reason: format!(
                    "logs hold {held} of {} bytes; raise TURLOUGH_STATE_BYTES_MAX",
                    self.0.bytes_max
                ),
            });
        }
        self.0.held.fetch_add(size, Ordering::Relaxed);
        let seq = {
            let mut order = lock(&self.0.order);
            let seq = Seq(self.0.tail.borrow().0 + 1);
            order.insert(seq, request);
            logs.entry(request).or_default().push((seq, encoded));
            self.0.tail.send_replace(seq);
            seq
        };
        Ok(seq)
    }

    async fn read(&self, request: RequestId, after: Seq) -> Result<Vec<Record>, StateError> {
        let records = {
            let logs = self.0.shard(request);
            let Some(log) = logs.get(&request) else {
                return Ok(Vec::new());
            };
            log[log.partition_point(|(seq, _)| *seq <= after)..].to_vec()
        };
        let decode = |(seq, bytes): (Seq, Bytes)| Record::decode(request, seq, &bytes);
        records.into_iter().map(decode).collect()
    }

    async fn last(&self, request: RequestId) -> Result<Option<Record>, StateError> {
        let last = self
            .0
            .shard(request)
            .get(&request)
            .and_then(|log| log.last().cloned());
        last.map(|(seq, bytes)| Record::decode(request, seq, &bytes))
            .transpose()
    }

    async fn at(&self, seq: Seq) -> Result<Option<Followed>, StateError> {
        let request = lock(&self.0.order).get(&seq).copied();
        Ok(request.and_then(|request| self.0.followed(seq, request)))
    }

    async fn follow(&self, after: Seq) -> Result<Box<dyn Follow>, StateError> {
        Ok(Box::new(MemoryFollow {
            logs: Arc::clone(&self.0),
            tail: self.0.tail.subscribe(),
            after,
        }))
    }

    async fn delete(&self, request: RequestId) -> Result<(), StateError> {
        let mut logs = self.0.shard(request);
        if let Some(log) = logs.remove(&request) {
            self.0.let_go(&log);
        }
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, StateError> {
        Ok(Usage {
            bytes: self.0.held.load(Ordering::Relaxed),
            bytes_max: self.0.bytes_max,
        })
    }
}

/// Reads all logs in memory.
#[derive(Debug)]
struct MemoryFollow {
    logs: Arc<Logs>,
    tail: watch::Receiver<Seq>,
    after: Seq,
}

#[async_trait]
impl Follow for MemoryFollow {
    async fn next(&mut self, max: usize) -> Result<Vec<Followed>, StateError> {
        loop {
            let tail = *self.tail.borrow_and_update();
            if tail < self.after {
                return Err(StateError::Unavailable {
                    attempted: format!("following the logs after {}", self.after),
                    reason: format!("they end at {tail}: what followed it was lost"),
                });
            }
            let places: Vec<_> = {
                let order = lock(&self.logs.order);
                let after = (
                    std::ops::Bound::Excluded(self.after),
                    std::ops::Bound::Unbounded,
                );
                order
                    .range(after)
                    .take(max)
                    .map(|(seq, id)| (*seq, *id))
                    .collect()
            };
            if let Some((seq, _)) = places.last() {
                self.after = *seq;
                let followed = places
                    .into_iter()
                    .filter_map(|(seq, id)| self.logs.followed(seq, id));
                let followed: Vec<_> = followed.collect();
                if !followed.is_empty() {
                    return Ok(followed);
                }
                continue;
            }
            if self.tail.changed().await.is_err() {
                return Err(StateError::Unavailable {
                    attempted: "following the logs".to_owned(),
                    reason: "they are gone with their process".to_owned(),
                });
            }
        }
    }
}

fn last_of(log: &[(Seq, Bytes)]) -> Seq {
    log.last().map_or(Seq::START, |(seq, _)| *seq)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
