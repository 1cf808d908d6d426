//! What goes: failed requests that are kept past the bound, settled ones past theirs, those that
//! somebody asked to delete, and rows whose logs have expired.
//!
//! Invariant: a row goes after its log, so that what was not done is done again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;
use turlough_sdk::RequestId;

use crate::follower::{FollowError, chain};
use crate::index::Index;
use crate::keeper::Shared;

/// Between two sweeps: what is past a bound stays for so long.
const APART: Duration = Duration::from_millis(250);
const SWEEPS_PER_S: u32 = 4;
/// Rows of expired logs: how often they are looked for, and how many go at once.
const EXPIRY: Duration = Duration::from_secs(10);
const EXPIRED_MAX: usize = 1_000;
/// Kept requests that are let go at once.
const LET_GO_MAX: usize = 500;

/// Sweeps until the keeper stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut expiry = Instant::now() + EXPIRY;
    loop {
        tokio::select! {
            () = sleep(APART) => {}
            () = shared.stop.cancelled() => return,
        }
        if !*shared.is_caught_up.borrow() {
            continue;
        }
        let mut swept = sweep(&shared).await;
        if swept.is_ok() && Instant::now() >= expiry {
            expiry = Instant::now() + EXPIRY;
            swept = expire(&shared).await;
        }
        if let Err(error) = swept {
            warn!(error = %chain(&error), "requests were not deleted; trying again");
            sleep(EXPIRY).await;
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), FollowError> {
    let options = &shared.options;
    let part = |per_s: u32| (per_s / SWEEPS_PER_S).max(1) as usize;
    let most = part(options.deletions_per_s);
    let doomed = shared.index.call(move |index| index.doomed(most)).await?;
    delete(shared, doomed).await?;
    if !*shared.is_active.borrow() {
        return Ok(());
    }
    let kept_max = options.keep_failed_max;
    let job = move |index: &mut Index| index.let_go_past(kept_max, LET_GO_MAX);
    shared.index.call(job).await?;
    if let Some(keep) = options.retention {
        let most = part(keep.deletions_per_s);
        let excess = shared
            .index
            .call(move |index| index.excess(keep, most))
            .await?;
        delete(shared, excess).await?;
    }
    Ok(())
}

async fn delete(shared: &Shared, requests: Vec<RequestId>) -> Result<(), FollowError> {
    if requests.is_empty() {
        return Ok(());
    }
    for request in &requests {
        shared.state.log.delete(*request).await?;
    }
    shared.metrics.deleted.inc_by(requests.len() as u64);
    shared
        .index
        .call(move |index| index.remove(&requests))
        .await?;
    Ok(())
}

/// Rows of requests that were settled before the oldest append that is kept. A clock may be wrong:
/// they go once the log of the newest of them is seen to be gone.
async fn expire(shared: &Shared) -> Result<(), FollowError> {
    let max_age_us = u64::try_from(shared.options.max_age.as_micros()).unwrap_or(u64::MAX);
    let before_us = shared.options.clock.wall_us().saturating_sub(max_age_us);
    loop {
        let job = move |index: &mut Index| index.settled_before(before_us, EXPIRED_MAX);
        let expired = shared.index.call(job).await?;
        let Some(newest) = expired.last() else {
            return Ok(());
        };
        if shared.state.log.last(*newest).await?.is_some() {
            return Ok(());
        }
        shared
            .index
            .call(move |index| index.remove(&expired))
            .await?;
        sleep(APART).await;
    }
}
