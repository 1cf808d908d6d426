//! A request's values, which go together.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::copies::Copies;
use super::item::Item;
use super::meter::Meter;

/// Items, in no order that means something. What is removed has its place taken by the last: whoever
/// goes through them from the end misses none that stays.
pub(crate) type Items = IndexSet<Item, RandomState>;

/// A bucket. One that was dropped stays until its lease would have ended, and takes nothing of the
/// claims that it was dropped by.
#[derive(Debug)]
pub(crate) struct Bucket {
    items: Items,
    pub(crate) meter: Meter,
    /// The newest claim that was heard of.
    pub(crate) epoch: u64,
    /// When it goes by itself.
    pub(crate) lease_ms: u64,
    /// When the timetable looks at it next.
    pub(crate) listed_ms: u64,
    pub(crate) is_dropped: bool,
    /// Items that go by themselves.
    expiring: usize,
    /// Names that outlive a drop, and until when.
    kept: HashMap<Box<[u8]>, u64, RandomState>,
    copies: Copies,
    /// What of it lies on disk, in bytes.
    away: u64,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holds {
    /// Keys.
    pub keys: u64,
    /// Bytes: of names and values, and 64 for each key.
    pub bytes: u64,
    /// The most bytes that it held at once, since its first put.
    pub bytes_peak: u64,
    /// Bytes over time, since its first put: a drop that is made again tells them again.
    pub byte_ms: u128,
}

impl Bucket {
    pub(crate) fn new(epoch: u64, lease_ms: u64, now_ms: u64) -> Self {
        Self {
            items: Items::default(),
            meter: Meter::at(now_ms),
            epoch,
            lease_ms,
            listed_ms: u64::MAX,
            is_dropped: false,
            expiring: 0,
            kept: HashMap::default(),
            copies: Copies::default(),
            away: 0,
        }
    }

    /// What stands under a name. What has expired does not.
    pub(crate) fn get(&self, name: &[u8], now_ms: u64) -> Option<&Item> {
        let item = self.items.get(name)?;
        (!has_expired(item, now_ms)).then_some(item)
    }

    /// What stands under a name, expired or not.
    pub(crate) fn peek(&self, name: &[u8]) -> Option<&Item> {
        self.items.get(name)
    }

    /// Puts an item in the place of that of its name, which it gives back.
    pub(crate) fn put(&mut self, item: Item, now_ms: u64) -> Option<Item> {
        let cost = item.cost();
        self.expiring += usize::from(item.expires_ms().is_some());
        self.away += item.away();
        let (_, old) = self.items.replace_full(item);
        if let Some(old) = &old {
            self.forget(old, now_ms);
        }
        self.meter.add(cost, now_ms);
        old
    }

    /// Puts an item in the place of the same one, whose value lies elsewhere.
    pub(crate) fn exchange(&mut self, item: Item) -> Option<Item> {
        self.away += item.away();
        let (_, old) = self.items.replace_full(item);
        self.away -= old.as_ref().map_or(0, Item::away);
        old
    }

    pub(crate) fn take(&mut self, name: &[u8], now_ms: u64) -> Option<Item> {
        let item = self.items.swap_take(name)?;
        self.forget(&item, now_ms);
        self.kept.remove(name);
        self.copies.set(name, None);
        Some(item)
    }

    fn forget(&mut self, item: &Item, now_ms: u64) {
        self.meter.remove(item.cost(), now_ms);
        self.away -= item.away();
        self.expiring -= usize::from(item.expires_ms().is_some());
    }

    /// Has a name outlive drops until a time.
    pub(crate) fn keep(&mut self, name: &[u8], until_ms: u64) {
        self.kept.insert(name.into(), until_ms);
    }

    pub(crate) const fn copies(&self) -> &Copies {
        &self.copies
    }

    pub(crate) const fn copies_mut(&mut self) -> &mut Copies {
        &mut self.copies
    }

    /// Takes out all items but those that are kept for longer, which go by themselves from now on. What
    /// it held is told by the second.
    pub(crate) fn clear(&mut self, now_ms: u64) -> (Items, Copies, Holds) {
        let held = self.holds(now_ms);
        let mut gone = std::mem::take(&mut self.items);
        self.meter.remove(self.meter.bytes, now_ms);
        self.expiring = 0;
        self.away = 0;
        self.kept.retain(|_, until_ms| *until_ms > now_ms);
        // In the order in which they lay: a scan misses none that it has still to meet.
        let mut kept: Vec<_> = self.kept.iter().collect();
        kept.sort_by_cached_key(|(name, _)| gone.get_index_of(&***name));
        for (name, until_ms) in kept {
            if let Some(item) = gone.swap_take(&**name) {
                let at_ms = item
                    .expires_ms()
                    .map_or(*until_ms, |at_ms| at_ms.min(*until_ms));
                self.meter.add(item.cost(), now_ms);
                self.expiring += 1;
                self.away += item.away();
                self.items.insert(item.expiring(Some(at_ms)));
            }
        }
        (gone, std::mem::take(&mut self.copies), held)
    }

    /// Until when what is kept keeps it.
    pub(crate) fn kept_until_ms(&self) -> u64 {
        self.kept.values().copied().max().unwrap_or(0)
    }

    pub(crate) fn holds(&self, now_ms: u64) -> Holds {
        Holds {
            keys: self.items.len() as u64,
            bytes: self.meter.bytes,
            bytes_peak: self.meter.peak,
            byte_ms: self.meter.byte_ms(now_ms),
        }
    }

    pub(crate) const fn away(&self) -> u64 {
        self.away
    }

    pub(crate) const fn expiring(&self) -> usize {
        self.expiring
    }

    pub(crate) fn into_parts(self) -> (Items, Copies) {
        (self.items, self.copies)
    }

    pub(crate) const fn items(&self) -> &Items {
        &self.items
    }
}

pub(crate) fn has_expired(item: &Item, now_ms: u64) -> bool {
    item.expires_ms().is_some_and(|at_ms| at_ms <= now_ms)
}
