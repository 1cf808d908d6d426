//! Reads a journal at start.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Journal, Part, Place, Settings, Visit};
use crate::file::failure::Failure;
use crate::file::frame::{HEADER_BYTES, Header};
use crate::file::segment::{Scanned, Segment, number_of};
use crate::file::syncer::Syncer;

/// What was read so far.
#[derive(Default)]
struct Read {
    parts: VecDeque<Part>,
    last_seq: u64,
    last_at_ms: u64,
}

pub(super) fn open(
    dir: &Path,
    settings: Settings,
    visit: &mut Visit<'_>,
) -> Result<Journal, Failure> {
    let in_dir = |error: &io::Error| Failure::of(error, format!("opening {}", dir.display()));
    std::fs::create_dir_all(dir).map_err(|error| in_dir(&error))?;
    let numbers = numbers_in(dir)?;
    let mut read = Read::default();
    for number in &numbers {
        let is_last = Some(number) == numbers.last();
        let segment = Segment::open(dir, settings.kind, *number);
        let segment = Arc::new(segment.map_err(Failure::Unavailable)?);
        if !read.parts.is_empty() && segment.header.base != read.last_seq {
            return Err(Failure::Unavailable(format!(
                "{} begins after sequence {}, but what stands before it ends at {}",
                segment.path.display(),
                segment.header.base,
                read.last_seq
            )));
        }
        read.segment(&segment, is_last, visit)?;
    }
    if read.parts.is_empty() {
        let header = Header {
            kind: settings.kind,
            number: 1,
            base: 0,
        };
        let segment = Segment::create(dir, header).map_err(|error| in_dir(&error))?;
        read.parts.push_back(Part {
            segment: Arc::new(segment),
            bytes: HEADER_BYTES as u64,
            ages_ms: None,
        });
    }
    let last = &read.parts[read.parts.len() - 1];
    // What was read may be lost yet, by a power loss, while what follows it is kept.
    let synced = last.segment.file.sync_all();
    synced.map_err(|error| in_dir(&error))?;
    let syncer = Syncer::start(settings.sync, Arc::clone(&last.segment), last.bytes);
    Ok(Journal {
        dir: dir.to_owned(),
        settings,
        syncer: syncer.map_err(|error| in_dir(&error))?,
        bytes: read.parts.iter().map(|part| part.bytes).sum(),
        parts: read.parts,
        last_seq: read.last_seq,
        last_at_ms: read.last_at_ms,
        batch: Vec::new(),
        batch_seq: read.last_seq,
        batch_synced: 0,
        is_ragged: false,
    })
}

impl Read {
    fn segment(
        &mut self,
        segment: &Arc<Segment>,
        is_last: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), Failure> {
        let mut ages_ms = None;
        self.last_seq = segment.header.base;
        let scanned = segment.scan(&mut |offset, length, head, body| {
            self.last_seq = head.seq;
            self.last_at_ms = self.last_at_ms.max(head.at_ms);
            let (first_ms, _) = ages_ms.unwrap_or((head.at_ms, head.at_ms));
            ages_ms = Some((first_ms, head.at_ms));
            let place = Place {
                seq: head.seq,
                segment: Arc::clone(segment),
                offset: u32::try_from(offset).map_err(|_| "the segment is too large")?,
                length: length as u32,
            };
            visit(place, body)
        });
        let scanned = scanned.map_err(Failure::Unavailable)?;
        if let Some(damage) = &scanned.damage {
            cut(segment, &scanned, damage, is_last)?;
        }
        self.parts.push_back(Part {
            segment: Arc::clone(segment),
            bytes: scanned.end,
            ages_ms,
        });
        Ok(())
    }
}

/// Cuts off a tail that never arrived on the disk; refuses other damage.
fn cut(segment: &Segment, scanned: &Scanned, damage: &str, is_last: bool) -> Result<(), Failure> {
    if !is_last
        || segment
            .was_stored(scanned.end)
            .map_err(Failure::Unavailable)?
    {
        return Err(Failure::Unavailable(format!(
            "{damage}, and records after it are whole: it is damage to what was stored, not a write that \
             was cut short; restore the folder from a copy, or move it aside to begin anew"
        )));
    }
    let bytes = scanned.bytes - scanned.end;
    tracing::warn!(
        %damage, bytes,
        "the end of the state was not written whole before its last process died, and is cut off"
    );
    let cut = segment.file.set_len(scanned.end);
    cut.map_err(|error| Failure::of(&error, format!("cutting {}", segment.path.display())))
}

/// The numbers of the segments in a folder. Nothing else may lie there: what we do not know may be
/// what a newer version needs.
fn numbers_in(dir: &Path) -> Result<Vec<u64>, Failure> {
    let in_dir = |error: io::Error| Failure::of(&error, format!("listing {}", dir.display()));
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(in_dir)? {
        let entry = entry.map_err(in_dir)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".new") {
            // A segment that was being made: nothing stands in it.
            std::fs::remove_file(entry.path()).map_err(in_dir)?;
            continue;
        }
        numbers.push(number_of(&name).ok_or_else(|| {
            Failure::Unavailable(format!(
                "{} is no segment; this folder is for segments alone, move the file elsewhere",
                entry.path().display()
            ))
        })?);
    }
    numbers.sort_unstable();
    if let Some(gap) = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        return Err(Failure::Unavailable(format!(
            "{} holds segments {} and {}, and none between; restore the folder from a copy",
            dir.display(),
            gap[0],
            gap[1]
        )));
    }
    Ok(numbers)
}
