//! Memory that runs short: the largest and coldest values go to disk, and come back when they are read.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use super::item::{Held, Value};
use super::key::Key;
use super::refusal::Refusal;
use super::tenant::Tenant;
use super::{Common, Made, Store};
use crate::blob::Blob;
use crate::spill::{Disk, Spilled};

/// Smaller values stay: what they take is not worth a read from disk.
const SPILLED_MIN: usize = 64 << 10;
/// A value that was put or read within this time stays, in ms.
const WARM_MS: u64 = 250;
/// Values that are compared for one that goes.
const COMPARED: usize = 64;
/// What may be held beyond the bound for values that come back, as a part of all: they are needed, and
/// others go for them.
const BACK: u64 = 8;
/// How long one that comes back waits for others to go, in ms, and how often it looks.
const ROOM_MS: u64 = 5_000;
const LOOK: Duration = Duration::from_millis(10);
/// What is freed below the mark, as a part of all, so that not every put finds memory short.
const BELOW: u64 = 20;

/// Which values may go to disk, and when.
#[derive(Debug)]
pub(crate) struct Pressure {
    pub(crate) disk: Arc<Disk>,
    /// Values go once so many bytes are held.
    mark: u64,
    /// They go until no more than these are.
    goal: u64,
    candidates: Mutex<Candidates>,
    spiller: OnceLock<Thread>,
    pub(crate) spilled: AtomicU64,
    pub(crate) loaded: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Values that may go, looked at in turns.
#[derive(Debug, Default)]
struct Candidates {
    all: Vec<Candidate>,
    hand: usize,
}

#[derive(Debug, Clone)]
struct Candidate {
    tenant: Weak<Tenant>,
    key: Arc<[u8]>,
    blob: Weak<Blob>,
}

impl Pressure {
    /// Values go to `disk` once `percent` of `bytes_max` are held.
    pub(crate) fn new(disk: Disk, bytes_max: u64, percent: u8) -> Self {
        let mark = bytes_max / 100 * u64::from(percent.min(100));
        Self {
            disk: Arc::new(disk),
            mark,
            goal: mark.saturating_sub(bytes_max / BELOW),
            candidates: Mutex::default(),
            spiller: OnceLock::new(),
            spilled: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// So much is held now: whoever spills is woken where that is too much.
    pub(super) fn feel(&self, held: u64) {
        if held > self.mark
            && let Some(spiller) = self.spiller.get()
        {
            spiller.unpark();
        }
    }

    /// This value may go one day.
    pub(super) fn offer(&self, tenant: &Arc<Tenant>, key: &Key<'_>, blob: &Arc<Blob>) {
        if blob.len() < SPILLED_MIN {
            return;
        }
        let candidate = Candidate {
            tenant: Arc::downgrade(tenant),
            key: key.whole().into(),
            blob: Arc::downgrade(blob),
        };
        let mut candidates = self.lock();
        // Those that are gone never are more than those that are there.
        for _ in 0..2 {
            candidates.next();
        }
        candidates.all.push(candidate);
    }

    /// The largest and coldest of some.
    fn coldest(&self, now_ms: u64) -> Option<(Candidate, Arc<Blob>)> {
        let mut candidates = self.lock();
        let some = (0..COMPARED).map_while(|_| candidates.next());
        let weigh = |(candidate, blob): (Candidate, Arc<Blob>)| {
            let still_ms = now_ms.saturating_sub(blob.touched_ms());
            let weight = blob.len() as u128 * u128::from(still_ms);
            let is_unread = Arc::strong_count(&blob) <= 2;
            (still_ms >= WARM_MS && is_unread).then_some((weight, candidate, blob))
        };
        let best = some.filter_map(weigh).max_by_key(|(weight, ..)| *weight)?;
        Some((best.1, best.2))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Candidates> {
        self.candidates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Candidates {
    /// The next that is still there; those that are not are taken out.
    fn next(&mut self) -> Option<(Candidate, Arc<Blob>)> {
        loop {
            if self.hand >= self.all.len() {
                self.hand = 0;
            }
            let candidate = self.all.get(self.hand)?;
            if let Some(blob) = candidate.blob.upgrade() {
                self.hand += 1;
                return Some((candidate.clone(), blob));
            }
            self.all.swap_remove(self.hand);
        }
    }
}

impl Store {
    /// What goes to disk when memory runs short, where anything does.
    pub(crate) fn pressure(&self) -> Option<&Pressure> {
        self.common.pressure.as_ref()
    }

    /// Whether values lie on disk.
    pub(crate) fn has_spilled(&self) -> bool {
        let is_any = |pressure: &Pressure| pressure.disk.bytes() > 0;
        self.pressure().is_some_and(is_any)
    }

    /// The thread that calls [`Store::spill`]: it is woken when there is something to do.
    pub(crate) fn wake_when_pressed(&self, spiller: Thread) {
        if let Some(pressure) = self.pressure() {
            drop(pressure.spiller.set(spiller));
        }
    }

    /// Moves values to disk until enough memory is free, or none is left that may go; how many.
    ///
    /// # Errors
    /// A disk that does not take them; the values stay.
    pub(crate) fn spill(&self, now_ms: u64) -> io::Result<usize> {
        let Some(pressure) = self.pressure() else {
            return Ok(0);
        };
        let mut moved = 0;
        if self.common.held.held() <= pressure.mark {
            return Ok(moved);
        }
        while self.common.held.held() > pressure.goal {
            let Some((candidate, blob)) = pressure.coldest(now_ms) else {
                return Ok(moved);
            };
            let written = pressure.disk.write(&blob).inspect_err(|_| {
                pressure.failed.fetch_add(1, Ordering::Relaxed);
            })?;
            if let (Some(tenant), Ok(key)) =
                (candidate.tenant.upgrade(), Key::parse(&candidate.key))
                && tenant.send_away(&key, &blob, Arc::new(written))
            {
                pressure.spilled.fetch_add(1, Ordering::Relaxed);
                moved += 1;
            }
        }
        Ok(moved)
    }
}

/// Memory that was taken for a value that comes back.
struct Room(Arc<Common>, u64);

impl Room {
    fn keep(mut self) {
        self.1 = 0;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.held.give_back(self.1);
    }
}

impl Tenant {
    /// Has a value lie on disk, where it is still the one under its key; whether it lies there now.
    fn send_away(&self, key: &Key<'_>, blob: &Arc<Blob>, spilled: Arc<Spilled>) -> bool {
        let mut shard = self.shard(key);
        let Some(bucket) = shard.buckets.get_mut(key.bucket) else {
            return false;
        };
        let item = bucket.peek(key.name);
        // What somebody reads would go on taking memory. With the store's and ours there are two.
        let is_it = |held: Held<'_>| matches!(held, Held::Large(it) if Arc::ptr_eq(it, blob));
        let is_unread = Arc::strong_count(blob) <= 2;
        let Some(item) = item.filter(|it| is_unread && is_it(it.value())) else {
            return false;
        };
        let len = spilled.len() as u64;
        let item = item.lying(Value::Away(spilled));
        drop(bucket.exchange(item));
        drop(shard);
        self.common.held.give_back(len);
        true
    }

    /// Of some keys, those whose values lie on disk, where all that do come to no more than `most`
    /// bytes.
    pub(crate) fn away(&self, keys: &[Key<'_>], most: usize, now_ms: u64) -> Vec<Vec<u8>> {
        let mut bytes = 0;
        let away = keys.iter().filter(|key| {
            let len = self.get(key, now_ms, |item| match item?.value() {
                Held::Away(spilled) => Some(spilled.len()),
                Held::Small(_) | Held::Large(_) => None,
            });
            bytes += len.unwrap_or_default();
            len.is_some()
        });
        let away = away.map(Key::whole).collect();
        if bytes > most { Vec::new() } else { away }
    }

    /// Has a value lie in memory again. One that the disk has lost is lost.
    ///
    /// # Errors
    /// Memory that stays full, since nothing else may go to disk.
    pub(crate) fn bring_back(
        self: &Arc<Self>,
        key: &Key<'_>,
        now_ms: impl Fn() -> u64,
    ) -> Result<(), Refusal> {
        let (Some(pressure), Some((Made::Away(spilled), _))) =
            (&self.common.pressure, self.read(key, now_ms()))
        else {
            return Ok(());
        };
        let bytes = spilled.len() as u64;
        let room = self.room(pressure, bytes, &now_ms)?;
        if self.load(pressure, key, &spilled, now_ms()) {
            room.keep();
            pressure.feel(self.common.held.held());
        }
        Ok(())
    }

    /// Takes memory for a value that comes back, once there is some.
    fn room(
        &self,
        pressure: &Pressure,
        bytes: u64,
        now_ms: &impl Fn() -> u64,
    ) -> Result<Room, Refusal> {
        let until_ms = now_ms() + ROOM_MS;
        let held = &self.common.held;
        loop {
            match held.take_within(bytes, held.limit() / BACK) {
                Ok(()) => return Ok(Room(Arc::clone(&self.common), bytes)),
                Err((_, limit)) if now_ms() >= until_ms => {
                    return Err(Refusal::NoRoom { limit, bytes });
                }
                Err((held, _)) => pressure.feel(held),
            }
            thread::sleep(LOOK);
        }
    }

    /// Reads a value from disk into its place; whether it lies there now.
    fn load(
        self: &Arc<Self>,
        pressure: &Pressure,
        key: &Key<'_>,
        spilled: &Arc<Spilled>,
        now_ms: u64,
    ) -> bool {
        let is_it = |held: Held<'_>| matches!(held, Held::Away(it) if Arc::ptr_eq(it, spilled));
        let blob = match spilled.read(&self.common.pool) {
            Ok(blob) => Arc::new(blob),
            Err(error) => {
                pressure.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, tenant = self.name(), "value on disk is lost");
                // Another may have been put in its place meanwhile.
                drop(self.take_if(key, now_ms, is_it));
                return false;
            }
        };
        blob.touch(now_ms);
        let mut shard = self.shard(key);
        let Some(bucket) = shard.buckets.get_mut(key.bucket) else {
            return false;
        };
        let Some(item) = bucket.peek(key.name).filter(|it| is_it(it.value())) else {
            return false;
        };
        let item = item.lying(Value::Large(Arc::clone(&blob)));
        drop(bucket.exchange(item));
        drop(shard);
        pressure.loaded.fetch_add(1, Ordering::Relaxed);
        pressure.offer(self, key, &blob);
        true
    }
}
