//! What a connection waits for before it goes on with the next command.

use std::pin::Pin;

use tokio::time::Sleep;

use super::fault::Fault;

/// What has to happen before the next command.
#[derive(Debug)]
pub(crate) enum Wait {
    /// A value under a key, or the time.
    Value {
        key: Vec<u8>,
        until: Pin<Box<Sleep>>,
    },
    /// The time; then an error is said.
    Pause {
        until: Pin<Box<Sleep>>,
        fault: Fault,
    },
}
