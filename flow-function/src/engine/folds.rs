//! Folds of logs that others append to.
//!
//! Who appends from outside has to know what a request takes now, which its log tells. A long log that
//! is appended to again and again, by a thousand callbacks say, is not folded anew each time: its fold
//! is kept for a moment after its last use.
//! Invariant: a kept fold is brought up to date before it is asked, and forgotten with the connection on
//! which it was read; the log decides, not the fold.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use turlough_sdk::RequestId;
use turlough_statestore::{Append, Envelope, Event, Record, Seq, StateError};

use super::ControlError;
use crate::fault::{Fault, planted};
use crate::machine::{Execution, RestoreError};
use crate::shared::Shared;

/// Requests that are appended to from outside side by side; more wait for one another.
const PLACES: usize = 64;
/// Logs of fewer appends are folded anew: it takes less than some 50 µs.
const APPENDS_MIN: usize = 64;
/// How long a fold is kept after its last use.
const KEPT: Duration = Duration::from_secs(1);

/// One place for each of many requests: appends from outside to one request come one by one.
#[derive(Debug)]
pub(crate) struct Folds(Vec<Arc<Mutex<Option<Fold>>>>);

/// A log as far as it was read.
#[derive(Debug)]
pub(crate) struct Fold {
    request: RequestId,
    /// The connection on which it was read: on another one the log may have lost its tail.
    era: u64,
    pub(super) seq: Seq,
    /// Of the last append.
    pub(super) envelope: Envelope,
    pub(super) execution: Execution,
    appends: usize,
    used: Instant,
}

impl Default for Folds {
    fn default() -> Self {
        Self((0..PLACES).map(|_| Arc::default()).collect())
    }
}

impl Folds {
    fn place(&self, request: RequestId) -> &Arc<Mutex<Option<Fold>>> {
        &self.0[request.as_uuid().as_u128() as usize % self.0.len()]
    }

    /// Waits for one's turn to append to a request.
    pub(crate) async fn turn(&self, request: RequestId) -> MutexGuard<'_, Option<Fold>> {
        self.place(request).lock().await
    }

    /// Keeps a fold for a moment, where folding the log anew would take long.
    pub(super) fn keep(&self, turn: &mut Option<Fold>, mut fold: Fold) {
        if fold.appends < APPENDS_MIN {
            return;
        }
        fold.used = Instant::now();
        let place = Arc::downgrade(self.place(fold.request));
        // Each use looks again when its time is over; the last one finds that nobody came after it.
        *turn = Some(fold);
        tokio::spawn(sweep(place));
    }
}

/// Lets go of a fold that was not used for a while.
async fn sweep(place: Weak<Mutex<Option<Fold>>>) {
    tokio::time::sleep(KEPT).await;
    let Some(place) = place.upgrade() else { return };
    let mut kept = place.lock().await;
    if kept
        .as_ref()
        .is_some_and(|fold| fold.used.elapsed() >= KEPT)
    {
        *kept = None;
    }
}

impl Fold {
    /// Takes in what was appended.
    pub(super) fn learn(&mut self, seq: Seq, append: &Append) {
        self.execution.fold(append);
        self.seq = seq;
        if !append.is_blank() {
            self.envelope = append.envelope.clone();
        }
        self.appends += 1;
    }
}

/// Why the log of a request does not tell how it stands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoldError {
    #[error("no request {0} here")]
    Unknown(RequestId),
    #[error("log of request {request} cannot be folded: {why}")]
    Restore {
        request: RequestId,
        why: RestoreError,
    },
}

impl Shared {
    /// The fold of a request's log, from its start or its newest snapshot.
    pub(crate) fn execution(
        &self,
        request: RequestId,
        records: &[Record],
    ) -> Result<Execution, FoldError> {
        let mut events = records.iter().flat_map(|record| &record.append.events);
        if events.all(|event| matches!(event, Event::Part { .. })) {
            return Err(FoldError::Unknown(request));
        }
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let flow = events.find_map(|event| match event {
            Event::Accepted(accepted) => Some(&accepted.flow),
            _ => None,
        });
        let versions = match flow {
            Some(flow) => self.registry.versions(flow),
            None => self.registry.all_versions(),
        };
        Execution::read(request, &versions, records)
            .map_err(|why| FoldError::Restore { request, why })
    }

    /// The fold of a request's log as it is now; from the one that was kept, if it is this request's.
    pub(super) async fn fold_on(
        &self,
        request: RequestId,
        kept: Option<Fold>,
    ) -> Result<Fold, ControlError> {
        let wrong = |error: StateError| ControlError::Read(request, error);
        let era = self.state.link.borrow().era;
        let is_of_now = |fold: &Fold| fold.era == era || planted(Fault::FoldKept);
        let kept = kept.filter(|fold| fold.request == request && is_of_now(fold));
        let from = kept.as_ref().map_or(Seq::START, |fold| fold.seq);
        let records: Vec<Record> = self.log.read(request, from).await.map_err(wrong)?;
        let Some(mut fold) = kept else {
            self.learn_versions(request, &records)
                .await
                .map_err(wrong)?;
            let execution = self.execution(request, &records)?;
            let last = records.last().ok_or(ControlError::Unknown(request))?;
            let mut appends = records.iter().rev().map(|record| &record.append);
            let ours = appends.find(|append| !append.is_blank());
            let ours = ours.ok_or(ControlError::Unknown(request))?;
            return Ok(Fold {
                request,
                era,
                seq: last.seq,
                envelope: ours.envelope.clone(),
                execution,
                appends: records.len(),
                used: Instant::now(),
            });
        };
        for record in &records {
            fold.learn(record.seq, &record.append);
        }
        Ok(fold)
    }
}
