//! Replies on their way out. Large values go from where they lie.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use crate::blob::Blob;
use crate::store::{Away, Held, SMALL_MAX};

/// Replies are gathered up to this, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// What is written at once: others have their turn after it.
pub(crate) const WRITE_BYTES_MAX: usize = 256 << 10;
/// Slices that are written at once.
const SLICES_MAX: usize = 64;

/// The version that a client speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Version {
    #[default]
    Two,
    Three,
}

#[derive(Debug)]
enum Chunk {
    Bytes(Vec<u8>),
    Blob(Arc<Blob>, Range<usize>),
}

/// Replies that were not written yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Chunk>,
    /// What of the first chunk was written.
    written: usize,
    bytes: usize,
    /// Bytes that lie here alone, not in a value.
    copied: usize,
    /// The last vector that was written, to be filled again.
    spare: Vec<u8>,
    pub(crate) version: Version,
}

impl Outbox {
    /// Bytes that are not written yet.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that are held for them here, beside the values that they show.
    pub(crate) const fn copied(&self) -> usize {
        self.copied
    }

    pub(crate) fn simple(&mut self, text: &str) {
        self.put(&[b"+", text.as_bytes(), b"\r\n"]);
    }

    pub(crate) fn ok(&mut self) {
        self.put(&[b"+OK\r\n"]);
    }

    /// An error: its code, and what happened, as one line.
    pub(crate) fn error(&mut self, text: &str) {
        let line = text.replace(['\r', '\n'], " ");
        self.put(&[b"-", line.as_bytes(), b"\r\n"]);
    }

    pub(crate) fn int(&mut self, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.put(&[b":", digits.format(number).as_bytes(), b"\r\n"]);
    }

    pub(crate) fn count(&mut self, number: u64) {
        self.int(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A number of any size; digits where it is larger than the wire's numbers.
    pub(crate) fn big(&mut self, number: u128) {
        match i64::try_from(number) {
            Ok(number) => self.int(number),
            Err(_) => self.bulk(number.to_string().as_bytes()),
        }
    }

    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        let mut digits = itoa::Buffer::new();
        let len = digits.format(bytes.len()).as_bytes();
        self.put(&[b"$", len, b"\r\n", bytes, b"\r\n"]);
    }

    /// A text, said to be one; of version 3 alone.
    pub(crate) fn verbatim(&mut self, text: &str) {
        let mut digits = itoa::Buffer::new();
        let len = digits.format(text.len() + 4).as_bytes();
        self.put(&[b"=", len, b"\r\ntxt:", text.as_bytes(), b"\r\n"]);
    }

    pub(crate) fn null(&mut self) {
        match self.version {
            Version::Two => self.put(&[b"$-1\r\n"]),
            Version::Three => self.put(&[b"_\r\n"]),
        }
    }

    pub(crate) fn array(&mut self, len: usize) {
        let mut digits = itoa::Buffer::new();
        self.put(&[b"*", digits.format(len).as_bytes(), b"\r\n"]);
    }

    /// A map; in version 2 an array of names and values.
    pub(crate) fn map(&mut self, len: usize) {
        match self.version {
            Version::Two => self.array(2 * len),
            Version::Three => {
                let mut digits = itoa::Buffer::new();
                self.put(&[b"%", digits.format(len).as_bytes(), b"\r\n"]);
            }
        }
    }

    /// A part of a value.
    pub(crate) fn value(&mut self, held: Held<'_>, part: Range<usize>) {
        match held {
            Held::Small(bytes) => self.bulk(bytes.get(part).unwrap_or_default()),
            Held::Away(_) => self.error(&format!("BUSY {Away}")),
            Held::Large(blob) if part.len() <= SMALL_MAX => {
                let bytes: Vec<u8> = blob.slices(part).flatten().copied().collect();
                self.bulk(&bytes);
            }
            Held::Large(blob) => {
                let mut digits = itoa::Buffer::new();
                self.put(&[b"$", digits.format(part.len()).as_bytes(), b"\r\n"]);
                self.bytes += part.len();
                self.chunks.push_back(Chunk::Blob(Arc::clone(blob), part));
                self.put(&[b"\r\n"]);
            }
        }
    }

    fn put(&mut self, parts: &[&[u8]]) {
        let is_open =
            matches!(self.chunks.back(), Some(Chunk::Bytes(bytes)) if bytes.len() < CHUNK_BYTES);
        if !is_open {
            let spare = std::mem::take(&mut self.spare);
            self.chunks.push_back(Chunk::Bytes(spare));
        }
        if let Some(Chunk::Bytes(bytes)) = self.chunks.back_mut() {
            for part in parts {
                bytes.extend_from_slice(part);
                self.bytes += part.len();
                self.copied += part.len();
            }
        }
    }

    /// What is to be written next, where it lies in one piece.
    pub(crate) fn only(&self) -> Option<&[u8]> {
        match self.chunks.front() {
            Some(Chunk::Bytes(bytes)) if self.chunks.len() == 1 => bytes.get(self.written..),
            _ => None,
        }
    }

    /// What is to be written next.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.chunks.len().min(SLICES_MAX));
        let (mut skip, mut left) = (self.written, WRITE_BYTES_MAX);
        for chunk in &self.chunks {
            match chunk {
                Chunk::Bytes(bytes) => push(&mut slices, &bytes[skip..], &mut left),
                Chunk::Blob(blob, part) => {
                    for slice in blob.slices(part.start + skip..part.end) {
                        push(&mut slices, slice, &mut left);
                    }
                }
            }
            skip = 0;
            if left == 0 || slices.len() >= SLICES_MAX {
                break;
            }
        }
        slices
    }

    /// So many bytes were written.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.written += bytes;
        while let Some(chunk) = self.chunks.front() {
            let len = match chunk {
                Chunk::Bytes(bytes) => bytes.len(),
                Chunk::Blob(_, part) => part.len(),
            };
            if self.written < len {
                return;
            }
            self.written -= len;
            let Some(Chunk::Bytes(mut bytes)) = self.chunks.pop_front() else {
                continue;
            };
            self.copied -= len;
            if bytes.capacity() <= 2 * CHUNK_BYTES && self.chunks.is_empty() {
                bytes.clear();
                self.spare = bytes;
            }
        }
    }
}

fn push<'a>(slices: &mut Vec<IoSlice<'a>>, bytes: &'a [u8], left: &mut usize) {
    let len = bytes.len().min(*left);
    if len > 0 && slices.len() < SLICES_MAX {
        slices.push(IoSlice::new(&bytes[..len]));
        *left -= len;
    }
}
