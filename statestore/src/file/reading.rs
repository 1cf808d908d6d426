//! Reads records where they lie. What the system holds in its memory, which is nearly all that is
//! asked for, is read at once (a microsecond or two, less than the way to another thread); what must
//! come from the disk is read on a thread that may wait.

use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::journal::Place;
use super::segment::Segment;

/// Bytes that are read at once, without giving way to others: some 50 µs of copying.
const AT_ONCE_BYTES: usize = 512 * 1024;

/// The bodies of records, in order, each with why it cannot be read where that is so.
pub(super) async fn bodies(places: Vec<Place>) -> Vec<Result<Bytes, String>> {
    let mut bodies = Vec::with_capacity(places.len());
    let mut at_once = AT_ONCE_BYTES;
    let mut places = places.into_iter();
    let rest = loop {
        let Some(place) = places.next() else {
            return bodies;
        };
        let length = place.length as usize;
        match (length <= at_once).then(|| read_cached(&place)).flatten() {
            Some(bytes) => bodies.push(body(&place, bytes)),
            None => break std::iter::once(place).chain(places),
        }
        at_once -= length;
    };
    let rest: Vec<_> = rest.collect();
    let count = rest.len();
    let read = tokio::task::spawn_blocking(move || {
        let read = |place: &Place| read_waiting(place).and_then(|bytes| body(place, bytes));
        rest.iter().map(read).collect::<Vec<_>>()
    });
    match read.await {
        Ok(read) => bodies.extend(read),
        Err(error) => {
            let failed = || Err(format!("the reader of the state ended: {error}"));
            bodies.extend(std::iter::repeat_with(failed).take(count));
        }
    }
    bodies
}

/// The body of one record. Blocks where it is not in memory.
pub(super) fn body_waiting(place: &Place) -> Result<Bytes, String> {
    read_waiting(place).and_then(|bytes| body(place, bytes))
}

fn body(place: &Place, bytes: Vec<u8>) -> Result<Bytes, String> {
    let body = place.segment.body(u64::from(place.offset), &bytes)?;
    let begin = bytes.len() - body.len();
    Ok(Bytes::from(bytes).slice(begin..))
}

/// The record, where the system has it in memory.
fn read_cached(place: &Place) -> Option<Vec<u8>> {
    let mut bytes = vec![0; place.length as usize];
    (now(&place.segment, u64::from(place.offset), &mut bytes) == Some(bytes.len())).then_some(bytes)
}

#[cfg(target_os = "linux")]
fn now(segment: &Segment, offset: u64, into: &mut [u8]) -> Option<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut into = [io::IoSliceMut::new(into)];
    preadv2(&segment.file, &mut into, offset, ReadWriteFlags::NOWAIT).ok()
}

#[cfg(not(target_os = "linux"))]
const fn now(_: &Segment, _: u64, _: &mut [u8]) -> Option<usize> {
    None
}

fn read_waiting(place: &Place) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; place.length as usize];
    let offset = u64::from(place.offset);
    let read = place.segment.file.read_exact_at(&mut bytes, offset);
    let path = place.segment.path.display();
    read.map_err(|error: io::Error| format!("reading {path} at offset {offset}: {error}"))?;
    Ok(bytes)
}
