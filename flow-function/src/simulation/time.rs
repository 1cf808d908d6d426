//! The clocks of hosts: the wall's, which may jump, and the one that goes on while a host is stopped.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// The wall's time when a simulation begins, Unix time in µs.
pub(super) const BEGIN_US: u64 = 1_800_000_000_000_000;

/// The clocks of the host that runs now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// When its runtime began, by that runtime's clock, and by the world's.
    pub(super) begin: Instant,
    pub(super) born: Duration,
    /// How far its wall clock is off, in µs.
    pub(super) shift_us: i64,
}

thread_local! {
    static RUNNING: Cell<Option<Clocks>> = const { Cell::new(None) };
}

impl Clocks {
    /// Runs something as the host that has these clocks.
    pub(super) fn during<T>(self, run: impl FnOnce() -> T) -> T {
        let outer = RUNNING.replace(Some(self));
        let done = run();
        RUNNING.set(outer);
        done
    }

    fn since_begin(&self) -> Duration {
        self.born + self.begin.elapsed()
    }
}

/// The wall's time, Unix time in µs, where time is simulated.
pub(crate) fn wall_us() -> Option<u64> {
    let clocks = RUNNING.get()?;
    let gone = u64::try_from(clocks.since_begin().as_micros()).unwrap_or(u64::MAX);
    Some((BEGIN_US + gone).saturating_add_signed(clocks.shift_us))
}

/// Time since the machine began, where time is simulated.
pub(crate) fn boot() -> Option<Duration> {
    Some(RUNNING.get()?.since_begin())
}
