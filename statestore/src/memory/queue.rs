//! A work queue in memory.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StateError;
use crate::lanes::{Lanes, Leased};
use crate::queue::{Queue, Taken};

/// A work queue in memory.
#[derive(Debug)]
pub struct MemoryQueue {
    lanes: Lanes<Bytes>,
}

impl MemoryQueue {
    /// A queue whose taken items come back after this time.
    #[must_use]
    pub fn new(visibility: Duration) -> Self {
        let lanes = Lanes::new(visibility);
        Self { lanes }
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue(&self, queue: &str, payload: Bytes) -> Result<(), StateError> {
        self.lanes.add(queue, payload);
        Ok(())
    }

    async fn take(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, StateError> {
        let leased = self.lanes.take(queue, max, wait).await;
        let taken = |leased: Leased<Bytes>| Taken {
            queue: queue.to_owned(),
            payload: leased.payload,
            attempt: leased.attempt,
            ticket: leased.ticket,
        };
        Ok(leased.into_iter().map(taken).collect())
    }

    async fn acknowledge(&self, item: &Taken) -> Result<(), StateError> {
        self.lanes.remove(&item.queue, &item.ticket);
        Ok(())
    }

    async fn extend(&self, item: &Taken) -> Result<(), StateError> {
        self.lanes.extend(&item.queue, &item.ticket);
        Ok(())
    }

    async fn release(&self, item: &Taken, after: Duration) -> Result<(), StateError> {
        self.lanes.hide(&item.queue, &item.ticket, after);
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<u64, StateError> {
        Ok(self.lanes.depth(queue))
    }
}
