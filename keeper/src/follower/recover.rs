//! Where following goes on after a connection ended: some way before the place that was reached, at one
//! that no loss can have touched. Every request that was touched after it is read anew.
//!
//! That what stood at the place stands there still is not enough: an append whose answer was lost is
//! stored again under its own id, and may come to the very same place behind others than before.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tracing::{error, info, warn};
use turlough_sdk::RequestId;
use turlough_statestore::{Seq, StateError};

use super::FollowError;
use crate::index::{Index, Point};
use crate::keeper::Shared;
use crate::row::Row;

/// Logs that are read at once.
const READS_MAX: usize = 16;

/// A place from which following is right.
pub(super) async fn verified(shared: &Shared) -> Result<Seq, FollowError> {
    let points = shared.index.call(Index::points).await?;
    let newest = points.first().map_or(0, |newest| newest.seq);
    let standing = newest_standing(shared, &points).await?;
    if standing.is_none() && newest > 0 {
        warn!(
            position = newest,
            "nothing of the position stands in the logs; index is rebuilt"
        );
        shared.index.call(Index::clear).await?;
        return Ok(Seq::START);
    }
    let margin_us = u64::try_from(shared.options.sync_interval.as_micros()).unwrap_or(u64::MAX);
    // A keeper that has followed for less than that goes through all that it knows.
    let sure = standing.and_then(|standing| {
        let before_us = standing.own_us.saturating_sub(margin_us.saturating_mul(2));
        let is_sure = |p: &&Point| p.seq <= standing.seq && p.own_us <= before_us;
        points.iter().find(is_sure).copied()
    });
    let goes_on_at = sure.map_or(0, |sure| sure.seq);
    let touched = shared
        .index
        .call(move |index| index.touched_after(goes_on_at))
        .await?;
    let requests = touched.len();
    if standing.is_some_and(|standing| standing.seq < newest) {
        warn!(
            position = newest,
            goes_on_at,
            requests,
            "the logs lost what was followed; requests touched since are read anew"
        );
    }
    stream::iter(touched)
        .map(|request| renew(shared, request))
        .buffer_unordered(READS_MAX)
        .try_collect::<()>()
        .await?;
    shared
        .index
        .call(move |index| index.go_back_to(sure))
        .await?;
    if requests > 0 {
        info!(goes_on_at, requests, "requests were read anew");
    }
    Ok(Seq::new(goes_on_at))
}

/// The newest place at which stands what stood there.
async fn newest_standing(shared: &Shared, points: &[Point]) -> Result<Option<Point>, StateError> {
    for point in points {
        if stands(shared, *point).await? {
            return Ok(Some(*point));
        }
    }
    Ok(None)
}

async fn stands(shared: &Shared, point: Point) -> Result<bool, StateError> {
    let found = shared.state.log.at(Seq::new(point.seq)).await?;
    Ok(found.is_some_and(|found| {
        let id = found.append.ok().map(|append| append.envelope.id);
        id == point.id
    }))
}

async fn renew(shared: &Shared, request: RequestId) -> Result<(), FollowError> {
    let Some(row) = derived(shared, request).await? else {
        return Ok(());
    };
    let is_lost = shared
        .index
        .call(move |index| index.replace(request, row))
        .await?;
    tell_lost(shared, request, is_lost);
    Ok(())
}

/// Reads the log of a request of which much was said and nothing was seen: it may be gone, or hold
/// what was not followed. `last_seq` is what is known of it.
pub(crate) async fn read_anew(
    shared: &Shared,
    request: RequestId,
    last_seq: u64,
) -> Result<(), FollowError> {
    let last = shared.state.log.last(request).await?;
    if last.is_some_and(|last| last.seq.get() == last_seq) {
        return Ok(());
    }
    let Some(row) = derived(shared, request).await? else {
        return Ok(());
    };
    let job = move |index: &mut Index| {
        let is_same = index
            .row(request)?
            .is_some_and(|row| row.last_seq == last_seq);
        // Otherwise it was followed meanwhile, which is as good.
        if is_same {
            index.replace(request, row)
        } else {
            Ok(false)
        }
    };
    let is_lost = shared.index.call(job).await?;
    tell_lost(shared, request, is_lost);
    Ok(())
}

/// What a log comes to. None where it cannot be read by this version.
async fn derived(shared: &Shared, request: RequestId) -> Result<Option<Option<Row>>, StateError> {
    let own_us = shared.options.clock.own_us();
    match shared.state.log.read(request, Seq::START).await {
        Ok(records) => Ok(Some(records.iter().fold(None, |row, record| {
            Row::fold(row, record.seq.get(), &record.append, own_us)
        }))),
        Err(error @ StateError::Unreadable { .. }) => {
            error!(%error, "request stays as it was known");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn tell_lost(shared: &Shared, request: RequestId, is_lost: bool) {
    if is_lost {
        shared.metrics.lost.inc();
        error!(%request, "log of an open request is gone; the request is lost");
    }
}
