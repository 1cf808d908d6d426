//! A table in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::error::StateError;
use crate::table::Table;

/// A table in memory.
#[derive(Debug, Default)]
pub struct MemoryTable {
    entries: Mutex<Entries>,
    lifetime: Option<Duration>,
}

type Entries = BTreeMap<String, (Bytes, Instant)>;

impl MemoryTable {
    /// A table whose entries are gone when they were not put again for so long.
    #[must_use]
    pub fn lapsing(lifetime: Duration) -> Self {
        Self {
            entries: Mutex::default(),
            lifetime: Some(lifetime),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lifetime) = self.lifetime {
            entries.retain(|_, (_, at)| at.elapsed() < lifetime);
        }
        entries
    }
}

#[async_trait]
impl Table for MemoryTable {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StateError> {
        Ok(self.entries().get(key).map(|(value, _)| value.clone()))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), StateError> {
        self.entries()
            .insert(key.to_owned(), (value, Instant::now()));
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), StateError> {
        self.entries().remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StateError> {
        let entries = self.entries();
        let found = entries.range(prefix.to_owned()..);
        let found = found.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect())
    }
}
