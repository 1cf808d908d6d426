//! The flights table: 337 thousand rows of 19 columns, a value for each month.
//!
//! The file is read in parts of equal size, one thread each, through small buffers: the file as
//! a whole is never in memory. Every column is checked; only those that later steps need are
//! kept. Months come out in order whatever the order of the rows. A row whose month cannot be
//! read is counted with the first month of the list, so that no rejected row is lost.

use std::io::{Seek, SeekFrom};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::column::Column;
use crate::dictionary::Dictionary;
use crate::extract::{ExtractError, Source};
use crate::hour;
use crate::job::Job;
use crate::lines::Lines;
use crate::origin::Origin;
use crate::rejected::{Checked, check_rejected};
use crate::row::{Fault, Row, disagrees};

/// The file's columns.
pub const COLUMNS: [&str; 19] = [
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "air_time",
    "distance",
    "hour",
    "minute",
    "time_hour",
];

/// Bytes below which a part of the file is not worth a thread.
const PART_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Parts at most; the disk is the limit long before more threads would help.
const PARTS_MAX: u64 = 8;

/// The flights of one month: columns of equal length, a row for each flight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlightMonth {
    /// 1 to 12.
    pub month: u8,
    /// Rows read and rejected; the columns hold the difference.
    pub checked: Checked,
    /// Carrier codes; `carrier` holds indices into it.
    pub carriers: Vec<String>,
    /// Codes of destinations; `dest` holds indices into it.
    pub dests: Vec<String>,
    /// Index into `carriers`.
    pub carrier: Column<u16>,
    /// Index into [`Origin::ALL`].
    pub origin: Column<u8>,
    /// Index into `dests`.
    pub dest: Column<u16>,
    /// Departure on the clock in New York as HHMM; null when the flight was cancelled.
    pub dep_time: Column<Option<i16>>,
    /// Minutes; null when the flight was cancelled.
    pub dep_delay: Column<Option<i16>>,
    /// Minutes; null when the flight was cancelled or did not arrive at its destination.
    pub arr_delay: Column<Option<i16>>,
    /// Scheduled hour in UTC, as hours since the start of the year.
    pub time_hour: Column<u16>,
}

/// Reads `flights.csv`: a value for each month that has rows, in the order of the months.
///
/// # Errors
/// [`ExtractError`] when the file is missing, damaged or has more bad rows than the job allows.
pub fn extract_flights(job: &Job) -> Result<Vec<FlightMonth>, ExtractError> {
    let path = job.data.join("flights.csv");
    let source = Source {
        path: &path,
        columns: &COLUMNS,
        rejected_max: job.rejected_max,
    };
    let bytes = source
        .open()?
        .metadata()
        .map_or(0, |metadata| metadata.len());
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let parts = (bytes / PART_BYTES_MIN).clamp(1, cores.min(PARTS_MAX));
    extract_parts(source, bytes, parts)
}

fn extract_parts(
    source: Source<'_>,
    bytes: u64,
    parts: u64,
) -> Result<Vec<FlightMonth>, ExtractError> {
    let edge = |part| {
        if part == parts {
            u64::MAX
        } else {
            bytes / parts * part
        }
    };
    let results: Vec<_> = thread::scope(|scope| {
        let others: Vec<_> = (1..parts)
            .map(|part| scope.spawn(move || Part::read(source, edge(part), edge(part + 1))))
            .collect();
        let first = Part::read(source, 0, edge(1));
        let others = others.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(first).chain(others).collect()
    });

    let mut whole: Option<Part> = None;
    for result in results {
        whole = Some(match whole {
            None => result?,
            Some(mut whole) => {
                let lines_before = whole.checked.read + 1;
                whole.append(result.map_err(|error| error.moved_by(lines_before))?);
                whole
            }
        });
        if let Some(whole) = &whole {
            check_rejected(&source.name(), source.rejected_max, &whole.checked.rejected)?;
        }
    }
    Ok(whole.map_or_else(Vec::new, Part::into_months))
}

/// What was read from a stretch of the file.
#[derive(Debug)]
struct Part {
    checked: Checked,
    /// The month of each rejected row, where it can be read.
    rejected_months: Vec<Option<usize>>,
    carriers: Dictionary<2>,
    dests: Dictionary<3>,
    months: [FlightMonth; 12],
}

/// A row that has passed every check; what later steps do not need is gone.
struct Flight {
    month: usize,
    carrier: [u8; 2],
    origin: Origin,
    dest: [u8; 3],
    dep_time: Option<i16>,
    dep_delay: Option<i16>,
    arr_delay: Option<i16>,
    time_hour: u16,
}

impl Part {
    /// Reads the lines that start at `from` or after it and before `until`. Only the first part
    /// knows the numbers of its lines; the others count from 1.
    fn read(source: Source<'_>, from: u64, until: u64) -> Result<Self, ExtractError> {
        let mut file = source.open()?;
        let (mut lines, first_line) = if from == 0 {
            let mut lines = Lines::new(file);
            source.read_header(&mut lines)?;
            (lines, 2)
        } else {
            let failed = |error| ExtractError::Read {
                file: source.path.to_owned(),
                line: 1,
                source: error,
            };
            file.seek(SeekFrom::Start(from - 1)).map_err(failed)?;
            let mut lines = Lines::at(file, from - 1);
            // The rest of a line that starts in the part before this one, which reports on it.
            source.skip_line(&mut lines)?;
            (lines, 1)
        };
        let mut part = Self::new();
        let checked = source.scan(&mut lines, first_line, until, |line| match parse(line) {
            Ok(flight) => {
                part.push(flight);
                Ok(())
            }
            Err(fault) => {
                part.rejected_months.push(month_of(line));
                Err(fault)
            }
        })?;
        part.checked = checked;
        Ok(part)
    }

    fn new() -> Self {
        Self {
            checked: Checked::default(),
            rejected_months: Vec::new(),
            carriers: Dictionary::new(),
            dests: Dictionary::new(),
            months: std::array::from_fn(|_| FlightMonth::default()),
        }
    }

    #[inline]
    fn push(&mut self, flight: Flight) {
        let carrier = self.carriers.number(flight.carrier);
        let dest = self.dests.number(flight.dest);
        let month = &mut self.months[flight.month];
        month.carrier.push(carrier);
        month.origin.push(flight.origin as u8);
        month.dest.push(dest);
        month.dep_time.push(flight.dep_time);
        month.dep_delay.push(flight.dep_delay);
        month.arr_delay.push(flight.arr_delay);
        month.time_hour.push(flight.time_hour);
    }

    /// Takes up the part of the file that follows this one.
    fn append(&mut self, other: Self) {
        let lines_before = self.checked.read + 1;
        let carriers = self.carriers.adopt(&other.carriers);
        let dests = self.dests.adopt(&other.dests);
        let moved = other.checked.rejected.into_iter().map(|mut row| {
            row.line += lines_before;
            row
        });
        self.checked.rejected.extend(moved);
        self.checked.read += other.checked.read;
        self.rejected_months.extend(other.rejected_months);
        for (month, other) in self.months.iter_mut().zip(other.months) {
            month.carrier.append(
                other
                    .carrier
                    .iter()
                    .map(|number| carriers[usize::from(number)])
                    .collect(),
            );
            month.origin.append(other.origin);
            month.dest.append(
                other
                    .dest
                    .iter()
                    .map(|number| dests[usize::from(number)])
                    .collect(),
            );
            month.dep_time.append(other.dep_time);
            month.dep_delay.append(other.dep_delay);
            month.arr_delay.append(other.arr_delay);
            month.time_hour.append(other.time_hour);
        }
    }

    fn into_months(mut self) -> Vec<FlightMonth> {
        let first = self
            .months
            .iter()
            .position(|month| !month.origin.is_empty())
            .unwrap_or(0);
        for (row, month) in self.checked.rejected.into_iter().zip(self.rejected_months) {
            let checked = &mut self.months[month.unwrap_or(first)].checked;
            checked.read += 1;
            checked.rejected.push(row);
        }
        let (carriers, dests) = (self.carriers.codes(), self.dests.codes());
        let numbered = self.months.into_iter().zip(1..);
        numbered
            .map(|(mut month, number)| {
                month.month = number;
                month.checked.read += month.origin.len() as u64;
                month.carriers.clone_from(&carriers);
                month.dests.clone_from(&dests);
                month
            })
            .filter(|month| month.checked.read > 0)
            .collect()
    }
}

/// Reads and checks one row.
fn parse(line: &[u8]) -> Result<Flight, Fault> {
    let mut row = Row::new(line);
    row.integer("year", hour::YEAR..=hour::YEAR)?;
    let month = row.integer("month", 1..=12)?;
    let day = row.integer("day", 1..=31)?;
    let dep_time = row.clock_or_null("dep_time")?;
    let sched_dep_time = row.clock("sched_dep_time")?;
    let dep_delay = row.integer_or_null("dep_delay", -1440..=2880)?;
    let arr_time = row.clock_or_null("arr_time")?;
    row.clock("sched_arr_time")?;
    let arr_delay = row.integer_or_null("arr_delay", -1440..=2880)?;
    let carrier = row.code("carrier", 2..=2)?;
    row.integer("flight", 1..=9999)?;
    row.code_or_null("tailnum", 3..=6)?;
    let origin = row.origin("origin")?;
    let dest = row.code("dest", 3..=3)?;
    let air_time = row.integer_or_null("air_time", 1..=1440)?;
    row.integer("distance", 1..=12_500)?;
    let hour = row.integer("hour", 0..=23)?;
    let minute = row.integer("minute", 0..=59)?;

    let Some(local) = hour::local(month, day, hour) else {
        return Err(disagrees("day", day, "the length of the month"));
    };
    let time_hour = row.utc_hour("time_hour", local)?;
    row.end()?;
    if hour * 100 + minute != sched_dep_time {
        return Err(disagrees(
            "sched_dep_time",
            sched_dep_time,
            "hour and minute",
        ));
    }
    if dep_time.is_some() != dep_delay.is_some() {
        return Err(disagrees("dep_delay", null_or(dep_delay), "dep_time"));
    }
    if arr_time.is_some() && dep_time.is_none() {
        return Err(disagrees("arr_time", null_or(arr_time), "dep_time"));
    }
    if arr_delay.is_some() && arr_time.is_none() {
        return Err(disagrees("arr_delay", null_or(arr_delay), "arr_time"));
    }
    if arr_delay.is_some() != air_time.is_some() {
        return Err(disagrees("air_time", null_or(air_time), "arr_delay"));
    }
    Ok(Flight {
        month: month as usize - 1,
        // `Row::code` has checked the lengths.
        carrier: [carrier[0], carrier[1]],
        origin,
        dest: [dest[0], dest[1], dest[2]],
        dep_time: dep_time.map(|value| value as i16),
        dep_delay: dep_delay.map(|value| value as i16),
        arr_delay: arr_delay.map(|value| value as i16),
        time_hour,
    })
}

/// The month of a row that has been rejected, as an index.
fn month_of(line: &[u8]) -> Option<usize> {
    let mut row = Row::new(line);
    row.integer("year", hour::YEAR..=hour::YEAR).ok()?;
    row.integer("month", 1..=12)
        .ok()
        .map(|month| month as usize - 1)
}

fn null_or(value: Option<i32>) -> String {
    value.map_or_else(|| "NA".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests;
