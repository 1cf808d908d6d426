//! Functions that count their calls. What was sent to one goes on without whoever sent it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::sleep;
use turlough_sdk::StepError;

use crate::dice::Dice;

/// How often a function that is held looks whether it still is.
const HELD_FOR: Duration = Duration::from_millis(50);

/// All functions, and who was called for what.
#[derive(Debug)]
pub(super) struct Functions {
    runtime: Handle,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    dice: Dice,
    /// By function and number: how often it was called.
    calls: BTreeMap<(&'static str, u64), u32>,
    /// Functions that do not answer for now.
    held: BTreeSet<&'static str>,
}

impl Functions {
    pub(super) fn new(runtime: &Handle, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            runtime: runtime.clone(),
            book: Mutex::new(Book {
                dice: Dice(seed),
                calls: BTreeMap::new(),
                held: BTreeSet::new(),
            }),
        })
    }

    /// Calls a function with a number, which it gives back after up to so long.
    pub(super) async fn call(
        self: Arc<Self>,
        name: &'static str,
        n: u64,
        takes_ms_max: usize,
    ) -> Result<u64, StepError> {
        let (answer, answered) = oneshot::channel();
        let (way_ms, takes_ms) = {
            let dice = &mut self.book().dice;
            (dice.roll(4) as u64, dice.roll(takes_ms_max) as u64)
        };
        let functions = Arc::clone(&self);
        self.runtime.spawn(async move {
            sleep(Duration::from_millis(way_ms)).await;
            *functions.book().calls.entry((name, n)).or_default() += 1;
            sleep(Duration::from_millis(takes_ms)).await;
            while functions.book().held.contains(name) {
                sleep(HELD_FOR).await;
            }
            answer.send(n).ok();
        });
        answered.await.map_err(StepError::transient)
    }

    /// How often a function was called with a number.
    pub(super) fn calls(&self, name: &'static str, n: u64) -> u32 {
        self.book().calls.get(&(name, n)).copied().unwrap_or(0)
    }

    /// Those who call a function have no answer until it is let go; they are counted as they come.
    pub(super) fn hold(&self, name: &'static str) {
        self.book().held.insert(name);
    }

    pub(super) fn let_go(&self, name: &'static str) {
        self.book().held.remove(name);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
