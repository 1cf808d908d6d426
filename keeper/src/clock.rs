//! Two times: that of the wall, which events are written in and which may jump, and the keeper's own,
//! which only goes forward.
//!
//! Invariant: intervals are measured in own time alone, so that a wall clock that jumps brings forward
//! or puts off what is due by the wall, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    /// The wall's time at the start: own time begins there, so that one process's times can be
    /// compared with those that an earlier one stored.
    start_us: u64,
    start: Instant,
    /// For clocks that are set by hand: how far the wall is from own time, in µs.
    shift_us: Option<Arc<AtomicI64>>,
}

/// A moment in both times, Unix time in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) wall_us: u64,
    pub(crate) own_us: u64,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self {
            start_us: system_us(),
            start: Instant::now(),
            shift_us: None,
        }
    }

    /// A clock whose wall goes with the runtime's time, paused or not, and can be moved by hand.
    #[must_use]
    pub fn by_hand() -> Self {
        Self {
            shift_us: Some(Arc::default()),
            ..Self::system()
        }
    }

    /// The same, whose wall shows a time of one's choice, Unix time in µs.
    #[must_use]
    pub fn by_hand_at(start_us: u64) -> Self {
        Self {
            start_us,
            ..Self::by_hand()
        }
    }

    /// Moves a wall clock that is set by hand; the machine's own cannot be moved.
    pub fn jump(&self, by_us: i64) {
        if let Some(shift_us) = &self.shift_us {
            shift_us.fetch_add(by_us, Ordering::Relaxed);
        }
    }

    /// The wall's time, Unix time in µs.
    #[must_use]
    pub fn wall_us(&self) -> u64 {
        match &self.shift_us {
            None => system_us(),
            Some(shift_us) => {
                let shift_us = shift_us.load(Ordering::Relaxed);
                self.own_us().saturating_add_signed(shift_us)
            }
        }
    }

    pub(crate) fn own_us(&self) -> u64 {
        let gone = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.start_us.saturating_add(gone)
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            wall_us: self.wall_us(),
            own_us: self.own_us(),
        }
    }
}

fn system_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
