//! What the store process holds: tenants, each with buckets of its own. No IO, no clock: whoever calls
//! says what time it is, in ms of the store's own time.
//!
//! Invariants: what a tenant holds counts against its quota and the store's bound, before it is there and
//! for as long as it is; nothing is ever evicted; a tenant's shards hold nothing of another's.

mod bucket;
pub(crate) mod glob;
mod item;
mod key;
mod meter;
mod quota;
mod refusal;
mod reserved;
mod scan;
mod shard;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};

use crate::blob::{Blob, Buffer};
use crate::pool::Pool;

pub use bucket::Holds;
use bucket::Items;
pub(crate) use item::{Held, Item, SMALL_MAX, Value, cost};
pub(crate) use key::Key;
pub use key::{KEY_BYTES_MAX, KeyError};
pub(crate) use quota::Budget;
pub use quota::Quota;
pub use refusal::Refusal;
pub(crate) use reserved::{InFlight, Reserved};
pub(crate) use tenant::{Expires, Only, Put};
pub use tenant::{Tenant, Usage};

/// Sets of items that wait to be freed; what comes on top is freed by whoever drops it.
const DISCARDED_MAX: usize = 1_024;
/// Sets of fewer items are freed at once: it takes less than to hand them over.
const DISCARDED_MIN: usize = 64;

/// How a store is bounded.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What all tenants hold together, in bytes.
    pub bytes_max: u64,
    /// How long a bucket stays of which nobody says it, in ms.
    pub lease_ms: u64,
    /// Of tenants that nobody named.
    pub quota: Quota,
}

/// The data of all tenants.
#[derive(Debug)]
pub struct Store {
    tenants: RwLock<BTreeMap<String, Arc<Tenant>>>,
    quota: Quota,
    common: Arc<Common>,
}

/// What tenants share.
#[derive(Debug)]
struct Common {
    held: Budget,
    lease_ms: u64,
    pool: Arc<Pool>,
    trash: SyncSender<Items>,
}

/// A value that this process made.
#[derive(Debug)]
enum Made {
    Small(Vec<u8>),
    Large(Arc<Blob>),
}

impl Made {
    fn lent(&self) -> Value<'_> {
        match self {
            Self::Small(bytes) => Value::Small(bytes),
            Self::Large(blob) => Value::Large(Arc::clone(blob)),
        }
    }
}

impl Common {
    /// Frees what no longer counts, in a thread of its own where that takes long.
    fn discard(&self, items: Items) {
        if items.len() >= DISCARDED_MIN {
            // One that is full gives it back, to be freed here.
            drop(self.trash.try_send(items));
        }
    }

    fn value(&self, bytes: Vec<u8>) -> Made {
        if bytes.len() <= SMALL_MAX {
            return Made::Small(bytes);
        }
        let mut buffer = Buffer::new(&self.pool, bytes.len());
        match buffer.fill(&bytes) {
            Ok(_) => Made::Large(Arc::new(buffer.finish())),
            Err(_) => Made::Small(bytes),
        }
    }
}

impl Store {
    /// An empty one. A thread frees what it drops, and ends with it.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let (trash, discarded) = sync_channel::<Items>(DISCARDED_MAX);
        let free = move || discarded.into_iter().for_each(drop);
        // Without it, whoever drops frees.
        drop(
            std::thread::Builder::new()
                .name("discard".into())
                .spawn(free),
        );
        Self {
            tenants: RwLock::default(),
            quota: bounds.quota,
            common: Arc::new(Common {
                held: Budget::new(bounds.bytes_max),
                lease_ms: bounds.lease_ms,
                pool: Arc::default(),
                trash,
            }),
        }
    }

    /// A tenant, made where there is none yet.
    pub fn tenant(&self, name: &str, now_ms: u64) -> Arc<Tenant> {
        if let Some(tenant) = self.find(name) {
            return tenant;
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Tenant::new(name, self.quota, &self.common, now_ms));
        Arc::clone(tenants.entry(name.to_owned()).or_insert_with(make))
    }

    /// A tenant, where there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Tenant>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(name).cloned()
    }

    /// All tenants, by name.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.values().cloned().collect()
    }

    /// Takes away what is due. To be called a few times a second.
    pub fn sweep(&self, now_ms: u64) {
        for tenant in self.tenants() {
            tenant.sweep(now_ms);
        }
    }

    /// Bytes that quotas count, of all tenants, and the bound.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        (self.common.held.held(), self.common.held.limit())
    }

    /// Where large values lie.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.common.pool
    }
}
