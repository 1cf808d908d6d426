//! A backend as the suite sees it, and what is appended to it.

use std::time::Duration;

use async_trait::async_trait;
use turlough_sdk::{ReplicaId, RequestId};
use turlough_statestore::{Append, AppendId, Envelope, Event, Kind, Options, Seq, Standing, State};
use uuid::Uuid;

/// A backend with nothing in it.
#[async_trait]
pub(crate) trait Server: Send + std::marker::Sync + Sized {
    async fn start() -> Self {
        Self::start_with(options()).await
    }

    async fn start_with(options: Options) -> Self;

    /// A connection, as of another process.
    async fn open(&self) -> State;

    /// Kills it and starts it again on what it kept. False where it keeps nothing, or is no process.
    async fn crash(&mut self) -> bool;

    /// What was stored up to here outlives [`Self::lose`].
    async fn mark(&mut self);

    /// Takes away what was stored since the mark, as a machine may that loses its power. Connections
    /// may break by it.
    async fn lose(&mut self);

    /// Returns when what stands up to a place has expired by its age, and nothing after it.
    async fn expire(&mut self, to: Seq);
}

/// Small limits, so that they can be met.
pub(crate) fn options() -> Options {
    Options {
        heartbeat: Duration::from_secs(2),
        visibility: Duration::from_secs(2),
        bytes_max: 64 << 20,
        ..Options::new("acme".parse().unwrap(), "flows".parse().unwrap())
    }
}

pub(crate) fn request() -> RequestId {
    RequestId::from_uuid(Uuid::now_v7())
}

pub(crate) fn append(id: u128) -> Append {
    append_of(id, vec![Event::CancelAsked { at_us: 7 }])
}

pub(crate) fn large(id: u128, bytes: usize) -> Append {
    append_of(id, vec![Event::part(id, 0, &vec![7; bytes].into())])
}

fn append_of(id: u128, events: Vec<Event>) -> Append {
    let envelope = Envelope {
        id: AppendId(id),
        after: None,
        kind: Kind::External,
        epoch: 0,
        replica: ReplicaId::from_uuid(Uuid::from_u128(1)),
        function: "flows".parse().unwrap(),
        generation: 0,
        deadline_us: None,
        wake_at_us: Some(5),
        standing: Standing::Sleeping,
    };
    Append::new(envelope, events)
}

/// Asks again until it is so; a long limit, since machines may be slow.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let ask = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), ask).await;
    found.unwrap_or_else(|_| panic!("not within a minute: {what}"))
}
