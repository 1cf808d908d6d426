//! Where the appends of each request lie. It holds no append: some 100 bytes for a request and 40 for
//! each of its appends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use turlough_sdk::RequestId;

use crate::file::journal::Place;
use crate::file::segment::Segment;

/// Where the appends of each request lie.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The sequences of each log, in order. No log is empty.
    requests: HashMap<RequestId, VecDeque<u64>>,
    /// In order.
    segments: VecDeque<Held>,
    /// Why none of this is to be told any more.
    pub(super) down: Option<String>,
}

/// What a segment holds.
#[derive(Debug)]
struct Held {
    segment: Arc<Segment>,
    /// In order, also of logs that are deleted.
    entries: VecDeque<Entry>,
    /// Entries of logs that are not.
    live: usize,
}

#[derive(Debug)]
struct Entry {
    seq: u64,
    request: RequestId,
    offset: u32,
    length: u32,
}

impl Index {
    /// Where a log ends; 0 for none.
    pub(super) fn last(&self, request: RequestId) -> u64 {
        let log = self.requests.get(&request);
        log.and_then(|log| log.back().copied()).unwrap_or(0)
    }

    /// An append stands at a place after all others.
    pub(super) fn append(&mut self, request: RequestId, place: Place) {
        let is_new = |held: &Held| held.segment.header.number != place.segment.header.number;
        if self.segments.back().is_none_or(is_new) {
            self.segments.push_back(Held {
                segment: place.segment,
                entries: VecDeque::new(),
                live: 0,
            });
        }
        if let Some(held) = self.segments.back_mut() {
            held.live += 1;
            held.entries.push_back(Entry {
                seq: place.seq,
                request,
                offset: place.offset,
                length: place.length,
            });
        }
        self.requests
            .entry(request)
            .or_default()
            .push_back(place.seq);
    }

    /// A log is gone.
    pub(super) fn delete(&mut self, request: RequestId) {
        for seq in self.requests.remove(&request).unwrap_or_default() {
            let at = self.held_of(seq);
            if let Some(held) = self.segments.get_mut(at) {
                held.live -= 1;
            }
        }
    }

    /// Where the appends of a log after a sequence lie.
    pub(super) fn places(&self, request: RequestId, after: u64) -> Vec<Place> {
        let Some(log) = self.requests.get(&request) else {
            return Vec::new();
        };
        let rest = log.iter().skip(log.partition_point(|seq| *seq <= after));
        rest.filter_map(|seq| self.place(*seq)).collect()
    }

    /// Where the last append of a log lies.
    pub(super) fn last_place(&self, request: RequestId) -> Option<Place> {
        self.place(*self.requests.get(&request)?.back()?)
    }

    /// Whose append stands at a sequence, and where it lies.
    pub(super) fn at(&self, seq: u64) -> Option<(RequestId, Place)> {
        let held = self.segments.get(self.held_of(seq))?;
        let at = held.entries.binary_search_by_key(&seq, |entry| entry.seq);
        let entry = held.entries.get(at.ok()?)?;
        self.is_live(entry).then(|| held.found(entry))
    }

    /// Appends after a sequence, and the last sequence that was looked at: what is deleted is left out.
    pub(super) fn after(&self, seq: u64, max: usize) -> (Vec<(RequestId, Place)>, u64) {
        let (mut found, mut last) = (Vec::new(), seq);
        for held in self.segments.range(self.held_of(seq + 1)..) {
            let from = held.entries.partition_point(|entry| entry.seq <= seq);
            for entry in held.entries.range(from..) {
                if found.len() == max {
                    return (found, last);
                }
                last = entry.seq;
                if self.is_live(entry) {
                    found.push(held.found(entry));
                }
            }
        }
        (found, last)
    }

    /// How many appends of a segment, if it is the oldest one, are of logs that are there.
    pub(super) fn live_of_oldest(&self, number: u64) -> usize {
        let oldest = self.segments.front();
        let oldest = oldest.filter(|held| held.segment.header.number == number);
        oldest.map_or(0, |held| held.live)
    }

    /// Forgets so many appends of a segment, if it is the oldest one. True once none are left.
    pub(super) fn forget(&mut self, number: u64, count: usize) -> bool {
        let oldest = self.segments.front_mut();
        let Some(held) = oldest.filter(|held| held.segment.header.number == number) else {
            return true;
        };
        let count = count.min(held.entries.len());
        for entry in held.entries.drain(..count) {
            if let Some(log) = self.requests.get_mut(&entry.request)
                && log.front() == Some(&entry.seq)
            {
                held.live -= 1;
                log.pop_front();
                if log.is_empty() {
                    self.requests.remove(&entry.request);
                }
            }
        }
        let is_empty = held.entries.is_empty();
        if is_empty {
            self.segments.pop_front();
        }
        is_empty
    }

    fn place(&self, seq: u64) -> Option<Place> {
        let held = self.segments.get(self.held_of(seq))?;
        let at = held.entries.binary_search_by_key(&seq, |entry| entry.seq);
        held.entries.get(at.ok()?).map(|entry| held.found(entry).1)
    }

    /// Which segment holds a sequence, if any does.
    fn held_of(&self, seq: u64) -> usize {
        let after = |held: &Held| held.segment.header.base < seq;
        self.segments.partition_point(after).saturating_sub(1)
    }

    fn is_live(&self, entry: &Entry) -> bool {
        let log = self.requests.get(&entry.request);
        log.is_some_and(|log| log.binary_search(&entry.seq).is_ok())
    }
}

impl Held {
    fn found(&self, entry: &Entry) -> (RequestId, Place) {
        let place = Place {
            seq: entry.seq,
            segment: Arc::clone(&self.segment),
            offset: entry.offset,
            length: entry.length,
        };
        (entry.request, place)
    }
}
