//! Hours as small integers: hours since 2013-01-01T00:00 in the zone at hand.
//!
//! The data set is one year, so an hour fits sixteen bits and the weather fits a dense grid. The
//! last evening of the year in New York is the next year in UTC; [`HOURS`] leaves a day for it.

/// The year of the data set.
pub const YEAR: i32 = 2013;

/// Number of hours that an hour index may name: the year and one more day.
pub const HOURS: u16 = 366 * 24;

/// Days before each month of a year that is not a leap year, and the days of the whole year.
const DAYS_BEFORE: [u16; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

/// Index of a local hour; nothing when the month does not have the day.
///
/// Expects `month` in 1..=12, `day` at least 1 and `hour` at most 23.
pub(crate) fn local(month: i32, day: i32, hour: i32) -> Option<u16> {
    let (month, day, hour) = (month as usize, day as u16, hour as u16);
    let before = DAYS_BEFORE[month - 1];
    let of_year = before + day - 1;
    (of_year < DAYS_BEFORE[month]).then_some(of_year * 24 + hour)
}

/// Index of an hour written as `YYYY-MM-DDTHH:00:00Z`.
pub(crate) fn parse_utc(text: &[u8]) -> Option<u16> {
    let (date, time) = text.split_at_checked(11)?;
    let &[b'2', b'0', b'1', year, b'-', m1, m2, b'-', d1, d2, b'T'] = date else {
        return None;
    };
    let &[h1, h2, b':', b'0', b'0', b':', b'0', b'0', b'Z'] = time else {
        return None;
    };
    let (month, day, hour) = (pair(m1, m2)?, pair(d1, d2)?, pair(h1, h2)?);
    if !(1..=12).contains(&month) || day == 0 || hour > 23 {
        return None;
    }
    match year {
        b'3' => local(month, day, hour),
        b'4' if month == 1 && day == 1 => Some(DAYS_BEFORE[12] * 24 + hour as u16),
        _ => None,
    }
}

fn pair(tens: u8, units: u8) -> Option<i32> {
    let (tens, units) = (tens.wrapping_sub(b'0'), units.wrapping_sub(b'0'));
    (tens < 10 && units < 10).then(|| i32::from(tens) * 10 + i32::from(units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_count_from_the_start_of_the_year() {
        assert_eq!(parse_utc(b"2013-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_utc(b"2013-03-01T01:00:00Z"), Some(59 * 24 + 1));
        assert_eq!(parse_utc(b"2013-12-31T23:00:00Z"), Some(8759));
        assert_eq!(parse_utc(b"2014-01-01T04:00:00Z"), Some(8764));
        assert_eq!(local(12, 31, 23), Some(8759));
    }

    #[test]
    fn what_is_not_an_hour_of_the_year_is_none() {
        for text in [
            "2013-02-29T00:00:00Z",
            "2013-13-01T00:00:00Z",
            "2013-01-00T00:00:00Z",
            "2013-01-01T24:00:00Z",
            "2013-01-01T00:30:00Z",
            "2014-01-02T00:00:00Z",
            "2012-12-31T00:00:00Z",
            "2013-01-01T00:00:00",
            "",
        ] {
            assert_eq!(parse_utc(text.as_bytes()), None, "{text}");
        }
        assert_eq!(local(2, 29, 0), None);
    }
}
