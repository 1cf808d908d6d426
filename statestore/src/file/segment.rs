//! A file of a journal.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{self, HEAD_BYTES, HEADER_BYTES, Head, Header, Kind};

/// Bytes that are read at once at start.
const READ_BYTES: usize = 1024 * 1024;

/// A file of a journal, for whoever reads it or writes it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) header: Header,
}

/// How far a segment can be read.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Where its last whole frame ends.
    pub(super) end: u64,
    /// Its length.
    pub(super) bytes: u64,
    /// What is wrong at the end, where that is before the segment's.
    pub(super) damage: Option<String>,
}

/// What is told of each frame: its offset, its length, its head and its body.
pub(super) type Visit<'a> = dyn FnMut(u64, usize, Head, &[u8]) -> Result<(), String> + 'a;

impl Segment {
    /// Makes the file whole under another name first: a segment has a header or is not there.
    pub(super) fn create(dir: &Path, header: Header) -> io::Result<Self> {
        let path = dir.join(name_of(header.number));
        let new = path.with_extension("new");
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(Self { path, file, header })
    }

    /// Opens a file that is there. Errors name it.
    pub(super) fn open(dir: &Path, kind: Kind, number: u64) -> Result<Self, String> {
        let path = dir.join(name_of(number));
        let named = |reason: String| format!("{}: {reason}", path.display());
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| named(error.to_string()))?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        let read = (&file).take(HEADER_BYTES as u64).read_to_end(&mut header);
        read.map_err(|error| named(error.to_string()))?;
        let header = Header::decode(&header, kind, number).map_err(named)?;
        Ok(Self { path, file, header })
    }

    /// Reads all frames, in order, up to the first that is none.
    pub(super) fn scan(&self, visit: &mut Visit<'_>) -> Result<Scanned, String> {
        let read_error = |error: io::Error| format!("reading {}: {error}", self.path.display());
        let bytes = self.file.metadata().map_err(read_error)?.len();
        let mut reader = BufReader::with_capacity(READ_BYTES, &self.file);
        let begin = HEADER_BYTES as u64;
        reader.seek(SeekFrom::Start(begin)).map_err(read_error)?;
        let (mut end, mut last) = (begin, self.header.base);
        let mut buffer = vec![0; HEAD_BYTES];
        let damaged = |end, what: &str| {
            let damage = format!("{} at offset {end}: {what}", self.path.display());
            Ok(Scanned {
                end,
                bytes,
                damage: Some(damage),
            })
        };
        while end < bytes {
            let rest = bytes - end;
            if rest < HEAD_BYTES as u64 {
                return damaged(end, "a record is cut short");
            }
            let mut head = [0; HEAD_BYTES];
            reader.read_exact(&mut head).map_err(read_error)?;
            let Some(length) = frame::body_length(&head) else {
                return damaged(end, "no record begins here");
            };
            let whole = HEAD_BYTES + length;
            if rest < whole as u64 {
                return damaged(end, "a record is cut short");
            }
            buffer.resize(whole, 0);
            buffer[..HEAD_BYTES].copy_from_slice(&head);
            let body = &mut buffer[HEAD_BYTES..];
            reader.read_exact(body).map_err(read_error)?;
            match frame::read(self.header.number, end, &buffer) {
                Some((head, body)) if head.seq > last => {
                    visit(end, whole, head, body).map_err(|reason| {
                        format!("{} at offset {end}: {reason}", self.path.display())
                    })?;
                    last = head.seq;
                }
                Some(_) => return damaged(end, "the sequence goes back"),
                None => return damaged(end, "a record does not match its checksum"),
            }
            end += whole as u64;
        }
        Ok(Scanned {
            end,
            bytes,
            damage: None,
        })
    }

    /// Whether damage at an offset is to what was on the disk before later records were written: then
    /// it is no tail that never arrived.
    pub(super) fn was_stored(&self, offset: u64) -> Result<bool, String> {
        let mut rest = Vec::new();
        let read = (&self.file)
            .seek(SeekFrom::Start(offset))
            .and_then(|_| (&self.file).read_to_end(&mut rest));
        read.map_err(|error| format!("reading {}: {error}", self.path.display()))?;
        Ok(frame::proves_loss(self.header.number, offset, &rest))
    }

    /// The body of the frame that lies in these bytes, which stand at this offset.
    pub(super) fn body<'a>(&self, offset: u64, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let read = frame::read(self.header.number, offset, bytes);
        read.map(|(_, body)| body).ok_or_else(|| {
            let path = self.path.display();
            format!("{path} at offset {offset}: the record does not match its checksum")
        })
    }
}

/// The name of a segment: in a listing they stand in order.
pub(super) fn name_of(number: u64) -> String {
    format!("{number:012}.segment")
}

/// The number that a name of a segment says; none for other names.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".segment")?.parse().ok()?;
    (name_of(number) == name).then_some(number)
}
