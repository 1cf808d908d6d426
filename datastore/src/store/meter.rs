//! Bytes over time, in whole byte-milliseconds.

/// How many bytes were held, and for how long.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    pub(crate) bytes: u64,
    /// The most that was held at once.
    pub(crate) peak: u64,
    byte_ms: u128,
    at_ms: u64,
}

impl Meter {
    pub(crate) const fn at(now_ms: u64) -> Self {
        Self {
            bytes: 0,
            peak: 0,
            byte_ms: 0,
            at_ms: now_ms,
        }
    }

    pub(crate) fn add(&mut self, bytes: u64, now_ms: u64) {
        self.advance(now_ms);
        self.bytes += bytes;
        self.peak = self.peak.max(self.bytes);
    }

    pub(crate) fn remove(&mut self, bytes: u64, now_ms: u64) {
        self.advance(now_ms);
        self.bytes -= bytes;
    }

    /// Byte-milliseconds up to a moment.
    pub(crate) fn byte_ms(&self, now_ms: u64) -> u128 {
        let gone_ms = now_ms.saturating_sub(self.at_ms);
        self.byte_ms + u128::from(self.bytes) * u128::from(gone_ms)
    }

    /// Time only goes forward: what comes late counts from the last moment.
    fn advance(&mut self, now_ms: u64) {
        self.byte_ms = self.byte_ms(now_ms);
        self.at_ms = self.at_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_for_as_long_as_it_is() {
        let mut meter = Meter::at(1_000);
        meter.add(10, 1_000);
        meter.add(5, 1_500);
        meter.remove(10, 1_501);
        assert_eq!(meter.byte_ms(1_501), 10 * 500 + 15);
        assert_eq!(meter.byte_ms(2_501), 10 * 500 + 15 + 5 * 1_000);
        // A clock that was read before another's.
        meter.remove(5, 1_400);
        assert_eq!(meter.byte_ms(9_999), 10 * 500 + 15);
        assert_eq!(meter.peak, 15);
    }
}
