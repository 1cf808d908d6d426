//! Data that was left here by requests which others took on: with the request's end it goes, too.
//!
//! Invariant: what a request still holds is never dropped here.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::debug;
use turlough_sdk::RequestId;
use turlough_statestore::{Event, Record};

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
            if is_over {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use turlough_sdk::{ContentType, Producer, Value, read_yaml};
    use uuid::Uuid;

    use super::*;
    use crate::engine::{Call, Engine};
    use crate::settings::Settings;

    #[tokio::test]
    async fn data_of_requests_that_are_over_is_dropped_and_no_other() {
        let engine = Engine::new(Settings::from_environment()).unwrap();
        for text in [
            "flow: ends\nnodes: { a: { pass: . } }",
            "flow: waits\nnodes: { a: { wait: { signal: go } } }",
        ] {
            engine.register(read_yaml(text).unwrap()).unwrap();
        }
        let mut requests = Vec::new();
        for name in ["ends", "waits"] {
            let flow = engine.flow(name).unwrap();
            let input = Value::new(ContentType::JSON, Producer::Caller, b"1");
            let started = engine.start(flow, input, Call::default()).await.unwrap();
            requests.push(started.request);
            if name == "ends" {
                started.finished.await.unwrap();
            }
        }
        let shared = &engine.shared;
        let settled = |records: Vec<Record>| records.last().is_some_and(is_settled);
        while !settled(engine.records(requests[0]).await.unwrap()) {
            tokio::task::yield_now().await;
        }
        while !shared.desk.of_these(&requests).is_empty() {
            tokio::task::yield_now().await;
        }
        // As though another replica had ended the one, and let the other go; the third begins.
        let begins = RequestId::from_uuid(Uuid::now_v7());
        requests.push(begins);
        for request in &requests {
            let value = Bytes::from_static(b"12345");
            shared.store.put(*request, 1, "a", value).unwrap();
        }
        let mut gone = HashSet::new();
        assert_eq!(shared.drop_some(None, &mut gone).await, None);
        let mut left = shared.store.requests();
        left.sort_unstable();
        assert_eq!(left, [requests[1], begins]);
        // What has no log by then never had one, or lost it.
        shared.drop_some(None, &mut gone).await;
        assert_eq!(shared.store.requests(), [requests[1]]);
    }
}
