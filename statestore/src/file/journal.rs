//! Records in files: written in batches to the last of several segments, read at start, let go of a
//! segment at a time from the oldest on.
//!
//! Invariants: one thread writes; a segment is on the disk before the next begins, so that only the
//! last one can have a tail that never arrived; what a failed write left is cut off before anybody is
//! told that it failed. Deliberately absent: what the records mean.

use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;
use super::frame::{self, BODY_BYTES_MAX, HEAD_BYTES, HEADER_BYTES, Head, Header, Kind};
use super::segment::Segment;
use super::syncer::Syncer;
use crate::state::Sync;

mod opening;

/// Bytes that one segment takes where the journal may be large.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Most segments, roughly: each is an open file.
const SEGMENTS_MAX: u64 = 1024;
/// Offsets are kept in 32 bits; a segment is left once it is over its size.
const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Part of what may be held that one segment takes at most, so that room comes back in pieces.
const SEGMENTS_MIN: u64 = 16;

/// How a journal is kept.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) kind: Kind,
    pub(super) segment_bytes: u64,
    /// A segment whose first record is older than this takes no more.
    pub(super) segment_age: Option<Duration>,
    pub(super) sync: Sync,
}

/// Records in files.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    settings: Settings,
    /// In order of their numbers; the last one is written.
    parts: VecDeque<Part>,
    syncer: Syncer,
    bytes: u64,
    last_seq: u64,
    last_at_ms: u64,
    /// What is to be written next, and the sequence that it ends with.
    batch: Vec<u8>,
    batch_seq: u64,
    batch_synced: u64,
    /// Set where a failed write may have left records that nobody was told of.
    is_ragged: bool,
}

#[derive(Debug)]
struct Part {
    segment: Arc<Segment>,
    bytes: u64,
    /// When its first and its last record were written; none while it has none.
    ages_ms: Option<(u64, u64)>,
}

/// What is told of each record that is there: where it lies, and its body.
pub(super) type Visit<'a> = dyn FnMut(Place, &[u8]) -> Result<(), String> + 'a;

/// Where a record lies.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u32,
    /// Length of its frame.
    pub(super) length: u32,
}

impl Settings {
    /// The size of segments where so much may be held.
    pub(super) fn segment_bytes(bytes_max: u64) -> u64 {
        let wanted = (bytes_max / SEGMENTS_MIN).min(SEGMENT_BYTES);
        wanted
            .max(bytes_max / SEGMENTS_MAX)
            .clamp(HEADER_BYTES as u64, SEGMENT_BYTES_MAX)
    }
}

impl Journal {
    /// Reads what is there, or begins anew, and tells of each record in order.
    ///
    /// # Errors
    /// What cannot be read, by file and offset.
    pub(super) fn open(
        dir: &Path,
        settings: Settings,
        visit: &mut Visit<'_>,
    ) -> Result<Self, Failure> {
        opening::open(dir, settings, visit)
    }

    /// Bytes of all segments.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes + self.batch.len() as u64
    }

    /// The sequence of the last record that was written.
    pub(super) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The sequence of the record that is put into the batch next.
    pub(super) const fn next_seq(&self) -> u64 {
        self.batch_seq + 1
    }

    /// Bytes that a record with such a body takes.
    pub(super) const fn frame_bytes(body_bytes: usize) -> u64 {
        (HEAD_BYTES + body_bytes) as u64
    }

    /// Begins a batch, in a new segment where the last one is large or old.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        self.discard();
        self.mend()?;
        let now_ms = unix_ms().max(self.last_at_ms);
        let last = self.last();
        let age = |from_ms| Duration::from_millis(now_ms - from_ms);
        let is_old = matches!((last.ages_ms, self.settings.segment_age),
            (Some((first_ms, _)), Some(age_max)) if age(first_ms) > age_max);
        if is_old || last.bytes >= self.settings.segment_bytes {
            self.roll()?;
        }
        self.batch_synced = self.syncer.synced().map_err(Failure::Unavailable)?;
        Ok(())
    }

    /// Puts a record into the batch.
    pub(super) fn push(&mut self, body: &[&[u8]]) -> Place {
        debug_assert!(body.iter().map(|part| part.len()).sum::<usize>() <= BODY_BYTES_MAX);
        self.last_at_ms = unix_ms().max(self.last_at_ms);
        self.batch_seq += 1;
        let last = self.last();
        let segment = Arc::clone(&last.segment);
        let begin = self.batch.len();
        let offset = last.bytes + begin as u64;
        let head = Head {
            seq: self.batch_seq,
            at_ms: self.last_at_ms,
            synced: self.batch_synced,
        };
        frame::push(&mut self.batch, segment.header.number, offset, head, body);
        Place {
            seq: head.seq,
            segment,
            offset: offset as u32,
            length: (self.batch.len() - begin) as u32,
        }
    }

    /// Writes the batch, and forces it to the disk where that is asked. After an error nothing of it
    /// stands, unless the error says that nobody knows.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let at_ms = self.last_at_ms;
        let segment = Arc::clone(&self.last().segment);
        let begin = self.last().bytes;
        if let Err(error) = segment.file.write_all_at(&self.batch, begin) {
            let failure = Failure::of(&error, format!("writing {}", segment.path.display()));
            self.discard();
            self.is_ragged = true;
            self.mend().map_err(|_| {
                Failure::Unanswered(format!(
                    "{} could not be written, nor what was written of it cut off: {error}",
                    segment.path.display()
                ))
            })?;
            return Err(failure);
        }
        let size = self.batch.len() as u64;
        self.last_seq = self.batch_seq;
        self.bytes += size;
        self.batch.clear();
        let part = self.last_mut();
        part.bytes += size;
        let first_ms = part.ages_ms.map_or(at_ms, |(first, _)| first);
        part.ages_ms = Some((first_ms, at_ms));
        let written = part.bytes;
        self.syncer.wrote(written).map_err(Failure::Unanswered)
    }

    /// Forgets the batch.
    pub(super) fn discard(&mut self) {
        self.batch.clear();
        self.batch_seq = self.last_seq;
        // A large batch is not kept for the next small one.
        self.batch.shrink_to(READY_BYTES);
    }

    /// Forces all that was written to the disk.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.syncer.sync().map_err(Failure::Unavailable)
    }

    /// The number of the oldest segment, where it is not the one that is written.
    pub(super) fn oldest(&self) -> Option<u64> {
        let oldest = self.parts.front()?;
        (self.parts.len() > 1).then_some(oldest.segment.header.number)
    }

    /// Whether all records of the oldest segment are older than this.
    pub(super) fn oldest_is_past(&self, age: Duration) -> bool {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let past = |(_, last_ms): (u64, u64)| last_ms.saturating_add(age_ms) < unix_ms();
        self.parts
            .front()
            .is_some_and(|part| part.ages_ms.map_or(self.parts.len() > 1, past))
    }

    /// Takes the oldest segment away; its records are forgotten. Readers that hold it read on.
    pub(super) fn drop_oldest(&mut self) -> Result<(), Failure> {
        if self.parts.len() < 2 {
            return Ok(());
        }
        let Some(part) = self.parts.front() else {
            return Ok(());
        };
        let path = &part.segment.path;
        let gone = std::fs::remove_file(path).and_then(|()| {
            // Without this a power loss might bring it back, but not the one after it.
            std::fs::File::open(&self.dir)?.sync_all()
        });
        gone.map_err(|error| Failure::of(&error, format!("removing {}", path.display())))?;
        self.bytes -= part.bytes;
        self.parts.pop_front();
        Ok(())
    }

    /// Begins a new segment. What stands in the last one is on the disk then.
    pub(super) fn roll(&mut self) -> Result<(), Failure> {
        self.mend()?;
        self.sync()?;
        let header = Header {
            kind: self.settings.kind,
            number: self.last().segment.header.number + 1,
            base: self.last_seq,
        };
        let segment = Segment::create(&self.dir, header).map_err(|error| {
            let at = format!("making a new segment in {}", self.dir.display());
            Failure::of(&error, at)
        })?;
        let segment = Arc::new(segment);
        let bytes = HEADER_BYTES as u64;
        self.syncer.turn_to(Arc::clone(&segment), bytes);
        self.bytes += bytes;
        self.parts.push_back(Part {
            segment,
            bytes,
            ages_ms: None,
        });
        Ok(())
    }

    /// Cuts off what a failed write left.
    fn mend(&mut self) -> Result<(), Failure> {
        if self.is_ragged {
            let last = self.last();
            let path = last.segment.path.display();
            let file = &last.segment.file;
            let cut = file.set_len(last.bytes).and_then(|()| file.sync_all());
            cut.map_err(|error| Failure::of(&error, format!("cutting {path}")))?;
            self.is_ragged = false;
        }
        Ok(())
    }

    fn last(&self) -> &Part {
        &self.parts[self.parts.len() - 1]
    }

    fn last_mut(&mut self) -> &mut Part {
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What cannot be forced was logged; there is nobody to tell.
        drop(self.sync());
    }
}

/// Room for a batch that is kept between batches: a few hundred small records.
const READY_BYTES: usize = 256 * 1024;

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
