//! Memory for large values: extents that are used again, since the kernel takes longer to give a fresh
//! page than to fill it.
//!
//! Memory is reserved in regions, which stay as long as the pool, of blocks of 2 MiB, which are given back
//! to the kernel once they were free for a while. A block is one extent, or a slab of smaller ones of one
//! size. Invariant: an extent has one owner; what it hands out lies in that extent alone.
//! Absent: any bound, which is the business of quotas.

#![allow(unsafe_code, reason = "memory that is mapped, and lent out as slices")]

use std::ptr::NonNull;
use std::sync::PoisonError;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::sync::{Mutex, MutexGuard};

/// What the kernel backs by one large page, where it may.
const BLOCK_BYTES: usize = 2 << 20;
/// Blocks that are reserved at once.
const REGION_BLOCKS: usize = 32;
/// One more, so that they begin on borders of large pages.
const REGION_BYTES: usize = (REGION_BLOCKS + 1) * BLOCK_BYTES;
/// Sizes of extents; the last is a block.
const CLASSES: [usize; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, BLOCK_BYTES];
/// What of an extent may stay empty, as a part of it, where one takes the place of several.
const SLACK: usize = 16;
/// What is given back of the free blocks that nobody took since the last time, as a part.
const TRIM: usize = 4;

/// Extents that are free, and where they lie.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Blocks>);

/// The kernel gives no memory.
#[derive(Debug, thiserror::Error)]
#[error("cannot map {bytes} bytes of memory")]
pub struct PoolError {
    bytes: usize,
    #[source]
    source: rustix::io::Errno,
}

/// Memory with one owner. It goes back by [`Pool::release`], or never.
#[derive(Debug)]
pub(crate) struct Extent {
    start: NonNull<u8>,
    slab: u32,
    index: u16,
    class: u8,
}

// SAFETY: an extent is the only way to its memory, which no thread has a part in.
unsafe impl Send for Extent {}
// SAFETY: a shared extent gives out shared slices alone.
unsafe impl Sync for Extent {}

#[derive(Debug, Default)]
struct Blocks {
    /// What was reserved.
    regions: Vec<Block>,
    /// Without a page behind them.
    fresh: Vec<Block>,
    /// With pages, to be used first.
    warm: Vec<Block>,
    /// The fewest warm ones since the last trim.
    warm_min: usize,
    slabs: Vec<Slab>,
    /// Places in `slabs` that are free.
    vacant: Vec<u32>,
    /// Slabs with room, by class.
    roomy: [Vec<u32>; CLASSES.len()],
    used_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Block(NonNull<u8>);

// SAFETY: a block is an address; who may use it is what the pool keeps.
unsafe impl Send for Block {}

#[derive(Debug)]
struct Slab {
    block: Block,
    class: u8,
    /// The extents that are free.
    free: Vec<u16>,
    /// Where it stands among those with room.
    listed: Option<usize>,
}

impl Extent {
    const fn len(&self) -> usize {
        CLASSES[self.class as usize]
    }

    pub(crate) const fn bytes(&self) -> &[u8] {
        // SAFETY: it lies in a region that is mapped until it was released, zeroed or written before, and
        // is written through `&mut self` alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len()) }
    }

    pub(crate) const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; `&mut self` is the only way to these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len()) }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        if self.used_bytes > 0 {
            // Whoever did not release an extent may use it.
            return;
        }
        for region in self.regions.drain(..) {
            // SAFETY: it is a mapping of our own, in which no extent is used.
            unsafe { munmap(region.0.as_ptr().cast(), REGION_BYTES) }.ok();
        }
    }
}

impl Pool {
    /// The next extent for what is still to be placed: the largest that it fills, but for a bit.
    ///
    /// # Errors
    /// A kernel that gives no memory.
    pub(crate) fn take(&self, bytes: usize) -> Result<Extent, PoolError> {
        let class = class_for(bytes);
        let mut blocks = self.blocks();
        let slab = match blocks.roomy[class].last() {
            Some(slab) => *slab,
            None => blocks.open(class)?,
        };
        let room = &mut blocks.slabs[slab as usize];
        // Those that are listed have one.
        let index = room.free.pop().unwrap_or_default();
        let start = at(room.block, index as usize * CLASSES[class]);
        if room.free.is_empty() {
            blocks.unlist(slab);
        }
        blocks.used_bytes += CLASSES[class];
        Ok(Extent {
            start,
            slab,
            index,
            class: u8::try_from(class).unwrap_or(u8::MAX),
        })
    }

    /// Takes extents back.
    pub(crate) fn release(&self, extents: impl IntoIterator<Item = Extent>) {
        let mut blocks = self.blocks();
        for extent in extents {
            blocks.release(&extent);
        }
    }

    /// Gives back to the kernel a part of what nobody used since the last time.
    pub fn trim(&self) {
        let spare = {
            let mut blocks = self.blocks();
            let keep = blocks.warm.len() - blocks.warm_min.div_ceil(TRIM);
            let spare = blocks.warm.split_off(keep);
            blocks.warm_min = blocks.warm.len();
            spare
        };
        for block in &spare {
            // SAFETY: the block is in no list, and belongs to nobody: its bytes may become zero.
            let given =
                unsafe { madvise(block.0.as_ptr().cast(), BLOCK_BYTES, Advice::LinuxDontNeed) };
            // What stays is used again.
            given.ok();
        }
        self.blocks().fresh.extend(spare);
    }

    /// Bytes in extents that are in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.blocks().used_bytes as u64
    }

    /// Bytes in blocks that are free and still have pages.
    #[must_use]
    pub fn warm_bytes(&self) -> u64 {
        (self.blocks().warm.len() * BLOCK_BYTES) as u64
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks {
    /// A slab of extents of a size, listed as one with room.
    fn open(&mut self, class: usize) -> Result<u32, PoolError> {
        let block = self.block()?;
        let count = BLOCK_BYTES / CLASSES[class];
        let slab = Slab {
            block,
            class: u8::try_from(class).unwrap_or(u8::MAX),
            // At most 512.
            free: (0..count).rev().filter_map(|n| n.try_into().ok()).collect(),
            listed: None,
        };
        let place = match self.vacant.pop() {
            Some(place) => {
                self.slabs[place as usize] = slab;
                place
            }
            None => {
                self.slabs.push(slab);
                // Of 2 MiB each: 8 PiB.
                u32::try_from(self.slabs.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.list(place);
        Ok(place)
    }

    fn list(&mut self, slab: u32) {
        let class = self.slabs[slab as usize].class as usize;
        self.slabs[slab as usize].listed = Some(self.roomy[class].len());
        self.roomy[class].push(slab);
    }

    fn unlist(&mut self, slab: u32) {
        let class = self.slabs[slab as usize].class as usize;
        let Some(place) = self.slabs[slab as usize].listed.take() else {
            return;
        };
        self.roomy[class].swap_remove(place);
        if let Some(moved) = self.roomy[class].get(place) {
            self.slabs[*moved as usize].listed = Some(place);
        }
    }

    fn block(&mut self) -> Result<Block, PoolError> {
        if let Some(block) = self.warm.pop() {
            self.warm_min = self.warm_min.min(self.warm.len());
            return Ok(block);
        }
        if self.fresh.is_empty() {
            let (region, blocks) = reserve()?;
            self.regions.push(region);
            self.fresh = blocks;
        }
        self.fresh.pop().ok_or(PoolError {
            bytes: BLOCK_BYTES,
            source: rustix::io::Errno::NOMEM,
        })
    }

    fn release(&mut self, extent: &Extent) {
        let size = CLASSES[extent.class as usize];
        self.used_bytes -= size;
        let slab = &mut self.slabs[extent.slab as usize];
        slab.free.push(extent.index);
        if slab.free.len() == BLOCK_BYTES / size {
            let block = slab.block;
            slab.free = Vec::new();
            self.unlist(extent.slab);
            self.vacant.push(extent.slab);
            self.warm.push(block);
        } else if slab.listed.is_none() {
            self.list(extent.slab);
        }
    }
}

fn class_for(bytes: usize) -> usize {
    let fits = |class: &usize| bytes <= *class && *class - bytes <= *class / SLACK;
    let last = CLASSES.len() - 1;
    CLASSES
        .iter()
        .position(fits)
        .or_else(|| CLASSES.iter().rposition(|class| *class <= bytes))
        .unwrap_or_default()
        .min(last)
}

fn at(block: Block, offset: usize) -> NonNull<u8> {
    // SAFETY: the offset is that of an extent in the block.
    unsafe { block.0.add(offset) }
}

/// Blocks on borders of large pages, without memory behind them yet.
fn reserve() -> Result<(Block, Vec<Block>), PoolError> {
    let bytes = REGION_BYTES;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping, where the kernel chooses, touches nothing that is there.
    let start = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) };
    let start = start.map_err(|source| PoolError { bytes, source })?;
    let start = start.cast::<u8>();
    // Not every kernel has large pages; small ones do as well.
    // SAFETY: advice on a mapping of our own.
    unsafe { madvise(start.cast(), bytes, Advice::LinuxHugepage) }.ok();
    let skip = start.align_offset(BLOCK_BYTES);
    let block = |n: usize| {
        // SAFETY: less than a block is skipped, and there is one more than is used.
        NonNull::new(unsafe { start.add(skip + n * BLOCK_BYTES) }).map(Block)
    };
    let region = NonNull::new(start).map(Block);
    let region = region.ok_or(PoolError {
        bytes,
        source: rustix::io::Errno::NOMEM,
    })?;
    Ok((region, (0..REGION_BLOCKS).rev().filter_map(block).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_ends_gives_back_what_it_reserved() {
        let is_mapped = |at: usize| {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().any(|line| {
                let (range, _) = line.split_once(' ').unwrap();
                let (from, to) = range.split_once('-').unwrap();
                let hex = |text| usize::from_str_radix(text, 16).unwrap();
                (hex(from)..hex(to)).contains(&at)
            })
        };
        let pool = Pool::default();
        let extent = pool.take(4_096).unwrap();
        let at = extent.start.as_ptr() as usize;
        assert!(is_mapped(at));
        pool.release([extent]);
        let used = Pool::default();
        drop(pool);
        assert!(!is_mapped(at), "it was given back");
        let kept = used.take(4_096).unwrap();
        drop(used);
        assert_eq!(kept.bytes()[0], 0, "it is somebody's still");
    }

    #[test]
    fn what_is_placed_fills_its_extents_but_for_a_sixteenth_or_less_than_4_kib() {
        for bytes in (1..9_000_000).step_by(4_093) {
            let (mut left, mut placed, mut extents) = (bytes, 0, 0);
            while left > 0 {
                let size = CLASSES[class_for(left)];
                placed += size;
                extents += 1;
                left = left.saturating_sub(size);
            }
            assert!(
                placed - bytes < 4_096.max(placed / SLACK + 1),
                "{bytes}: {placed}"
            );
            assert!(extents <= bytes / BLOCK_BYTES + 22, "{bytes}: {extents}");
        }
    }

    #[test]
    fn extents_lie_apart_and_keep_what_is_written() {
        let pool = Pool::default();
        let mut all = Vec::new();
        for round in 0..600 {
            let mut extent = pool
                .take([1, 40_000, 300_000, 3_000_000][round % 4])
                .unwrap();
            extent.bytes_mut().fill((round % 251) as u8);
            all.push(extent);
        }
        for (round, extent) in all.iter().enumerate() {
            let fill = (round % 251) as u8;
            assert!(extent.bytes().iter().all(|byte| *byte == fill), "{round}");
        }
        assert!(pool.used_bytes() > 0);
        pool.release(all);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn what_is_free_is_used_again_and_given_back_after_a_while() {
        let pool = Pool::default();
        let extent = pool.take(BLOCK_BYTES).unwrap();
        let first = extent.bytes().as_ptr();
        pool.release([extent]);
        assert_eq!(pool.warm_bytes(), BLOCK_BYTES as u64);
        let again = pool.take(BLOCK_BYTES).unwrap();
        assert_eq!(again.bytes().as_ptr(), first);
        pool.release([again]);
        // It was taken since the last time.
        pool.trim();
        assert_eq!(pool.warm_bytes(), BLOCK_BYTES as u64);
        pool.trim();
        assert_eq!(pool.warm_bytes(), 0);
        let fresh = pool.take(BLOCK_BYTES).unwrap();
        assert!(fresh.bytes().iter().all(|byte| *byte == 0));
        pool.release([fresh]);
    }
}
