//! Which of a bucket's values another store has a copy of.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::key::Key;
use super::tenant::Tenant;

/// Who has copies of a bucket's values.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    by_name: HashMap<Box<[u8]>, Arc<str>, RandomState>,
    /// Stores that were ever given one.
    stores: Vec<Arc<str>>,
}

impl Copies {
    /// Says which store has a copy of what stands under a name, if any has.
    pub(crate) fn set(&mut self, name: &[u8], store: Option<Arc<str>>) {
        let Some(store) = store else {
            if !self.by_name.is_empty() {
                self.by_name.remove(name);
            }
            return;
        };
        if !self.stores.contains(&store) {
            self.stores.push(Arc::clone(&store));
        }
        self.by_name.insert(name.into(), store);
    }

    pub(crate) fn of(&self, name: &[u8]) -> Option<&Arc<str>> {
        self.by_name.get(name)
    }

    /// That store has no copy of what stands under a name.
    fn has_none(&mut self, name: &[u8], store: &str) {
        if self.of(name).is_some_and(|has| **has == *store) {
            self.by_name.remove(name);
        }
    }

    pub(crate) fn stores(&self) -> &[Arc<str>] {
        &self.stores
    }
}

impl Tenant {
    /// The stores that have copies of a bucket's values.
    pub(crate) fn copied_to(&self, bucket: &[u8]) -> Vec<Arc<str>> {
        let shard = self.bucket_shard(bucket);
        let found = shard.buckets.get(bucket);
        found.map_or_else(Vec::new, |it| it.copies().stores().to_vec())
    }

    /// A store was not given the copy that it was to have of a value.
    pub(crate) fn was_not_copied(&self, key: &Key<'_>, store: &str) {
        let mut shard = self.shard(key);
        if let Some(bucket) = shard.buckets.get_mut(key.bucket) {
            bucket.copies_mut().has_none(key.name, store);
        }
    }

    /// What is left of a bucket's lease, and its epoch, where that is more than it was born with.
    pub(crate) fn long_lease(&self, bucket: &[u8], now_ms: u64) -> Option<(u64, u64)> {
        let shard = self.bucket_shard(bucket);
        let bucket = shard.buckets.get(bucket)?;
        let left_ms = bucket.lease_ms.saturating_sub(now_ms);
        (left_ms > self.common.lease_ms).then_some((bucket.epoch, left_ms))
    }
}
