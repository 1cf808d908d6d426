//! When and how often a step is tried again.

use std::ops::Range;
use std::time::Duration;

use crate::closure::Cause;
use crate::duration::{DURATION_MAX, format_duration};

/// How often a step is tried, and how long it waits in between: exponential back-off from
/// `backoff_min`, doubled each time up to `backoff_max`, each wait with jitter (half of it to all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    attempts: u32,
    backoff_min: Duration,
    backoff_max: Duration,
    only: Option<Vec<Cause>>,
}

/// Most attempts that a step may have.
pub(crate) const ATTEMPTS_MAX: u32 = 1_000;

impl Retry {
    /// The failures that trying again may mend, under their names.
    pub(crate) const CAUSES: [(&str, Cause); 4] = [
        ("transient", Cause::Transient),
        ("timeout", Cause::Timeout),
        ("panic", Cause::Panic),
        ("unanswered", Cause::Unanswered),
    ];

    /// `attempts` in all (the first one included), waiting from `backoff.start`, doubled each time,
    /// up to `backoff.end`. Out-of-range numbers are reported when the flow is built.
    #[must_use]
    pub const fn exponential(attempts: u32, backoff: Range<Duration>) -> Self {
        Self {
            attempts,
            backoff_min: backoff.start,
            backoff_max: backoff.end,
            only: None,
        }
    }

    /// Only after failures of these causes; otherwise after all that trying again may mend.
    #[must_use]
    pub fn on(mut self, causes: &[Cause]) -> Self {
        self.only = Some(causes.to_vec());
        self
    }

    /// The causes that it is restricted to.
    #[must_use]
    pub fn causes(&self) -> Option<&[Cause]> {
        self.only.as_deref()
    }

    /// Whether a step that failed `failures` times, the last time by `cause`, is tried again.
    #[must_use]
    pub fn applies(&self, failures: u32, cause: Cause) -> bool {
        let named = self.only.as_ref().is_none_or(|only| only.contains(&cause));
        failures < self.attempts && cause.may_retry() && named
    }

    /// One attempt.
    #[must_use]
    pub const fn never() -> Self {
        Self::exponential(1, Duration::ZERO..Duration::ZERO)
    }

    /// Attempts in all.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Shortest and longest wait.
    #[must_use]
    pub const fn backoff(&self) -> (Duration, Duration) {
        (self.backoff_min, self.backoff_max)
    }

    /// The wait after the `attempt`th failure (from 1); `jitter` is 0 to 1.
    #[must_use]
    pub fn wait_after(&self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let full = self
            .backoff_min
            .saturating_mul(1 << doublings)
            .min(self.backoff_max)
            .min(DURATION_MAX);
        let jitter = if jitter.is_nan() { 1.0 } else { jitter };
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }

    pub(crate) fn problem(&self) -> Option<String> {
        if self.attempts == 0 || self.attempts > ATTEMPTS_MAX {
            let found = self.attempts;
            return Some(format!(
                "retry has {found} attempts; write 1 to {ATTEMPTS_MAX}"
            ));
        }
        if self.backoff_max > DURATION_MAX {
            let limit = format_duration(DURATION_MAX);
            return Some(format!(
                "retry has a back-off of over {limit}; write a shorter one"
            ));
        }
        if self.backoff_min > self.backoff_max {
            let text = "retry has a back-off that ends below its start; write SHORT..LONG";
            return Some(text.to_owned());
        }
        let only = self.only.as_ref()?;
        let sound = !only.is_empty() && only.iter().all(|cause| cause.may_retry());
        (!sound).then(|| {
            let known = Self::CAUSES.map(|(name, _)| name).join(", ");
            format!(
                "retry is on failures that no attempt may mend, or on none; write some of {known}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let retry = Retry::exponential(9, Duration::from_millis(100)..Duration::from_secs(1));
        let waits: Vec<_> = (1..6)
            .map(|n| retry.wait_after(n, 1.0).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000]);
        assert_eq!(retry.wait_after(1, 0.0).as_millis(), 50);
    }
}
