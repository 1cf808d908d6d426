//! Reads what steps are given: what lies in the log at once, what lies in stores together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use turlough_datastore::data::Stored;
use turlough_sdk::{Value, ValueRef};

use super::{DataError, Found, Manifest, RequestData};
use crate::machine::Given;
use crate::trace::{SpanKind, number, text, timed};

/// Deepest join of joins that is put together: below the 128 that JSON's readers follow, and far
/// below what a thread's stack holds.
pub(super) const JOIN_DEPTH_MAX: usize = 100;
/// Most bytes of a step's inputs together: an envelope holds up to 4 GiB, and whoever reads them as
/// JSON needs several times as much. A stack of joins doubles with each, so that it needs a bound.
pub(super) const INPUT_BYTES_MAX: u64 = 1 << 30;
/// What a member of a join is counted for beside its value and name.
const MEMBER_BYTES: u64 = 32;
/// Values that are read of stores at once, for one step.
const READS: usize = 16;

/// Reads values of one request.
pub(super) struct Reader<'a> {
    data: &'a RequestData,
    /// How long a store is waited for that is away; for ever where nothing is said.
    patience: Option<Duration>,
    /// Bytes that may still be read.
    room: u64,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(data: &'a RequestData, patience: Option<Duration>) -> Self {
        Self {
            data,
            patience,
            room: INPUT_BYTES_MAX,
        }
    }

    pub(super) async fn read(mut self, given: &Given) -> Result<Found, DataError> {
        let mut found = self.look(given, 0).await?;
        let mut away = Vec::new();
        found.elsewhere(&mut away);
        self.fetch_all(away).await?;
        Ok(found)
    }

    pub(super) async fn read_all(
        mut self,
        given: Vec<Option<&Given>>,
    ) -> Result<Vec<Option<Found>>, DataError> {
        let mut all = Vec::with_capacity(given.len());
        for given in given {
            all.push(match given {
                Some(given) => Some(self.look(given, 0).await?),
                None => None,
            });
        }
        let mut away = Vec::new();
        for found in all.iter_mut().flatten() {
            found.elsewhere(&mut away);
        }
        self.fetch_all(away).await?;
        Ok(all)
    }

    pub(super) async fn load(&self, at: &ValueRef) -> Result<Value, DataError> {
        let envelope = match self.data.at_hand(at)? {
            Some(envelope) => envelope,
            None => self.fetch(at).await?,
        };
        Ok(Value::from_envelope(envelope)?)
    }

    pub(super) async fn manifest(&self, at: &ValueRef) -> Result<Arc<Manifest>, DataError> {
        if let Some(manifest) = self.data.known_manifest(at) {
            return Ok(manifest);
        }
        let manifest: Arc<Manifest> = Arc::new(self.load(at).await?.decode()?);
        self.data.remember(at.clone(), Arc::clone(&manifest));
        Ok(manifest)
    }

    /// What is known of a value without asking a store, but for what lists the items of a `for_each`. Its
    /// size is taken out of the room before anything of it is read: a join of joins is deep and large
    /// before it is long.
    async fn look(&mut self, given: &Given, depth: usize) -> Result<Found, DataError> {
        let at = match given {
            _ if depth > JOIN_DEPTH_MAX => return Err(DataError::TooDeep),
            Given::Empty => return Ok(Found::Nothing),
            Given::Value(at) => ValueRef::clone(at),
            Given::Item { manifest, index } => self.item(manifest, *index).await?,
            Given::Map(members) => {
                let mut found = Vec::with_capacity(members.len());
                for (name, member) in members.iter() {
                    self.take(name.len() as u64 + MEMBER_BYTES)?;
                    let member = Box::pin(self.look(member, depth + 1)).await?;
                    found.push((Arc::clone(name), member));
                }
                return Ok(Found::Map(found));
            }
        };
        self.take(at.size())?;
        Ok(match self.data.at_hand(&at)? {
            Some(envelope) => Found::Envelope(envelope),
            None => Found::Elsewhere(at),
        })
    }

    fn take(&mut self, bytes: u64) -> Result<(), DataError> {
        let room = self.room.checked_sub(bytes);
        self.room = room.ok_or(DataError::TooLarge)?;
        Ok(())
    }

    pub(super) async fn item(
        &self,
        manifest: &ValueRef,
        index: u32,
    ) -> Result<ValueRef, DataError> {
        let manifest = self.manifest(manifest).await?;
        let found = manifest.items.get(index as usize).cloned();
        found.ok_or(DataError::Item {
            index,
            items: manifest.items.len(),
        })
    }

    /// Reads what lies in stores, some of it at once.
    async fn fetch_all(&self, away: Vec<&mut Found>) -> Result<(), DataError> {
        if away.is_empty() {
            return Ok(());
        }
        let mut reads: Vec<BoxFuture<'_, _>> = Vec::with_capacity(away.len());
        for found in away {
            reads.push(Box::pin(self.fill(found)));
        }
        let mut reads = stream::iter(reads).buffer_unordered(READS);
        while let Some(read) = reads.next().await {
            read?;
        }
        Ok(())
    }

    async fn fill(&self, found: &mut Found) -> Result<(), DataError> {
        if let Found::Elsewhere(at) = found {
            *found = Found::Envelope(self.fetch(at).await?);
        }
        Ok(())
    }

    async fn fetch(&self, at: &ValueRef) -> Result<Bytes, DataError> {
        let request = self.data.request;
        let stored = Stored::of(at).ok_or(DataError::Elsewhere(request))?;
        let timer = timed("data.get");
        let get = self.data.stores.get(request, stored);
        let got = match self.patience {
            None => get.await,
            Some(patience) => match tokio::time::timeout(patience, get).await {
                Ok(got) => got,
                Err(_) => {
                    let store = stored.store.to_owned();
                    return Err(DataError::Away { store, patience });
                }
            },
        };
        let error = got.as_ref().err().map(ToString::to_string);
        timer.end(SpanKind::Client, error, || {
            let from = text("server.address", stored.store);
            vec![from, number("turlough.value.bytes", at.size())]
        });
        got.map_err(|source| DataError::of_get(at, source))
    }
}
