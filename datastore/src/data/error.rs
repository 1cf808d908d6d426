//! What can go wrong with a store, by what it means to whoever asked.

use turlough_sdk::Digest;

/// What a bucket has heard of, that something came too late for: only what is above it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bucket {} epoch {epoch}", if *.is_dropped { "was dropped at" } else { "is at" })]
pub struct Newer {
    /// The newest epoch of its own.
    pub epoch: u64,
    /// Whether it was dropped at that.
    pub is_dropped: bool,
}

/// Why a value was not put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// There is no room. The put may be tried again later; the step need not run again.
    #[error("putting {size} bytes under {key}: no room, {reason}")]
    Full {
        /// The key.
        key: String,
        /// Size of the value.
        size: u64,
        /// What was found, and what to do.
        reason: String,
    },
    /// Another value stands under the key.
    #[error("key {key} holds another value already")]
    Exists {
        /// The key.
        key: String,
    },
    /// A newer claim owns the bucket, or it was dropped by this one.
    #[error("putting under {key} at epoch {epoch}: {newer}")]
    Stale {
        /// The key.
        key: String,
        /// Epoch of the put.
        epoch: u64,
        /// What the bucket has heard of.
        newer: Newer,
    },
    /// It can never be put.
    #[error("putting {size} bytes under {key:?}: {reason}")]
    Invalid {
        /// The key.
        key: String,
        /// Size of the value.
        size: u64,
        /// Why, with the limit.
        reason: String,
    },
    /// The store is away, or refuses.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why a value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// It is gone: dropped, its lease over, or the store came back empty.
    #[error("value {key} is lost: the store at {store} no longer holds it")]
    Lost {
        /// The key.
        key: String,
        /// Where it lay.
        store: String,
    },
    /// What is there is not what was put.
    #[error("value {key} does not match its digest {digest}")]
    Corrupt {
        /// The key.
        key: String,
        /// The digest in the reference.
        digest: Digest,
    },
    /// The store is away, or refuses.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why a bucket was not dropped, or its lease not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// A newer claim owns the bucket.
    #[error("{attempted} at epoch {epoch}: {newer}")]
    Stale {
        /// What was attempted, on which bucket.
        attempted: String,
        /// At what epoch.
        epoch: u64,
        /// What the bucket has heard of.
        newer: Newer,
    },
    /// The store is away, or refuses.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why a store does not do what is asked of it, whatever that is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot be asked now: the same may succeed later. What was asked may have been done.
    #[error("{attempted}: {reason}")]
    Unavailable {
        /// What was attempted, on what.
        attempted: String,
        /// What was found.
        reason: String,
    },
    /// It refuses, and will until somebody changes something.
    #[error("{attempted} was refused: {reason}")]
    Denied {
        /// What was attempted, on what.
        attempted: String,
        /// What was found, and what to do.
        reason: String,
    },
}

impl PutError {
    /// Whether the same put may succeed later, without anybody changing anything.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Failed(Failure::Unavailable { .. })
        )
    }
}

impl Failure {
    /// Whether the same may succeed later, without anybody changing anything.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
