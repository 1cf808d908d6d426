//! Traces, as OpenTelemetry has them: one per request, told over OTLP.
//!
//! What the log says becomes spans (`telling`): the request, its steps, their attempts, the wait for a
//! driver. Their ids, times and attributes come from events alone, so that whoever tells a span tells the
//! same one. A driver tells them as their events are committed; one that takes over tells once more what its
//! predecessor may not have sent any more. What only one process knows, such as reads of values and
//! appends, is told by it alone (`operations`).
//!
//! Absent: a collector that is waited for. Spans that cannot be sent are counted, and gone.

mod exporter;
mod identity;
mod operations;
mod sampler;
mod settings;
mod span;
mod telling;

pub(crate) use exporter::Exporter;
pub(crate) use identity::{Identity, parse_traceparent, traceparent};
pub(crate) use operations::{Current, Timer, timed, within};
pub(crate) use span::{SpanKind, number, text};
pub(crate) use telling::{Does, Telling};

pub use sampler::{Ratio, SamplerName};
pub use settings::TraceSettings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use turlough_sdk::{Flow, RequestId};
use turlough_statestore::event::Accepted;

use crate::metrics::SpanCounts;
use sampler::Sampler;

/// How this process traces requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Traces {
    pub(crate) exporter: Exporter,
    sampler: Sampler,
    /// What flows do, by their versions.
    flows: Arc<Mutex<HashMap<String, Arc<Does>>>>,
}

/// Versions of flows that are remembered; past it they are read anew.
const FLOWS_MAX: usize = 1_000;

impl Traces {
    /// None where no collector is named.
    ///
    /// # Errors
    /// An HTTP client that cannot be made.
    pub(crate) fn new(
        settings: &TraceSettings,
        (service, tenant): (&str, &str),
        counts: &SpanCounts,
    ) -> Result<Option<Self>, reqwest::Error> {
        let Some(collector) = settings.collector() else {
            return Ok(None);
        };
        let service = settings.service_name.as_deref().unwrap_or(service);
        let resource = span::resource(service, tenant);
        Ok(Some(Self {
            exporter: Exporter::start(collector, resource, counts.clone())?,
            sampler: settings.sampler(),
            flows: Arc::default(),
        }))
    }

    /// Which trace a request is, and whether it is told.
    pub(crate) fn identity(&self, request: RequestId, accepted: &Accepted) -> Identity {
        Identity::of(request, accepted, &self.sampler)
    }

    pub(crate) fn does(&self, flow: &Flow) -> Arc<Does> {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let version = format!("{}/{}", flow.name(), flow.version().as_str());
        if let Some(known) = flows.get(&version) {
            return Arc::clone(known);
        }
        if flows.len() >= FLOWS_MAX {
            flows.clear();
        }
        let does = Arc::new(Does::of(flow));
        flows.insert(version, Arc::clone(&does));
        does
    }
}

/// The trace of one request, as its attempts need it.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    pub(crate) identity: Identity,
    pub(crate) exporter: Exporter,
}
