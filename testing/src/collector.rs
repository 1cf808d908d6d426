//! A collector of traces, which takes OTLP over HTTP as OpenTelemetry's own does, and answers as it is told.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message as _;
use tokio::net::TcpListener;

/// A collector. It goes with the test's runtime.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Where it is: what `OTEL_EXPORTER_OTLP_ENDPOINT` says.
    pub url: String,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    spans: Vec<Span>,
    calls: Vec<HeaderMap>,
    behaviour: Behaviour,
}

/// How it answers; what it answers well it keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    #[default]
    Takes,
    /// With a status, and nothing else.
    Answers(u16),
    /// 200, and bytes that say nothing.
    Garbage,
    /// 200, and that it took all but this many.
    Refuses(i64),
    /// Not at all.
    Hangs,
}

/// A span that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// In hexadecimal, as are all ids here.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// That of what it is part of; empty where it is the first.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: &'static str,
    /// Begin and end in ns since the epoch.
    pub times: (u64, u64),
    /// Its attributes, as text.
    pub about: BTreeMap<String, String>,
    /// Names and attributes of its events.
    pub events: Vec<(String, BTreeMap<String, String>)>,
    /// Its links.
    pub links: Vec<Link>,
    /// What went wrong, where its status is an error.
    pub error: Option<String>,
    /// Attributes of what told it.
    pub resource: BTreeMap<String, String>,
}

/// A link to another span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub span: String,
    /// Attributes of the link.
    pub about: BTreeMap<String, String>,
}

impl Collector {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let held = Arc::<Mutex<Held>>::default();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&held));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, held }
    }

    /// Answers so from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.held.lock().unwrap().behaviour = behaviour;
    }

    /// What it took, in the order in which it came.
    pub fn spans(&self) -> Vec<Span> {
        self.held.lock().unwrap().spans.clone()
    }

    /// The headers of each call that came, whatever became of it.
    pub fn calls(&self) -> Vec<HeaderMap> {
        self.held.lock().unwrap().calls.clone()
    }

    /// The spans of a trace, once it has one by this name.
    pub async fn trace_with(&self, trace: &str, name: &str) -> Vec<Span> {
        for _ in 0..3_000 {
            let mut spans = self.spans();
            spans.retain(|span| span.trace == trace);
            if spans.iter().any(|span| span.name == name) {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "no span {name} of trace {trace} came within 30 s: {:?}",
            self.spans()
        );
    }
}

async fn take(State(held): State<Arc<Mutex<Held>>>, headers: HeaderMap, body: Bytes) -> Response {
    let behaviour = {
        let mut held = held.lock().unwrap();
        held.calls.push(headers.clone());
        held.behaviour
    };
    let mut told = ExportTraceServiceResponse::default();
    match behaviour {
        Behaviour::Takes => {}
        Behaviour::Answers(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        Behaviour::Garbage => return [0xff_u8; 100].into_response(),
        Behaviour::Hangs => return std::future::pending().await,
        Behaviour::Refuses(count) => {
            told.partial_success = Some(ExportTracePartialSuccess {
                rejected_spans: count,
                error_message: "too old".to_owned(),
            });
        }
    }
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|it| it.to_str().ok());
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if media != Some("application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let mut held = held.lock().unwrap();
    for resource in request.resource_spans {
        let about = resource.resource.map(|it| texts(&it.attributes));
        let about = about.unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
        held.spans.extend(spans.map(|it| span(it, &about)));
    }
    (
        [(header::CONTENT_TYPE, "application/x-protobuf")],
        told.encode_to_vec(),
    )
        .into_response()
}

fn span(span: otlp::Span, resource: &BTreeMap<String, String>) -> Span {
    let kind = match span.kind() {
        otlp::span::SpanKind::Server => "server",
        otlp::span::SpanKind::Client => "client",
        otlp::span::SpanKind::Producer => "producer",
        otlp::span::SpanKind::Consumer => "consumer",
        otlp::span::SpanKind::Internal | otlp::span::SpanKind::Unspecified => "internal",
    };
    let link = |link: otlp::span::Link| Link {
        trace: hex(&link.trace_id),
        span: hex(&link.span_id),
        about: texts(&link.attributes),
    };
    let is_error = |status: &otlp::Status| status.code() == otlp::status::StatusCode::Error;
    Span {
        kind,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        about: texts(&span.attributes),
        events: span
            .events
            .into_iter()
            .map(|it| (it.name, texts(&it.attributes)))
            .collect(),
        links: span.links.into_iter().map(link).collect(),
        error: span.status.filter(is_error).map(|it| it.message),
        name: span.name,
        resource: resource.clone(),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| {
        let value = it.value.as_ref().and_then(|it| it.value.as_ref());
        let text = match value {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        (it.key.clone(), text)
    };
    attributes.iter().map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
