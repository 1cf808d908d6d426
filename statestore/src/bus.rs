//! Words between processes: not stored, at most once, and lost where nobody listens. Nothing may hang
//! on one.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use turlough_sdk::{ReplicaId, RequestId};

use crate::error::StateError;

/// Words that wait for one listener; more are lost.
pub(crate) const WORDS_MAX: usize = 4096;

/// Who a word is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// A replica of a flow-function, or a keeper.
    Replica(ReplicaId),
    /// Whoever waits for the end of a request.
    Done(RequestId),
}

/// Sends words, and hears them.
#[async_trait]
pub trait Bus: std::fmt::Debug + Send + Sync {
    /// Says a word to all who listen on a channel now.
    ///
    /// # Errors
    /// A bus that is away.
    async fn send(&self, to: Channel, word: Bytes) -> Result<(), StateError>;

    /// Hears what is said on a channel from now on: when this returns, what is sent afterwards comes.
    ///
    /// # Errors
    /// A bus that is away.
    async fn listen(&self, on: Channel) -> Result<Listener, StateError>;
}

/// Hears words until it is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(crate) words: mpsc::Receiver<Bytes>,
    /// Ends with the listener: the backend stops listening then.
    pub(crate) _guard: tokio_util::sync::DropGuard,
}

impl Listener {
    /// The next word; none once the bus is closed.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.words.recv().await
    }
}
