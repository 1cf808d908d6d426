//! Which requests are traced: by OpenTelemetry's names for samplers.
//!
//! Invariant: the same trace is sampled by every process with these settings, or by none.

use std::str::FromStr;

use turlough_sdk::Digest;

/// OpenTelemetry's samplers, by the names of `OTEL_TRACES_SAMPLER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SamplerName {
    #[value(name = "always_on")]
    AlwaysOn,
    #[value(name = "always_off")]
    AlwaysOff,
    #[value(name = "traceidratio")]
    TraceIdRatio,
    #[value(name = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    #[value(name = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    #[value(name = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

/// A share, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(f64);

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ratio = text.trim().parse().ok();
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a share; write a number from 0 to 1"))
    }
}

impl Default for Ratio {
    fn default() -> Self {
        Self(1.0)
    }
}

/// Decides which traces are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampler {
    /// What callers decided counts.
    follows_callers: bool,
    /// The traces are told whose hash is no less.
    threshold: u64,
}

impl Sampler {
    /// How many values the hash of a trace's id has; a float holds each.
    const VALUES: u64 = 1 << 53;

    pub(crate) const fn new(name: SamplerName, Ratio(ratio): Ratio) -> Self {
        use SamplerName as Name;
        let share = match name {
            Name::AlwaysOn | Name::ParentBasedAlwaysOn => 1.0,
            Name::AlwaysOff | Name::ParentBasedAlwaysOff => 0.0,
            Name::TraceIdRatio | Name::ParentBasedTraceIdRatio => ratio,
        };
        let follows_callers = matches!(
            name,
            Name::ParentBasedAlwaysOn | Name::ParentBasedAlwaysOff | Name::ParentBasedTraceIdRatio
        );
        Self {
            follows_callers,
            threshold: ((1.0 - share) * Self::VALUES as f64) as u64,
        }
    }

    /// By what the trace's id hashes to, or as the caller did. Bits of the id itself would not do: those of a
    /// UUIDv7 are time and, within a millisecond, a counter.
    pub(crate) fn is_sampled(self, trace: u128, caller: Option<bool>) -> bool {
        match caller {
            Some(is_sampled) if self.follows_callers => is_sampled,
            _ => (Digest::of(&trace.to_be_bytes()).0 as u64) >> 11 >= self.threshold,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_share_of_traces_is_told_and_callers_are_followed_where_that_is_said() {
        let share = |name, ratio: &str, caller| {
            let sampler = Sampler::new(name, ratio.parse().unwrap());
            let is_sampled = |_| sampler.is_sampled(Uuid::now_v7().as_u128(), caller);
            (0..10_000).map(is_sampled).filter(|it| *it).count()
        };
        use SamplerName as Name;
        assert_eq!(share(Name::AlwaysOn, "0", Some(false)), 10_000);
        assert_eq!(share(Name::AlwaysOff, "1", Some(true)), 0);
        assert_eq!(share(Name::ParentBasedAlwaysOn, "0", None), 10_000);
        assert_eq!(share(Name::ParentBasedAlwaysOn, "0", Some(false)), 0);
        assert_eq!(share(Name::ParentBasedAlwaysOff, "0", Some(true)), 10_000);
        assert_eq!(
            share(Name::ParentBasedTraceIdRatio, "0", Some(true)),
            10_000
        );
        assert_eq!(share(Name::TraceIdRatio, "1", None), 10_000);
        assert_eq!(share(Name::TraceIdRatio, "0", None), 0);
        let quarter = share(Name::ParentBasedTraceIdRatio, "0.25", None);
        assert!((2_000..3_000).contains(&quarter), "{quarter}");
        for bad in ["", "2", "-0.1", "NaN", "half"] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }
}
