//! Room for calls: had before anything is held, extended as a body arrives, and given back wherever the
//! call ends.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many calls may be open, and how much they may hold.
#[derive(Debug)]
pub(super) struct Room {
    calls: Arc<Semaphore>,
    calls_max: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
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
pub(super) enum RoomError {
    #[error("{limit} asynchronous calls are waiting or in flight, the limit; try again later")]
    Calls { limit: usize },
    #[error("asynchronous calls that wait hold {limit} bytes, the limit; try again later")]
    Bytes { limit: usize },
}

impl Room {
    pub(super) fn new(calls_max: usize, bytes_max: usize) -> Self {
        let calls_max = calls_max.clamp(1, Semaphore::MAX_PERMITS);
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Self {
            calls: Arc::new(Semaphore::new(calls_max)),
            calls_max,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Room for one call, as yet without a byte.
    pub(super) fn place(&self) -> Result<Place, RoomError> {
        let limit = self.calls_max;
        let call = Arc::clone(&self.calls).try_acquire_owned();
        Ok(Place {
            _call: call.map_err(|_| RoomError::Calls { limit })?,
            bytes: acquire(&self.bytes, 0, self.bytes_max)?,
            all_bytes: Arc::clone(&self.bytes),
            bytes_max: self.bytes_max,
        })
    }

    /// That of a call which was let in by a process before: it takes what there is.
    pub(super) fn place_of_one_before(&self, bytes: usize) -> Option<Place> {
        let mut place = self.place().ok()?;
        let left = self.bytes.available_permits();
        // Somebody else may have had them meanwhile.
        drop(place.extend(bytes.min(left)));
        Some(place)
    }
}

impl Place {
    /// Adds room for so many bytes.
    pub(super) fn extend(&mut self, bytes: usize) -> Result<(), RoomError> {
        let more = acquire(&self.all_bytes, bytes, self.bytes_max)?;
        self.bytes.merge(more);
        Ok(())
    }

    /// Gives back the room for bytes, and keeps the call's.
    pub(super) fn without_bytes(&mut self) {
        let all = self.bytes.num_permits();
        drop(self.bytes.split(all));
    }
}

fn acquire(
    all: &Arc<Semaphore>,
    bytes: usize,
    limit: usize,
) -> Result<OwnedSemaphorePermit, RoomError> {
    let full = RoomError::Bytes { limit };
    let Ok(bytes) = u32::try_from(bytes) else {
        return Err(full);
    };
    let permits = Arc::clone(all).try_acquire_many_owned(bytes);
    permits.map_err(|_| full)
}
