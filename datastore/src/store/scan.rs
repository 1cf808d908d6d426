//! Going through a tenant's keys or buckets, a few at a time, while they change.
//!
//! Invariant: what is there from the first step to the last is met at least once. Buckets and items are
//! gone through from the end: what is removed has its place taken by one that was met already.

use super::bucket::has_expired;
use super::glob::matches;
use super::key::Key;
use super::shard::Shard;
use super::tenant::{SHARDS, Tenant};

/// A cursor is the shard, the bucket and how many of its items are left, in so many bits.
const BUCKET_BITS: u32 = 26;
const ITEM_BITS: u32 = 32;
const BUCKET_LAST: u64 = (1 << BUCKET_BITS) - 1;
const ITEM_LAST: u64 = (1 << ITEM_BITS) - 1;
/// Items that are looked at in a step, whatever was asked for.
const LOOKED_MAX: usize = 10_000;

/// A place, before which everything is left to go through.
#[derive(Debug, Clone, Copy)]
struct Place {
    shard: usize,
    bucket: u64,
    items: u64,
}

impl Place {
    const fn at_shard(shard: usize) -> Self {
        Self {
            shard,
            bucket: BUCKET_LAST,
            items: ITEM_LAST,
        }
    }

    const fn parse(cursor: u64) -> Self {
        if cursor == 0 {
            return Self::at_shard(0);
        }
        Self {
            shard: (cursor >> (BUCKET_BITS + ITEM_BITS)) as usize,
            bucket: (cursor >> ITEM_BITS) & BUCKET_LAST,
            items: cursor & ITEM_LAST,
        }
    }

    /// Zero where nothing is left.
    const fn cursor(self) -> u64 {
        if self.shard >= SHARDS {
            return 0;
        }
        ((self.shard as u64) << (BUCKET_BITS + ITEM_BITS)) | (self.bucket << ITEM_BITS) | self.items
    }

    /// The bucket to look at, in a shard with so many; none where the shard is done.
    fn bucket_of(&mut self, buckets: usize) -> Option<usize> {
        let last = (buckets as u64).checked_sub(1)?;
        if self.bucket > last {
            self.bucket = last;
            self.items = ITEM_LAST;
        }
        Some(self.bucket as usize)
    }

    /// The bucket is done.
    const fn step(&mut self) {
        match self.bucket {
            0 => *self = Self::at_shard(self.shard + 1),
            _ => {
                self.bucket -= 1;
                self.items = ITEM_LAST;
            }
        }
    }
}

impl Tenant {
    /// Keys of a pattern, about `count` looked at; where to go on, 0 at the end.
    pub(crate) fn scan(
        &self,
        cursor: u64,
        count: usize,
        pattern: Option<&[u8]>,
        now_ms: u64,
    ) -> (u64, Vec<Vec<u8>>) {
        let mut place = Place::parse(cursor);
        let mut found = Vec::new();
        let mut left = count.clamp(1, LOOKED_MAX);
        while left > 0 {
            let Some(shard) = self.shard_at(place.shard) else {
                break;
            };
            let Some(bucket) = place.bucket_of(shard.buckets.len()) else {
                place = Place::at_shard(place.shard + 1);
                continue;
            };
            let looked = look(&shard, bucket, &mut place, left, now_ms, |key| {
                if pattern.is_none_or(|pattern| matches(pattern, &key)) {
                    found.push(key);
                }
            });
            // An empty bucket is a step, too: each call is bounded.
            left = left.saturating_sub(looked.max(1));
        }
        (place.cursor(), found)
    }

    /// Names of buckets that were not dropped, about `count` looked at; where to go on, 0 at the end.
    pub(crate) fn list_buckets(&self, cursor: u64, count: usize) -> (u64, Vec<Vec<u8>>) {
        let mut place = Place::parse(cursor);
        let mut found = Vec::new();
        for _ in 0..count.clamp(1, LOOKED_MAX) {
            let Some(shard) = self.shard_at(place.shard) else {
                break;
            };
            let Some(at) = place.bucket_of(shard.buckets.len()) else {
                place = Place::at_shard(place.shard + 1);
                continue;
            };
            if let Some((name, bucket)) = shard.buckets.get_index(at)
                && !bucket.is_dropped
                && !name.is_empty()
            {
                found.push(name.to_vec());
            }
            place.step();
        }
        (place.cursor(), found)
    }
}

/// Goes through items of a bucket; how many.
fn look(
    shard: &Shard,
    at: usize,
    place: &mut Place,
    most: usize,
    now_ms: u64,
    mut each: impl FnMut(Vec<u8>),
) -> usize {
    let Some((name, bucket)) = shard.buckets.get_index(at) else {
        return 0;
    };
    let items = bucket.items();
    let end = usize::try_from(place.items)
        .unwrap_or(usize::MAX)
        .min(items.len());
    let begin = end.saturating_sub(most);
    for item in (begin..end).rev().filter_map(|n| items.get_index(n)) {
        if !has_expired(item, now_ms) {
            let key = Key {
                bucket: name,
                name: item.name(),
            };
            each(key.whole());
        }
    }
    match begin {
        0 => place.step(),
        _ => place.items = begin as u64,
    }
    end - begin
}
