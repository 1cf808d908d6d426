//! What an error of RESP means to whoever asked.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::data::error::Failure;

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub(in crate::data) enum Fault {
    /// The server carried nothing out, and says why.
    #[error(transparent)]
    Said(#[from] Said),
    /// It cannot be asked now.
    #[error("{0}")]
    Away(String),
    /// It refuses whoever asks.
    #[error("{0}")]
    Denied(String),
}

/// An error as a server says it.
#[derive(Debug, thiserror::Error)]
#[error("{code} {text}")]
pub(in crate::data) struct Said {
    /// The word that it begins with.
    pub(in crate::data) code: String,
    /// The rest.
    pub(in crate::data) text: String,
}

impl Fault {
    /// What it means where no more is known of it.
    pub(in crate::data) fn failure(self, attempted: String) -> Failure {
        let reason = self.to_string();
        match self {
            Self::Away(_) => Failure::Unavailable { attempted, reason },
            Self::Denied(_) | Self::Said(_) => Failure::Denied { attempted, reason },
        }
    }
}

impl From<&RedisError> for Fault {
    fn from(error: &RedisError) -> Self {
        let text = error.to_string();
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::ReadOnly,
            ) => Self::Away(text),
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => Self::Denied(
                format!("{text}; it is a node of a cluster, write redis+cluster://host:port"),
            ),
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => Self::Denied(text),
            ErrorKind::Server(_) | ErrorKind::Extension => said(error, text),
            // The rest are connections that are not, or break, and answers that are none.
            _ => Self::Away(text),
        }
    }
}

fn said(error: &RedisError, text: String) -> Fault {
    let code = error.code().unwrap_or("ERR");
    match code {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Fault::Denied(text),
        // Of Redis, and of a store that is short of memory, of others for copies, or of time.
        "MISCONF" | "NOREPLICAS" | "BUSY" | "NOBACKUP" | "CLOSING" => Fault::Away(text),
        _ => Fault::Said(Said {
            code: code.to_owned(),
            text: error.detail().unwrap_or_default().to_owned(),
        }),
    }
}

/// Whether another connection is needed.
pub(super) fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error() || error.is_timeout()
}
