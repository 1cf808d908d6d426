//! The load: a report into a SQLite file, all of it or nothing.
//!
//! One transaction makes the tables, replaces their rows and notes the request in `run`. A
//! request that `run` already has changes nothing, so a load may be tried again after any
//! failure. The transaction takes the write lock at its start: a busy file is found out before
//! any work, and is the one failure worth another try.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};
use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::report::Report;

/// How long SQLite waits for another writer. Short: the caller has a retry policy of its own.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS carrier_delay (
    carrier TEXT PRIMARY KEY, name TEXT, flights INTEGER NOT NULL, cancelled INTEGER NOT NULL,
    mean_dep_delay REAL, mean_arr_delay REAL);
CREATE TABLE IF NOT EXISTS month_delay (
    month INTEGER PRIMARY KEY, flights INTEGER NOT NULL, cancelled INTEGER NOT NULL,
    mean_dep_delay REAL, mean_arr_delay REAL);
CREATE TABLE IF NOT EXISTS route (
    origin TEXT NOT NULL, dest TEXT NOT NULL, dest_name TEXT, flights INTEGER NOT NULL,
    mean_arr_delay REAL, PRIMARY KEY (origin, dest));
CREATE TABLE IF NOT EXISTS weather_delay (
    origin TEXT NOT NULL, wet INTEGER, flights INTEGER NOT NULL, mean_dep_delay REAL);
CREATE TABLE IF NOT EXISTS rejected (
    source TEXT NOT NULL, line INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS run (
    request_id TEXT PRIMARY KEY, flights_read INTEGER NOT NULL, rejected INTEGER NOT NULL,
    finished_at TEXT NOT NULL);
";

const CLEAR: &str = "
DELETE FROM carrier_delay; DELETE FROM month_delay; DELETE FROM route;
DELETE FROM weather_delay; DELETE FROM rejected;
";

/// What a load did, with the figures that a summary shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadSummary {
    /// The SQLite file.
    pub file: PathBuf,
    /// False when the file already had this request and was left as it was.
    pub loaded: bool,
    /// Rows read from the flights table.
    pub flights_read: u64,
    /// Rejected rows of all files.
    pub rejected: u64,
    /// Flights in the report.
    pub flights: u64,
    /// Flights that did not depart.
    pub cancelled: u64,
    /// Minutes; null when no flight departed.
    pub mean_dep_delay: Option<f64>,
    /// Carriers in the report.
    pub carriers: u64,
    /// Pairs of airports in the report.
    pub routes: u64,
    /// Flights to destinations without a known name.
    pub dest_unnamed: u64,
    /// Flights that have a weather row.
    pub with_weather: u64,
}

/// A load that failed; the file is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file's folder could not be made.
    #[error("make the folder {} for the report; set `out` to a file that can be written", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another connection is writing.
    #[error("load into {}: the file is locked by another writer, waited {} ms; try again", file.display(), BUSY_TIMEOUT.as_millis())]
    Busy {
        /// The SQLite file.
        file: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// The file could not be opened or is not a database.
    #[error("open {} as a SQLite database; set `out` to a file that can be written", file.display())]
    Open {
        /// The SQLite file.
        file: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// The transaction failed and was rolled back.
    #[error("load into {}; nothing was changed", file.display())]
    Write {
        /// The SQLite file.
        file: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
}

impl LoadError {
    /// Whether another try may succeed without anyone doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

/// Loads the report into the job's SQLite file, once for each request id.
///
/// # Errors
/// [`LoadError`], which leaves the file as it was; [`LoadError::is_retryable`] when it was busy.
pub fn load(job: &Job, request_id: &str, report: &Report) -> Result<LoadSummary, LoadError> {
    let file = job.out.as_path();
    if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir).map_err(|source| LoadError::Folder {
            dir: dir.to_owned(),
            source,
        })?;
    }
    let mut connection = Connection::open(file).map_err(|source| opening(file, source))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|source| opening(file, source))?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|source| opening(file, source))?;
    let loaded = write(&transaction, request_id, report).map_err(|source| writing(file, source))?;
    transaction
        .commit()
        .map_err(|source| writing(file, source))?;
    Ok(summary(file, loaded, report))
}

fn write(
    transaction: &Transaction<'_>,
    request_id: &str,
    report: &Report,
) -> rusqlite::Result<bool> {
    transaction.execute_batch(SCHEMA)?;
    let known = transaction
        .query_row(
            "SELECT 1 FROM run WHERE request_id = ?1",
            [request_id],
            |_| Ok(()),
        )
        .optional()?;
    if known.is_some() {
        return Ok(false);
    }
    transaction.execute_batch(CLEAR)?;
    insert(transaction, report)?;
    transaction.execute(
        "INSERT INTO run VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
        params![
            request_id,
            report.flights_read as i64,
            report.rejected.len() as i64
        ],
    )?;
    Ok(true)
}

fn insert(transaction: &Transaction<'_>, report: &Report) -> rusqlite::Result<()> {
    let mut row =
        transaction.prepare("INSERT INTO carrier_delay VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for group in &report.carriers {
        let (carrier, sums) = (&group.carrier, group.sums);
        let (flights, cancelled) = (sums.flights as i64, sums.cancelled as i64);
        let (dep_delay, arr_delay) = (sums.dep_delay.mean(), sums.arr_delay.mean());
        row.execute(params![
            carrier.code,
            carrier.name,
            flights,
            cancelled,
            dep_delay,
            arr_delay
        ])?;
    }
    let mut row = transaction.prepare("INSERT INTO month_delay VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (month, sums) in &report.months {
        let (flights, cancelled) = (sums.flights as i64, sums.cancelled as i64);
        row.execute(params![
            month,
            flights,
            cancelled,
            sums.dep_delay.mean(),
            sums.arr_delay.mean()
        ])?;
    }
    let mut row = transaction.prepare("INSERT INTO route VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for group in &report.routes {
        let (dest, flights) = (&group.dest, group.sums.flights as i64);
        row.execute(params![
            group.origin.code(),
            dest.code,
            dest.name,
            flights,
            group.sums.arr_delay.mean()
        ])?;
    }
    let mut row = transaction.prepare("INSERT INTO weather_delay VALUES (?1, ?2, ?3, ?4)")?;
    for group in &report.weather {
        let flights = group.sums.flights as i64;
        row.execute(params![
            group.origin.code(),
            group.wet,
            flights,
            group.sums.dep_delay.mean()
        ])?;
    }
    let mut row = transaction.prepare("INSERT INTO rejected VALUES (?1, ?2, ?3)")?;
    for rejected in &report.rejected {
        row.execute(params![
            rejected.source,
            rejected.line as i64,
            rejected.reason
        ])?;
    }
    Ok(())
}

fn summary(file: &Path, loaded: bool, report: &Report) -> LoadSummary {
    let unnamed = report
        .routes
        .iter()
        .filter(|route| route.dest.name.is_none());
    LoadSummary {
        file: file.to_owned(),
        loaded,
        flights_read: report.flights_read,
        rejected: report.rejected.len() as u64,
        flights: report.total.flights,
        cancelled: report.total.cancelled,
        mean_dep_delay: report.total.dep_delay.mean(),
        carriers: report.carriers.len() as u64,
        routes: report.routes.len() as u64,
        dest_unnamed: unnamed.map(|route| route.sums.flights).sum(),
        with_weather: report
            .weather
            .iter()
            .map(|weather| weather.sums.flights)
            .sum(),
    }
}

fn opening(file: &Path, source: rusqlite::Error) -> LoadError {
    if is_busy(&source) {
        return LoadError::Busy {
            file: file.to_owned(),
            source,
        };
    }
    LoadError::Open {
        file: file.to_owned(),
        source,
    }
}

fn writing(file: &Path, source: rusqlite::Error) -> LoadError {
    if is_busy(&source) {
        return LoadError::Busy {
            file: file.to_owned(),
            source,
        };
    }
    LoadError::Write {
        file: file.to_owned(),
        source,
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

#[cfg(test)]
mod tests;
