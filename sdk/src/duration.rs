//! Durations as people write them: `100ms`, `5s`, `2m`, `1h30m`.

use std::time::Duration;

/// Longest duration that a flow may name.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Units from the largest to the smallest, with their length in microseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Reads `100ms`, `1.5s`, `1h30m`; units d, h, m, s, ms, us.
///
/// # Errors
/// A sentence that says what is wrong: no unit, an unknown unit, zero, or over 366 days.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let example = "write a number and a unit (us, ms, s, m, h, d), such as 500ms, 30s or 1h30m";
    let mut rest = text.trim();
    let text: String = text.chars().take(80).collect();
    if rest.is_empty() {
        return Err(format!("duration is empty; {example}"));
    }
    let mut total_us = 0.0_f64;
    while !rest.is_empty() {
        let unit_at = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(unit_at);
        let next = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(next);
        let number: f64 = number
            .parse()
            .map_err(|_| format!("duration {text:?} does not begin with a number; {example}"))?;
        let (_, unit_us) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| format!("duration {text:?} has no known unit; {example}"))?;
        total_us += number * *unit_us as f64;
        rest = tail;
    }
    if total_us < 1.0 {
        return Err(format!("duration {text:?} is zero; {example}"));
    }
    if total_us > DURATION_MAX.as_micros() as f64 {
        return Err(format!(
            "duration {text:?} is over the limit of 366d; write a shorter one"
        ));
    }
    Ok(Duration::from_micros(total_us as u64))
}

/// Writes a duration so that [`parse_duration`] reads it back, to the microsecond.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, unit_us) in UNITS {
        if rest_us >= unit_us {
            text.push_str(&format!("{}{unit}", rest_us / unit_us));
            rest_us %= unit_us;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let ms = |text| parse_duration(text).unwrap().as_millis();
        assert_eq!(ms("100ms"), 100);
        assert_eq!(ms("1.5s"), 1500);
        assert_eq!(ms("1h30m"), 5_400_000);
        assert_eq!(format_duration(parse_duration("1h30m").unwrap()), "1h30m");
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for bad in [
            "",
            "5",
            "-5s",
            "5 parsecs",
            "0s",
            "1e9h",
            "400d",
            "s",
            "1..5s",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
