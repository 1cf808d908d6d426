//! The logs of requests: an ordered list of appends each, and all of them in the order in which they
//! came.

use async_trait::async_trait;
use turlough_sdk::RequestId;

use crate::append::{Append, Record, Seq};
use crate::error::StateError;

/// The logs of one tenant's requests.
///
/// Sequences are the backend's: they increase over all logs, with gaps.
#[async_trait]
pub trait Log: std::fmt::Debug + Send + Sync {
    /// Appends at `expected`, [`Seq::START`] for a new log, and returns the append's place. When this
    /// returns a place, the append is stored as surely as the backend was asked to.
    ///
    /// # Errors
    /// [`StateError::Conflict`] where the log ends elsewhere; [`StateError::Unanswered`] where nobody
    /// knows; what is too large; a log that is full or away.
    async fn append(
        &self,
        request: RequestId,
        expected: Seq,
        append: &Append,
    ) -> Result<Seq, StateError>;

    /// What stands after `after`, in order: all that was stored before this was called, and nothing for
    /// a log that does not exist. Where the head has expired, what is left of it.
    ///
    /// # Errors
    /// A record of a newer version; a log that is away.
    async fn read(&self, request: RequestId, after: Seq) -> Result<Vec<Record>, StateError>;

    /// The last append; none for a log that does not exist.
    ///
    /// # Errors
    /// A record of a newer version; a log that is away.
    async fn last(&self, request: RequestId) -> Result<Option<Record>, StateError>;

    /// The append at a place, whosever it is; none where it is gone or never was.
    ///
    /// # Errors
    /// A log that is away.
    async fn at(&self, seq: Seq) -> Result<Option<Followed>, StateError>;

    /// Every append of every request after `after`, in order, and then as they come.
    ///
    /// # Errors
    /// A log that is away.
    async fn follow(&self, after: Seq) -> Result<Box<dyn Follow>, StateError>;

    /// Forgets the log of a request. An append to it afterwards may begin it anew.
    ///
    /// # Errors
    /// A log that is away.
    async fn delete(&self, request: RequestId) -> Result<(), StateError>;

    /// How much is held.
    ///
    /// # Errors
    /// A log that is away.
    async fn usage(&self) -> Result<Usage, StateError>;
}

/// A reader of all logs. It ends with an error when its connection does: what is stored may have
/// changed then, and whoever follows looks before going on.
#[async_trait]
pub trait Follow: std::fmt::Debug + Send {
    /// The next appends, `max` at most; waits for the first of them. Safe to be dropped while it
    /// waits: nothing is left out by it.
    ///
    /// # Errors
    /// A connection that ended.
    async fn next(&mut self, max: usize) -> Result<Vec<Followed>, StateError>;
}

/// An append as a reader of all logs meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Whose log it stands in; none where that cannot be told.
    pub request: Option<RequestId>,
    /// Its place.
    pub seq: Seq,
    /// The append, or why it cannot be read: it may be of a newer version, or none of ours.
    pub append: Result<Append, String>,
}

/// How much the logs hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that are held.
    pub bytes: u64,
    /// Bytes that may be held.
    pub bytes_max: u64,
}

impl Usage {
    /// Whether the last fifth is begun, which is for requests that are open.
    #[must_use]
    pub const fn is_nearly_full(&self) -> bool {
        self.bytes > self.bytes_max / 5 * 4
    }
}
