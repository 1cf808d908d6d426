//! Data that is here: it stays while its request is open, and where another took that on, it goes with the
//! request's end, too.
//!
//! Invariant: what a request still holds is never dropped here.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use turlough_sdk::RequestId;
use turlough_statestore::{Event, Record, StateError};

use crate::shared::Shared;

/// Requests that are looked at in one go, each by a short read: a thousandth of a core. More where there
/// are so many that some would not be looked at within their lease.
const LOOKED_AT_MIN: usize = 128;
/// How many are asked for at once.
const AT_ONCE: usize = 16;
/// How often a lease is renewed before it would be over.
const LEASE_PARTS: u32 = 3;

impl Shared {
    /// Looks from time to time which requests with data here are over.
    pub(super) async fn drop_what_was_left(self: Arc<Self>) {
        let mut from = None;
        loop {
            tokio::time::sleep(self.settings.state.heartbeat).await;
            let rounds =
                self.stores.lease().as_secs_f64() / self.settings.state.heartbeat.as_secs_f64();
            let share = self.stores.seen_to() as f64 * f64::from(LEASE_PARTS) / rounds.max(1.0);
            from = self
                .drop_some(from, LOOKED_AT_MIN.max(share as usize))
                .await;
        }
    }

    /// Has the data of requests that are driven here last for as long as they are.
    pub(super) async fn keep_leases(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.stores.lease() / LEASE_PARTS).await;
            let mut from = None;
            loop {
                let requests = self.stores.seen_to_after(from, LOOKED_AT_MIN);
                let here = stream::iter(self.desk.of_these(&requests));
                here.for_each_concurrent(AT_ONCE, |request| self.renew(request))
                    .await;
                from = requests.last().copied();
                if from.is_none() {
                    break;
                }
            }
        }
    }

    /// Has what a request that is driven here has last for longer. Where a store has heard of another claim
    /// than its driver has, that one is told.
    async fn renew(self: &Arc<Self>, request: RequestId) {
        self.stores.renew(request).await;
        if self.stores.newer(request).is_some() {
            self.wake(request);
        }
    }

    /// Looks at so many; where to go on the next time.
    async fn drop_some(&self, from: Option<RequestId>, count: usize) -> Option<RequestId> {
        let requests = self.stores.seen_to_after(from, count);
        let here = self.desk.of_these(&requests);
        let mut elsewhere = requests.clone();
        elsewhere.retain(|request| !here.contains(request));
        let looks: Vec<_> = elsewhere
            .into_iter()
            .map(|request| self.look_at(request))
            .collect();
        let looked: Vec<_> = stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        if looked.iter().any(Result::is_err) {
            return from;
        }
        let is_full = requests.len() == count;
        requests.last().copied().filter(|_| is_full)
    }

    /// Looks at one that is not driven here.
    async fn look_at(&self, request: RequestId) -> Result<(), StateError> {
        match self.log.last(request).await? {
            Some(last) if is_settled(&last) => self.stores.drop_all(request, 0).await,
            // Who let it rest has said how long it is to last.
            Some(last) if is_released(&last) => self.stores.say_again(request).await,
            Some(_) => self.stores.renew(request).await,
            // Who lost his log may begin anew under the same claim: it stays for its lease.
            None => self.stores.forget(request),
        }
        if self.stores.newer(request).is_some() {
            // Whoever claimed it sees to what it has.
            self.stores.forget(request);
        }
        Ok(())
    }
}

fn is_settled(last: &Record) -> bool {
    let mut events = last.append.events.iter();
    events.any(|event| matches!(event, Event::Settled { .. }))
}

fn is_released(last: &Record) -> bool {
    matches!(last.append.events.last(), Some(Event::Released { .. }))
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
            let key = format!("{{{request}}}a");
            shared.stores.put(*request, 1, &key, value).await.unwrap();
        }
        assert_eq!(shared.drop_some(None, 9).await, None);
        // What has no log is left to its lease.
        assert_eq!(shared.stores.held().unwrap().bytes, 10);
        assert_eq!(shared.stores.seen_to_after(None, 9), [requests[1]]);
    }
}
