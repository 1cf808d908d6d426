//! What is made of samples. Times are nanoseconds as they were measured, and µs as they are told.

use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};

/// The value that a share of the samples does not exceed (nearest rank); 0 of none.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .or(sorted.last())
        .copied()
        .unwrap_or(0.0)
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// What one more costs: the difference of two times over the difference of two sizes.
pub(crate) fn marginal(small: (u64, f64), large: (u64, f64)) -> f64 {
    (large.1 - small.1) / (large.0 as f64 - small.0 as f64)
}

/// Nanoseconds, three significant digits, up to ten minutes.
#[allow(
    clippy::unwrap_used,
    reason = "the bounds are constants that the crate accepts"
)]
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).unwrap()
}

/// Quantiles in µs of samples in nanoseconds, each divided by `by`.
pub(crate) fn quantiles_us(samples_ns: &[u64], by: u64) -> Json {
    let mut histogram = histogram();
    for &sample in samples_ns {
        histogram.saturating_record(sample);
    }
    let us = |q: f64| us(histogram.value_at_quantile(q) as f64 / by as f64);
    json!({ "p50": us(0.5), "p90": us(0.9), "p99": us(0.99), "max": us(1.0) })
}

/// Nanoseconds as µs, to the nanosecond.
pub(crate) fn us(ns: f64) -> f64 {
    ns.round() / 1e3
}

/// To three digits behind the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_sample() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        let check = |share, expect: f64| assert_eq!(quantile(&samples, share), expect);
        check(0.0, 1.0);
        check(0.25, 1.0);
        check(0.5, 2.0);
        check(0.51, 3.0);
        check(1.0, 4.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn the_marginal_cost_leaves_out_what_is_fixed() {
        let time = |steps: u64| 500.0 + 30.0 * steps as f64;
        assert_eq!(marginal((10, time(10)), (100, time(100))), 30.0);
        assert_eq!(marginal((1, 7.0), (2, 4.0)), -3.0);
    }

    #[test]
    fn a_histogram_keeps_three_digits_from_a_microsecond_to_minutes() {
        let samples: Vec<u64> = (1..=1000).map(|n| n * 1_000).collect();
        let found = quantiles_us(&samples, 1);
        for (name, expect) in [
            ("p50", 500.0),
            ("p90", 900.0),
            ("p99", 990.0),
            ("max", 1000.0),
        ] {
            let value = found[name].as_f64().unwrap();
            assert!((value / expect - 1.0).abs() < 2e-3, "{name} is {value}");
        }
        let long = quantiles_us(&[120_000_000_000], 1)["p50"].as_f64().unwrap();
        assert!((long / 120e6 - 1.0).abs() < 2e-3, "{long}");
    }
}
