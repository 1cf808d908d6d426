//! Lines of a file through one buffer of a fixed size, so that memory does not grow with the file.

use std::io::{self, Read};

/// Longest line that is accepted; the longest row of the data set has about 150 bytes.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes asked of the file at a time: large enough that system calls cost nothing, small enough
/// to stay in the second-level cache.
const BUFFER_BYTES: usize = 4 * LINE_BYTES_MAX;

/// Why there is no next line.
#[derive(Debug)]
pub(crate) enum LineError {
    /// The file could not be read.
    Read(io::Error),
    /// The file ended inside a line.
    Truncated,
    /// No line end within [`LINE_BYTES_MAX`].
    TooLong,
}

/// Reads line by line; `\n` and `\r\n` end a line, and every line must end.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    position: u64,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(source: R) -> Self {
        Self::at(source, 0)
    }

    /// Lines of a source that already stands at `position`.
    pub(crate) fn at(source: R, position: u64) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER_BYTES].into(),
            start: 0,
            end: 0,
            position,
        }
    }

    /// Offset of the next line in the file.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next line without its end, or nothing at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, LineError> {
        let mut searched = 0;
        let length = loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
                break searched + at;
            }
            searched = unread.len();
            if searched > LINE_BYTES_MAX {
                return Err(LineError::TooLong);
            }
            if self.fill()? == 0 {
                return if searched == 0 {
                    Ok(None)
                } else {
                    Err(LineError::Truncated)
                };
            }
        };
        let line = &self.buffer[self.start..self.start + length];
        self.start += length + 1;
        self.position += length as u64 + 1;
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    fn fill(&mut self) -> Result<usize, LineError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LineError::Read(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<String>, LineError> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next()? {
            all.push(String::from_utf8_lossy(line).into_owned());
        }
        Ok(all)
    }

    #[test]
    fn both_line_ends_are_taken_off() {
        assert_eq!(all(b"a\r\n\nb\n").unwrap(), ["a", "", "b"]);
    }

    #[test]
    fn a_last_line_without_end_is_truncated() {
        assert!(matches!(all(b"a\nb"), Err(LineError::Truncated)));
    }

    #[test]
    fn a_line_across_two_buffers_stays_whole() {
        let line = "x".repeat(1000);
        let text = format!("{line}\n").repeat(1000);
        assert!(
            all(text.as_bytes())
                .unwrap()
                .iter()
                .all(|found| *found == line)
        );
    }

    #[test]
    fn a_line_without_end_stops_at_the_limit() {
        assert!(matches!(
            all(&[b'x'; 2 * BUFFER_BYTES]),
            Err(LineError::TooLong)
        ));
    }
}
