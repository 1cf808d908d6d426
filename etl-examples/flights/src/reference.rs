//! The three small tables: airlines, airports and planes.
//!
//! Each is checked as strictly as the large ones. Of the planes only the tail numbers are kept:
//! no table of the report draws on the rest.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::extract::{ExtractError, Source, scan_file};
use crate::hour;
use crate::job::Job;
use crate::rejected::Checked;
use crate::row::{Fault, Row, disagrees};

/// The columns of `airlines.csv`.
pub const AIRLINE_COLUMNS: [&str; 2] = ["carrier", "name"];

/// The columns of `airports.csv`.
pub const AIRPORT_COLUMNS: [&str; 8] = ["faa", "name", "lat", "lon", "alt", "tz", "dst", "tzone"];

/// The columns of `planes.csv`.
pub const PLANE_COLUMNS: [&str; 9] = [
    "tailnum",
    "year",
    "type",
    "manufacturer",
    "model",
    "engines",
    "seats",
    "speed",
    "engine",
];

/// Columns of equal length, a row for each airline; no carrier comes twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Airlines {
    /// Rows read and rejected; the columns hold the difference.
    pub checked: Checked,
    /// Two letters or digits.
    pub carrier: Vec<String>,
    /// The airline's name.
    pub name: Vec<String>,
}

/// Columns of equal length, a row for each airport; no code comes twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Airports {
    /// Rows read and rejected; the columns hold the difference.
    pub checked: Checked,
    /// Three letters or digits.
    pub faa: Vec<String>,
    /// The airport's name.
    pub name: Vec<String>,
}

/// A row for each plane; no tail number comes twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planes {
    /// Rows read and rejected; the column holds the difference.
    pub checked: Checked,
    /// Tail numbers.
    pub tailnum: Vec<String>,
}

/// Reads `airlines.csv`.
///
/// # Errors
/// [`ExtractError`] when the file is missing, damaged or has more bad rows than the job allows.
pub fn extract_airlines(job: &Job) -> Result<Airlines, ExtractError> {
    let mut table = Airlines::default();
    let checked = scan_named(job, "airlines.csv", &AIRLINE_COLUMNS, |mut row, keys| {
        let carrier = row.code("carrier", 2..=2)?;
        let name = row.text("name")?.into_owned();
        row.end()?;
        table.carrier.push(first_of("carrier", carrier, keys)?);
        table.name.push(name);
        Ok(())
    })?;
    Ok(Airlines { checked, ..table })
}

/// Reads `airports.csv`.
///
/// # Errors
/// [`ExtractError`] when the file is missing, damaged or has more bad rows than the job allows.
pub fn extract_airports(job: &Job) -> Result<Airports, ExtractError> {
    let mut table = Airports::default();
    let checked = scan_named(job, "airports.csv", &AIRPORT_COLUMNS, |mut row, keys| {
        let faa = row.code("faa", 3..=3)?;
        let name = row.text("name")?.into_owned();
        row.number("lat", -90.0..=90.0)?;
        row.number("lon", -180.0..=180.0)?;
        row.integer("alt", -1500..=30_000)?;
        row.integer("tz", -12..=14)?;
        row.code("dst", 1..=1)?;
        row.text_or_null("tzone")?;
        row.end()?;
        table.faa.push(first_of("faa", faa, keys)?);
        table.name.push(name);
        Ok(())
    })?;
    Ok(Airports { checked, ..table })
}

/// Reads `planes.csv`.
///
/// # Errors
/// [`ExtractError`] when the file is missing, damaged or has more bad rows than the job allows.
pub fn extract_planes(job: &Job) -> Result<Planes, ExtractError> {
    let mut table = Planes::default();
    let checked = scan_named(job, "planes.csv", &PLANE_COLUMNS, |mut row, keys| {
        let tailnum = row.code("tailnum", 3..=6)?;
        row.integer_or_null("year", 1900..=hour::YEAR)?;
        row.text("type")?;
        row.text("manufacturer")?;
        row.text("model")?;
        row.integer("engines", 1..=8)?;
        row.integer("seats", 1..=900)?;
        row.integer_or_null("speed", 1..=1000)?;
        row.text("engine")?;
        row.end()?;
        table.tailnum.push(first_of("tailnum", tailnum, keys)?);
        Ok(())
    })?;
    Ok(Planes { checked, ..table })
}

fn scan_named(
    job: &Job,
    name: &str,
    columns: &'static [&'static str],
    mut take: impl FnMut(Row<'_>, &mut HashSet<String>) -> Result<(), Fault>,
) -> Result<Checked, ExtractError> {
    let path = job.data.join(name);
    let source = Source {
        path: &path,
        columns,
        rejected_max: job.rejected_max,
    };
    let mut keys = HashSet::new();
    scan_file(source, |line| take(Row::new(line), &mut keys))
}

/// The key as text, if no earlier row had it.
fn first_of(column: &str, key: &[u8], keys: &mut HashSet<String>) -> Result<String, Fault> {
    let key = String::from_utf8_lossy(key).into_owned();
    if keys.insert(key.clone()) {
        Ok(key)
    } else {
        Err(disagrees(column, key, "an earlier row of the same key"))
    }
}

#[cfg(test)]
mod tests;
