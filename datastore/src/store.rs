//! What the store process holds: tenants, each with buckets of its own. No IO, no clock: whoever calls
//! says what time it is, in ms of the store's own time.
//!
//! Invariants: what a tenant holds counts against its quota and the store's bound, before it is there and
//! for as long as it is; nothing is ever evicted; a tenant's shards hold nothing of another's.

mod bucket;
mod copies;
pub(crate) mod glob;
mod item;
mod key;
mod meter;
#[cfg(all(test, feature = "shuttle"))]
mod orders;
mod pressure;
mod quota;
mod refusal;
mod reserved;
mod scan;
mod shard;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use rustix::process::setpriority_process;

use crate::blob::{Blob, Buffer};
use crate::pool::Pool;
use crate::spill::Spilled;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use crate::sync::{RwLock, thread};

pub use bucket::Holds;
pub(crate) use item::{Away, Held, Item, SMALL_MAX, Value, cost};
pub(crate) use key::Key;
pub use key::{KEY_BYTES_MAX, KeyError};
pub(crate) use pressure::Pressure;
pub use quota::Quota;
pub(crate) use quota::{Budget, soft_of};
pub use refusal::Refusal;
pub(crate) use reserved::{InFlight, Reserved};
use shard::Gone;
pub(crate) use tenant::{Expires, Only, Put};
pub use tenant::{Tenant, Usage};

/// Sets of items that wait to be freed; what comes on top is freed by whoever drops it.
const DISCARDED_MAX: usize = 1_024;
/// Sets of fewer items are freed at once: it takes less than to hand them over.
const DISCARDED_MIN: usize = 64;
/// The priority of the thread that frees: nice, as the kernel has it.
const DISCARD_NICE: i32 = 10;

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
    trash: SyncSender<(Arc<Tenant>, Gone)>,
    /// Whether no new bucket is opened any more.
    is_closing: AtomicBool,
    pressure: Option<Pressure>,
}

/// A value that lies in no bucket.
#[derive(Debug)]
pub(crate) enum Made {
    Small(Vec<u8>),
    Large(Arc<Blob>),
    Away(Arc<Spilled>),
}

impl Made {
    /// A value as it is put.
    pub(crate) fn new(pool: &Arc<Pool>, bytes: Vec<u8>) -> Self {
        if bytes.len() <= SMALL_MAX {
            return Self::Small(bytes);
        }
        let mut buffer = Buffer::new(pool, bytes.len());
        match buffer.fill(&bytes) {
            Ok(_) => Self::Large(Arc::new(buffer.finish())),
            Err(_) => Self::Small(bytes),
        }
    }

    /// A copy of a small value; a large one is shared.
    pub(crate) fn of(held: Held<'_>) -> Self {
        match held {
            Held::Small(bytes) => Self::Small(bytes.to_vec()),
            Held::Large(blob) => Self::Large(Arc::clone(blob)),
            Held::Away(spilled) => Self::Away(Arc::clone(spilled)),
        }
    }

    pub(crate) fn held(&self) -> Held<'_> {
        match self {
            Self::Small(bytes) => Held::Small(bytes),
            Self::Large(blob) => Held::Large(blob),
            Self::Away(spilled) => Held::Away(spilled),
        }
    }

    /// The same once more.
    pub(crate) fn again(&self) -> Self {
        Self::of(self.held())
    }

    pub(crate) fn lent(&self) -> Value<'_> {
        match self {
            Self::Small(bytes) => Value::Small(bytes),
            Self::Large(blob) => Value::Large(Arc::clone(blob)),
            Self::Away(spilled) => Value::Away(Arc::clone(spilled)),
        }
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Away> {
        let mut all = Vec::with_capacity(self.held().len());
        self.held().copy_to(&mut all)?;
        Ok(all)
    }
}

impl Common {
    /// Frees what no longer counts, in a thread of its own where that takes long.
    fn discard(&self, tenant: &Arc<Tenant>, gone: Gone) {
        if gone.items.len() < DISCARDED_MIN {
            return tenant.free(gone);
        }
        match self.trash.try_send((Arc::clone(tenant), gone)) {
            Ok(()) => {}
            Err(
                TrySendError::Full((tenant, gone)) | TrySendError::Disconnected((tenant, gone)),
            ) => {
                tenant.free(gone);
            }
        }
    }
}

impl Store {
    /// An empty one. A thread frees what it drops, and ends with it.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self::spilling(bounds, None)
    }

    /// An empty one, whose values may go to disk.
    pub(crate) fn spilling(bounds: Bounds, pressure: Option<Pressure>) -> Self {
        let (trash, discarded) = sync_channel::<(Arc<Tenant>, Gone)>(DISCARDED_MAX);
        let free = move || {
            // Whoever waits for an answer comes first.
            setpriority_process(None, DISCARD_NICE).ok();
            for (tenant, gone) in discarded {
                tenant.free(gone);
            }
        };
        // Without it, whoever drops frees.
        drop(thread::Builder::new().name("discard".into()).spawn(free));
        Self {
            tenants: RwLock::default(),
            quota: bounds.quota,
            common: Arc::new(Common {
                held: Budget::new(bounds.bytes_max),
                lease_ms: bounds.lease_ms,
                pool: Arc::default(),
                trash,
                is_closing: AtomicBool::new(false),
                pressure,
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

    /// What tenants may hold that nobody named.
    pub(crate) const fn quota(&self) -> Quota {
        self.quota
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

    /// From now on no new bucket is opened.
    pub(crate) fn close(&self) {
        self.common.is_closing.store(true, Ordering::Relaxed);
    }

    /// How long a bucket stays of which nobody says it.
    pub(crate) fn lease_ms(&self) -> u64 {
        self.common.lease_ms
    }

    /// Where large values lie.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.common.pool
    }
}
