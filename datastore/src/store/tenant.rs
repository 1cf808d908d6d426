//! A tenant: a key space of its own, what it may hold, and what it used.

use std::hash::BuildHasher as _;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use foldhash::fast::RandomState;

use super::bucket::{Holds, has_expired};
use super::item::{Held, Item, Value, cost};
use super::key::Key;
use super::quota::{Budget, Quota};
use super::refusal::Refusal;
use super::reserved::Reserved;
use super::shard::{BUCKET_COST, Gone, Shard};
use super::{Common, Made};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Locks that a tenant's buckets are spread over.
pub(crate) const SHARDS: usize = 16;
/// Entries of a timetable that are looked at before others get the lock.
const SWEPT_MAX: usize = 256;

/// A tenant's data.
#[derive(Debug)]
pub struct Tenant {
    name: Arc<str>,
    soft: AtomicU64,
    pub(super) held: Budget,
    pub(super) flight: Budget,
    keys: AtomicU64,
    buckets: AtomicU64,
    pub(super) refusals: AtomicU64,
    spread: RandomState,
    shards: Vec<Mutex<Shard>>,
    pub(super) common: Arc<Common>,
}

/// How a value is put.
#[derive(Debug, Clone, Default)]
pub(crate) struct Put {
    /// The claim under which it comes.
    pub(crate) epoch: Option<u64>,
    pub(crate) only: Only,
    pub(crate) expires: Expires,
    /// The store that has a copy of it, or is being given one.
    pub(crate) copy: Option<Arc<str>>,
}

/// Whether something must stand there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Only {
    #[default]
    Always,
    /// `NX`.
    Absent,
    /// `XX`.
    Present,
}

/// When a value goes by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Expires {
    #[default]
    Never,
    /// When that goes which it takes the place of, or as it did.
    AsBefore,
    /// In the store's time, in ms.
    At(u64),
}

/// What a tenant holds and used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Bytes that its quota counts.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Buckets, those that were dropped and still refuse old claims included.
    pub buckets: u64,
    /// Bytes of names and values, and 64 for each key, over time, since the store began.
    pub byte_ms: u128,
    /// Bytes that are being received.
    pub bytes_in_flight: u64,
    /// Puts that a quota refused.
    pub refusals: u64,
}

impl Tenant {
    pub(super) fn new(name: &str, quota: Quota, common: &Arc<Common>, now_ms: u64) -> Self {
        Self {
            name: name.into(),
            soft: AtomicU64::new(quota.soft),
            held: Budget::new(quota.hard),
            flight: Budget::new(quota.flight),
            keys: AtomicU64::new(0),
            buckets: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            spread: RandomState::default(),
            shards: (0..SHARDS)
                .map(|_| Mutex::new(Shard::new(now_ms)))
                .collect(),
            common: Arc::clone(common),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn id(&self) -> &Arc<str> {
        &self.name
    }

    /// What it may hold.
    #[must_use]
    pub fn quota(&self) -> Quota {
        Quota {
            soft: self.soft.load(Ordering::Relaxed),
            hard: self.held.limit(),
            flight: self.flight.limit(),
        }
    }

    /// Sets what it may hold. What it holds stays, also where that is more.
    pub fn set_quota(&self, quota: Quota) {
        self.soft.store(quota.soft, Ordering::Relaxed);
        self.held.set_limit(quota.hard);
        self.flight.set_limit(quota.flight);
    }

    /// What it holds and used.
    #[must_use]
    pub fn usage(&self, now_ms: u64) -> Usage {
        let byte_ms = self
            .shards
            .iter()
            .map(|shard| lock(shard).meter.byte_ms(now_ms));
        Usage {
            bytes: self.held.held(),
            keys: self.keys.load(Ordering::Relaxed),
            buckets: self.buckets.load(Ordering::Relaxed),
            byte_ms: byte_ms.sum(),
            bytes_in_flight: self.flight.held(),
            refusals: self.refusals.load(Ordering::Relaxed),
        }
    }

    /// Reads what stands under a key.
    pub(crate) fn get<T>(
        &self,
        key: &Key<'_>,
        now_ms: u64,
        read: impl FnOnce(Option<&Item>) -> T,
    ) -> T {
        let shard = self.shard(key);
        let item = shard.get(key, now_ms);
        if let Some(Held::Large(blob)) = item.map(Item::value) {
            blob.touch(now_ms);
        }
        read(item)
    }

    /// What stands under a key, to be read without its shard; and the store that has a copy of it.
    pub(crate) fn read(&self, key: &Key<'_>, now_ms: u64) -> Option<(Made, Option<Arc<str>>)> {
        let shard = self.shard(key);
        let bucket = shard.buckets.get(key.bucket)?;
        let item = bucket.get(key.name, now_ms)?;
        Some((
            Made::of(item.value()),
            bucket.copies().of(key.name).cloned(),
        ))
    }

    /// Puts a value, after what stood there was looked at; whether it was put. `reserved` is what was
    /// reserved for the value's bytes, where they were announced.
    pub(crate) fn put(
        self: &Arc<Self>,
        key: &Key<'_>,
        value: Value<'_>,
        reserved: Option<Reserved>,
        how: Put,
        now_ms: u64,
        look: impl FnOnce(Option<&Item>),
    ) -> Result<bool, Refusal> {
        let announced = reserved.as_ref().map_or(0, |it| it.bytes);
        let more = self.reserve(cost(key.name.len(), value.len()).saturating_sub(announced))?;
        let mut shard = self.shard(key);
        let old = shard.get(key, now_ms);
        look(old);
        let is_wanted = match how.only {
            Only::Always => true,
            Only::Absent => old.is_none(),
            Only::Present => old.is_some(),
        };
        if !is_wanted {
            if let Some(epoch) = how.epoch {
                shard.witness(key.bucket, epoch)?;
            }
            return Ok(false);
        }
        let expires_ms = match how.expires {
            Expires::Never => None,
            Expires::AsBefore => old.and_then(Item::expires_ms),
            Expires::At(at_ms) => Some(at_ms),
        };
        let item = Item::new(key.name, value, expires_ms);
        self.place(shard, key, how.epoch, item, how.copy, now_ms)?;
        more.keep();
        if let Some(reserved) = reserved {
            reserved.keep();
        }
        Ok(true)
    }

    /// Puts an item for which enough was reserved; what it takes the place of is given back.
    fn place(
        self: &Arc<Self>,
        mut shard: MutexGuard<'_, Shard>,
        key: &Key<'_>,
        epoch: Option<u64>,
        item: Item,
        copy: Option<Arc<str>>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let is_closing = self.common.is_closing.load(Ordering::Relaxed);
        if is_closing && !shard.buckets.contains_key(key.bucket) {
            return Err(Refusal::Closing);
        }
        let lease_ms = now_ms + self.common.lease_ms;
        let (bucket, made) = shard.open(key, epoch, lease_ms, now_ms)?;
        bucket.copies_mut().set(key.name, copy);
        let blob = match item.value() {
            Held::Large(blob) => Some(Arc::clone(blob)),
            Held::Small(_) | Held::Away(_) => None,
        };
        if let Some(blob) = &blob {
            blob.touch(now_ms);
        }
        let old = shard.put(key, item, now_ms);
        drop(shard);
        if let (Some(blob), Some(pressure)) = (&blob, &self.common.pressure) {
            pressure.offer(self, key, blob);
        }
        self.count_buckets(made, 0);
        match old {
            Some(old) => self.leave(&old),
            None => drop(self.keys.fetch_add(1, Ordering::Relaxed)),
        }
        Ok(())
    }

    /// Whether a put that names no claim would find its bucket open.
    pub(crate) fn may_put(&self, key: &Key<'_>) -> Result<(), Refusal> {
        let shard = self.shard(key);
        match shard.buckets.get(key.bucket) {
            Some(it) if it.is_dropped => Err(Refusal::dropped(key.bucket, it.epoch, it.epoch)),
            _ => Ok(()),
        }
    }

    /// Puts in the place of a value what is made of it.
    pub(crate) fn change<E: From<Refusal>>(
        self: &Arc<Self>,
        key: &Key<'_>,
        now_ms: u64,
        change: impl FnOnce(Option<Held<'_>>) -> Result<Vec<u8>, E>,
    ) -> Result<usize, E> {
        let shard = self.shard(key);
        let old = shard.get(key, now_ms);
        let expires_ms = old.and_then(Item::expires_ms);
        let value = change(old.map(Item::value))?;
        let len = value.len();
        let more = self.reserve(cost(key.name.len(), len))?;
        let value = Made::new(&self.common.pool, value);
        let item = Item::new(key.name, value.lent(), expires_ms);
        self.place(shard, key, None, item, None, now_ms)?;
        more.keep();
        Ok(len)
    }

    /// Takes a value out.
    pub(crate) fn take(self: &Arc<Self>, key: &Key<'_>, now_ms: u64) -> Option<Item> {
        self.take_if(key, now_ms, |_| true)
    }

    /// The same, where it is the one that is meant.
    pub(super) fn take_if(
        self: &Arc<Self>,
        key: &Key<'_>,
        now_ms: u64,
        is_it: impl FnOnce(Held<'_>) -> bool,
    ) -> Option<Item> {
        let mut shard = self.shard(key);
        let bucket = shard.buckets.get(key.bucket)?;
        bucket.peek(key.name).filter(|item| is_it(item.value()))?;
        let item = shard.take(key, now_ms)?;
        drop(shard);
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.leave(&item);
        (!has_expired(&item, now_ms)).then_some(item)
    }

    /// Looks at a value, and sets when it goes as is made of it; whether anything changed. A time that is
    /// over takes it away.
    pub(crate) fn expire(
        self: &Arc<Self>,
        key: &Key<'_>,
        now_ms: u64,
        decide: impl FnOnce(Option<&Item>) -> Expires,
    ) -> bool {
        let mut shard = self.shard(key);
        let item = shard.get(key, now_ms);
        let expires_ms = match (decide(item), item) {
            (Expires::AsBefore, _) | (_, None) => return false,
            (Expires::Never, Some(_)) => None,
            (Expires::At(at_ms), Some(_)) => Some(at_ms),
        };
        if expires_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            if let Some(item) = shard.take(key, now_ms) {
                drop(shard);
                self.keys.fetch_sub(1, Ordering::Relaxed);
                self.leave(&item);
            }
        } else if let Some(item) = item.map(|item| item.expiring(expires_ms)) {
            drop(shard.put(key, item, now_ms));
        }
        true
    }

    /// Has a value outlive its request until a time; whether it is there. One that does so already stays
    /// until then.
    pub(crate) fn keep(&self, key: &Key<'_>, until_ms: u64, now_ms: u64) -> bool {
        let mut shard = self.shard(key);
        let Some(item) = shard.get(key, now_ms) else {
            return false;
        };
        let again = item.expiring(Some(until_ms));
        let Some(bucket) = shard.buckets.get_mut(key.bucket) else {
            return false;
        };
        bucket.keep(key.name, until_ms);
        if bucket.is_dropped {
            drop(shard.put(key, again, now_ms));
        }
        true
    }

    /// Drops a bucket at an epoch; what it held. One that is not there is remembered as dropped, which takes
    /// room as a bucket does.
    pub(crate) fn drop_bucket(
        self: &Arc<Self>,
        name: &[u8],
        epoch: u64,
        now_ms: u64,
    ) -> Result<Holds, Refusal> {
        let lease_ms = now_ms + self.common.lease_ms;
        let mut shard = lock(self.shard_of(name));
        if !shard.buckets.contains_key(name) {
            self.reserve(BUCKET_COST)?.keep();
            self.buckets.fetch_add(1, Ordering::Relaxed);
        }
        let (gone, holds) = shard.drop_bucket(name, epoch, lease_ms, now_ms)?;
        drop(shard);
        self.let_go(gone);
        Ok(holds)
    }

    /// Sets how long a bucket stays; whether there is one.
    pub(crate) fn lease(&self, name: &[u8], epoch: u64, lease_ms: u64) -> Result<bool, Refusal> {
        lock(self.shard_of(name)).lease(name, epoch, lease_ms)
    }

    /// Drops everything, and forgets what was dropped before.
    pub(crate) fn flush(self: &Arc<Self>, now_ms: u64) {
        for shard in &self.shards {
            let (gone, buckets) = lock(shard).flush(now_ms);
            self.count_buckets(0, buckets);
            for gone in gone {
                self.let_go(gone);
            }
        }
    }

    /// Takes away what is due.
    pub(crate) fn sweep(self: &Arc<Self>, now_ms: u64) {
        for shard in &self.shards {
            loop {
                if lock(shard).due_ms() > now_ms {
                    break;
                }
                let (gone, buckets, is_all) = lock(shard).sweep(now_ms, SWEPT_MAX);
                self.count_buckets(0, buckets);
                for gone in gone {
                    self.let_go(gone);
                }
                if is_all {
                    break;
                }
            }
        }
    }

    /// Has somebody woken once something is put under a key.
    pub(crate) fn wait(&self, key: &Key<'_>, waiter: u64, waker: &Waker, now_ms: u64) -> bool {
        let mut shard = self.shard(key);
        let is_there = shard.get(key, now_ms).is_some();
        if !is_there {
            shard.wait(key, waiter, waker);
        }
        is_there
    }

    pub(crate) fn wait_no_more(&self, key: &Key<'_>, waiter: u64) {
        self.shard(key).wait_no_more(key, waiter);
    }

    pub(crate) fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn shards(&self) -> impl ExactSizeIterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }

    pub(crate) fn shard_at(&self, place: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(place).map(lock)
    }

    /// The shard of a bucket, or of a key without one.
    pub(super) fn shard(&self, key: &Key<'_>) -> MutexGuard<'_, Shard> {
        let name = if key.has_bucket() {
            key.bucket
        } else {
            key.name
        };
        lock(self.shard_of(name))
    }

    /// The epoch of a bucket that is open.
    pub(crate) fn epoch_of(&self, bucket: &[u8]) -> Option<u64> {
        let shard = self.bucket_shard(bucket);
        let open = shard.buckets.get(bucket).filter(|it| !it.is_dropped);
        open.map(|bucket| bucket.epoch)
    }

    pub(crate) fn bucket_shard(&self, name: &[u8]) -> MutexGuard<'_, Shard> {
        lock(self.shard_of(name))
    }

    fn shard_of(&self, name: &[u8]) -> &Mutex<Shard> {
        // The remainder of a hash is in range.
        let place = self.spread.hash_one(name) as usize % SHARDS;
        &self.shards[place]
    }

    fn let_go(self: &Arc<Self>, gone: Gone) {
        self.keys.fetch_sub(gone.keys, Ordering::Relaxed);
        self.give_back(gone.bytes, gone.away);
        self.common.discard(self, gone);
    }

    fn count_buckets(&self, made: u64, gone: u64) {
        if made > 0 {
            self.buckets.fetch_add(made, Ordering::Relaxed);
            self.held.force(made * BUCKET_COST);
            self.common.held.force(made * BUCKET_COST);
        }
        if gone > 0 {
            self.buckets.fetch_sub(gone, Ordering::Relaxed);
            self.give_back(gone * BUCKET_COST, 0);
        }
    }

    /// `away` of the bytes lay on disk, and took no memory.
    pub(super) fn give_back(&self, bytes: u64, away: u64) {
        self.held.give_back(bytes);
        self.common.held.give_back(bytes - away);
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
