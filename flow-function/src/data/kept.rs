//! What requests have in stores, as far as this process sees to it: where, under which claim, for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use turlough_sdk::RequestId;

/// Addresses of stores that something of a request was put into.
pub(crate) type Touched = BTreeSet<Arc<str>>;

/// What one request has.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// The newest claim under which something was put.
    pub(super) epoch: u64,
    pub(super) stores: Touched,
    /// Until when it is to last.
    until: Instant,
    /// Whether some store was not heard when it was told so.
    is_unheard: bool,
    /// Whether others may have said that it is to last for longer.
    pub(super) is_inherited: bool,
    /// The newest claim that a store has heard of, where that is not this one.
    newer: Option<u64>,
}

/// What all have.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<BTreeMap<RequestId, Kept>>);

impl Kept {
    /// How long it is to last.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether every store has let go of it by now, whatever it was told: with a lease of so long, nobody
    /// said anything for longer.
    pub(super) fn is_past(&self, lease: Duration) -> bool {
        !self.is_inherited && self.until + 2 * lease < Instant::now()
    }
}

impl Registry {
    /// A store may hold something of a request.
    pub(super) fn adds(&self, request: RequestId, epoch: u64, store: &str) {
        let mut all = self.all();
        let kept = all.entry(request).or_insert_with(|| Kept {
            epoch,
            stores: Touched::new(),
            until: Instant::now(),
            is_unheard: false,
            is_inherited: false,
            newer: None,
        });
        kept.epoch = epoch.max(kept.epoch);
        if !kept.stores.contains(store) {
            kept.stores.insert(Arc::from(store));
        }
    }

    /// Others may have said of what it has how long that is to last.
    pub(super) fn inherits(&self, request: RequestId) {
        self.change(request, |kept| kept.is_inherited = true);
    }

    /// It is driven under this claim.
    pub(super) fn claims(&self, request: RequestId, epoch: u64) {
        self.change(request, |kept| {
            kept.epoch = epoch.max(kept.epoch);
            kept.newer = kept.newer.filter(|newer| *newer >= kept.epoch);
        });
    }

    /// A store has heard of another claim than the one that was said to it.
    pub(super) fn meets(&self, request: RequestId, said: &Kept, newer: u64) {
        self.change(request, |kept| {
            if kept.epoch == said.epoch {
                kept.newer = kept.newer.max(Some(newer));
            }
        });
    }

    /// The newest claim that a store has heard of, where that is not the one that this process knows of.
    pub(super) fn newer(&self, request: RequestId) -> Option<u64> {
        self.all().get(&request)?.newer
    }

    /// It is to last for so long from now; whether there is any.
    pub(super) fn lasts(&self, request: RequestId, lease: Duration) -> bool {
        self.change(request, |kept| kept.until = Instant::now() + lease)
    }

    /// It is to last for so long from now, or longer.
    pub(super) fn lasts_at_least(&self, request: RequestId, lease: Duration) -> bool {
        self.change(request, |kept| {
            kept.until = kept.until.max(Instant::now() + lease);
        })
    }

    fn change(&self, request: RequestId, change: impl FnOnce(&mut Kept)) -> bool {
        self.all().get_mut(&request).map(change).is_some()
    }

    pub(super) fn is_unheard(&self, request: RequestId) -> bool {
        self.all().get(&request).is_some_and(|kept| kept.is_unheard)
    }

    /// Its stores were told how long it is to last; whether that is so still.
    pub(super) fn was_said(&self, request: RequestId, said: &Kept, is_heard: bool) -> bool {
        let mut all = self.all();
        let Some(kept) = all.get_mut(&request) else {
            return true;
        };
        kept.is_unheard = !is_heard;
        kept.until == said.until
    }

    pub(super) fn of(&self, request: RequestId) -> Option<Kept> {
        self.all().get(&request).cloned()
    }

    /// A store that was told this holds nothing of it any more, or others see to it.
    pub(super) fn lets_go(&self, request: RequestId, store: &str, said: &Kept) {
        let mut all = self.all();
        if let Some(kept) = all.get_mut(&request)
            && kept.epoch == said.epoch
        {
            kept.stores.remove(store);
            if kept.stores.is_empty() {
                all.remove(&request);
            }
        }
    }

    pub(super) fn forget(&self, request: RequestId) {
        self.all().remove(&request);
    }

    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    pub(super) fn after(&self, after: Option<RequestId>, count: usize) -> Vec<RequestId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let all = self.all();
        let from = after.map_or(Unbounded, Excluded);
        let some = all.range((from, Unbounded)).take(count);
        some.map(|(request, _)| *request).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<RequestId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
