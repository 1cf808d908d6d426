//! Where calls lie until they are over: queues, one for each function's calls and one for its callbacks;
//! large bodies in parts, in a log of their own; and small marks in a table.
//!
//! Invariant: what was put outlives this process where the state does, and comes again until it is done.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_bytes::ByteBuf;
use turlough_sdk::{FunctionName as Writer, ReplicaId, RequestId, TenantId};
use turlough_statestore::{
    Append, AppendId, Envelope, Event, Kind, Options, Seq, Standing, State, StateError, StateUrl,
    Taken,
};
use uuid::Uuid;

use super::dead_letters::DeadLetter;
use super::item::{Item, ItemError, Kept};

/// Bodies of up to this lie in their items.
const HERE_BYTES: usize = 64 << 10;
/// A part of a larger one.
pub(super) const PART_BYTES: usize = 256 << 10;
/// How long somebody has an item that nobody hears of.
const VISIBILITY: Duration = Duration::from_secs(30);
/// How often it is said that somebody still has it.
const SAID: Duration = Duration::from_secs(10);
/// How long to wait for an item before asking again.
const WAIT: Duration = Duration::from_secs(30);
/// Before what a state did not do is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Items that are looked at in one go, at the start.
const LOOKED_AT: usize = 256;

/// Keys of the table.
const LANES: &str = "lanes.";
const CANCELLED: &str = "cancelled.";
const DEAD: &str = "dead.";

#[derive(Debug)]
pub(super) struct Store {
    state: State,
    writer: Writer,
    replica: ReplicaId,
    outlives: bool,
}

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("{found} of its {parts} parts are there")]
    Lost { found: usize, parts: u32 },
    #[error(transparent)]
    Item(#[from] ItemError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl Store {
    pub(super) async fn open(url: &StateUrl) -> Result<Self, StateError> {
        let invalid = |what: &str| StateError::Refused {
            attempted: "naming the gateway to the state".to_owned(),
            reason: what.to_owned(),
        };
        let tenant: TenantId = "gateway".parse().map_err(|_| invalid("tenant"))?;
        let writer: Writer = "gateway".parse().map_err(|_| invalid("function"))?;
        let options = Options {
            visibility: VISIBILITY,
            ..Options::new(tenant, writer.clone())
        };
        Ok(Self {
            state: State::open(url, &options).await?,
            writer,
            replica: ReplicaId::from_uuid(Uuid::new_v4()),
            outlives: *url != StateUrl::Memory,
        })
    }

    /// Whether what is put outlives this process.
    pub(super) const fn outlives(&self) -> bool {
        self.outlives
    }

    pub(super) async fn put(&self, queue: &str, item: &Item) -> Result<(), StateError> {
        let written = item.written().map_err(|error| StateError::Refused {
            attempted: format!("writing call {}", item.id),
            reason: error.to_string(),
        })?;
        self.state.queue.enqueue(queue, written.into()).await
    }

    /// The next item, waited for. Safe to be dropped meanwhile.
    pub(super) async fn take(&self, queue: &str) -> Result<Option<Taken>, StateError> {
        Ok(self.state.queue.take(queue, 1, WAIT).await?.pop())
    }

    /// An item is done, and gone. Where the state is away it is said again and again: otherwise it would be
    /// done twice.
    pub(super) async fn done(&self, taken: &Taken) {
        self.until_done(|| self.state.queue.acknowledge(taken))
            .await;
    }

    /// An item is not done yet: it comes again after a while.
    pub(super) async fn put_off(&self, taken: &Taken, after: Duration) {
        // Without it, it comes once nobody is heard of who has it.
        drop(self.state.queue.release(taken, after).await);
    }

    /// Does something while an item stays with this process.
    pub(super) async fn holding<T>(&self, taken: &Taken, work: impl Future<Output = T>) -> T {
        let saying = async {
            loop {
                tokio::time::sleep(SAID).await;
                drop(self.state.queue.extend(taken).await);
            }
        };
        tokio::select! {
            done = work => done,
            () = saying => unreachable!("it is said for ever"),
        }
    }

    /// Tries something until the state does it.
    pub(super) async fn until_done<F: Future<Output = Result<(), StateError>>>(
        &self,
        act: impl Fn() -> F,
    ) {
        let mut is_told = false;
        while let Err(error) = act().await {
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(%error, "the state of asynchronous calls is asked again and again");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Keeps a body, beside its item where it is large.
    pub(super) async fn keep(&self, body: &Bytes) -> Result<Kept, StateError> {
        if body.len() <= HERE_BYTES {
            return Ok(Kept::Here(ByteBuf::from(body.to_vec())));
        }
        let name = Uuid::new_v4();
        let (mut at, mut parts) = (Seq::START, 0);
        for from in (0..body.len()).step_by(PART_BYTES) {
            let part = body.slice(from..body.len().min(from + PART_BYTES));
            let event = Event::part(name.as_u128(), parts, &part);
            let append = Append::new(self.envelope(), vec![event]);
            at = self.state.log.append(log_of(name), at, &append).await?;
            parts += 1;
        }
        Ok(Kept::Apart { name, parts })
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            id: AppendId(Uuid::new_v4().as_u128()),
            after: None,
            kind: Kind::External,
            epoch: 0,
            replica: self.replica,
            function: self.writer.clone(),
            generation: 0,
            deadline_us: None,
            wake_at_us: None,
            standing: Standing::default(),
        }
    }

    pub(super) async fn body(&self, kept: &Kept) -> Result<Bytes, BodyError> {
        let (name, parts) = match kept {
            Kept::Here(body) => return Ok(Bytes::copy_from_slice(body)),
            Kept::Apart { name, parts } => (*name, *parts),
        };
        let records = self.state.log.read(log_of(name), Seq::START).await?;
        let events = records.iter().flat_map(|record| &record.append.events);
        let (mut body, mut found) = (BytesMut::new(), 0);
        for event in events {
            if let Event::Part { bytes, .. } = event {
                body.extend_from_slice(bytes);
                found += 1;
            }
        }
        match found == parts as usize {
            true => Ok(body.freeze()),
            false => Err(BodyError::Lost { found, parts }),
        }
    }

    /// Forgets a body. One that stays goes by its age.
    pub(super) async fn forget(&self, kept: &Kept) {
        if let Kept::Apart { name, .. } = kept
            && let Err(error) = self.state.log.delete(log_of(*name)).await
        {
            tracing::debug!(%error, "body of an asynchronous call stays until it is too old");
        }
    }

    /// There may be calls of this function, also for a process that comes after this one.
    pub(super) async fn knows(&self, lane: &str) -> Result<(), StateError> {
        let key = format!("{LANES}{lane}");
        self.state.flows.put(&key, Bytes::new()).await
    }

    /// The functions of which there may be calls.
    pub(super) async fn lanes(&self) -> Result<Vec<String>, StateError> {
        let found = self.state.flows.list(LANES).await?.into_iter();
        let lane = |(key, _): (String, Bytes)| Some(key.strip_prefix(LANES)?.to_owned());
        Ok(found.filter_map(lane).collect())
    }

    /// Shows all items of a queue, which stay there.
    pub(super) async fn look(
        &self,
        queue: &str,
        mut show: impl FnMut(Result<Item, ItemError>),
    ) -> Result<(), StateError> {
        let mut taken = Vec::new();
        loop {
            let some = self
                .state
                .queue
                .take(queue, LOOKED_AT, Duration::ZERO)
                .await?;
            if some.is_empty() {
                break;
            }
            some.iter().for_each(|one| show(Item::read(&one.payload)));
            taken.extend(some);
        }
        for one in &taken {
            self.state.queue.release(one, Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Notes that a call is not to be made.
    pub(super) async fn cancel(&self, id: Uuid) -> Result<(), StateError> {
        if !self.outlives {
            return Ok(());
        }
        let key = format!("{CANCELLED}{}", id.simple());
        self.state.flows.put(&key, Bytes::new()).await
    }

    pub(super) async fn forget_cancelled(&self, id: Uuid) {
        if self.outlives {
            let key = format!("{CANCELLED}{}", id.simple());
            drop(self.state.flows.remove(&key).await);
        }
    }

    /// Calls that are not to be made.
    pub(super) async fn cancelled(&self) -> Result<Vec<Uuid>, StateError> {
        let found = self.state.flows.list(CANCELLED).await?.into_iter();
        let id = |(key, _): (String, Bytes)| key.strip_prefix(CANCELLED)?.parse().ok();
        Ok(found.filter_map(id).collect())
    }

    pub(super) async fn add_dead_letter(&self, letter: &DeadLetter) -> Result<(), StateError> {
        let written = rmp_serde::to_vec_named(letter).map_err(|error| StateError::Refused {
            attempted: format!("writing dead letter {}", letter.item.id),
            reason: error.to_string(),
        })?;
        let key = dead_key(letter.item.id);
        self.state.flows.put(&key, written.into()).await
    }

    pub(super) async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StateError> {
        let found = self.state.flows.get(&dead_key(id)).await?;
        Ok(found.and_then(|bytes| rmp_serde::from_slice(&bytes).ok()))
    }

    pub(super) async fn forget_dead_letter(&self, id: Uuid) -> Result<(), StateError> {
        self.state.flows.remove(&dead_key(id)).await
    }

    /// Those that there are.
    pub(super) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, StateError> {
        let found = self.state.flows.list(DEAD).await?.into_iter();
        let read = |(_, bytes): (String, Bytes)| rmp_serde::from_slice(&bytes).ok();
        Ok(found.filter_map(read).collect())
    }
}

fn log_of(name: Uuid) -> RequestId {
    RequestId::from_uuid(name)
}

fn dead_key(id: Uuid) -> String {
    format!("{DEAD}{}", id.simple())
}
