//! Rows that were refused, and the limit on how many of them a run puts up with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Rejected rows that an error message quotes.
const QUOTED_ROWS: usize = 3;

/// A row that failed a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Name of the file, without its folder.
    pub source: String,
    /// Line in that file; the header is line 1.
    pub line: u64,
    /// The column, what it held and what it may hold.
    pub reason: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}: {}", self.source, self.line, self.reason)
    }
}

/// What the extraction of a table (or of a month of one) went through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Rows read, the rejected ones among them, the header not.
    pub read: u64,
    /// Rejected rows in the order of the file.
    pub rejected: Vec<Rejected>,
}

/// More rows were rejected than the job allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} rows of {whole} rejected, limit {limit}; {}; mend the rows or raise rejected_max",
    quoted(first)
)]
pub struct TooManyRejected {
    /// A file's name, or `all files`.
    pub whole: String,
    /// The job's limit.
    pub limit: u64,
    /// Rows rejected by the time the run was given up.
    pub found: u64,
    /// The first few of them.
    pub first: Vec<Rejected>,
}

/// Holds the rejected rows of `whole` (a file's name, or `all files`) against the limit.
///
/// # Errors
/// [`TooManyRejected`] when there are more than `limit`.
pub fn check_rejected<'a>(
    whole: &str,
    limit: u64,
    rejected: impl IntoIterator<Item = &'a Rejected>,
) -> Result<(), TooManyRejected> {
    let mut rows = rejected.into_iter();
    let first: Vec<_> = rows.by_ref().take(QUOTED_ROWS).cloned().collect();
    let found = (first.len() + rows.count()) as u64;
    if found <= limit {
        return Ok(());
    }
    Err(TooManyRejected {
        whole: whole.to_owned(),
        limit,
        found,
        first,
    })
}

fn quoted(first: &[Rejected]) -> String {
    let rows: Vec<_> = first.iter().map(ToString::to_string).collect();
    format!("the first: {}", rows.join("; "))
}
