//! What an error of objects means, and how long is waited for what there is none of.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::time::Duration;

use object_store::Error;

use crate::data::error::Failure;

/// How long something small may take, with all tries.
const ANSWER: Duration = Duration::from_secs(15);
/// What is large may take longer: the slowest network that this is used over, in bytes a second.
const BYTES_PER_SECOND: u64 = 4 << 20;

pub(super) fn limit(bytes: u64) -> Duration {
    ANSWER + Duration::from_secs(bytes / BYTES_PER_SECOND)
}

/// What is done, within the time for so many bytes.
pub(super) async fn within<T>(
    bytes: u64,
    doing: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let limit = limit(bytes);
    let done = tokio::time::timeout(limit, doing).await;
    done.unwrap_or_else(|_| {
        let text = format!("no answer within {limit:?}");
        Err(from_io(io::Error::new(io::ErrorKind::TimedOut, text)))
    })
}

/// An error of files, as one of objects.
pub(super) fn from_io(error: io::Error) -> Error {
    Error::Generic {
        store: "folder",
        source: error.into(),
    }
}

/// What an error means to whoever asked.
pub(super) fn failure(error: &Error, attempted: String) -> Failure {
    let reason = error.to_string();
    let is_denied = match error {
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::InvalidPath { .. }
        | Error::UnknownConfigurationKey { .. } => true,
        _ if has_no_bucket(error) => true,
        _ => matches!(io_kind(error), Some(io::ErrorKind::PermissionDenied)),
    };
    if is_denied {
        Failure::Denied { attempted, reason }
    } else {
        Failure::Unavailable { attempted, reason }
    }
}

/// Whether there is no such object, in a place that there is.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && !has_no_bucket(error)
}

pub(super) fn is_full(error: &Error) -> bool {
    matches!(
        io_kind(error),
        Some(
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    )
}

fn has_no_bucket(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && error.to_string().contains("NoSuchBucket")
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}
