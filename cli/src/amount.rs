//! Times and sizes as people read them.

/// `0.4 ms`, `1.25 s`, `2m 5s`.
pub(crate) fn duration(ms: f64) -> String {
    if ms < 1_000.0 {
        return format!("{ms:.1} ms");
    }
    let seconds = ms / 1e3;
    if seconds < 60.0 {
        return format!("{seconds:.2} s");
    }
    let seconds = seconds.round();
    format!("{}m {}s", (seconds / 60.0).floor(), seconds % 60.0)
}

/// `12 B`, `1.5 KiB`, `3.0 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut amount = count as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// `2013-01-01 05:15:00Z` of an RFC 3339 time; its fraction is left out.
pub(crate) fn moment(time: &str) -> String {
    let whole = time.split(['.', 'Z']).next().unwrap_or_default();
    format!("{}Z", whole.replacen('T', " ", 1))
}

/// `1 step`, `2 steps`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well_at_every_size() {
        let durations = [0.04, 12.34, 1_250.0, 59_994.0, 125_000.0].map(duration);
        assert_eq!(
            durations,
            ["0.0 ms", "12.3 ms", "1.25 s", "59.99 s", "2m 5s"]
        );
        let sizes = [0, 1023, 1536, 3 << 20, u64::MAX].map(bytes);
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1.5 KiB", "3.0 MiB", "16777216.0 TiB"]
        );
    }

    #[test]
    fn moment_keeps_whole_seconds() {
        assert_eq!(
            moment("2013-01-01T05:15:00.123456Z"),
            "2013-01-01 05:15:00Z"
        );
        assert_eq!(moment("2013-01-01T05:15:00Z"), "2013-01-01 05:15:00Z");
    }
}
