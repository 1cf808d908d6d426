//! Errors that end an extraction, and the scan that all five files share.
//!
//! A row that fails a check is rejected and the scan goes on; what makes the file as a whole
//! untrustworthy (missing, empty, another header, bytes that are not text, a last line without
//! its end) is an error that names file and line.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::lines::{LINE_BYTES_MAX, LineError, Lines};
use crate::rejected::{Checked, Rejected, TooManyRejected};
use crate::row::{Fault, Row};

/// An extraction that had to be given up.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The file is missing or may not be opened.
    #[error("open {}; run etl-examples/flights/fetch.py or set `data` to the folder of the CSV files", file.display())]
    Open {
        /// Path of the file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file could not be read to its end.
    #[error("read {} at line {line}", file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Line that was being read.
        line: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("read {} at line 1: the file is empty, expected the header `{expected}`", file.display())]
    Empty {
        /// Path of the file.
        file: PathBuf,
        /// The header that it must start with.
        expected: String,
    },
    /// The first line is not the expected header.
    #[error("read {} at line 1: the header is `{found}`, expected `{expected}`", file.display())]
    Header {
        /// Path of the file.
        file: PathBuf,
        /// The header that it must start with.
        expected: String,
        /// The start of what is there.
        found: String,
    },
    /// The file ends in the middle of a line.
    #[error("read {} at line {line}: the file is truncated, its last line does not end; fetch it again", file.display())]
    Truncated {
        /// Path of the file.
        file: PathBuf,
        /// The last line.
        line: u64,
    },
    /// A line holds bytes that are not UTF-8 text.
    #[error("read {} at line {line}: the line is not UTF-8 text; the file is corrupt or compressed", file.display())]
    NotText {
        /// Path of the file.
        file: PathBuf,
        /// The first such line.
        line: u64,
    },
    /// A line is longer than any row can be.
    #[error("read {} at line {line}: the line is over {LINE_BYTES_MAX} bytes; the file is corrupt", file.display())]
    LineTooLong {
        /// Path of the file.
        file: PathBuf,
        /// The line.
        line: u64,
    },
    /// More rows failed a check than the job allows.
    #[error(transparent)]
    Rejected(#[from] TooManyRejected),
}

impl ExtractError {
    /// The error with its line moved down, for a part of a file that was read on its own.
    pub(crate) fn moved_by(mut self, lines: u64) -> Self {
        match &mut self {
            Self::Read { line, .. }
            | Self::Truncated { line, .. }
            | Self::NotText { line, .. }
            | Self::LineTooLong { line, .. } => *line += lines,
            Self::Open { .. } | Self::Empty { .. } | Self::Header { .. } | Self::Rejected(_) => {}
        }
        self
    }
}

/// A CSV file that is about to be scanned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    /// Its columns, in order.
    pub(crate) columns: &'static [&'static str],
    /// Rejected rows after which the scan stops.
    pub(crate) rejected_max: u64,
}

impl Source<'_> {
    /// Opens the file.
    pub(crate) fn open(&self) -> Result<std::fs::File, ExtractError> {
        std::fs::File::open(self.path).map_err(|source| ExtractError::Open {
            file: self.file(),
            source,
        })
    }

    /// Name of the file without its folder, as rejected rows give it.
    pub(crate) fn name(&self) -> String {
        self.path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Reads the first line and holds it against the columns.
    pub(crate) fn read_header<R: Read>(&self, lines: &mut Lines<R>) -> Result<(), ExtractError> {
        let Some(line) = lines.next().map_err(|error| self.line_error(error, 1))? else {
            return Err(ExtractError::Empty {
                file: self.file(),
                expected: self.columns.join(","),
            });
        };
        if !is_text(line) {
            return Err(ExtractError::NotText {
                file: self.file(),
                line: 1,
            });
        }
        if !Row::new(line).has_fields(self.columns) {
            return Err(ExtractError::Header {
                file: self.file(),
                expected: self.columns.join(","),
                found: String::from_utf8_lossy(line).chars().take(300).collect(),
            });
        }
        Ok(())
    }

    /// Reads over the rest of a line.
    pub(crate) fn skip_line<R: Read>(&self, lines: &mut Lines<R>) -> Result<(), ExtractError> {
        lines
            .next()
            .map(|_| ())
            .map_err(|error| self.line_error(error, 0))
    }

    /// Hands every row that starts before byte `until` to `take` and keeps the faults.
    ///
    /// Stops early once more than `rejected_max` rows are rejected; the caller finds that out
    /// from the count. `line` is the number of the first line.
    pub(crate) fn scan<R: Read>(
        &self,
        lines: &mut Lines<R>,
        mut line: u64,
        until: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<Checked, ExtractError> {
        let mut checked = Checked::default();
        while lines.position() < until && checked.rejected.len() as u64 <= self.rejected_max {
            let Some(row) = lines.next().map_err(|error| self.line_error(error, line))? else {
                break;
            };
            if let Err(fault) = take(row) {
                if !is_text(row) {
                    return Err(ExtractError::NotText {
                        file: self.file(),
                        line,
                    });
                }
                let reason = Row::new(row)
                    .fault_of_count(self.columns.len())
                    .unwrap_or(fault)
                    .into();
                checked.rejected.push(Rejected {
                    source: self.name(),
                    line,
                    reason,
                });
            }
            checked.read += 1;
            line += 1;
        }
        Ok(checked)
    }

    fn file(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn line_error(&self, error: LineError, line: u64) -> ExtractError {
        let file = self.file();
        match error {
            LineError::Read(source) => ExtractError::Read { file, line, source },
            LineError::Truncated => ExtractError::Truncated { file, line },
            LineError::TooLong => ExtractError::LineTooLong { file, line },
        }
    }
}

/// Reads a file from its header to its end.
pub(crate) fn scan_file(
    source: Source<'_>,
    take: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<Checked, ExtractError> {
    let mut lines = Lines::new(source.open()?);
    source.read_header(&mut lines)?;
    let checked = source.scan(&mut lines, 2, u64::MAX, take)?;
    crate::rejected::check_rejected(&source.name(), source.rejected_max, &checked.rejected)?;
    Ok(checked)
}

fn is_text(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|text| !text.contains('\0'))
}
