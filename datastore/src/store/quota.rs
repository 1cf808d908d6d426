//! What a tenant may hold, and what is taken of it.

use crate::sync::atomic::{AtomicU64, Ordering};

/// What is taken of a hard limit for the soft one and for what is in flight, as parts.
const SOFT: (u64, u64) = (4, 5);
const FLIGHT: u64 = 4;

/// What a tenant may hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Past it no new requests are to be admitted; puts go on.
    pub soft: u64,
    /// Past it puts are refused.
    pub hard: u64,
    /// Of values that are being received, at once.
    pub flight: u64,
}

impl Quota {
    /// The limits that a hard one brings with it.
    pub(crate) const fn of(hard: u64) -> Self {
        Self {
            soft: soft_of(hard),
            hard,
            flight: hard / FLIGHT,
        }
    }

    /// Limits of which those that are said hold, and the others follow from the hard one.
    ///
    /// # Errors
    /// A soft limit over the hard one, which nothing would ever reach.
    pub(crate) fn said(
        hard: u64,
        soft: Option<u64>,
        flight: Option<u64>,
    ) -> Result<Self, QuotaError> {
        let rest = Self::of(hard);
        let soft = soft.unwrap_or(rest.soft);
        if soft > hard {
            return Err(QuotaError { soft, hard });
        }
        Ok(Self {
            soft,
            hard,
            flight: flight.unwrap_or(rest.flight),
        })
    }
}

/// The soft limit that a hard one brings with it.
pub(crate) const fn soft_of(hard: u64) -> u64 {
    hard / SOFT.1 * SOFT.0
}

/// Why limits are not taken.
#[derive(Debug, thiserror::Error)]
#[error(
    "soft limit of {soft} bytes is over the hard limit of {hard}; set a lower one, or leave it out for four fifths"
)]
pub(crate) struct QuotaError {
    soft: u64,
    hard: u64,
}

/// An amount that is taken of a limit, and given back.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicU64,
    limit: AtomicU64,
}

impl Budget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            held: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
        }
    }

    /// Takes some. What is held, and the limit, where there is not so much left.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), (u64, u64)> {
        self.take_within(bytes, 0)
    }

    /// The same, where some more than the limit is allowed.
    pub(crate) fn take_within(&self, bytes: u64, more: u64) -> Result<(), (u64, u64)> {
        let limit = self.limit().saturating_add(more);
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map(drop).map_err(|held| (held, limit))
    }

    /// Takes some, whatever is left.
    pub(crate) fn force(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}
