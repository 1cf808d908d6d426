//! Spans in OTLP's form. Names of attributes are those of OpenTelemetry's semantic conventions where it has
//! some; our own begin with `turlough.`.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
pub(crate) use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status};
use turlough_statestore::event::TraceParent;

/// Longest text of an attribute, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

pub(crate) fn text(key: &'static str, value: &str) -> KeyValue {
    let end = (0..=TEXT_BYTES_MAX.min(value.len())).rev();
    let end = end.into_iter().find(|end| value.is_char_boundary(*end));
    let value = value[..end.unwrap_or(0)].to_owned();
    attribute(key, any_value::Value::StringValue(value))
}

pub(crate) fn number(key: &'static str, value: u64) -> KeyValue {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    attribute(key, any_value::Value::IntValue(value))
}

fn attribute(key: &'static str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// What all spans of a process have in common. Nothing of the process itself: whichever replica tells a
/// span, it is the same.
pub(super) fn resource(service: &str, tenant: &str) -> Resource {
    Resource {
        attributes: vec![
            text("service.name", service),
            text("service.namespace", tenant),
            text("telemetry.sdk.name", "turlough"),
            text("telemetry.sdk.language", "rust"),
        ],
        ..Resource::default()
    }
}

/// A span that ended. Times are in µs since the epoch.
pub(crate) fn span(
    trace: u128,
    (id, parent): (u64, Option<u64>),
    name: String,
    (begin_us, end_us): (u64, u64),
) -> Span {
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: parent.map_or_else(Vec::new, |id| id.to_be_bytes().to_vec()),
        name,
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: begin_us.saturating_mul(1_000),
        // Clocks of two machines may differ.
        end_time_unix_nano: end_us.max(begin_us).saturating_mul(1_000),
        ..Span::default()
    }
}

/// The status of what failed.
pub(crate) fn failed(message: &str) -> Option<Status> {
    Some(Status {
        message: message.chars().take(TEXT_BYTES_MAX / 4).collect(),
        code: status::StatusCode::Error.into(),
    })
}

/// An error, as OpenTelemetry has exceptions.
pub(crate) fn exception(at_us: u64, kind: &str, message: &str) -> Event {
    event(
        at_us,
        "exception",
        vec![
            text("exception.type", kind),
            text("exception.message", message),
        ],
    )
}

pub(crate) fn event(at_us: u64, name: &str, attributes: Vec<KeyValue>) -> Event {
    Event {
        time_unix_nano: at_us.saturating_mul(1_000),
        name: name.to_owned(),
        attributes,
        ..Event::default()
    }
}

/// A link to another span, and why it is there.
pub(crate) fn link(to: TraceParent, why: &'static str) -> Link {
    Link {
        trace_id: to.trace_id.to_be_bytes().to_vec(),
        span_id: to.span_id.to_be_bytes().to_vec(),
        attributes: vec![text("turlough.link", why)],
        ..Link::default()
    }
}
