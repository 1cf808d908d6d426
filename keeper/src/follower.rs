//! Follows the logs into the index.
//!
//! Invariants: appends are taken in order, each once; after a connection ended, and at the start,
//! nothing is followed before what stands at the position was compared with what stood there.

mod recover;

pub(crate) use recover::read_anew;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{error, info, warn};
use turlough_statestore::{Follow, Followed, StateError};

use crate::index::IndexError;
use crate::keeper::Shared;

/// Appends that are taken at once: a few milliseconds of work for the index.
const BATCH_MAX: usize = 1_000;
/// A batch below this was all there was: the next may gather for a moment, since each costs a change
/// of threads.
const BATCH_SMALL: usize = 250;
const GATHER: Duration = Duration::from_millis(20);
/// Changed rows are stored after this long: requests that end within it cost one row each.
const FLUSH: Duration = Duration::from_millis(100);
/// Nothing came for this long: all there is was followed.
const QUIET: Duration = Duration::from_millis(250);
/// What happened this recently counts as now, where something comes all the time.
const RECENT_US: u64 = 2_000_000;
/// How often the file of the index is looked for, and progress is told.
const CHECK: Duration = Duration::from_secs(1);
const PROGRESS: Duration = Duration::from_secs(5);
/// Between attempts to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Asks that all that stands in the logs now be followed first.
pub(crate) type Barrier = oneshot::Sender<()>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the connection is a new one")]
    Reconnected,
}

/// Follows until the keeper stops, whatever happens to the logs or the index.
pub(crate) async fn run(shared: Arc<Shared>, mut barriers: mpsc::Receiver<Barrier>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            ended = follow(&shared, &mut barriers) => ended,
            () = shared.stop.cancelled() => return,
        };
        shared.is_caught_up.send_replace(false);
        let Err(cause) = ended;
        match cause {
            FollowError::Reconnected => {}
            FollowError::State(error) => {
                Shared::note(&shared.not_followed, Some(&error));
                tell(&error);
            }
            FollowError::Index(cause) => mend(&shared, &cause).await,
        }
        backoff = if began.elapsed() > BACKOFF_MAX {
            BACKOFF_MIN
        } else {
            (backoff * 2).min(BACKOFF_MAX)
        };
        tokio::select! {
            () = sleep(backoff) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// What passes by itself, and what somebody must look at.
fn tell(error: &StateError) {
    if error.passes() {
        warn!(%error, "logs cannot be followed; trying again");
    } else {
        error!(%error, "logs cannot be followed; trying again");
    }
}

/// After an error of the index: what is lost is rebuilt, else it is read again from its tables.
async fn mend(shared: &Shared, cause: &IndexError) {
    let is_lost = match cause {
        IndexError::Gone | IndexError::Unreadable(_) => true,
        IndexError::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) => matches!(
            failure.code,
            rusqlite::ErrorCode::DatabaseCorrupt
                | rusqlite::ErrorCode::NotADatabase
                | rusqlite::ErrorCode::SystemIoFailure
                | rusqlite::ErrorCode::Unknown
        ),
        IndexError::Sqlite(_) => true,
        IndexError::File { .. } | IndexError::Closed => false,
    };
    let mended = if is_lost {
        warn!(error = %chain(cause), "index is lost, and is rebuilt from the logs");
        shared.index.call(crate::index::Index::reset).await
    } else {
        error!(error = %chain(cause), "index cannot be written; see to its disk");
        shared.index.call(crate::index::Index::reload).await
    };
    if let Err(error) = mended {
        error!(error = %chain(&error), "index cannot be opened; trying again");
    }
}

async fn follow(
    shared: &Shared,
    barriers: &mut mpsc::Receiver<Barrier>,
) -> Result<std::convert::Infallible, FollowError> {
    let mut link = shared.state.link.clone();
    let era = link.borrow_and_update().era;
    let from = recover::verified(shared).await?;
    let mut following = Following {
        shared,
        follow: shared.state.log.follow(from).await?,
        flush_at: None,
        quiet_at: Instant::now() + quiet(shared, from.get()).await?,
        appends: 0,
        told_at: Instant::now(),
    };
    Shared::note(&shared.not_followed, None);
    let mut is_told = true;
    let mut check = interval(CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let flush_at = following.flush_at.unwrap_or(following.quiet_at);
        let is_quiet = *shared.is_caught_up.borrow();
        tokio::select! {
            batch = following.follow.next(BATCH_MAX) => {
                let found = following.take(batch?).await?;
                if found < BATCH_SMALL {
                    tokio::select! {
                        () = sleep(GATHER) => {}
                        Some(barrier) = barriers.recv() => following.pass(barrier).await?,
                    }
                }
            }
            Some(barrier) = barriers.recv() => following.pass(barrier).await?,
            () = sleep_until(flush_at), if following.flush_at.is_some() => {
                following.flush_at = None;
                shared.index.call(crate::index::Index::flush).await?;
            }
            () = sleep_until(following.quiet_at), if !is_quiet => following.is_quiet(),
            _ = check.tick() => shared.index.call(|index| index.check()).await?,
            changed = link.changed(), if is_told => {
                if changed.is_err() {
                    // Whoever told of the connection is gone with it; the follower ends by itself.
                    is_told = false;
                } else if link.borrow_and_update().era != era {
                    return Err(FollowError::Reconnected);
                }
            }
        }
    }
}

/// How long nothing may come before all is followed. Where there are logs, the first of them may be on
/// its way for a while.
async fn quiet(shared: &Shared, from: u64) -> Result<Duration, FollowError> {
    let is_empty = from > 0 || shared.state.log.usage().await?.bytes == 0;
    Ok(if is_empty { QUIET } else { BACKOFF_MAX })
}

struct Following<'a> {
    shared: &'a Shared,
    follow: Box<dyn Follow>,
    flush_at: Option<Instant>,
    quiet_at: Instant,
    appends: u64,
    told_at: Instant,
}

impl Following<'_> {
    async fn take(&mut self, batch: Vec<Followed>) -> Result<usize, FollowError> {
        let found = batch.len();
        for record in &batch {
            if let Err(reason) = &record.append {
                let request = record.request.map(|request| request.to_string());
                error!(request, seq = %record.seq, reason, "append cannot be read");
            }
        }
        let waits = self
            .shared
            .index
            .call(move |index| index.apply(&batch))
            .await?;
        let now = Instant::now();
        if waits {
            self.flush_at.get_or_insert(now + FLUSH);
        }
        self.quiet_at = now + QUIET;
        self.appends += found as u64;
        self.shared.metrics.followed(found as u64);
        if !*self.shared.is_caught_up.borrow() {
            let newest = *self.shared.index.told.newest.borrow();
            let behind_us = self
                .shared
                .options
                .clock
                .wall_us()
                .saturating_sub(newest.at_us);
            if newest.at_us > 0 && behind_us < RECENT_US {
                self.is_quiet();
            } else if self.told_at.elapsed() >= PROGRESS {
                self.told_at = Instant::now();
                info!(
                    appends = self.appends,
                    behind_s = behind_us / 1_000_000,
                    "reading the logs"
                );
            }
        }
        Ok(found)
    }

    fn is_quiet(&self) {
        if !self.shared.is_caught_up.send_replace(true) {
            info!(appends = self.appends, "index is caught up with the logs");
        }
    }

    /// All that is there now is followed before whoever asks goes on.
    async fn pass(&mut self, barrier: Barrier) -> Result<(), FollowError> {
        while let Some(batch) = self.follow.next(BATCH_MAX).now_or_never() {
            if self.take(batch?).await? < BATCH_MAX {
                break;
            }
        }
        // Who does not wait any more needs no word.
        let _ = barrier.send(());
        Ok(())
    }
}

/// An error and what it is due to.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
