//! Who has which item of a work queue, and until when: what backends that decide this themselves have
//! in common.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Queues by name, of items that hold a `P`.
#[derive(Debug)]
pub(crate) struct Lanes<P> {
    visibility: Duration,
    lanes: Mutex<HashMap<String, Arc<Lane<P>>>>,
}

/// An item that somebody has.
#[derive(Debug)]
pub(crate) struct Leased<P> {
    pub(crate) payload: P,
    pub(crate) attempt: u32,
    pub(crate) ticket: String,
}

/// One queue.
#[derive(Debug)]
struct Lane<P> {
    items: Mutex<Items<P>>,
    more: Notify,
}

#[derive(Debug)]
struct Items<P> {
    last: u64,
    ready: VecDeque<u64>,
    /// Taken or put off, with when they come back.
    hidden: BTreeSet<(Instant, u64)>,
    items: BTreeMap<u64, Item<P>>,
}

#[derive(Debug)]
struct Item<P> {
    payload: P,
    attempt: u32,
    hidden_until: Option<Instant>,
}

impl<P: Clone> Lanes<P> {
    /// Queues whose taken items come back after this time.
    pub(crate) fn new(visibility: Duration) -> Self {
        Self {
            visibility,
            lanes: Mutex::default(),
        }
    }

    /// Adds an item.
    pub(crate) fn add(&self, queue: &str, payload: P) {
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
    }

    /// Takes up to `max` items, waiting up to `wait` for the first.
    pub(crate) async fn take(&self, queue: &str, max: usize, wait: Duration) -> Vec<Leased<P>> {
        let lane = self.lane(queue);
        let end = Instant::now() + wait;
        loop {
            let (taken, back_at) = lane.items().take(max, self.visibility);
            if !taken.is_empty() || Instant::now() >= end {
                if taken.len() == max {
                    // There may be more, for another taker.
                    lane.more.notify_one();
                }
                return taken;
            }
            tokio::select! {
                () = lane.more.notified() => {}
                () = tokio::time::sleep_until(back_at.map_or(end, |at| at.min(end))) => {}
            }
        }
    }

    /// What the item of a taking holds, if that is the newest one.
    pub(crate) fn held(&self, queue: &str, ticket: &str) -> Option<P> {
        let lane = self.lane(queue);
        let mut items = lane.items();
        items.of(ticket).map(|(_, item)| item.payload.clone())
    }

    /// Takes the item of a taking out, if that is the newest one.
    pub(crate) fn remove(&self, queue: &str, ticket: &str) {
        let lane = self.lane(queue);
        let mut items = lane.items();
        if let Some((id, taken)) = items.of(ticket) {
            let hidden_until = taken.hidden_until;
            items.items.remove(&id);
            if let Some(until) = hidden_until {
                items.hidden.remove(&(until, id));
            }
        }
    }

    /// The item of a taking stays away for another visibility time.
    pub(crate) fn extend(&self, queue: &str, ticket: &str) {
        self.hide(queue, ticket, self.visibility);
    }

    /// The item of a taking stays away for so long from now on, if that is the newest one.
    pub(crate) fn hide(&self, queue: &str, ticket: &str, after: Duration) {
        let lane = self.lane(queue);
        lane.items().hide(ticket, Instant::now() + after);
        lane.more.notify_one();
    }

    /// Items that wait or are taken.
    pub(crate) fn depth(&self, queue: &str) -> u64 {
        self.lane(queue).items().items.len() as u64
    }

    fn lane(&self, queue: &str) -> Arc<Lane<P>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(queue) {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Lane {
            items: Mutex::new(Items {
                last: 0,
                ready: VecDeque::new(),
                hidden: BTreeSet::new(),
                items: BTreeMap::new(),
            }),
            more: Notify::new(),
        });
        lanes.insert(queue.to_owned(), Arc::clone(&lane));
        lane
    }
}

impl<P> Lane<P> {
    fn items(&self) -> MutexGuard<'_, Items<P>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Clone> Items<P> {
    /// What is there now, and when more comes back.
    fn take(&mut self, max: usize, visibility: Duration) -> (Vec<Leased<P>>, Option<Instant>) {
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
            taken.push(Leased {
                payload: item.payload.clone(),
                attempt: item.attempt,
                ticket: format!("{id}/{}", item.attempt),
            });
        }
        (taken, self.hidden.first().map(|(at, _)| *at))
    }

    /// The item of a taking, if it is the newest one.
    fn of(&mut self, ticket: &str) -> Option<(u64, &mut Item<P>)> {
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
