//! Which trace a request is, and the ids of its spans.
//!
//! Invariant: ids are derived from what the log says, so that every process that tells a span gives it the
//! same one.

use axum::http::HeaderValue;
use turlough_sdk::{Digest, RequestId, StepPath};
use turlough_statestore::event::{Accepted, TraceParent};

use super::sampler::Sampler;

/// The trace of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    request: RequestId,
    /// The caller's, or, where the caller has none and for sub-flows, the request's own id.
    pub(crate) trace: u128,
    /// The caller's span.
    pub(crate) parent: Option<u64>,
    /// The attempt whose sub-flow the request is, in the trace of its own request.
    pub(crate) begun_by: Option<TraceParent>,
    pub(crate) is_sampled: bool,
}

impl Identity {
    pub(super) fn of(request: RequestId, accepted: &Accepted, sampler: &Sampler) -> Self {
        let (said, own) = (accepted.trace, request.as_uuid().as_u128());
        let (trace, parent, begun_by) = match said {
            Some(by) if accepted.parent.is_some() => (own, None, Some(by)),
            Some(by) => (by.trace_id, Some(by.span_id), None),
            None => (own, None, None),
        };
        let is_sampled = sampler.is_sampled(trace, said.map(|by| by.is_sampled));
        Self {
            request,
            trace,
            parent,
            begun_by,
            is_sampled,
        }
    }

    /// The span of the request itself, of which a restart begins another.
    pub(crate) fn request_span(&self, generation: u32) -> u64 {
        self.derived(format_args!("{generation}"))
    }

    pub(crate) fn step_span(&self, generation: u32, step: &StepPath) -> u64 {
        self.derived(format_args!("{generation}/{step}"))
    }

    /// The span of an attempt; `part` where an attempt has several, none for that which makes its call.
    pub(crate) fn attempt_span(
        &self,
        generation: u32,
        (step, attempt, epoch): (&StepPath, u32, u64),
        part: &str,
    ) -> u64 {
        self.derived(format_args!("{generation}/{step}/{attempt}.{epoch}{part}"))
    }

    pub(crate) fn derived(&self, name: std::fmt::Arguments<'_>) -> u64 {
        let name = format!("{}/{name}", self.request);
        // An id of zeros is none.
        (Digest::of(name.as_bytes()).0 as u64).max(1)
    }

    /// What names a span of this trace to whoever is called.
    pub(crate) const fn parent_of_call(&self, span: u64) -> TraceParent {
        TraceParent {
            trace_id: self.trace,
            span_id: span,
            is_sampled: self.is_sampled,
        }
    }
}

/// Reads a `traceparent` of <https://www.w3.org/TR/trace-context/>; None where it is none: then its sender is
/// not traced, and the call is as good as any.
pub(crate) fn parse_traceparent(text: &str) -> Option<TraceParent> {
    let text = text.trim();
    let mut parts = text.split('-');
    let mut hex = |digits: usize| {
        let part = parts.next()?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_right = part.len() == digits && part.bytes().all(is_hex);
        is_right.then(|| u128::from_str_radix(part, 16).ok())?
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    // What later versions add stands behind; version 255 is none.
    let has_more = parts.next().is_some();
    if version == 0xff || version == 0 && has_more || trace == 0 || span == 0 {
        return None;
    }
    Some(TraceParent {
        trace_id: trace,
        span_id: u64::try_from(span).ok()?,
        is_sampled: flags & 1 == 1,
    })
}

/// As a header's value.
pub(crate) fn traceparent(parent: TraceParent) -> Option<HeaderValue> {
    let TraceParent {
        trace_id,
        span_id,
        is_sampled,
    } = parent;
    let flags = u8::from(is_sampled);
    HeaderValue::try_from(format!("00-{trace_id:032x}-{span_id:016x}-{flags:02x}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_is_written_and_what_is_none_is_not() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = parse_traceparent(text).unwrap();
        assert_eq!(read.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(read.span_id, 0x00f0_67aa_0ba9_02b7);
        assert!(read.is_sampled);
        assert_eq!(traceparent(read).unwrap(), text);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-what-comes";
        assert!(!parse_traceparent(later).unwrap().is_sampled);
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad}");
        }
    }
}
