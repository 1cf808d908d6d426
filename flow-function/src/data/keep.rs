//! Where the values that an attempt made are kept.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use turlough_datastore::PutError;
use turlough_sdk::{Digest, StepPath, Value, ValueRef};
use turlough_statestore::Event;

use super::{DataError, Manifest, RequestData, Split};
use crate::driver::parts_of;
use crate::fault::{Fault, planted};

/// Longest step path in a store key; a longer one is replaced by its hash.
const PATH_BYTES_MAX: usize = 400;
/// Items that are kept in one go before other tasks have their turn: some 100 µs.
const ITEMS_PER_TURN: usize = 128;
/// First and longest wait before a put that found the store full is tried again.
const PUT_WAIT_MIN: Duration = Duration::from_millis(5);
const PUT_WAIT_MAX: Duration = Duration::from_secs(1);

impl RequestData {
    /// Keeps what an attempt made: in its event where it is small, otherwise in the store. A full
    /// store is waited for; the attempt's own timeout bounds that.
    pub(crate) async fn keep(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
    ) -> Result<ValueRef, DataError> {
        let envelope = value.envelope();
        if envelope.len() <= self.inline_bytes_max {
            return Ok(ValueRef::Inline(Bytes::copy_from_slice(envelope)));
        }
        self.store(step, attempt, value).await
    }

    /// Keeps what must outlive the store: in its event where it is small, otherwise in parts, which
    /// stand in the log before what names them. With an inline limit of 0 no payload goes into the
    /// log, and only the store is left.
    pub(crate) async fn keep_durable(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
        durable_bytes_max: usize,
    ) -> Result<(ValueRef, Vec<Event>), DataError> {
        let envelope = value.envelope();
        if envelope.len() <= self.inline_bytes_max || self.inline_bytes_max == 0 {
            return Ok((self.keep(step, attempt, value).await?, Vec::new()));
        }
        let (size, limit) = (value.body().len(), durable_bytes_max);
        if size > limit {
            return Err(DataError::NotDurable { size, limit });
        }
        let (at, parts) = parts_of(value);
        if let ValueRef::Parts { upload, .. } = &at {
            self.learn(*upload, envelope.clone());
        }
        Ok((at, parts))
    }

    /// Keeps a value in the store, whatever its size.
    pub(crate) async fn store(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
    ) -> Result<ValueRef, DataError> {
        let envelope = value.envelope();
        let key = self.key(step, attempt);
        let mut wait = PUT_WAIT_MIN;
        loop {
            match self.put(&key, envelope) {
                Err(DataError::Put(PutError::Full { limit, size, .. })) if size <= limit => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(PUT_WAIT_MAX);
                }
                kept => return kept,
            }
        }
    }

    fn put(&self, key: &str, envelope: &Bytes) -> Result<ValueRef, DataError> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(DataError::Closed(self.request));
        }
        let kept = self
            .store
            .put(self.request, self.epoch, key, envelope.clone());
        Ok(kept?)
    }

    /// `{request}generation/step/attempt.epoch.nonce`: a late attempt never overwrites another.
    fn key(&self, step: &str, attempt: u32) -> String {
        let nonce = match planted(Fault::KeyWithoutNonce) {
            true => 0,
            false => uuid::Uuid::new_v4().as_u128() as u32,
        };
        let (request, generation, epoch) = (self.request, self.generation, self.epoch);
        if step.len() > PATH_BYTES_MAX {
            let hash = Digest::of(step.as_bytes());
            return format!("{{{request}}}{generation}/{hash}/{attempt}.{epoch}.{nonce:08x}");
        }
        format!("{{{request}}}{generation}/{step}/{attempt}.{epoch}.{nonce:08x}")
    }

    /// Keeps the items of a `for_each`, each a value of its own, and the manifest that lists them.
    pub(crate) async fn keep_items(
        &self,
        step: &StepPath,
        attempt: u32,
        split: Split,
    ) -> Result<ValueRef, DataError> {
        let mut kept = Vec::with_capacity(split.items.len());
        for (index, item) in split.items.iter().enumerate() {
            if index % ITEMS_PER_TURN == ITEMS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            kept.push(
                self.keep(&format!("{step}[{index}]"), attempt, item)
                    .await?,
            );
        }
        let manifest = Manifest {
            items: kept,
            keys: split.keys,
        };
        let at = self
            .keep(step.as_str(), attempt, &Value::encode(&manifest)?)
            .await?;
        self.remember(at.clone(), Arc::new(manifest));
        Ok(at)
    }
}
