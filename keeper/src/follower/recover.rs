//! Where following goes on: the place that was reached, if what stands there is what stood there. If
//! not, the logs have lost their tail, or the place was deleted: then it is the newest earlier place
//! that still stands, and every request that was touched after it is read anew.

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
    let Some(newest) = points.first() else {
        return Ok(Seq::START);
    };
    if stands(shared, *newest).await? {
        return Ok(Seq::new(newest.seq));
    }
    let mut standing = None;
    for point in &points[1..] {
        if stands(shared, *point).await? {
            standing = Some(*point);
            break;
        }
    }
    let Some(standing) = standing else {
        warn!(
            position = newest.seq,
            "nothing of the position stands in the logs; index is rebuilt"
        );
        shared.index.call(Index::clear).await?;
        return Ok(Seq::START);
    };
    let margin_us = u64::try_from(shared.options.sync_interval.as_micros()).unwrap_or(u64::MAX);
    let before_us = standing.own_us.saturating_sub(margin_us.saturating_mul(2));
    let sure = points
        .iter()
        .find(|p| p.seq <= standing.seq && p.own_us <= before_us);
    let sure = sure.copied().unwrap_or(standing);
    let touched = shared
        .index
        .call(move |index| index.touched_after(sure.seq))
        .await?;
    warn!(
        position = newest.seq,
        goes_on_at = sure.seq,
        requests = touched.len(),
        "the logs lost what was followed; requests touched since are read anew"
    );
    stream::iter(touched)
        .map(|request| renew(shared, request))
        .buffer_unordered(READS_MAX)
        .try_collect::<()>()
        .await?;
    shared
        .index
        .call(move |index| index.go_back_to(sure))
        .await?;
    info!(goes_on_at = sure.seq, "requests were read anew");
    Ok(Seq::new(sure.seq))
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
