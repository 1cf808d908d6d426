//! Data that was left here by requests which others took on: with the request's end it goes, too.
//!
//! Invariant: what a request still holds is never dropped here.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::debug;
use turlough_sdk::RequestId;
use turlough_statestore::{Event, Record};

use crate::fault::{Fault, planted};
use crate::shared::Shared;

/// Requests that are looked at in one go, each by a short read: a thousandth of a core.
const LOOKED_AT_MAX: usize = 128;

impl Shared {
    /// Looks from time to time which requests with data here are over.
    pub(super) async fn drop_what_was_left(self: Arc<Self>) {
        let (mut from, mut gone) = (None, HashSet::new());
        loop {
            tokio::time::sleep(self.settings.state.heartbeat).await;
            from = self.drop_some(from, &mut gone).await;
        }
    }

    /// Where to go on the next time. `gone` are those that had no log the last time: one that begins may
    /// have none yet.
    async fn drop_some(
        &self,
        from: Option<RequestId>,
        gone: &mut HashSet<RequestId>,
    ) -> Option<RequestId> {
        let mut held = self.store.requests();
        held.sort_unstable();
        let first = held.partition_point(|request| from.is_some_and(|from| *request <= from));
        let some: Vec<_> = held[first..].iter().take(LOOKED_AT_MAX).copied().collect();
        let here = self.desk.of_these(&some);
        for request in some.iter().filter(|request| !here.contains(request)) {
            let Ok(last) = self.log.last(*request).await else {
                return from;
            };
            let is_over = match last {
                Some(last) => is_settled(&last),
                None => !gone.insert(*request),
            };
            if is_over && !planted(Fault::DataLeft) {
                gone.remove(request);
                let dropped = self.store.drop_bucket(*request, u64::MAX);
                debug!(%request, bytes = dropped.bytes, "request is over, and left data here");
            }
        }
        some.last().copied().filter(|_| some.len() == LOOKED_AT_MAX)
    }
}

fn is_settled(last: &Record) -> bool {
    let mut events = last.append.events.iter();
    events.any(|event| matches!(event, Event::Settled { .. }))
}
