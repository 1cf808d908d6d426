//! The weather table: one row for each airport of departure and hour.
//!
//! The value is plain columns, because it goes as JSON to a function in another language. Only
//! what that function needs is kept; all 15 columns are checked.

use serde::{Deserialize, Serialize};

use crate::extract::{ExtractError, Source, scan_file};
use crate::hour;
use crate::job::Job;
use crate::origin::Origin;
use crate::rejected::Checked;
use crate::row::{Fault, Row, disagrees};

/// The file's columns.
pub const COLUMNS: [&str; 15] = [
    "origin",
    "year",
    "month",
    "day",
    "hour",
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
    "time_hour",
];

/// Columns of equal length, a row for each airport and hour; no pair of them comes twice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WeatherTable {
    /// Rows read and rejected; the columns hold the difference.
    pub checked: Checked,
    /// Where it was measured.
    pub origin: Vec<Origin>,
    /// UTC, as hours since the start of the year.
    pub hour: Vec<u16>,
    /// Inches of rain and snow in that hour; null when not measured.
    pub precip: Vec<Option<f64>>,
}

/// Reads `weather.csv`.
///
/// # Errors
/// [`ExtractError`] when the file is missing, damaged or has more bad rows than the job allows.
pub fn extract_weather(job: &Job) -> Result<WeatherTable, ExtractError> {
    let path = job.data.join("weather.csv");
    let source = Source {
        path: &path,
        columns: &COLUMNS,
        rejected_max: job.rejected_max,
    };
    let mut table = WeatherTable::default();
    let mut seen = vec![false; Origin::ALL.len() * usize::from(hour::HOURS)];
    let checked = scan_file(source, |line| {
        let (origin, hour, precip) = parse(line)?;
        let seen = &mut seen[origin as usize * usize::from(hour::HOURS) + usize::from(hour)];
        if std::mem::replace(seen, true) {
            return Err(disagrees(
                "time_hour",
                hour,
                "an earlier row of the same airport and hour",
            ));
        }
        table.origin.push(origin);
        table.hour.push(hour);
        table.precip.push(precip);
        Ok(())
    })?;
    Ok(WeatherTable { checked, ..table })
}

/// Reads and checks one row.
fn parse(line: &[u8]) -> Result<(Origin, u16, Option<f64>), Fault> {
    let mut row = Row::new(line);
    let origin = row.origin("origin")?;
    row.integer("year", hour::YEAR..=hour::YEAR)?;
    let month = row.integer("month", 1..=12)?;
    let day = row.integer("day", 1..=31)?;
    let local_hour = row.integer("hour", 0..=23)?;
    row.number_or_null("temp", -80.0..=140.0)?;
    row.number_or_null("dewp", -80.0..=140.0)?;
    row.number_or_null("humid", 0.0..=100.0)?;
    row.integer_or_null("wind_dir", 0..=360)?;
    // The archive holds one gust of 1,048 mph. It is false, but nothing here uses the column.
    row.number_or_null("wind_speed", 0.0..=1200.0)?;
    row.number_or_null("wind_gust", 0.0..=1200.0)?;
    let precip = row.number_or_null("precip", 0.0..=20.0)?;
    row.number_or_null("pressure", 850.0..=1100.0)?;
    row.number_or_null("visib", 0.0..=100.0)?;

    let Some(local) = hour::local(month, day, local_hour) else {
        return Err(disagrees("day", day, "the length of the month"));
    };
    let time_hour = row.utc_hour("time_hour", local)?;
    row.end()?;
    Ok((origin, time_hour, precip))
}

#[cfg(test)]
mod tests;
