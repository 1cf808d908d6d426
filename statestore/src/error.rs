//! What can go wrong with the state, by what it means to whoever asked.

use turlough_sdk::RequestId;

use crate::append::{APPEND_BYTES_MAX, Seq};

/// Why the state did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The log does not end where the append expects it to. Read on before anything else.
    #[error(
        "append to the log of request {request} expects to follow {expected}, but it ends at {last}"
    )]
    Conflict {
        /// The request.
        request: RequestId,
        /// What the append named.
        expected: Seq,
        /// Where the log ends.
        last: Seq,
    },
    /// It does not fit; split it, or put its values into the store.
    #[error(
        "append of {size} bytes to the log of request {request}, limit {APPEND_BYTES_MAX}; split it"
    )]
    TooLarge {
        /// The request.
        request: RequestId,
        /// Its encoded size in bytes.
        size: usize,
    },
    /// What is stored cannot be read by this version.
    #[error("log of request {request} cannot be read at {seq}: {reason}")]
    Unreadable {
        /// The request.
        request: RequestId,
        /// Where.
        seq: Seq,
        /// Why.
        reason: String,
    },
    /// It may have been done, or not: what is stored tells.
    #[error("{attempted}: no answer, {reason}")]
    Unanswered {
        /// What was attempted, on what.
        attempted: String,
        /// What was found.
        reason: String,
    },
    /// There is no room: it was not done, and may be once something expired.
    #[error("{attempted}: no room, {reason}")]
    Full {
        /// What was attempted, on what.
        attempted: String,
        /// What was found, and what to do.
        reason: String,
    },
    /// It was not done, and may be later.
    #[error("{attempted}: {reason}")]
    Unavailable {
        /// What was attempted, on what.
        attempted: String,
        /// What was found.
        reason: String,
    },
    /// It cannot even be asked, as this process is set.
    #[error("{attempted}: {reason}")]
    Setting {
        /// What was attempted, on what.
        attempted: String,
        /// What was found, and what to do.
        reason: String,
    },
    /// It was not done, and will not be until somebody changes something.
    #[error("{attempted} was refused: {reason}")]
    Refused {
        /// What was attempted, on what.
        attempted: String,
        /// What was found, and what to do.
        reason: String,
    },
}

impl StateError {
    /// Whether the same may succeed later, without anybody changing anything.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Self::Unanswered { .. } | Self::Full { .. } | Self::Unavailable { .. }
        )
    }

    /// Whether it is the state that did not do it, whoever asked: the same may succeed later, by itself
    /// or once somebody changed something there.
    #[must_use]
    pub const fn is_of_the_state(&self) -> bool {
        self.passes() || matches!(self, Self::Refused { .. })
    }
}
