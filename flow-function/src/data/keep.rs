//! Where the values that an attempt made are kept.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use turlough_datastore::data::PutError;
use turlough_sdk::{Digest, StepPath, Value, ValueRef};
use turlough_statestore::Event;

use super::{DataError, Manifest, RequestData, Split};
use crate::driver::parts_of;
use crate::fault::{Fault, planted};
use crate::trace::{SpanKind, Timer, number, text, timed};

/// Longest step path in a store key; a longer one is replaced by its hash.
const PATH_BYTES_MAX: usize = 400;
/// Items that are kept in one go before other tasks have their turn: some 100 µs.
const ITEMS_PER_TURN: usize = 128;

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
    /// stand in the log before what names them, and what is too large for that where such is kept. With
    /// an inline limit of 0 no payload goes into the log; where nothing outlives the process, the store
    /// does as well.
    pub(crate) async fn keep_durable(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
        durable_bytes_max: usize,
    ) -> Result<(ValueRef, Vec<Event>), DataError> {
        let envelope = value.envelope();
        let is_logged = self.inline_bytes_max > 0;
        if is_logged && envelope.len() <= self.inline_bytes_max {
            return Ok((self.keep(step, attempt, value).await?, Vec::new()));
        }
        let (size, limit) = (value.body().len(), durable_bytes_max);
        if size > limit || !is_logged {
            let (request, key) = (self.request, self.key(step, attempt));
            let timer = timed("data.put");
            let put = self
                .stores
                .put_durable(request, &key, envelope.clone())
                .await;
            if let Some(put) = put.as_ref().map(Option::as_ref).transpose() {
                tell_put(timer, envelope.len() as u64, put);
            }
            return match put? {
                Some(at) => Ok((at, Vec::new())),
                None if is_logged => Err(DataError::NotDurable { size, limit }),
                None => Ok((self.store(step, attempt, value).await?, Vec::new())),
            };
        }
        let (at, parts) = parts_of(value);
        if let ValueRef::Parts { upload, .. } = &at {
            self.learn(*upload, envelope.clone());
        }
        Ok((at, parts))
    }

    /// Keeps the request's output beside its log, if there is a place for such.
    pub(crate) async fn keep_output(&self, output: &Value) -> Result<Option<ValueRef>, DataError> {
        let (key, envelope) = (self.key("output", 0), output.envelope().clone());
        Ok(self
            .stores
            .put_durable(self.request, &key, envelope)
            .await?)
    }

    /// Keeps a value in the store, whatever its size.
    pub(crate) async fn store(
        &self,
        step: &str,
        attempt: u32,
        value: &Value,
    ) -> Result<ValueRef, DataError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(DataError::Closed(self.request));
        }
        let (key, envelope) = (self.key(step, attempt), value.envelope().clone());
        let (timer, size) = (timed("data.put"), envelope.len() as u64);
        let put = self
            .stores
            .put(self.request, self.epoch, &key, envelope)
            .await;
        tell_put(timer, size, put.as_ref());
        Ok(put?)
    }

    /// `{request}generation/step/attempt.epoch.nonce`: a late attempt never overwrites another.
    pub(super) fn key(&self, step: &str, attempt: u32) -> String {
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
        let is_in_store = |at: &ValueRef| matches!(at, ValueRef::Stored { .. });
        let any_in_store = kept.iter().any(is_in_store);
        let manifest = Manifest {
            items: kept,
            keys: split.keys,
        };
        let value = Value::encode(&manifest)?;
        // It lies where they lie: so the log says which stores hold something.
        let at = match any_in_store {
            true => self.store(step.as_str(), attempt, &value).await?,
            false => self.keep(step.as_str(), attempt, &value).await?,
        };
        self.remember(at.clone(), Arc::new(manifest));
        Ok(at)
    }
}

fn tell_put(timer: Timer, size: u64, put: Result<&ValueRef, &PutError>) {
    let error = put.err().map(ToString::to_string);
    timer.end(SpanKind::Client, error, || {
        let mut about = vec![number("turlough.value.bytes", size)];
        if let Ok(ValueRef::Stored { store, .. }) = put {
            about.push(text("server.address", store));
        }
        about
    });
}
