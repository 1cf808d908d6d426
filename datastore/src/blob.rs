//! A large value: filled once, in extents of the pool, then shared and read.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use turlough_sdk::Digest;
use xxhash_rust::xxh3::Xxh3;

use crate::pool::{Extent, Pool, PoolError};

/// The first extent of a value: what is announced and never sent costs no more than that.
const FIRST_BYTES: usize = 256 << 10;

/// A value that is being received. Memory is taken as it is filled, an extent at a time.
#[derive(Debug)]
pub(crate) struct Buffer {
    blob: Blob,
    /// What it will hold.
    bytes: usize,
    /// Bytes of the extents, filled or not.
    room: usize,
}

/// A value that no longer changes.
#[derive(Debug)]
pub(crate) struct Blob {
    pool: Arc<Pool>,
    extents: Vec<Extent>,
    len: usize,
    digest: OnceLock<Digest>,
    /// When it was put or read last, in the store's time.
    touched_ms: AtomicU64,
    /// What is given back once its memory is.
    counted: OnceLock<Box<dyn Counted>>,
}

/// An amount that memory counts for, for as long as somebody has it.
pub(crate) trait Counted: fmt::Debug + Send + Sync {}

impl Buffer {
    pub(crate) fn new(pool: &Arc<Pool>, bytes: usize) -> Self {
        Self {
            blob: Blob {
                pool: Arc::clone(pool),
                extents: Vec::new(),
                len: 0,
                digest: OnceLock::new(),
                touched_ms: AtomicU64::new(0),
                counted: OnceLock::new(),
            },
            bytes,
            room: 0,
        }
    }

    /// What is still to come, in bytes.
    pub(crate) const fn missing(&self) -> usize {
        self.bytes - self.blob.len
    }

    /// Where to write next; empty once it is full. What was written is told by [`Buffer::filled`].
    ///
    /// # Errors
    /// A kernel that gives no memory.
    pub(crate) fn slot(&mut self) -> Result<&mut [u8], PoolError> {
        let missing = self.missing();
        if missing > 0 && self.room == self.blob.len {
            let most = if self.room == 0 { FIRST_BYTES } else { missing };
            let extent = self.blob.pool.take(missing.min(most))?;
            self.room += extent.bytes().len();
            self.blob.extents.push(extent);
        }
        let free = self.room - self.blob.len;
        let Some(last) = self.blob.extents.last_mut() else {
            return Ok(&mut []);
        };
        let slot = last.bytes_mut();
        let start = slot.len() - free;
        let end = slot.len().min(start + missing);
        Ok(&mut slot[start..end])
    }

    /// So many bytes of the slot were written.
    pub(crate) const fn filled(&mut self, bytes: usize) {
        self.blob.len += bytes;
    }

    /// Copies what fits; how much that was.
    ///
    /// # Errors
    /// A kernel that gives no memory.
    pub(crate) fn fill(&mut self, mut from: &[u8]) -> Result<usize, PoolError> {
        let mut copied = 0;
        while self.missing() > 0 && !from.is_empty() {
            let slot = self.slot()?;
            let bytes = slot.len().min(from.len());
            slot[..bytes].copy_from_slice(&from[..bytes]);
            from = &from[bytes..];
            self.filled(bytes);
            copied += bytes;
        }
        Ok(copied)
    }

    /// The value, once nothing is missing.
    pub(crate) fn finish(self) -> Blob {
        debug_assert_eq!(self.missing(), 0);
        self.blob
    }

    /// The same, where its digest is known.
    pub(crate) fn finish_with(self, digest: Digest) -> Blob {
        let blob = self.finish();
        // It has none yet.
        blob.digest.set(digest).ok();
        blob
    }
}

impl Blob {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// A part of it, in pieces.
    pub(crate) fn slices(&self, part: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        let extents = self.extents.iter().map(move |extent| {
            let bytes = extent.bytes();
            let begin = start;
            start += bytes.len();
            let cut = |place: usize| place.saturating_sub(begin).min(bytes.len());
            &bytes[cut(part.start)..cut(part.end)]
        });
        extents.filter(|slice| !slice.is_empty())
    }

    /// Has an amount given back when nobody reads this value any more.
    pub(crate) fn count(&self, counted: Box<dyn Counted>) {
        // It leaves the store once.
        drop(self.counted.set(counted));
    }

    pub(crate) fn touch(&self, now_ms: u64) {
        self.touched_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn touched_ms(&self) -> u64 {
        self.touched_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn has_digest(&self) -> bool {
        self.digest.get().is_some()
    }

    /// XXH3-128, computed once.
    pub(crate) fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let mut state = Xxh3::new();
            for slice in self.slices(0..self.len) {
                state.update(slice);
            }
            Digest(state.digest128())
        })
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        self.pool.release(self.extents.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_any_portions_is_read_in_any_parts() {
        let pool = Arc::new(Pool::default());
        let bytes: Vec<u8> = (0..700_001_u32).map(|n| (n % 251) as u8).collect();
        let mut buffer = Buffer::new(&pool, bytes.len());
        let mut rest = &bytes[..];
        while buffer.missing() > 0 {
            let portion = rest.len().min(65_537);
            assert_eq!(buffer.fill(&rest[..portion]).unwrap(), portion);
            rest = &rest[portion..];
        }
        assert_eq!(buffer.slot().unwrap().len(), 0);
        let blob = buffer.finish();
        for part in [0..700_001, 0..0, 262_143..262_145, 699_999..700_001] {
            let read: Vec<u8> = blob.slices(part.clone()).flatten().copied().collect();
            assert!(read == bytes[part.clone()], "{part:?}");
        }
        assert_eq!(blob.digest(), Digest::of(&bytes));
        drop(blob);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn what_is_announced_and_not_sent_takes_no_memory() {
        let pool = Arc::new(Pool::default());
        let mut buffer = Buffer::new(&pool, 4 << 30);
        buffer.fill(b"a few bytes").unwrap();
        assert!(pool.used_bytes() <= BLOCK);
        drop(buffer);
        assert_eq!(pool.used_bytes(), 0);
    }

    const BLOCK: u64 = 2 << 20;
}
