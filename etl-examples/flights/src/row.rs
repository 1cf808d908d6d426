//! One row of a CSV file, read field by field from left to right.
//!
//! `NA` is null. A field may stand in double quotes (with `""` for a quote inside), but a line
//! break inside quotes is not supported: no column of the data set needs one. Each method names
//! the column it reads, so that a fault says which column held what and what it may hold.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::hour;
use crate::origin::Origin;

/// Why a row is rejected.
pub(crate) type Fault = Box<str>;

/// Characters of a field that a reason quotes.
const QUOTED_CHARS: usize = 40;

/// Reads the fields of one line in order.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self { rest: Some(line) }
    }

    /// Whether the fields are exactly these names.
    pub(crate) fn has_fields(mut self, columns: &[&str]) -> bool {
        columns
            .iter()
            .all(|name| self.field(name).is_ok_and(|field| field == name.as_bytes()))
            && self.rest.is_none()
    }

    /// The fault of a row that does not have `expected` fields. Off the fast path: rows are
    /// counted once something else has gone wrong.
    pub(crate) fn fault_of_count(mut self, expected: usize) -> Option<Fault> {
        let mut found = 0;
        while self.rest.is_some() {
            self.field("").ok()?;
            found += 1;
        }
        (found != expected).then(|| format!("the row has {found} of {expected} fields").into())
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.rest.is_none() {
            Ok(())
        } else {
            Err("the row has too many fields".into())
        }
    }

    /// An integer within the range.
    #[inline]
    pub(crate) fn integer(
        &mut self,
        column: &str,
        range: RangeInclusive<i32>,
    ) -> Result<i32, Fault> {
        let field = self.field(column)?;
        match integer(field) {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(not_within(column, field, "an integer", &range, "")),
        }
    }

    /// An integer within the range, or null.
    #[inline]
    pub(crate) fn integer_or_null(
        &mut self,
        column: &str,
        range: RangeInclusive<i32>,
    ) -> Result<Option<i32>, Fault> {
        let field = self.field(column)?;
        if field == b"NA" {
            return Ok(None);
        }
        match integer(field) {
            Some(value) if range.contains(&value) => Ok(Some(value)),
            _ => Err(not_within(column, field, "an integer", &range, " or NA")),
        }
    }

    /// A time of day on the clock as `HHMM` without leading zeros, up to 2400.
    #[inline]
    pub(crate) fn clock(&mut self, column: &str) -> Result<i32, Fault> {
        let field = self.field(column)?;
        clock(field).ok_or_else(|| unexpected(column, field, "a time from 1 to 2400 as HHMM"))
    }

    /// A time of day, or null.
    #[inline]
    pub(crate) fn clock_or_null(&mut self, column: &str) -> Result<Option<i32>, Fault> {
        let field = self.field(column)?;
        if field == b"NA" {
            return Ok(None);
        }
        match clock(field) {
            Some(value) => Ok(Some(value)),
            None => Err(unexpected(
                column,
                field,
                "a time from 1 to 2400 as HHMM or NA",
            )),
        }
    }

    /// A number within the range.
    pub(crate) fn number(
        &mut self,
        column: &str,
        range: RangeInclusive<f64>,
    ) -> Result<f64, Fault> {
        let field = self.field(column)?;
        match number(field) {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(not_within(column, field, "a number", &range, "")),
        }
    }

    /// A number within the range, or null.
    pub(crate) fn number_or_null(
        &mut self,
        column: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, Fault> {
        let field = self.field(column)?;
        if field == b"NA" {
            return Ok(None);
        }
        match number(field) {
            Some(value) if range.contains(&value) => Ok(Some(value)),
            _ => Err(not_within(column, field, "a number", &range, " or NA")),
        }
    }

    /// Capital letters and digits, as many as the range says.
    #[inline]
    pub(crate) fn code(
        &mut self,
        column: &str,
        length: RangeInclusive<usize>,
    ) -> Result<&'a [u8], Fault> {
        let field = self.field(column)?;
        if is_code(field, &length) {
            Ok(field)
        } else {
            Err(not_a_code(column, field, &length, ""))
        }
    }

    /// Capital letters and digits, or null.
    #[inline]
    pub(crate) fn code_or_null(
        &mut self,
        column: &str,
        length: RangeInclusive<usize>,
    ) -> Result<(), Fault> {
        let field = self.field(column)?;
        if field == b"NA" || is_code(field, &length) {
            return Ok(());
        }
        Err(not_a_code(column, field, &length, " or NA"))
    }

    /// One of the three airports of departure.
    #[inline]
    pub(crate) fn origin(&mut self, column: &str) -> Result<Origin, Fault> {
        let field = self.field(column)?;
        Origin::parse(field).ok_or_else(|| unexpected(column, field, "EWR, JFK or LGA"))
    }

    /// A whole hour in UTC that lies four or five hours (New York's two offsets) after the local
    /// hour, as hours since the start of the year.
    #[inline]
    pub(crate) fn utc_hour(&mut self, column: &str, local: u16) -> Result<u16, Fault> {
        let field = self.field(column)?;
        match hour::parse_utc(field) {
            Some(utc) if utc == local + 4 || utc == local + 5 => Ok(utc),
            Some(_) => Err(unexpected(
                column,
                field,
                "the row's hour in New York, 4 or 5 hours later",
            )),
            None => Err(unexpected(
                column,
                field,
                "an hour of 2013 as YYYY-MM-DDTHH:00:00Z",
            )),
        }
    }

    /// Text that is neither empty nor null.
    pub(crate) fn text(&mut self, column: &str) -> Result<Cow<'a, str>, Fault> {
        match self.text_or_null(column)? {
            Some(text) => Ok(text),
            None => Err(unexpected(column, b"NA", "text")),
        }
    }

    /// Text that is not empty, or null.
    pub(crate) fn text_or_null(&mut self, column: &str) -> Result<Option<Cow<'a, str>>, Fault> {
        let field = self.field(column)?;
        if field == b"NA" {
            return Ok(None);
        }
        let text = std::str::from_utf8(field).ok();
        let Some(text) = text.filter(|text| !text.is_empty() && !text.contains(char::is_control))
        else {
            return Err(unexpected(column, field, "text"));
        };
        let quote = text.contains("\"\"");
        Ok(Some(if quote {
            text.replace("\"\"", "\"").into()
        } else {
            text.into()
        }))
    }

    #[inline]
    fn field(&mut self, column: &str) -> Result<&'a [u8], Fault> {
        let Some(rest) = self.rest else {
            return Err(format!("{column} is missing").into());
        };
        if rest.first() == Some(&b'"') {
            return self.quoted(column, rest);
        }
        let Some(comma) = rest.iter().position(|&byte| byte == b',') else {
            self.rest = None;
            return Ok(rest);
        };
        self.rest = Some(&rest[comma + 1..]);
        Ok(&rest[..comma])
    }

    #[cold]
    fn quoted(&mut self, column: &str, rest: &'a [u8]) -> Result<&'a [u8], Fault> {
        let mut at = 1;
        while let Some(quote) = memchr::memchr(b'"', &rest[at..]) {
            let end = at + quote;
            match rest.get(end + 1) {
                Some(b'"') => {
                    at = end + 2;
                    continue;
                }
                Some(b',') => self.rest = Some(&rest[end + 2..]),
                None => self.rest = None,
                Some(_) => return Err(format!("{column} goes on after its closing quote").into()),
            }
            return Ok(&rest[1..end]);
        }
        Err(format!("{column} opens a quote that the line does not close").into())
    }
}

/// The fault of a column that contradicts another one.
#[cold]
pub(crate) fn disagrees(column: &str, found: impl ToString, with: &str) -> Fault {
    format!(
        "{column} is {}, which disagrees with {with}",
        found.to_string()
    )
    .into()
}

#[inline]
fn integer(field: &[u8]) -> Option<i32> {
    let (negative, digits) = match field {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Six digits are more than any column may have and cannot overflow.
    if digits.is_empty() || digits.len() > 6 {
        return None;
    }
    let mut value = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i32::from(digit);
    }
    Some(if negative { -value } else { value })
}

#[inline]
fn clock(field: &[u8]) -> Option<i32> {
    integer(field).filter(|value| (1..=2400).contains(value) && value % 100 < 60)
}

fn number(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[inline]
fn is_code(field: &[u8], length: &RangeInclusive<usize>) -> bool {
    length.contains(&field.len())
        && field
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cold]
fn unexpected(column: &str, field: &[u8], expected: &str) -> Fault {
    let found: String = String::from_utf8_lossy(field)
        .chars()
        .take(QUOTED_CHARS)
        .collect();
    format!("{column} is {found:?}, expected {expected}").into()
}

#[cold]
fn not_within<T: std::fmt::Display>(
    column: &str,
    field: &[u8],
    what: &str,
    range: &RangeInclusive<T>,
    or: &str,
) -> Fault {
    let expected = match (range.start().to_string(), range.end().to_string()) {
        (start, end) if start == end => format!("{start}{or}"),
        (start, end) => format!("{what} from {start} to {end}{or}"),
    };
    unexpected(column, field, &expected)
}

#[cold]
fn not_a_code(column: &str, field: &[u8], length: &RangeInclusive<usize>, or: &str) -> Fault {
    let (start, end) = (length.start(), length.end());
    let count = if start == end {
        start.to_string()
    } else {
        format!("{start} to {end}")
    };
    unexpected(
        column,
        field,
        &format!("{count} capital letters or digits{or}"),
    )
}

#[cfg(test)]
mod tests;
