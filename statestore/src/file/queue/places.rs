//! Where the items that wait lie.

use std::collections::{BTreeMap, BTreeSet};

use crate::file::journal::Place;

/// Where the items that wait lie.
#[derive(Debug, Default)]
pub(super) struct Places {
    items: BTreeMap<u64, Place>,
    /// The items that lie in each segment.
    segments: BTreeMap<u64, BTreeSet<u64>>,
    /// Bytes that they take.
    pub(super) bytes: u64,
    /// Why nothing is to be taken any more.
    pub(super) down: Option<String>,
}

impl Places {
    /// An item lies at a place, whether it lay elsewhere before or not.
    pub(super) fn put(&mut self, id: u64, place: Place) {
        self.done(id);
        self.bytes += u64::from(place.length);
        let segment = place.segment.header.number;
        self.segments.entry(segment).or_default().insert(id);
        self.items.insert(id, place);
    }

    /// An item does not wait any more.
    pub(super) fn done(&mut self, id: u64) {
        let Some(place) = self.items.remove(&id) else {
            return;
        };
        self.bytes -= u64::from(place.length);
        let segment = place.segment.header.number;
        if let Some(ids) = self.segments.get_mut(&segment) {
            ids.remove(&id);
            if ids.is_empty() {
                self.segments.remove(&segment);
            }
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<Place> {
        self.items.get(&id).cloned()
    }

    /// The first items that lie in a segment, until they take so many bytes; one where any does.
    pub(super) fn of_segment(&self, number: u64, bytes_max: u64) -> Vec<(u64, Place)> {
        let mut bytes = 0;
        let ids = self.segments.get(&number).into_iter().flatten();
        let items = ids.filter_map(|id| Some((*id, self.get(*id)?)));
        let few = items.take_while(|(_, place)| {
            let is_first = bytes == 0;
            bytes += u64::from(place.length);
            is_first || bytes <= bytes_max
        });
        few.collect()
    }
}
