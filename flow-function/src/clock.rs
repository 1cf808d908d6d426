//! Wall-clock time as the log writes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix time in µs.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// How long it is until `at_us`.
pub(crate) fn until(at_us: u64) -> Duration {
    Duration::from_micros(at_us.saturating_sub(now_us()))
}
