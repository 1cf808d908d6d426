//! What is set aside for a value before it is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::refusal::Refusal;
use super::tenant::Tenant;

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

impl Drop for Reserved {
    fn drop(&mut self) {
        self.tenant.give_back(self.bytes);
    }
}

/// An amount of what a tenant may receive at once.
#[derive(Debug)]
pub(crate) struct InFlight {
    tenant: Arc<Tenant>,
    bytes: u64,
}

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
            refused(Refusal::Quota {
                tenant: tenant(),
                held,
                limit,
                bytes,
            })
        })?;
        self.common.held.take(bytes).map_err(|(held, limit)| {
            self.held.give_back(bytes);
            refused(Refusal::Full { held, limit, bytes })
        })?;
        Ok(Reserved {
            tenant: Arc::clone(self),
            bytes,
        })
    }

    /// Takes of what it may receive at once.
    pub(crate) fn fly(self: &Arc<Self>, bytes: u64) -> Result<InFlight, Refusal> {
        self.flight.take(bytes).map_err(|(held, limit)| {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            Refusal::Flight {
                tenant: self.name().to_owned(),
                held,
                limit,
                bytes,
            }
        })?;
        Ok(InFlight {
            tenant: Arc::clone(self),
            bytes,
        })
    }
}
