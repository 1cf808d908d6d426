//! A work queue in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::StateError;
use crate::queue::{Queue, Taken};

/// A work queue in memory.
#[derive(Debug)]
pub struct MemoryQueue {
    visibility: Duration,
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
}

/// One queue.
#[derive(Debug, Default)]
struct Lane {
    items: Mutex<Items>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Items {
    last: u64,
    ready: VecDeque<u64>,
    /// Taken or put off, with when they come back.
    hidden: BTreeSet<(Instant, u64)>,
    items: BTreeMap<u64, Item>,
}

#[derive(Debug)]
struct Item {
    payload: Bytes,
    attempt: u32,
    hidden_until: Option<Instant>,
}

impl MemoryQueue {
    /// A queue whose taken items come back after this time.
    #[must_use]
    pub fn new(visibility: Duration) -> Self {
        Self {
            visibility,
            lanes: Mutex::default(),
        }
    }

    fn lane(&self, queue: &str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(queue) {
            return Arc::clone(lane);
        }
        Arc::clone(lanes.entry(queue.to_owned()).or_default())
    }
}

impl Lane {
    fn items(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Items {
    /// What is there now, and when more comes back.
    fn take(
        &mut self,
        queue: &str,
        max: usize,
        visibility: Duration,
    ) -> (Vec<Taken>, Option<Instant>) {
        let now = Instant::now();
        while let Some((at, id)) = self.hidden.first().copied()
            && at <= now
        {
            self.hidden.pop_first();
            self.ready.push_back(id);
        }
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(id) = self.ready.pop_front()
        {
            let Some(item) = self.items.get_mut(&id) else {
                continue;
            };
            item.attempt += 1;
            item.hidden_until = Some(now + visibility);
            self.hidden.insert((now + visibility, id));
            taken.push(Taken {
                queue: queue.to_owned(),
                payload: item.payload.clone(),
                attempt: item.attempt,
                ticket: format!("{id}/{}", item.attempt),
            });
        }
        (taken, self.hidden.first().map(|(at, _)| *at))
    }

    /// The item of a taking, if it is the newest one.
    fn of(&mut self, ticket: &str) -> Option<(u64, &mut Item)> {
        let (id, attempt) = ticket.split_once('/')?;
        let (id, attempt) = (id.parse().ok()?, attempt.parse::<u32>().ok()?);
        let item = self.items.get_mut(&id)?;
        (item.attempt == attempt).then_some((id, item))
    }

    fn hide(&mut self, ticket: &str, until: Instant) {
        if let Some((id, item)) = self.of(ticket)
            && let Some(was) = item.hidden_until.replace(until)
            && self.hidden.remove(&(was, id))
        {
            self.hidden.insert((until, id));
        }
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue(&self, queue: &str, payload: Bytes) -> Result<(), StateError> {
        let lane = self.lane(queue);
        let mut items = lane.items();
        items.last += 1;
        let id = items.last;
        let item = Item {
            payload,
            attempt: 0,
            hidden_until: None,
        };
        items.items.insert(id, item);
        items.ready.push_back(id);
        drop(items);
        lane.more.notify_one();
        Ok(())
    }

    async fn take(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, StateError> {
        let lane = self.lane(queue);
        let end = Instant::now() + wait;
        loop {
            let (taken, back_at) = lane.items().take(queue, max, self.visibility);
            if !taken.is_empty() || Instant::now() >= end {
                if taken.len() == max {
                    // There may be more, for another taker.
                    lane.more.notify_one();
                }
                return Ok(taken);
            }
            tokio::select! {
                () = lane.more.notified() => {}
                () = tokio::time::sleep_until(back_at.map_or(end, |at| at.min(end))) => {}
            }
        }
    }

    async fn acknowledge(&self, item: &Taken) -> Result<(), StateError> {
        let lane = self.lane(&item.queue);
        let mut items = lane.items();
        if let Some((id, taken)) = items.of(&item.ticket) {
            let hidden_until = taken.hidden_until;
            items.items.remove(&id);
            if let Some(until) = hidden_until {
                items.hidden.remove(&(until, id));
            }
        }
        Ok(())
    }

    async fn extend(&self, item: &Taken) -> Result<(), StateError> {
        self.release(item, self.visibility).await
    }

    async fn release(&self, item: &Taken, after: Duration) -> Result<(), StateError> {
        let lane = self.lane(&item.queue);
        lane.items().hide(&item.ticket, Instant::now() + after);
        lane.more.notify_one();
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<u64, StateError> {
        Ok(self.lane(queue).items().items.len() as u64)
    }
}
