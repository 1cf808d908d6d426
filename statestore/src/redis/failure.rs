//! What an error of Redis means to whoever asked.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::StateError;

/// What is attempted: whether it changes what is stored decides what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Read,
    Write,
}

/// What an error means, of what was attempted.
pub(super) fn state_error(error: &RedisError, doing: Doing, attempted: String) -> StateError {
    let reason = format!("redis: {error}");
    match error.code() {
        Some("OOM") => {
            return StateError::Full {
                attempted,
                reason: format!("{reason}; raise its maxmemory, or lower TURLOUGH_STATE_BYTES_MAX"),
            };
        }
        Some("MISCONF" | "NOREPLICAS") => return StateError::Unavailable { attempted, reason },
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => return not_permitted(&reason, attempted),
        _ => {}
    }
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::ReadOnly,
        ) => StateError::Unavailable { attempted, reason },
        ErrorKind::AuthenticationFailed => not_permitted(&reason, attempted),
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::InvalidClientConfig => {
            StateError::Refused { attempted, reason }
        }
        _ if error.is_connection_refusal() => StateError::Unavailable { attempted, reason },
        // The rest are answers that did not come, or not whole.
        _ => match doing {
            Doing::Read => StateError::Unavailable { attempted, reason },
            Doing::Write => StateError::Unanswered { attempted, reason },
        },
    }
}

fn not_permitted(reason: &str, attempted: String) -> StateError {
    StateError::Refused {
        attempted,
        reason: format!(
            "{reason}; check user and password in TURLOUGH_STATE, and permit that user all commands on \
             the keys and channels tl:*"
        ),
    }
}
