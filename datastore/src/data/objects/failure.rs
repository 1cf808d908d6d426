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

/// What is told of an error: enough for an address and a reason.
const CHARS_MAX: usize = 600;

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
        store: "values",
        source: error.into(),
    }
}

/// What an error means to whoever asked.
pub(super) fn failure(error: &Error, attempted: String) -> Failure {
    let reason = told(error);
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

/// What an error says: all of its causes, of a server's page its code and message, in a line that can be
/// read.
pub(super) fn told(error: &Error) -> String {
    let mut text = match error {
        Error::Generic { source, .. } => source.to_string(),
        error => error.to_string(),
    };
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    if let Some((before, page)) = text.split_once("<?xml") {
        let field = |name: &str| {
            let (_, rest) = page.split_once(&format!("<{name}>"))?;
            Some(rest.split_once('<')?.0)
        };
        let (code, message) = (field("Code"), field("Message"));
        let (code, message) = (code.unwrap_or_default(), message.unwrap_or_default());
        text = format!("{before}{code} {message}");
    }
    text.chars().take(CHARS_MAX).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> Error {
        Error::Generic {
            store: "S3",
            source: text.into(),
        }
    }

    #[test]
    fn what_a_server_says_is_told_in_a_line() {
        let page = "403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>not \
                    yours</Message><HostId>x</HostId></Error>";
        assert_eq!(told(&failed(page)), "403 Forbidden: AccessDenied not yours");
        assert_eq!(told(&failed(&"a".repeat(9_999))).len(), CHARS_MAX);
        let away = from_io(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        let away = failure(&away, "getting a".to_owned());
        assert_eq!(away.to_string(), "getting a: no answer");
        assert!(away.passes());
        let denied = from_io(io::ErrorKind::PermissionDenied.into());
        assert!(!failure(&denied, "getting a".to_owned()).passes());
        assert!(is_full(&from_io(io::ErrorKind::StorageFull.into())));
    }
}
