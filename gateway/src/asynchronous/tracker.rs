//! What is known of each call: of those that are open, and for a while of those that are over. Pure: no
//! clock, no IO.
//!
//! Invariant: a call is begun by one task at a time, and by none once it was cancelled or is over.

use std::collections::{HashMap, VecDeque};
use std::mem::replace;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::item::{Item, qualified};
use super::room::Place;

/// Calls that are over, of which is known how they ended, and for how long.
const OVER_MAX: usize = 10_000;
const OVER_MS: u64 = 3_600_000;

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    /// It waits for its turn.
    Queued,
    /// The function works on it.
    Calling,
    /// It waits to be made again.
    Retrying,
    /// The function has answered, and the caller is not told yet.
    CallingBack,
    /// The function has answered, and whoever was to be told was.
    Answered,
    /// It was given up, and lies among the dead letters.
    Dead,
    /// It was cancelled.
    Cancelled,
}

impl Standing {
    const fn waits(self) -> bool {
        matches!(self, Self::Queued | Self::Retrying)
    }

    /// Whether it is not over.
    pub(super) const fn is_open(self) -> bool {
        matches!(
            self,
            Self::Queued | Self::Calling | Self::Retrying | Self::CallingBack
        )
    }
}

/// What is known of a call.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) function: Box<str>,
    pub(super) standing: Standing,
    /// Calls that were made, the one under way included.
    pub(super) attempts: u32,
    /// Of the last answer.
    pub(super) status: Option<u16>,
    pub(super) accepted_ms: u64,
    pub(super) changed_ms: u64,
    /// When it is made again.
    pub(super) due_ms: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    call_id: Box<str>,
    place: Option<Place>,
    /// What its answer holds that somebody is to be told of.
    answer_bytes: usize,
    /// Of the call that is under way.
    cancel: CancellationToken,
}

/// What becomes of an item whose turn it is.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is made, until this is cancelled.
    Begun(CancellationToken),
    /// It is not to be made: so it ended.
    Over(Standing),
    /// Another task has it.
    Elsewhere,
}

#[derive(Debug, Default)]
pub(super) struct Tracker {
    calls: HashMap<Uuid, Entry>,
    by_call_id: HashMap<Box<str>, Vec<Uuid>>,
    /// Those that are over, the first first.
    over: VecDeque<(u64, Uuid)>,
    waiting: usize,
    open: usize,
    answer_bytes: usize,
}

impl Tracker {
    /// Calls that wait for their turn, or to be made again.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// When the first of those was accepted. It looks at all that are known.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let known = self.calls.values().map(|entry| &entry.known);
        let waiting = known.filter(|known| known.standing.waits());
        waiting.map(|known| known.accepted_ms).min()
    }

    /// Calls that are not over.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// What answers hold that somebody is to be told of.
    pub(super) const fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    pub(super) fn standing(&self, id: Uuid) -> Option<Standing> {
        self.calls.get(&id).map(|entry| entry.known.standing)
    }

    /// A call, or what is left to do of one: accepted now, or by a process before. One that is known stays
    /// as it is.
    pub(super) fn meet(&mut self, item: &Item, place: Option<Place>) {
        if self.calls.contains_key(&item.id) {
            return;
        }
        let standing = match (item.is_call(), item.attempts) {
            (false, _) => Standing::CallingBack,
            (true, 0) => Standing::Queued,
            (true, _) => Standing::Retrying,
        };
        let entry = Entry {
            known: Known {
                function: qualified(&item.function).into(),
                standing,
                attempts: item.attempts,
                status: None,
                accepted_ms: item.accepted_ms,
                changed_ms: item.accepted_ms,
                due_ms: (item.due_ms > 0).then_some(item.due_ms),
            },
            call_id: item.call_id.as_str().into(),
            place,
            answer_bytes: 0,
            cancel: CancellationToken::new(),
        };
        let of_id = self.by_call_id.entry(entry.call_id.clone());
        of_id.or_default().push(item.id);
        self.waiting += usize::from(standing.waits());
        self.open += 1;
        self.calls.insert(item.id, entry);
    }

    /// Whether a call may be made now.
    pub(super) fn begin(&mut self, item: &Item, now_ms: u64) -> Turn {
        self.meet(item, None);
        let standing = self.calls.get(&item.id).map(|entry| entry.known.standing);
        match standing {
            Some(standing) if standing.waits() => {}
            Some(Standing::Calling) => return Turn::Elsewhere,
            Some(standing) => return Turn::Over(standing),
            None => return Turn::Elsewhere,
        }
        self.change(item.id, Standing::Calling, now_ms, |entry| {
            entry.known.attempts = item.attempts + 1;
            entry.known.due_ms = None;
            entry.cancel = CancellationToken::new();
            Turn::Begun(entry.cancel.clone())
        })
        .unwrap_or(Turn::Elsewhere)
    }

    /// The answer is one after which the call is made again, as it is now.
    pub(super) fn retries(&mut self, again: &Item, status: u16, now_ms: u64) {
        self.change(again.id, Standing::Retrying, now_ms, |entry| {
            entry.known.status = Some(status);
            entry.known.attempts = again.attempts;
            entry.known.due_ms = Some(again.due_ms);
        });
    }

    /// The function has answered; somebody is to be told.
    pub(super) fn calls_back(&mut self, id: Uuid, status: u16, bytes: usize, now_ms: u64) {
        let changed = self.change(id, Standing::CallingBack, now_ms, |entry| {
            entry.known.status = Some(status);
            entry.answer_bytes = bytes;
            entry.place.as_mut().map(Place::without_bytes);
        });
        if changed.is_some() {
            self.answer_bytes += bytes;
        }
    }

    /// Nothing is left to do.
    pub(super) fn is_over(&mut self, id: Uuid, how: Standing, status: Option<u16>, now_ms: u64) {
        self.change(id, how, now_ms, |entry| {
            entry.known.status = status.or(entry.known.status);
            entry.place = None;
        });
    }

    /// Calls of this id and function that were waiting or under way, and are cancelled now.
    pub(super) fn cancel(&mut self, function: &str, call_id: &str, now_ms: u64) -> Vec<Uuid> {
        let ids = self.by_call_id.get(call_id).cloned().unwrap_or_default();
        let mut cancelled = Vec::new();
        for id in ids {
            let known = self.calls.get(&id).map(|entry| &entry.known);
            let is_it = known.is_some_and(|known| {
                let standing = known.standing;
                *known.function == *function && (standing.waits() || standing == Standing::Calling)
            });
            if is_it {
                self.change(id, Standing::Cancelled, now_ms, |entry| {
                    entry.place = None;
                    entry.cancel.cancel();
                });
                cancelled.push(id);
            }
        }
        cancelled
    }

    /// A call that somebody cancelled before this process was there.
    pub(super) fn was_cancelled(&mut self, id: Uuid, now_ms: u64) -> bool {
        let was = |entry: &mut Entry| entry.place = None;
        self.change(id, Standing::Cancelled, now_ms, was).is_some()
    }

    /// What is known of the calls of an id and a function, the first accepted first.
    pub(super) fn find(&self, function: &str, call_id: &str) -> Vec<Known> {
        let ids = self.by_call_id.get(call_id).into_iter().flatten();
        let known = ids.filter_map(|id| Some(&self.calls.get(id)?.known));
        known
            .filter(|known| *known.function == *function)
            .cloned()
            .collect()
    }

    fn change<T>(
        &mut self,
        id: Uuid,
        to: Standing,
        now_ms: u64,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let entry = self.calls.get_mut(&id)?;
        let from = replace(&mut entry.known.standing, to);
        entry.known.changed_ms = now_ms;
        let changed = change(entry);
        if !to.is_open() {
            self.answer_bytes -= std::mem::take(&mut entry.answer_bytes);
        }
        self.waiting += usize::from(to.waits());
        self.waiting -= usize::from(from.waits());
        if from.is_open() && !to.is_open() {
            self.open -= 1;
            self.over.push_back((now_ms, id));
            self.forget(now_ms);
        }
        Some(changed)
    }

    /// Forgets what has been over for long, or is one too many.
    fn forget(&mut self, now_ms: u64) {
        while let Some((at_ms, id)) = self.over.front().copied() {
            if self.over.len() <= OVER_MAX && now_ms.saturating_sub(at_ms) < OVER_MS {
                return;
            }
            self.over.pop_front();
            let Some(entry) = self.calls.remove(&id) else {
                continue;
            };
            if let Some(of_id) = self.by_call_id.get_mut(&entry.call_id) {
                of_id.retain(|other| *other != id);
                if of_id.is_empty() {
                    self.by_call_id.remove(&entry.call_id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::asynchronous::item::{Head, Headers, Kept, Work};

    fn item(n: u128, call_id: &str) -> Item {
        Item {
            id: Uuid::from_u128(n),
            call_id: call_id.to_owned(),
            function: "f.ns".to_owned(),
            accepted_ms: 1,
            attempts: 0,
            due_ms: 0,
            work: Work::Call(Head {
                target: "/function/f".to_owned(),
                headers: Headers::of(&http::HeaderMap::new()),
                peer: ByteBuf::from(b"127.0.0.1".to_vec()),
                callback: None,
            }),
            body: Kept::Here(ByteBuf::new()),
        }
    }

    #[test]
    fn a_call_is_begun_once_at_a_time_and_not_after_its_end() {
        let (mut tracker, one) = (Tracker::default(), item(1, "a"));
        tracker.meet(&one, None);
        assert_eq!((tracker.waiting(), tracker.open()), (1, 1));
        assert_eq!(tracker.oldest_ms(), Some(1));
        assert!(matches!(tracker.begin(&one, 2), Turn::Begun(_)));
        assert!(matches!(tracker.begin(&one, 2), Turn::Elsewhere));
        assert_eq!(tracker.oldest_ms(), None);
        let again = Item {
            attempts: 1,
            due_ms: 9,
            ..one.clone()
        };
        tracker.retries(&again, 503, 3);
        assert_eq!(tracker.find("f.ns", "a")[0].due_ms, Some(9));
        assert_eq!((tracker.waiting(), tracker.open()), (1, 1));
        assert!(matches!(tracker.begin(&one, 9), Turn::Begun(_)));
        tracker.is_over(one.id, Standing::Answered, Some(200), 10);
        assert!(matches!(
            tracker.begin(&one, 11),
            Turn::Over(Standing::Answered)
        ));
        assert_eq!((tracker.waiting(), tracker.open()), (0, 0));
    }

    #[test]
    fn what_is_cancelled_is_not_made_and_what_was_made_is_not_cancelled() {
        let mut tracker = Tracker::default();
        let (one, two, other) = (item(1, "a"), item(2, "a"), item(3, "b"));
        for item in [&one, &two, &other] {
            tracker.meet(item, None);
        }
        let Turn::Begun(under_way) = tracker.begin(&one, 2) else {
            panic!("it waits")
        };
        assert!(tracker.cancel("another", "a", 3).is_empty());
        assert_eq!(tracker.cancel("f.ns", "a", 3), [one.id, two.id]);
        assert!(under_way.is_cancelled());
        assert!(matches!(
            tracker.begin(&two, 4),
            Turn::Over(Standing::Cancelled)
        ));
        assert!(tracker.cancel("f.ns", "a", 5).is_empty());
        tracker.begin(&other, 6);
        tracker.calls_back(other.id, 200, 5, 7);
        assert!(tracker.cancel("f.ns", "b", 8).is_empty());
        assert_eq!((tracker.open(), tracker.answer_bytes()), (1, 5));
        tracker.is_over(other.id, Standing::Answered, None, 9);
        assert_eq!((tracker.open(), tracker.answer_bytes()), (0, 0));
    }

    #[test]
    fn what_is_over_is_known_for_an_hour_and_no_more_than_so_many() {
        let mut tracker = Tracker::default();
        for n in 0..=OVER_MAX as u128 {
            let item = item(n, &n.to_string());
            tracker.begin(&item, 0);
            tracker.is_over(item.id, Standing::Answered, Some(200), 5);
        }
        assert!(tracker.find("f.ns", "0").is_empty());
        assert_eq!(tracker.find("f.ns", "1").len(), 1);
        let late = item(u128::MAX, "late");
        tracker.begin(&late, 0);
        tracker.is_over(late.id, Standing::Dead, Some(500), 5 + OVER_MS);
        assert!(tracker.find("f.ns", "9").is_empty());
        assert_eq!(tracker.find("f.ns", "late")[0].status, Some(500));
        assert_eq!((tracker.calls.len(), tracker.by_call_id.len()), (1, 1));
    }
}
