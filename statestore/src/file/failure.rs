//! What can go wrong with a file, by what it means to whoever asked.

use std::io;

use crate::error::StateError;

/// Why something was not written. Kept apart from what was attempted: one failure fails many.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The disk, or a limit of it, has no room.
    Full(String),
    /// It was not written.
    Unavailable(String),
    /// Nobody knows whether it was written.
    Unanswered(String),
}

impl Failure {
    /// What an error of the system at something means.
    pub(super) fn of(error: &io::Error, at: impl std::fmt::Display) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let reason = format!("{at}: {error}");
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                Self::Full(format!("{reason}; make room on the disk"))
            }
            _ => Self::Unavailable(reason),
        }
    }

    /// The same, of what was attempted.
    pub(super) fn of_attempt(self, attempted: String) -> StateError {
        match self {
            Self::Full(reason) => StateError::Full { attempted, reason },
            Self::Unavailable(reason) => StateError::Unavailable { attempted, reason },
            Self::Unanswered(reason) => StateError::Unanswered { attempted, reason },
        }
    }
}
