//! A part of a tenant's key space, under one lock: its buckets, what is due in it, and who waits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::task::Waker;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::bucket::{Bucket, Holds, Items, has_expired};
use super::copies::Copies;
use super::item::Item;
use super::key::Key;
use super::meter::Meter;
use super::refusal::Refusal;

/// What a bucket counts for while it is there, in bytes, dropped or not.
pub(crate) const BUCKET_COST: u64 = 256;
/// Entries of the timetable that may be void before it is gone through.
const VOID_MIN: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) buckets: IndexMap<Box<[u8]>, Bucket, RandomState>,
    /// Of all buckets, those that are gone included.
    pub(crate) meter: Meter,
    /// What goes when, the soonest first. An entry counts only where what it names still says so.
    due: BinaryHeap<Reverse<Due>>,
    /// Items that go by themselves, over all buckets.
    expiring: usize,
    waiting: HashMap<Box<[u8]>, Vec<(u64, Waker)>, RandomState>,
}

/// What goes at a time: a bucket, or an item of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_ms: u64,
    bucket: Box<[u8]>,
    name: Option<Box<[u8]>>,
}

/// What went, and no longer counts.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    pub(crate) items: Items,
    /// Of what went, to be freed with it.
    pub(crate) _copies: Copies,
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
    /// Of these, those that lay on disk.
    pub(crate) away: u64,
}

impl Shard {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            buckets: IndexMap::default(),
            meter: Meter::at(now_ms),
            due: BinaryHeap::new(),
            expiring: 0,
            waiting: HashMap::default(),
        }
    }

    pub(crate) fn get(&self, key: &Key<'_>, now_ms: u64) -> Option<&Item> {
        self.buckets.get(key.bucket)?.get(key.name, now_ms)
    }

    /// The bucket for a put at an epoch, and how many buckets that made. Keys without one have one that
    /// never goes.
    pub(crate) fn open(
        &mut self,
        key: &Key<'_>,
        epoch: Option<u64>,
        lease_ms: u64,
        now_ms: u64,
    ) -> Result<(&mut Bucket, u64), Refusal> {
        let lease_ms = if key.has_bucket() { lease_ms } else { u64::MAX };
        let made = u64::from(!self.buckets.contains_key(key.bucket));
        if made > 0 {
            self.insert(
                key.bucket,
                Bucket::new(epoch.unwrap_or(0), lease_ms, now_ms),
            );
        }
        let bucket = &mut self.buckets[key.bucket];
        let epoch = epoch.unwrap_or(bucket.epoch);
        if bucket.is_dropped {
            if epoch <= bucket.epoch {
                return Err(Refusal::dropped(key.bucket, epoch, bucket.epoch));
            }
            bucket.is_dropped = false;
            bucket.lease_ms = lease_ms.max(bucket.lease_ms);
        }
        if epoch < bucket.epoch {
            return Err(Refusal::stale(key.bucket, epoch, bucket.epoch));
        }
        bucket.epoch = epoch;
        Ok((bucket, made))
    }

    /// A put at an epoch finds what it does not replace: its bucket hears of the epoch all the same.
    pub(crate) fn witness(&mut self, name: &[u8], epoch: u64) -> Result<(), Refusal> {
        let Some(bucket) = self.buckets.get_mut(name) else {
            return Ok(());
        };
        if bucket.is_dropped && epoch <= bucket.epoch {
            return Err(Refusal::dropped(name, epoch, bucket.epoch));
        }
        if epoch < bucket.epoch {
            return Err(Refusal::stale(name, epoch, bucket.epoch));
        }
        if !bucket.is_dropped {
            bucket.epoch = epoch;
        }
        Ok(())
    }

    /// A new bucket, and when it goes.
    fn insert(&mut self, name: &[u8], bucket: Bucket) {
        self.buckets.insert(name.into(), bucket);
        self.list(name);
    }

    /// Has a bucket looked at when its lease ends.
    fn list(&mut self, name: &[u8]) {
        let bucket = &mut self.buckets[name];
        bucket.listed_ms = bucket.lease_ms;
        if bucket.lease_ms < u64::MAX {
            self.due.push(Reverse(Due {
                at_ms: bucket.lease_ms,
                bucket: name.into(),
                name: None,
            }));
            self.tidy();
        }
    }

    /// Sets when a bucket goes; whether there is one that was not dropped.
    pub(crate) fn lease(
        &mut self,
        name: &[u8],
        epoch: u64,
        lease_ms: u64,
    ) -> Result<bool, Refusal> {
        let Some(bucket) = self.buckets.get_mut(name) else {
            return Ok(false);
        };
        if epoch < bucket.epoch {
            return Err(Refusal::stale(name, epoch, bucket.epoch));
        }
        if bucket.is_dropped {
            return Ok(false);
        }
        bucket.epoch = epoch;
        bucket.lease_ms = lease_ms;
        // One that is prolonged is looked at in time.
        if lease_ms < bucket.listed_ms {
            self.list(name);
        }
        Ok(true)
    }

    /// Puts an item where its bucket is open; what stood there.
    pub(crate) fn put(&mut self, key: &Key<'_>, item: Item, now_ms: u64) -> Option<Item> {
        let expires_ms = item.expires_ms();
        let cost = item.cost();
        let old = self.buckets.get_mut(key.bucket)?.put(item, now_ms);
        if let Some(old) = &old {
            self.forget(old, now_ms);
        }
        self.meter.add(cost, now_ms);
        if let Some(at_ms) = expires_ms {
            self.expiring += 1;
            self.due.push(Reverse(Due {
                at_ms,
                bucket: key.bucket.into(),
                name: Some(key.name.into()),
            }));
            self.tidy();
        }
        self.wake(key);
        old
    }

    /// Takes an item out, expired or not.
    pub(crate) fn take(&mut self, key: &Key<'_>, now_ms: u64) -> Option<Item> {
        let item = self.buckets.get_mut(key.bucket)?.take(key.name, now_ms)?;
        self.forget(&item, now_ms);
        Some(item)
    }

    /// Drops a bucket at an epoch; until its lease would have ended it takes nothing of that epoch.
    pub(crate) fn drop_bucket(
        &mut self,
        name: &[u8],
        epoch: u64,
        lease_ms: u64,
        now_ms: u64,
    ) -> Result<(Gone, Holds), Refusal> {
        if !self.buckets.contains_key(name) {
            self.insert(name, Bucket::new(epoch, lease_ms, now_ms));
        }
        let bucket = &mut self.buckets[name];
        if epoch < bucket.epoch {
            return Err(Refusal::stale(name, epoch, bucket.epoch));
        }
        bucket.epoch = epoch;
        bucket.is_dropped = true;
        Ok(self.clear(name, now_ms))
    }

    /// Takes away what is due, up to a number of entries, and how many buckets went; whether that was
    /// all.
    pub(crate) fn sweep(&mut self, now_ms: u64, most: usize) -> (Vec<Gone>, u64, bool) {
        let (mut all, mut buckets) = (Vec::new(), 0);
        for _ in 0..most {
            let Some(Reverse(due)) = self.due.peek() else {
                return (all, buckets, true);
            };
            if due.at_ms > now_ms {
                return (all, buckets, true);
            }
            let Some(Reverse(due)) = self.due.pop() else {
                return (all, buckets, true);
            };
            match due.name {
                Some(name) => all.extend(self.expire(&due.bucket, &name, now_ms)),
                None => {
                    let (gone, is_gone) = self.lapse(&due.bucket, due.at_ms, now_ms);
                    all.extend(gone);
                    buckets += u64::from(is_gone);
                }
            }
        }
        (all, buckets, false)
    }

    /// Takes everything out, and how many buckets that were.
    pub(crate) fn flush(&mut self, now_ms: u64) -> (Vec<Gone>, u64) {
        let buckets = std::mem::take(&mut self.buckets);
        self.due.clear();
        self.expiring = 0;
        self.meter.remove(self.meter.bytes, now_ms);
        let count = buckets.len() as u64;
        let gone = buckets.into_values().map(|bucket| {
            let away = bucket.away();
            let (bytes, (items, copies)) = (bucket.meter.bytes, bucket.into_parts());
            let keys = items.len() as u64;
            Gone {
                items,
                _copies: copies,
                keys,
                bytes,
                away,
            }
        });
        (gone.collect(), count)
    }

    /// How long the timetable is.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        self.due.len()
    }

    /// When the next entry is due.
    pub(crate) fn due_ms(&self) -> u64 {
        self.due.peek().map_or(u64::MAX, |Reverse(due)| due.at_ms)
    }

    /// Empties a bucket but for what is kept.
    fn clear(&mut self, name: &[u8], now_ms: u64) -> (Gone, Holds) {
        let bucket = &mut self.buckets[name];
        let (keys, expiring, away) = (bucket.items().len(), bucket.expiring(), bucket.away());
        let (items, copies, holds) = bucket.clear(now_ms);
        let bytes = holds.bytes - bucket.meter.bytes;
        self.meter.remove(bytes, now_ms);
        self.expiring = self.expiring + bucket.expiring() - expiring;
        let gone = Gone {
            keys: (keys - bucket.items().len()) as u64,
            items,
            _copies: copies,
            bytes,
            away: away - bucket.away(),
        };
        for item in bucket.items() {
            self.due.extend(item.expires_ms().map(|at_ms| {
                Reverse(Due {
                    at_ms,
                    bucket: name.into(),
                    name: Some(item.name().into()),
                })
            }));
        }
        (gone, holds)
    }

    /// A bucket's lease may be over: then it goes, or what of it is kept stays.
    fn lapse(&mut self, name: &[u8], listed_ms: u64, now_ms: u64) -> (Option<Gone>, bool) {
        let Some(bucket) = self.buckets.get_mut(name) else {
            return (None, false);
        };
        if bucket.listed_ms != listed_ms {
            return (None, false);
        }
        if bucket.lease_ms > now_ms {
            self.list(name);
            return (None, false);
        }
        bucket.is_dropped = true;
        let (gone, _) = self.clear(name, now_ms);
        let bucket = &mut self.buckets[name];
        let kept_until_ms = bucket.kept_until_ms();
        if kept_until_ms > now_ms {
            bucket.lease_ms = kept_until_ms;
            self.list(name);
            return (Some(gone), false);
        }
        self.buckets.swap_remove(name);
        (Some(gone), true)
    }

    fn expire(&mut self, bucket: &[u8], name: &[u8], now_ms: u64) -> Option<Gone> {
        let key = Key { bucket, name };
        let item = self.buckets.get(bucket)?.peek(name)?;
        if !has_expired(item, now_ms) {
            return None;
        }
        let item = self.take(&key, now_ms)?;
        let mut gone = Gone {
            bytes: item.cost(),
            away: item.away(),
            keys: 1,
            ..Gone::default()
        };
        gone.items.insert(item);
        Some(gone)
    }

    fn forget(&mut self, item: &Item, now_ms: u64) {
        self.meter.remove(item.cost(), now_ms);
        self.expiring -= usize::from(item.expires_ms().is_some());
    }

    /// Entries of what was overwritten or taken go, where they are most.
    fn tidy(&mut self) {
        let live = self.expiring + self.buckets.len();
        if self.due.len() < 2 * live + VOID_MIN {
            return;
        }
        let buckets = &self.buckets;
        let is_live = |due: &Due| match &due.name {
            None => {
                let bucket = buckets.get(&due.bucket);
                bucket.is_some_and(|bucket| bucket.listed_ms == due.at_ms)
            }
            Some(name) => {
                let item = buckets.get(&due.bucket).and_then(|it| it.peek(name));
                item.and_then(Item::expires_ms) == Some(due.at_ms)
            }
        };
        self.due.retain(|Reverse(due)| is_live(due));
    }

    /// Has somebody woken once something is put under a key.
    pub(crate) fn wait(&mut self, key: &Key<'_>, waiter: u64, waker: &Waker) {
        let waiting = self.waiting.entry(key.whole().into()).or_default();
        match waiting.iter_mut().find(|(id, _)| *id == waiter) {
            Some((_, old)) => old.clone_from(waker),
            None => waiting.push((waiter, waker.clone())),
        }
    }

    pub(crate) fn wait_no_more(&mut self, key: &Key<'_>, waiter: u64) {
        let whole = key.whole();
        if let Some(waiting) = self.waiting.get_mut(&*whole) {
            waiting.retain(|(id, _)| *id != waiter);
            if waiting.is_empty() {
                self.waiting.remove(&*whole);
            }
        }
    }

    fn wake(&mut self, key: &Key<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        for (_, waker) in self.waiting.remove(&*key.whole()).into_iter().flatten() {
            waker.wake();
        }
    }
}
