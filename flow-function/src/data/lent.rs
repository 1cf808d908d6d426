//! What a function is lent for one step, and what it gives back.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use turlough_datastore::data::Stored;
use turlough_datastore::{Reference, StepCredential};
use turlough_sdk::{Producer, Value, ValueRef};

use super::{DataError, RequestData};
use crate::clock::now_us;
use crate::machine::Given;

/// What a function is lent for one step.
pub(crate) struct Lent {
    /// Where its input lies; nothing where it has none.
    pub(crate) input: Option<String>,
    /// The key that it puts its output under.
    pub(crate) key: String,
    /// What it says after `AUTH`; nothing where nobody needs a password.
    pub(crate) auth: Option<String>,
}

/// Without what it says to the store.
impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("input", &self.input)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl RequestData {
    /// Where a value lies, if that is one place that functions can reach.
    pub(crate) async fn place(&self, given: &Given) -> Result<Option<ValueRef>, DataError> {
        let at = match given {
            Given::Value(at) => ValueRef::clone(at),
            Given::Item { manifest, index } => self.reader(None).item(manifest, *index).await?,
            Given::Empty | Given::Map(_) => return Ok(None),
        };
        Ok(Some(at).filter(|at| self.stores.is_lendable(at)))
    }

    /// Lends the own store for an attempt that takes so long at most.
    pub(crate) async fn lend(
        &self,
        (step, attempt): (&str, u32),
        input: Option<&ValueRef>,
        time: Duration,
    ) -> Result<Lent, DataError> {
        let reference = input.and_then(reference);
        if let Some(at) = input {
            self.check(at).await?;
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Err(DataError::Closed(self.request));
        }
        // What the function puts is refused where the store has heard of a newer claim: better this is.
        let (request, epoch) = (self.request, self.epoch);
        let mark = format!("{{{request}}}lent/{epoch}");
        let empty = Value::empty().envelope().clone();
        self.stores.put(request, epoch, &mark, empty).await?;
        let key = self.key(step, attempt);
        let until_us = now_us().saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let credential = StepCredential {
            until_unix_ms: until_us / 1_000,
            read: reference.iter().map(key_of).collect(),
            write: Some(key.clone()),
            epoch: self.epoch,
        };
        let auth = self.stores.lend(&credential).await?;
        let input = reference.map(|reference| reference.to_string());
        Ok(Lent { input, key, auth })
    }

    /// Where a function says that it put its output under the key that it was lent, if it did.
    pub(crate) async fn given_back(&self, lent: &Lent, said: &str) -> Result<ValueRef, DataError> {
        let reference: Reference = said.parse()?;
        let key = key_of(&reference);
        if key != lent.key {
            let assigned = lent.key.clone();
            return Err(DataError::Foreign { key, assigned });
        }
        let at = ValueRef::Stored {
            store: reference.store.into(),
            boot: reference.boot,
            key: key.into(),
            size: reference.size,
            digest: reference.digest,
        };
        self.check(&at).await?;
        self.is_of_a_function(&at).await?;
        if let ValueRef::Stored { store, .. } = &at {
            self.stores.fills_at(self.request, self.epoch, store);
        }
        Ok(at)
    }

    /// Keeps what is to be lent.
    pub(crate) async fn keep_to_lend(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
    ) -> Result<ValueRef, DataError> {
        self.store(step, attempt, value).await
    }

    /// A value that says of itself that it is another's would leave the platform as another's does.
    async fn is_of_a_function(&self, at: &ValueRef) -> Result<(), DataError> {
        let stored = Stored::of(at).ok_or(DataError::Elsewhere(self.request))?;
        let head = self
            .stores
            .head(self.request, stored, Value::HEAD_BYTES_MAX);
        let head = head.await.map_err(|source| DataError::of_get(at, source))?;
        match Value::producer_of(&head, at.size())? {
            Producer::Function => Ok(()),
            producer => Err(DataError::Pretended(producer)),
        }
    }

    async fn check(&self, at: &ValueRef) -> Result<(), DataError> {
        let stored = Stored::of(at).ok_or(DataError::Elsewhere(self.request))?;
        let checked = self.stores.check(self.request, stored).await;
        checked.map_err(|source| DataError::of_get(at, source))
    }
}

fn reference(at: &ValueRef) -> Option<Reference> {
    let at = Stored::of(at)?;
    Some(Reference {
        store: at.store.to_owned(),
        boot: at.boot,
        key: at.key.as_bytes().to_vec(),
        size: at.size,
        digest: at.digest,
        backup: None,
    })
}

fn key_of(reference: &Reference) -> String {
    String::from_utf8_lossy(&reference.key).into_owned()
}
