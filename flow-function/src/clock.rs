//! Wall-clock time as the log writes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix time in µs.
pub(crate) fn now_us() -> u64 {
    #[cfg(test)]
    if let Some(now_us) = crate::simulation::wall_us() {
        return now_us;
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Time since this machine began, the time that it slept included: two of its readings tell how long
/// something took, also where the process was stopped in between.
pub(crate) fn boot() -> Duration {
    #[cfg(test)]
    if let Some(boot) = crate::simulation::boot() {
        return boot;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// How long it is until `at_us`.
pub(crate) fn until(at_us: u64) -> Duration {
    Duration::from_micros(at_us.saturating_sub(now_us()))
}
