//! What is set aside for a value before it is there.

use std::sync::Arc;

use super::item::{Held, Item};
use super::refusal::Refusal;
use super::shard::Gone;
use super::tenant::Tenant;
use crate::blob::Counted;
use crate::sync::atomic::Ordering;

/// An amount of what a tenant may hold, which goes back unless it is kept.
#[derive(Debug)]
pub(crate) struct Reserved {
    tenant: Arc<Tenant>,
    pub(super) bytes: u64,
}

impl Reserved {
    /// What is put holds it from now on.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

/// What left the store still counts while a client reads it: memory is not free before its last reader
/// is done.
impl Counted for Reserved {}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.tenant.give_back(self.bytes, 0);
    }
}

/// An amount of what a tenant may receive at once.
#[derive(Debug)]
pub(crate) struct InFlight {
    tenant: Arc<Tenant>,
    bytes: u64,
}

/// A reply that is on its way counts as what is received does.
impl Counted for InFlight {}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.tenant.flight.give_back(self.bytes);
    }
}

impl Tenant {
    /// Takes of what it may hold, before a value is there.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reserved, Refusal> {
        let refused = |refusal| {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            refusal
        };
        let tenant = || self.name().to_owned();
        self.held.take(bytes).map_err(|(held, limit)| {
            refused(match bytes > limit {
                true => self.large(bytes, limit, "hard limit"),
                false => Refusal::Quota {
                    tenant: tenant(),
                    held,
                    limit,
                    bytes,
                },
            })
        })?;
        let taken = self.common.held.take(bytes);
        if let Some(pressure) = &self.common.pressure {
            let held = taken.map_or_else(|(held, _)| held + bytes, |()| self.common.held.held());
            pressure.feel(held);
        }
        taken.map_err(|(_, limit)| {
            self.held.give_back(bytes);
            refused(match bytes > limit {
                true => Refusal::Large {
                    bytes,
                    limit,
                    what: "TURLOUGH_STORE_BYTES_MAX".to_owned(),
                    is_tenants: false,
                },
                false => Refusal::Full { limit, bytes },
            })
        })?;
        Ok(Reserved {
            tenant: Arc::clone(self),
            bytes,
        })
    }

    /// An item has left. A large one counts until nobody reads it any more.
    pub(super) fn leave(self: &Arc<Self>, item: &Item) {
        let mut bytes = item.cost();
        if let Held::Large(blob) = item.value() {
            let counted = blob.len() as u64;
            bytes -= counted;
            blob.count(Box::new(self.counted(counted)));
        }
        self.give_back(bytes, item.away());
    }

    /// Frees what no longer counts. What somebody still reads counts again, until they are done.
    pub(super) fn free(self: &Arc<Self>, gone: Gone) {
        for item in &gone.items {
            if let Held::Large(blob) = item.value()
                && Arc::strong_count(blob) > 1
            {
                let bytes = blob.len() as u64;
                self.held.force(bytes);
                self.common.held.force(bytes);
                blob.count(Box::new(self.counted(bytes)));
            }
        }
        drop(gone);
    }

    /// What is counted already, to be given back.
    fn counted(self: &Arc<Self>, bytes: u64) -> Reserved {
        Reserved {
            tenant: Arc::clone(self),
            bytes,
        }
    }

    /// Takes of what it may receive at once.
    pub(crate) fn fly(self: &Arc<Self>, bytes: u64) -> Result<InFlight, Refusal> {
        self.flight.take(bytes).map_err(|(held, limit)| {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            match bytes > limit {
                true => self.large(bytes, limit, "limit of bytes in flight"),
                false => Refusal::Flight {
                    tenant: self.name().to_owned(),
                    held,
                    limit,
                    bytes,
                },
            }
        })?;
        Ok(InFlight {
            tenant: Arc::clone(self),
            bytes,
        })
    }

    fn large(&self, bytes: u64, limit: u64, what: &str) -> Refusal {
        Refusal::Large {
            bytes,
            limit,
            what: format!("the {what} of tenant {}", self.name()),
            is_tenants: true,
        }
    }
}
