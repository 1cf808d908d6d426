//! Whether the wall clock was set while this process ran: what waits for a time hangs on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// How often it is looked at, and from which jump on somebody is told: clocks that are kept right go
/// by less.
const APART: Duration = Duration::from_secs(1);
const JUMP_MIN_US: i64 = 1_000_000;

/// Tells in the log, for as long as it is polled, of each time that the machine's wall clock was set.
pub async fn watch_wall_clock() {
    let mut ahead_us = ahead_us();
    loop {
        tokio::time::sleep(APART).await;
        let before_us = std::mem::replace(&mut ahead_us, self::ahead_us());
        let by_us = ahead_us.saturating_sub(before_us);
        if let Some(what) = told(by_us) {
            let by_s = (by_us + 500_000).div_euclid(1_000_000);
            warn!(by_s, "the wall clock jumped {what}");
        }
    }
}

fn told(by_us: i64) -> Option<&'static str> {
    match by_us {
        JUMP_MIN_US.. => Some("ahead: what waits for a time comes as much too early"),
        _ if by_us <= -JUMP_MIN_US => Some("back: what waits for a time comes as much too late"),
        _ => None,
    }
}

/// How far the wall's time is ahead of that since the machine began, which nobody sets and in which
/// also passes what the machine sleeps.
fn ahead_us() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall_us = wall.map_or(0, |wall| {
        i64::try_from(wall.as_micros()).unwrap_or(i64::MAX)
    });
    let boot = clock_gettime(ClockId::Boottime);
    let boot_us = boot.tv_sec.saturating_mul(1_000_000) + boot.tv_nsec / 1_000;
    wall_us.saturating_sub(boot_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_told_of_and_one_that_is_kept_right_is_not() {
        assert!(told(3_600_000_000).unwrap().starts_with("ahead"));
        assert!(told(1_000_000).unwrap().starts_with("ahead"));
        assert_eq!(told(999_999), None);
        assert_eq!(told(-999_999), None);
        assert!(told(-1_000_000).unwrap().starts_with("back"));
    }
}
