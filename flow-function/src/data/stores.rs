//! The stores that this process uses.
//!
//! Invariants: a store that has no room, or is away or refuses for a while, makes whoever uses it wait, and
//! nothing fails for that; other hosts' stores are spoken to by the own one alone, which knows them; what
//! must outlive a request's data lies elsewhere.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tracing::{debug, warn};
use turlough_datastore::data::{
    BucketError, Failure, GetError, Held, PutError, Stored, Usage, in_memory,
};
use turlough_datastore::{DataStore, StepCredential};
use turlough_sdk::{RequestId, ValueRef};
use turlough_statestore::event::StepEnd;
use turlough_statestore::{Event, Record};

use super::kept::{Kept, Registry, Touched};
use super::room::Room;
use crate::settings::Settings;

/// The waits between tries of what a store has no room for, or cannot do now.
const AGAIN_MIN: Duration = Duration::from_millis(5);
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// How long it is tried to drop a bucket, or to set its lease: the lease that it has is the sure way.
const PATIENCE: Duration = Duration::from_secs(2);
/// What outlives a request's data is not the data of any claim, and is never dropped.
const DURABLE_EPOCH: u64 = 1;

/// The stores of this process.
#[derive(Debug)]
pub(crate) struct Stores {
    /// That of this host, or the one that all share.
    own: Arc<dyn DataStore>,
    /// For what must outlive a request's data, and is too large for its log.
    durable: Option<Durable>,
    /// How long data lasts that nobody says anything of.
    lease: Duration,
    registry: Registry,
    room: Room,
}

/// A store for what is kept for as long as logs are.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) store: Arc<dyn DataStore>,
    /// How long an append is kept.
    pub(crate) lease: Duration,
}

impl Stores {
    pub(crate) fn new(own: Arc<dyn DataStore>, durable: Option<Durable>, lease: Duration) -> Self {
        Self {
            own,
            durable,
            lease,
            registry: Registry::default(),
            room: Room::default(),
        }
    }

    /// One in this process.
    pub(crate) fn in_memory(settings: &Settings) -> Self {
        let own = in_memory(&settings.data_options());
        Self::new(own, None, settings.data_lease)
    }

    /// Puts a value, once there is room for it and the store is there.
    pub(crate) async fn put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        envelope: Bytes,
    ) -> Result<ValueRef, PutError> {
        self.fills(request, epoch);
        let put = || self.own.put(request, epoch, key, envelope.clone());
        again(put, is_to_be_put_again).await
    }

    /// Whether there is a place for what must outlive a request's data and is too large for its log.
    pub(crate) const fn has_durable(&self) -> bool {
        self.durable.is_some()
    }

    /// Puts a value that must outlive the request's data, for as long as the logs. None where there is no
    /// place for such.
    pub(crate) async fn put_durable(
        &self,
        request: RequestId,
        key: &str,
        envelope: Bytes,
    ) -> Result<Option<ValueRef>, PutError> {
        let Some(durable) = &self.durable else {
            return Ok(None);
        };
        let put = || {
            durable
                .store
                .put(request, DURABLE_EPOCH, key, envelope.clone())
        };
        let at = again(put, is_to_be_put_again).await?;
        // Its bucket's lease may be that of an earlier put.
        self.lease_durable(request).await;
        Ok(Some(at))
    }

    pub(super) async fn get(&self, request: RequestId, at: Stored<'_>) -> Result<Bytes, GetError> {
        let failed = |error: &GetError| matches!(error, GetError::Failed(_));
        let durable = self.durable.as_ref().map(|durable| &durable.store);
        match durable.filter(|durable| durable.address() == at.store) {
            None => again(|| self.own.get(request, at), failed).await,
            Some(durable) => {
                // A parent reads what its sub-flow kept.
                let of = owner(at.key).unwrap_or(request);
                again(|| durable.get(of, at), failed).await
            }
        }
    }

    /// Whether what lies at a place is there still.
    pub(super) async fn check(&self, request: RequestId, at: Stored<'_>) -> Result<(), GetError> {
        let failed = |error: &GetError| matches!(error, GetError::Failed(_));
        again(|| self.own.check(request, at), failed).await
    }

    /// How what lies at a place begins.
    pub(super) async fn head(
        &self,
        request: RequestId,
        at: Stored<'_>,
        bytes: usize,
    ) -> Result<Bytes, GetError> {
        let failed = |error: &GetError| matches!(error, GetError::Failed(_));
        again(|| self.own.head(request, at, bytes), failed).await
    }

    /// Lends the own store to a function.
    pub(super) async fn lend(
        &self,
        credential: &StepCredential,
    ) -> Result<Option<String>, Failure> {
        again(|| self.own.lend(credential), Failure::passes).await
    }

    /// Whether a place is one that functions can reach.
    pub(super) fn is_lendable(&self, at: &ValueRef) -> bool {
        matches!(at, ValueRef::Stored { store, .. } if !self.is_durable(store))
    }

    fn is_durable(&self, address: &str) -> bool {
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| durable.store.address() == address)
    }

    /// Something is going to be put for a request, by this process or with its leave.
    pub(super) fn fills(&self, request: RequestId, epoch: u64) {
        self.registry.adds(request, epoch, self.own.address());
    }

    /// A function put something into another store.
    pub(super) fn fills_at(&self, request: RequestId, epoch: u64, store: &str) {
        self.registry.adds(request, epoch, store);
    }

    /// A driver sees to what a request has in stores from now on.
    pub(crate) fn take_on(&self, (request, epoch): (RequestId, u64), touched: &Touched) {
        self.registry.claims(request, epoch);
        let mut stores = touched.iter().filter(|store| !self.is_durable(store));
        for store in &mut stores {
            self.registry.adds(request, epoch, store);
        }
        if !touched.is_empty() {
            self.registry.inherits(request);
        }
    }

    /// Has what a request has in its stores last for so long from now, in any case; they have heard of it,
    /// if they are there, before this comes back.
    pub(crate) async fn keep(&self, request: RequestId, lease: Duration) {
        if self.registry.lasts(request, lease) {
            self.say_lease(request).await;
        }
    }

    /// Has it last for as long as data does that nobody says anything of, or longer where that was said.
    pub(crate) async fn renew(&self, request: RequestId) {
        if self.registry.lasts_at_least(request, self.lease) {
            self.say_lease(request).await;
        }
    }

    /// The same for what was said, where not every store has heard of it.
    pub(crate) async fn say_again(&self, request: RequestId) {
        if self.registry.is_unheard(request) {
            self.say_lease(request).await;
        }
    }

    /// A claim that a store of a request has heard of, and this process has not.
    pub(crate) fn newer(&self, request: RequestId) -> Option<u64> {
        self.registry.newer(request)
    }

    /// Tells all stores of a request how long its data is to last.
    async fn say_lease(&self, request: RequestId) {
        while let Some(kept) = self.registry.of(request) {
            let said = kept.stores.iter().map(async |store| {
                let leased = within(self.lease_in(store, request, &kept), "setting a lease");
                match leased.await {
                    Ok(()) => true,
                    Err(BucketError::Stale { newer, .. }) => {
                        self.registry.meets(request, &kept, newer.epoch);
                        true
                    }
                    Err(error) => {
                        debug!(%request, %store, %error, "data keeps the lease that it has");
                        false
                    }
                }
            });
            let is_heard = join_all(said).await.into_iter().all(|is_heard| is_heard);
            // It may have been said meanwhile that it is to last for longer, and been heard before this.
            if self.registry.was_said(request, &kept, is_heard) {
                return;
            }
        }
    }

    async fn lease_in(
        &self,
        store: &str,
        request: RequestId,
        kept: &Kept,
    ) -> Result<(), BucketError> {
        let (epoch, lease) = (kept.epoch, kept.left());
        if store == self.own.address() {
            return self.own.lease(request, epoch, lease).await.map(drop);
        }
        self.own.lease_at(store, request, epoch, lease).await
    }

    /// Drops what a request has in its stores, unless a newer claim is at it. What cannot be dropped now is
    /// tried again by whoever looks for what was left.
    pub(crate) async fn drop_all(&self, request: RequestId, epoch: u64) {
        let Some(kept) = self.registry.of(request) else {
            return;
        };
        let epoch = epoch.max(kept.epoch);
        let dropped = kept.stores.iter().map(async |store| {
            let dropped = within(self.drop_in(store, request, epoch, &kept), "dropping data");
            match dropped.await {
                Ok(()) | Err(BucketError::Stale { .. }) => {
                    self.registry.lets_go(request, store, &kept);
                }
                Err(error) => {
                    debug!(%request, %store, %error, "data is not dropped yet");
                    // A store that is gone for good is not asked for ever.
                    if kept.is_past(self.lease) {
                        self.registry.lets_go(request, store, &kept);
                    }
                }
            }
        });
        join_all(dropped).await;
    }

    async fn drop_in(
        &self,
        store: &str,
        request: RequestId,
        epoch: u64,
        kept: &Kept,
    ) -> Result<(), BucketError> {
        // A store remembers what was dropped for as long as its lease.
        let is_long = kept.left() > self.lease || kept.is_inherited;
        if store == self.own.address() {
            if is_long {
                self.own.lease(request, epoch, self.lease).await?;
            }
            let dropped = self.own.drop_bucket(request, epoch).await?;
            debug!(%request, keys = dropped.keys, bytes = dropped.bytes, "data is dropped");
            return Ok(());
        }
        if is_long {
            let lease = self.lease;
            self.own.lease_at(store, request, epoch, lease).await?;
        }
        self.own.drop_at(store, request, epoch).await
    }

    /// The requests that have something of this one in the store for what must outlive it: itself, and
    /// sub-flows whose outputs it holds.
    pub(crate) fn owners_of_durable(
        &self,
        request: RequestId,
        held: &[ValueRef],
    ) -> BTreeSet<RequestId> {
        let others = held.iter().filter_map(|at| match at {
            ValueRef::Stored { store, key, .. } if self.is_durable(store) => owner(key),
            _ => None,
        });
        others.chain([request]).collect()
    }

    /// Has what outlives a request's data last for as long as its log, from now.
    pub(crate) async fn lease_durable(&self, request: RequestId) {
        let Some(durable) = &self.durable else { return };
        let lease = || durable.store.lease(request, DURABLE_EPOCH, durable.lease);
        let passes = |error: &BucketError| matches!(error, BucketError::Failed(_));
        if let Err(error) = again(lease, passes).await {
            warn!(%request, %error, "what outlives a request keeps the lease that it has");
        }
    }

    /// Of how many requests this process sees to the data.
    pub(crate) fn seen_to(&self) -> usize {
        self.registry.len()
    }

    /// Requests whose data this process sees to: so many after one, in their order.
    pub(crate) fn seen_to_after(&self, after: Option<RequestId>, count: usize) -> Vec<RequestId> {
        self.registry.after(after, count)
    }

    /// Others see to a request's data, or its lease does.
    pub(crate) fn forget(&self, request: RequestId) {
        self.registry.forget(request);
    }

    /// How long data lasts that nobody says anything of.
    pub(crate) const fn lease(&self) -> Duration {
        self.lease
    }

    /// What the tenant holds in the own one, where that is so much that nothing new is to begin.
    pub(crate) async fn past_soft(&self) -> Option<Usage> {
        let usage = self.room.usage(&*self.own).await?;
        usage.is_past_soft().then_some(usage)
    }

    /// What the own one holds, where that is in this process.
    pub(crate) fn held(&self) -> Option<Held> {
        self.own.held()
    }
}

/// The stores that a request's log names.
pub(crate) fn touched(records: &[Record]) -> Touched {
    let mut touched = Touched::new();
    for event in records.iter().flat_map(|record| &record.append.events) {
        let at = match event {
            Event::StepEnded(ended) => match &ended.end {
                StepEnd::Succeeded { value } => Some(value),
                StepEnd::Split { manifest, .. } => Some(manifest),
                StepEnd::Took { input, .. }
                | StepEnd::Asked { input, .. }
                | StepEnd::Expanded { input, .. } => input.as_ref(),
                _ => None,
            },
            Event::Snapshot(snapshot) => {
                let stores = snapshot.stores.iter();
                touched.extend(stores.map(|store| Arc::from(&**store)));
                None
            }
            _ => None,
        };
        if let Some(ValueRef::Stored { store, .. }) = at
            && !touched.contains(store)
        {
            touched.insert(Arc::clone(store));
        }
    }
    touched
}

/// The request whose bucket a key is in.
fn owner(key: &str) -> Option<RequestId> {
    let (owner, _) = key.strip_prefix('{')?.split_once('}')?;
    owner.parse().ok()
}

/// Whether a put is made again: where there is no room, and where a store is away or refuses whatever it is
/// asked, until somebody mends that.
const fn is_to_be_put_again(error: &PutError) -> bool {
    matches!(error, PutError::Full { .. } | PutError::Failed(_))
}

/// Does something until it is done, or until it cannot be.
async fn again<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    act: impl Fn() -> F,
    passes: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let (mut wait, mut is_told) = (AGAIN_MIN, false);
    loop {
        match act().await {
            Err(error) if passes(&error) => {
                if wait == AGAIN_MAX && !std::mem::replace(&mut is_told, true) {
                    warn!(%error, "a store is asked again and again");
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(AGAIN_MAX);
            }
            done => return done,
        }
    }
}

/// What a store answers soon.
async fn within<T>(
    answer: impl Future<Output = Result<T, BucketError>>,
    doing: &str,
) -> Result<T, BucketError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(BucketError::Failed(Failure::Unavailable {
            attempted: doing.to_owned(),
            reason: format!("no answer within {PATIENCE:?}"),
        })),
    }
}
