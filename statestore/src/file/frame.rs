//! How records lie in a segment: framed, so that what was not written whole is told from what was.
//!
//! All numbers are little-endian. A segment is a header and frames, one after another:
//!
//! ```text
//! header  magic 8 | format 2 | kind 2 | zero 4 | number 8 | base 8 | check 8
//! frame   check 8 | magic 4  | length of the body 4 | synced 8 | at_ms 8 | seq 8 | body
//! ```
//!
//! Invariants: a frame's check is seeded with its segment and its offset, so that bytes which happen
//! to look like a frame are none elsewhere; `synced` is how far the segment was on the disk when the
//! frame was written, so that a reader tells a tail that never arrived from damage to what did.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Version of the format; readers refuse a newer one.
const FORMAT: u16 = 1;
const SEGMENT_MAGIC: [u8; 8] = *b"turlough";
const FRAME_MAGIC: [u8; 4] = *b"tlFr";

/// Bytes of a segment before its first frame.
pub(super) const HEADER_BYTES: usize = 40;
/// Bytes of a frame before its body.
pub(super) const HEAD_BYTES: usize = 40;

/// Largest body: an item of the work queue may hold the body of a call. An append is far smaller.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a journal is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Logs of requests.
    Log,
    /// The work queue.
    Queue,
}

impl Kind {
    const fn code(self) -> u16 {
        match self {
            Self::Log => 1,
            Self::Queue => 2,
        }
    }
}

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Segments of a journal are numbered without gaps.
    pub(super) number: u64,
    /// Sequences in it are above this one.
    pub(super) base: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.kind.code().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.to_le_bytes());
        let check = xxh3_64(&bytes[..32]);
        bytes[32..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the header of the segment that is expected to be this one.
    pub(super) fn decode(bytes: &[u8], kind: Kind, number: u64) -> Result<Self, String> {
        if bytes.get(..8) != Some(&SEGMENT_MAGIC) {
            return Err("it is no segment of a state: it begins with other bytes".to_owned());
        }
        if bytes.len() < HEADER_BYTES {
            return Err(format!(
                "its header is {} bytes, of {HEADER_BYTES}",
                bytes.len()
            ));
        }
        // A newer version may have another header: its number is looked at before anything else.
        let format = u16_at(bytes, 8);
        if format > FORMAT {
            return Err(format!(
                "it is of format {format}, this version reads up to {FORMAT}; run the newer version"
            ));
        }
        if xxh3_64(&bytes[..32]) != u64_at(bytes, 32) {
            return Err("its header is damaged at offset 0".to_owned());
        }
        let found = (u16_at(bytes, 10), u64_at(bytes, 16));
        if found != (kind.code(), number) {
            return Err(format!(
                "its header says kind {} and number {}, its name kind {} and number {number}",
                found.0,
                found.1,
                kind.code()
            ));
        }
        Ok(Self {
            kind,
            number,
            base: u64_at(bytes, 24),
        })
    }
}

/// What a frame says of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    /// When it was written, Unix time in ms, never less than what stands before it.
    pub(super) at_ms: u64,
    /// Offset up to which the segment was forced to the disk by then.
    pub(super) synced: u64,
}

/// Writes a frame that is to stand at an offset of a segment.
pub(super) fn push(into: &mut Vec<u8>, number: u64, offset: u64, head: Head, body: &[&[u8]]) {
    let begin = into.len();
    let length: usize = body.iter().map(|part| part.len()).sum();
    into.extend_from_slice(&[0; 8]);
    into.extend_from_slice(&FRAME_MAGIC);
    into.extend_from_slice(&(length as u32).to_le_bytes());
    into.extend_from_slice(&head.synced.to_le_bytes());
    into.extend_from_slice(&head.at_ms.to_le_bytes());
    into.extend_from_slice(&head.seq.to_le_bytes());
    for part in body {
        into.extend_from_slice(part);
    }
    let check = check(number, offset, &into[begin + 8..]);
    into[begin..begin + 8].copy_from_slice(&check.to_le_bytes());
}

/// Length of the body of a frame that begins so; none where no frame does.
pub(super) fn body_length(head: &[u8; HEAD_BYTES]) -> Option<usize> {
    let length = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
    (head[8..12] == FRAME_MAGIC && length <= BODY_BYTES_MAX).then_some(length)
}

/// The frame that stands at an offset of a segment; none where the bytes are not what was written.
pub(super) fn read(number: u64, offset: u64, bytes: &[u8]) -> Option<(Head, &[u8])> {
    let head: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
    let length = body_length(head)?;
    let whole = bytes.get(..HEAD_BYTES + length)?;
    if check(number, offset, &whole[8..]) != u64_at(whole, 0) {
        return None;
    }
    let head = Head {
        synced: u64_at(whole, 16),
        at_ms: u64_at(whole, 24),
        seq: u64_at(whole, 32),
    };
    Some((head, &whole[HEAD_BYTES..]))
}

/// Whether a frame begins anywhere after damage at `offset` that was written when what is damaged was
/// on the disk already. `bytes` are what stands from `offset` on.
pub(super) fn proves_loss(number: u64, offset: u64, bytes: &[u8]) -> bool {
    let magics = bytes.windows(FRAME_MAGIC.len()).enumerate().skip(9);
    magics
        .filter(|(_, window)| *window == FRAME_MAGIC)
        .any(|(at, _)| {
            let begin = at - 8;
            read(number, offset + begin as u64, &bytes[begin..])
                .is_some_and(|(head, _)| head.synced > offset)
        })
}

fn check(number: u64, offset: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, number << 32 ^ offset)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The number at a place that is known to be there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
