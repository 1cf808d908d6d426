//! The wait before a restart: doubled each time, forgotten after a good while.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// A process that was healthy for this long is taken to have recovered.
const RECOVERED: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The wait after a process that was healthy for `healthy_for`.
    pub(super) fn wait_after(&mut self, healthy_for: Duration) -> Duration {
        if healthy_for >= RECOVERED {
            self.next = FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_to_its_bound_and_starts_over_after_recovery() {
        let mut backoff = Backoff::new();
        let mut waits_ms = |healthy_for, count| -> Vec<u128> {
            let next = |_| backoff.wait_after(healthy_for).as_millis();
            (0..count).map(next).collect()
        };
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(waits_ms(Duration::ZERO, 9), expected);
        assert_eq!(waits_ms(RECOVERED, 1), [100]);
        assert_eq!(waits_ms(Duration::ZERO, 1), [200]);
    }
}
