//! What a function took in all, and of late.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use turlough_telemetry::{Counter, IntGauge};

use crate::metrics::Metrics;

/// Between two marks: what is told of late is over one to two of these, where the function works.
const MARK: Duration = Duration::from_secs(5);

/// The shortest time over which a share of a processor says anything.
const SHARE_MIN: Duration = Duration::from_secs(1);

/// The sums of one function.
#[derive(Debug)]
pub(crate) struct Account {
    function_name: Box<str>,
    metrics: Metrics,
    /// Once it has had a process: of what others run nothing is known.
    shown_cpu: OnceLock<Counter>,
    /// Once something is known of it.
    shown_peak: OnceLock<IntGauge>,
    sums: Mutex<Sums>,
}

#[derive(Debug)]
struct Sums {
    cpu: Duration,
    resident_bytes: u64,
    peak_bytes: u64,
    /// What the time was, and when; the later second.
    marks: [(Instant, Duration); 2],
}

/// What a function takes now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Now {
    /// Thousandths of a processor.
    pub(crate) cpu_millicores: f64,
    pub(crate) resident_bytes: u64,
}

impl Account {
    pub(crate) fn new(metrics: Metrics, function_name: &str) -> Arc<Self> {
        let mark = (Instant::now(), Duration::ZERO);
        Arc::new(Self {
            function_name: function_name.into(),
            metrics,
            shown_cpu: OnceLock::new(),
            shown_peak: OnceLock::new(),
            sums: Mutex::new(Sums {
                cpu: Duration::ZERO,
                resident_bytes: 0,
                peak_bytes: 0,
                marks: [mark; 2],
            }),
        })
    }

    /// What it takes now; `None` of a function that has had no process here.
    pub(crate) fn now(&self) -> Option<Now> {
        self.shown_cpu.get()?;
        let sums = self.sums();
        Some(Now {
            cpu_millicores: sums.cpu_millicores(Instant::now()),
            resident_bytes: sums.resident_bytes,
        })
    }

    /// It has a process.
    pub(super) fn begins(&self) {
        self.shown_cpu();
    }

    pub(super) fn add_cpu(&self, more: Duration) {
        self.sums().add_cpu(more, Instant::now());
        self.shown_cpu().inc_by(more.as_secs_f64());
    }

    pub(super) fn peak(&self, bytes: u64) {
        let mut sums = self.sums();
        if bytes > sums.peak_bytes {
            sums.peak_bytes = bytes;
            let make = || self.metrics.memory_peak(&self.function_name);
            let shown = self.shown_peak.get_or_init(make);
            shown.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// What one of its processes holds instead of what it held.
    pub(super) fn resident(&self, before: u64, now: u64) {
        let mut sums = self.sums();
        sums.resident_bytes = sums.resident_bytes.saturating_sub(before) + now;
    }

    fn shown_cpu(&self) -> &Counter {
        let make = || self.metrics.cpu(&self.function_name);
        self.shown_cpu.get_or_init(make)
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sums {
    fn add_cpu(&mut self, more: Duration, now: Instant) {
        let [_, last] = self.marks;
        if now.duration_since(last.0) >= MARK {
            self.marks = [last, (now, self.cpu)];
        }
        self.cpu += more;
    }

    fn cpu_millicores(&self, now: Instant) -> f64 {
        let [before, last] = self.marks;
        let is_new = now.duration_since(last.0) < SHARE_MIN;
        let (since, cpu) = if is_new { before } else { last };
        let took = now.duration_since(since).max(SHARE_MIN);
        let cpu = self.cpu.saturating_sub(cpu);
        (1e3 * cpu.as_secs_f64() / took.as_secs_f64()).round()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_a_processor_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sums = Sums {
            cpu: Duration::ZERO,
            resident_bytes: 0,
            peak_bytes: 0,
            marks: [(start, Duration::ZERO); 2],
        };
        let half = Duration::from_millis(500);
        for second in 1..=100 {
            sums.add_cpu(half, at(second));
        }
        assert!((400.0..=600.0).contains(&sums.cpu_millicores(at(100))));
        for second in 101..=120 {
            sums.add_cpu(Duration::ZERO, at(second));
        }
        assert_eq!(sums.cpu_millicores(at(120)), 0.0);
        // After a rest, what comes is not spread over it.
        sums.add_cpu(2 * half, at(9_000));
        assert_eq!(sums.cpu_millicores(at(9_002)), 500.0);
    }

    #[test]
    fn function_without_a_process_tells_nothing() {
        let account = Account::new(Metrics::new(), "it.ns");
        assert_eq!(account.now(), None);
        account.begins();
        account.resident(0, 5);
        account.resident(5, 3);
        let now = account.now().unwrap();
        assert_eq!((now.cpu_millicores, now.resident_bytes), (0.0, 3));
    }
}
