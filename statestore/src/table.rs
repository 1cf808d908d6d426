//! Small values by key, which everybody sees: who is alive, which definitions there are.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StateError;

/// Values by key. Keys are segments of letters, digits, `-` and `_`, joined by `.`.
#[async_trait]
pub trait Table: std::fmt::Debug + Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// A table that is away.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StateError>;

    /// Sets a value. Where the table's entries lapse, its time begins anew.
    ///
    /// # Errors
    /// [`StateError::Unanswered`] where nobody knows; a table that is full or away.
    async fn put(&self, key: &str, value: Bytes) -> Result<(), StateError>;

    /// Takes a key out.
    ///
    /// # Errors
    /// A table that is away.
    async fn remove(&self, key: &str) -> Result<(), StateError>;

    /// All entries whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// A table that is away.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StateError>;
}
