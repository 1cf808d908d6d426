//! Why something is not stored, or not dropped.

/// A refusal. The connection that it came by goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The tenant may not hold more.
    #[error(
        "tenant {tenant} holds {held} of {limit} bytes; {bytes} more are refused, drop requests or raise its hard limit"
    )]
    Quota {
        /// Whose.
        tenant: String,
        /// Bytes that it holds, as they are counted.
        held: u64,
        /// What it may hold.
        limit: u64,
        /// What the put would have added.
        bytes: u64,
    },
    /// Too much of the tenant's is being received.
    #[error(
        "tenant {tenant} has {held} of {limit} bytes in flight; {bytes} more are refused, send fewer at once"
    )]
    Flight {
        /// Whose.
        tenant: String,
        /// Bytes that are being received.
        held: u64,
        /// What may be.
        limit: u64,
        /// What would have come.
        bytes: u64,
    },
    /// It is more than ever fits.
    #[error("value is {bytes} bytes, limit {limit}, {what}; raise that, or put less at once")]
    Large {
        /// What the put would have added.
        bytes: u64,
        /// What there is room for where nothing else is held.
        limit: u64,
        /// Of what.
        what: String,
        /// Whether it is the tenant's limit, and not the store's.
        is_tenants: bool,
    },
    /// The store may not hold more, whoever asks. What it holds is not said: it would tell of other tenants.
    #[error(
        "store has no room for {bytes} bytes beside what is held, limit {limit}; try again later, raise TURLOUGH_STORE_BYTES_MAX or add a host"
    )]
    Full {
        /// The limit.
        limit: u64,
        /// What the put would have added.
        bytes: u64,
    },
    /// A value on disk finds no memory to come back to.
    #[error(
        "store has no memory for a value of {bytes} bytes on disk, limit {limit}; ask again, raise TURLOUGH_STORE_BYTES_MAX, or give TURLOUGH_STORE_SPILL more room"
    )]
    NoRoom {
        /// The limit.
        limit: u64,
        /// Size of the value.
        bytes: u64,
    },
    /// A newer claim owns the bucket.
    #[error("bucket {bucket} is at epoch {newest}, this came at {epoch}")]
    Stale {
        /// Which.
        bucket: String,
        /// What it came at.
        epoch: u64,
        /// What the bucket has seen.
        newest: u64,
    },
    /// The bucket was dropped by this claim, or a newer one.
    #[error(
        "bucket {bucket} was dropped at epoch {newest}, this came at {epoch}; only a higher one opens it anew"
    )]
    Dropped {
        /// Which.
        bucket: String,
        /// What it came at.
        epoch: u64,
        /// What it was dropped at.
        newest: u64,
    },
    /// The store is about to end.
    #[error("store is shutting down, and opens no new bucket; use another")]
    Closing,
}

impl Refusal {
    pub(crate) fn stale(bucket: &[u8], epoch: u64, newest: u64) -> Self {
        Self::Stale {
            bucket: shown(bucket),
            epoch,
            newest,
        }
    }

    pub(crate) fn dropped(bucket: &[u8], epoch: u64, newest: u64) -> Self {
        Self::Dropped {
            bucket: shown(bucket),
            epoch,
            newest,
        }
    }

    /// The word that an error begins with on the wire.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Quota { .. }
            | Self::Flight { .. }
            | Self::Large {
                is_tenants: true, ..
            } => "QUOTA",
            Self::Full { .. } | Self::Large { .. } => "OOM",
            Self::Stale { .. } | Self::Dropped { .. } => "EPOCH",
            Self::Closing => "CLOSING",
            Self::NoRoom { .. } => "BUSY",
        }
    }
}

/// A name as it may stand in a line.
pub(crate) fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}
