//! The work queue: items that one of several takers gets, again and again until one acknowledges it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StateError;

/// Queues of items, by name. Order is roughly that of arrival.
#[async_trait]
pub trait Queue: std::fmt::Debug + Send + Sync {
    /// Adds an item. Names of queues are function names: letters, digits, `-`, `.` and `_`.
    ///
    /// # Errors
    /// [`StateError::Unanswered`] where nobody knows; a queue that is full or away.
    async fn enqueue(&self, queue: &str, payload: Bytes) -> Result<(), StateError>;

    /// Takes up to `max` items, waiting up to `wait` for the first. Nobody else gets them until
    /// their visibility time is over, which is the backend's setting. Safe to be dropped while it
    /// waits: what was on its way comes again after the visibility time at the latest.
    ///
    /// # Errors
    /// A queue that is away.
    async fn take(&self, queue: &str, max: usize, wait: Duration)
    -> Result<Vec<Taken>, StateError>;

    /// The item is done, and gone.
    ///
    /// # Errors
    /// A queue that is away: the item comes again.
    async fn acknowledge(&self, item: &Taken) -> Result<(), StateError>;

    /// The item stays with its taker for another visibility time.
    ///
    /// # Errors
    /// A queue that is away: the item may come to another.
    async fn extend(&self, item: &Taken) -> Result<(), StateError>;

    /// The item is anybody's again, after a while.
    ///
    /// # Errors
    /// A queue that is away: the item comes after its visibility time.
    async fn release(&self, item: &Taken, after: Duration) -> Result<(), StateError>;

    /// Items that wait or are taken.
    ///
    /// # Errors
    /// A queue that is away.
    async fn depth(&self, queue: &str) -> Result<u64, StateError>;
}

/// An item that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The queue that it was taken from.
    pub queue: String,
    /// What it holds.
    pub payload: Bytes,
    /// How often it was taken, with this time.
    pub attempt: u32,
    /// Names this taking to its backend.
    pub(crate) ticket: String,
}
