//! Values on their way between steps: small ones in the event, larger ones in the store, and what
//! must outlive the store in the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use turlough_datastore::{GetError, MemoryStore, PutError};
use turlough_sdk::{Digest, Inputs, RequestId, StepPath, Value, ValueError, ValueRef};

use crate::machine::Given;

/// Longest step path in a store key; a longer one is replaced by its hash.
const PATH_BYTES_MAX: usize = 400;
/// First and longest wait before a put that found the store full is tried again.
const PUT_WAIT_MIN: Duration = Duration::from_millis(5);
const PUT_WAIT_MAX: Duration = Duration::from_secs(1);

/// The data of one request, as its driver and its steps see it.
#[derive(Debug)]
pub(crate) struct RequestData {
    request: RequestId,
    epoch: u64,
    store: Arc<MemoryStore>,
    inline_bytes_max: usize,
    /// The input, which lies in the log where it is large.
    input: (ValueRef, Value),
    /// Manifests that were read: their items are looked up one by one.
    manifests: Mutex<HashMap<ValueRef, Arc<Vec<ValueRef>>>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error(transparent)]
    Get(#[from] GetError),
    #[error(transparent)]
    Put(#[from] PutError),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("item {index} of {items} is not in its manifest")]
    Item { index: u32, items: usize },
    #[error("value in the log of request {0} cannot be read here")]
    Elsewhere(RequestId),
}

impl RequestData {
    pub(crate) fn new(
        request: RequestId,
        epoch: u64,
        store: Arc<MemoryStore>,
        inline_bytes_max: usize,
        input: (ValueRef, Value),
    ) -> Self {
        Self {
            request,
            epoch,
            store,
            inline_bytes_max,
            input,
            manifests: Mutex::default(),
        }
    }

    /// Reads what lies at a reference.
    pub(crate) fn load(&self, at: &ValueRef) -> Result<Value, DataError> {
        let envelope = match at {
            ValueRef::Inline(envelope) => envelope.clone(),
            ValueRef::Stored {
                key, boot, size, ..
            } => self.store.get(self.request, key, *boot, *size)?,
            at if *at == self.input.0 => return Ok(self.input.1.clone()),
            ValueRef::Parts { .. } => return Err(DataError::Elsewhere(self.request)),
        };
        Ok(Value::from_envelope(envelope)?)
    }

    /// Reads a value as the machine knows it, joining what it names.
    pub(crate) fn resolve(&self, given: &Given) -> Result<Value, DataError> {
        match given {
            Given::Empty => Ok(Value::empty()),
            Given::Value(at) => self.load(at),
            Given::Item { manifest, index } => {
                let items = self.manifest(manifest)?;
                let missing = DataError::Item {
                    index: *index,
                    items: items.len(),
                };
                self.load(items.get(*index as usize).ok_or(missing)?)
            }
            Given::Map(members) => {
                let load = |(name, given): &(Arc<str>, Given)| {
                    Ok::<_, DataError>((Arc::clone(name), self.resolve(given)?))
                };
                let members = members.iter().map(load).collect::<Result<Vec<_>, _>>()?;
                let view: Vec<_> = members
                    .iter()
                    .map(|(name, value)| (&**name, value))
                    .collect();
                Ok(Value::map(&view)?)
            }
        }
    }

    /// The inputs of a step, member by member.
    pub(crate) fn inputs(
        &self,
        members: &[(Arc<str>, Option<Given>)],
    ) -> Result<Inputs, DataError> {
        let load = |(name, given): &(Arc<str>, Option<Given>)| {
            let value = given
                .as_ref()
                .map(|given| self.resolve(given))
                .transpose()?;
            Ok::<_, DataError>((Arc::clone(name), value))
        };
        let members = members.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        Ok(Inputs {
            request: self.request.to_string(),
            members,
        })
    }

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
        let key = self.key(step, attempt);
        let mut wait = PUT_WAIT_MIN;
        loop {
            match self
                .store
                .put(self.request, self.epoch, &key, envelope.clone())
            {
                Err(PutError::Full { .. }) => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(PUT_WAIT_MAX);
                }
                kept => return Ok(kept?),
            }
        }
    }

    /// `{request}generation/step/attempt.epoch.nonce`: a late attempt never overwrites another.
    fn key(&self, step: &str, attempt: u32) -> String {
        let nonce = uuid::Uuid::new_v4().as_u128() as u32;
        let (request, epoch) = (self.request, self.epoch);
        if step.len() > PATH_BYTES_MAX {
            let hash = Digest::of(step.as_bytes());
            return format!("{{{request}}}0/{hash}/{attempt}.{epoch}.{nonce:08x}");
        }
        format!("{{{request}}}0/{step}/{attempt}.{epoch}.{nonce:08x}")
    }

    /// Keeps the items of a `for_each`, each a value of its own, and the manifest that lists them.
    pub(crate) async fn keep_items(
        &self,
        step: &StepPath,
        attempt: u32,
        items: &[Value],
    ) -> Result<ValueRef, DataError> {
        let mut kept = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            kept.push(
                self.keep(&format!("{step}[{index}]"), attempt, item)
                    .await?,
            );
        }
        let manifest = self
            .keep(step.as_str(), attempt, &Value::encode(&kept)?)
            .await?;
        self.remember(manifest.clone(), Arc::new(kept));
        Ok(manifest)
    }

    fn manifest(&self, at: &ValueRef) -> Result<Arc<Vec<ValueRef>>, DataError> {
        let known = self
            .manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(at)
            .cloned();
        if let Some(items) = known {
            return Ok(items);
        }
        let items: Arc<Vec<ValueRef>> = Arc::new(self.load(at)?.decode()?);
        self.remember(at.clone(), Arc::clone(&items));
        Ok(items)
    }

    fn remember(&self, at: ValueRef, items: Arc<Vec<ValueRef>>) {
        self.manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(at, items);
    }
}
