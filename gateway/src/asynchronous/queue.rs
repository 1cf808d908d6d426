//! Where accepted calls lie until the dispatcher takes them: in memory, so far.
//!
//! Room is had before anything is held: a [`Place`] for the call, extended as its
//! body arrives. A place goes with its call and gives its room back wherever that
//! ends. A durable queue changes this module only.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::call::AsyncCall;

/// The end that calls are put into.
#[derive(Debug)]
pub(super) struct Queue {
    accepted: mpsc::Sender<Accepted>,
    calls: Arc<Semaphore>,
    calls_max: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    queued: IntGauge,
}

/// The end that calls are taken from.
#[derive(Debug)]
pub(super) struct Waiting {
    accepted: mpsc::Receiver<Accepted>,
    queued: IntGauge,
}

/// A call that was answered 202.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) call: AsyncCall,
    pub(super) place: Place,
}

/// Room for one call, given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    _call: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
    all_bytes: Arc<Semaphore>,
    bytes_max: usize,
}

/// Why a call finds no room.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error("{limit} asynchronous calls are waiting or in flight, the limit; try again later")]
    Calls { limit: usize },
    #[error("asynchronous calls that wait hold {limit} bytes, the limit; try again later")]
    Bytes { limit: usize },
    #[error("the gateway is stopping")]
    Stopping,
}

pub(super) fn new(calls_max: usize, bytes_max: usize, queued: IntGauge) -> (Queue, Waiting) {
    let calls_max = calls_max.clamp(1, Semaphore::MAX_PERMITS);
    let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
    // Whoever sends holds a place, so the channel is never full.
    let (sender, receiver) = mpsc::channel(calls_max);
    let queue = Queue {
        accepted: sender,
        calls: Arc::new(Semaphore::new(calls_max)),
        calls_max,
        bytes: Arc::new(Semaphore::new(bytes_max)),
        bytes_max,
        queued: queued.clone(),
    };
    let waiting = Waiting {
        accepted: receiver,
        queued,
    };
    (queue, waiting)
}

impl Queue {
    /// Room for one call, as yet without a byte.
    pub(super) fn place(&self) -> Result<Place, QueueError> {
        let limit = self.calls_max;
        let call = Arc::clone(&self.calls).try_acquire_owned();
        Ok(Place {
            _call: call.map_err(|_| QueueError::Calls { limit })?,
            bytes: acquire(&self.bytes, 0, self.bytes_max)?,
            all_bytes: Arc::clone(&self.bytes),
            bytes_max: self.bytes_max,
        })
    }

    /// Queues a call; afterwards it may be answered 202.
    pub(super) fn put(&self, call: AsyncCall, place: Place) -> Result<(), QueueError> {
        self.queued.inc();
        let put = self.accepted.try_send(Accepted { call, place });
        put.map_err(|_| {
            self.queued.dec();
            QueueError::Stopping
        })
    }
}

impl Place {
    /// Adds room for so many bytes.
    pub(super) fn extend(&mut self, bytes: usize) -> Result<(), QueueError> {
        let more = acquire(&self.all_bytes, bytes, self.bytes_max)?;
        self.bytes.merge(more);
        Ok(())
    }

    /// Gives back the room for bytes, and keeps the call's.
    pub(super) fn without_bytes(mut self) -> Self {
        let all = self.bytes.num_permits();
        drop(self.bytes.split(all));
        self
    }
}

impl Waiting {
    /// The next call; `None` once the queue is closed and empty.
    pub(super) async fn next(&mut self) -> Option<Accepted> {
        self.accepted.recv().await
    }

    /// Takes no more calls; those that were put can still be had.
    pub(super) fn close(&mut self) {
        self.accepted.close();
    }

    /// Notes that a call's function is being called.
    pub(super) fn began(&self) {
        self.queued.dec();
    }
}

fn acquire(
    all: &Arc<Semaphore>,
    bytes: usize,
    limit: usize,
) -> Result<OwnedSemaphorePermit, QueueError> {
    let full = QueueError::Bytes { limit };
    let Ok(bytes) = u32::try_from(bytes) else {
        return Err(full);
    };
    let permits = Arc::clone(all).try_acquire_many_owned(bytes);
    permits.map_err(|_| full)
}
