//! Calls that were given up, until somebody has them made anew or takes them away.
//!
//! Invariant: there are no more than so many; the oldest makes room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;
use turlough_statestore::StateError;
use uuid::Uuid;

use super::item::Item;
use super::store::Store;

/// Those that are kept.
const DEAD_MAX: usize = 1_000;

/// A call that was given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeadLetter {
    pub(super) item: Item,
    pub(super) lane: String,
    pub(super) attempts: u32,
    /// Of its last answer.
    pub(super) status: u16,
    pub(super) died_ms: u64,
}

/// What is shown of one.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) id: Uuid,
    pub(crate) call_id: String,
    /// With its namespace, where it is a function here.
    pub(crate) function: String,
    pub(crate) attempts: u32,
    pub(crate) status: u16,
    pub(crate) accepted_ms: u64,
    pub(crate) died_ms: u64,
}

#[derive(Debug)]
pub(super) struct DeadLetters {
    store: Arc<Store>,
    /// By when they died.
    shown: Mutex<BTreeMap<(u64, Uuid), Shown>>,
}

impl DeadLetters {
    pub(super) async fn open(store: Arc<Store>) -> Result<Self, StateError> {
        let letters = store.dead_letters().await?;
        let shown = letters.iter().map(|letter| (key(letter), show(letter)));
        let shown = Mutex::new(shown.collect());
        Ok(Self { store, shown })
    }

    pub(super) async fn add(&self, letter: DeadLetter) {
        self.store
            .until_done(|| self.store.add_dead_letter(&letter))
            .await;
        let oldest = {
            let mut shown = self.lock();
            shown.insert(key(&letter), show(&letter));
            let is_over = shown.len() > DEAD_MAX;
            is_over.then(|| shown.keys().next().copied()).flatten()
        };
        if let Some((_, id)) = oldest {
            warn!(%id, limit = DEAD_MAX, "the oldest dead letter makes room");
            if let Err(error) = self.remove_with_body(id).await {
                warn!(%error, "a dead letter stays");
            }
        }
    }

    pub(super) async fn find(&self, id: Uuid) -> Result<Option<DeadLetter>, StateError> {
        self.store.dead_letter(id).await
    }

    /// Takes one away whose call is made anew.
    pub(super) async fn remove(&self, id: Uuid) -> Result<(), StateError> {
        self.store.forget_dead_letter(id).await?;
        self.lock().retain(|(_, other), _| *other != id);
        Ok(())
    }

    /// Takes one away for good; false where there is no such.
    pub(super) async fn remove_with_body(&self, id: Uuid) -> Result<bool, StateError> {
        let Some(letter) = self.find(id).await? else {
            return Ok(false);
        };
        self.remove(id).await?;
        self.store.forget(&letter.item.body).await;
        Ok(true)
    }

    /// Those of a function, or all, the latest first.
    pub(super) fn list(&self, function: Option<&str>, limit: usize) -> Vec<Shown> {
        let shown = self.lock();
        let of_it = |shown: &&Shown| function.is_none_or(|function| shown.function == function);
        shown
            .values()
            .rev()
            .filter(of_it)
            .take(limit)
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, Uuid), Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(letter: &DeadLetter) -> (u64, Uuid) {
    (letter.died_ms, letter.item.id)
}

fn show(letter: &DeadLetter) -> Shown {
    Shown {
        id: letter.item.id,
        call_id: letter.item.call_id.clone(),
        function: super::item::qualified(&letter.item.function),
        attempts: letter.attempts,
        status: letter.status,
        accepted_ms: letter.item.accepted_ms,
        died_ms: letter.died_ms,
    }
}
