//! What a driver tells of its request's trace, as appends are stored.

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::Span;
use turlough_sdk::ReplicaId;
use turlough_statestore::event::Outcome;
use turlough_statestore::{Append, Event, Kind, Record, Seq, StateError};

use super::Driver;
use crate::clock::now_us;
use crate::trace::{Current, SpanKind, Telling, Timer, number, text};

/// How long a span may wait in a process that dies: whoever takes over tells it once more. Several times what
/// an exporter takes that reaches its collector.
const UNSENT_US: u64 = 30_000_000;

impl Driver {
    /// Tells what ends with an append that stands in the log now. An append that was told is not told again.
    pub(super) fn trace(&mut self, append: &Append) {
        let Some(traces) = &self.shared.traces else {
            return;
        };
        match &mut self.telling {
            Some(telling) => traces.exporter.send(telling.fold(append)),
            None if is_failure(append) => self.trace_all(),
            None => {}
        }
    }

    /// Takes up what an earlier driver left: what it may not have sent is told once more, under the same ids.
    pub(super) fn trace_left(&mut self, records: &[Record]) {
        let (Some(traces), Some(telling)) = (&self.shared.traces, &mut self.telling) else {
            return;
        };
        let since_ns = now_us().saturating_sub(UNSENT_US).saturating_mul(1_000);
        for (index, Record { append, .. }) in records.iter().enumerate() {
            let mut spans = telling.fold(append);
            match teller(&records[index..]) {
                // This process has sent it, or will.
                Some(replica) if replica == self.shared.replica => continue,
                Some(_) => spans.retain(|span| span.end_time_unix_nano >= since_ns),
                None => {}
            }
            traces.exporter.send(spans);
        }
    }

    /// An append that is timed.
    pub(super) fn timed_append(&self) -> Timer {
        let current = self.telling.as_ref().zip(self.context.trace.as_ref());
        let current = current.map(|(_, trace)| Current {
            identity: trace.identity,
            span: trace.identity.request_span(self.execution.generation()),
            exporter: trace.exporter.clone(),
        });
        Timer::of(current, "log.append")
    }

    pub(super) fn told_append(&self, timer: Timer, append: &Append, error: Option<&StateError>) {
        let system = self.shared.settings.state.url.system();
        timer.end(SpanKind::Producer, error.map(ToString::to_string), || {
            vec![
                text("messaging.system", system),
                text("messaging.operation.type", "send"),
                text("messaging.destination.name", "log"),
                number("turlough.events", append.events.len() as u64),
            ]
        });
    }

    /// A request that failed is told though it was not to be: all of this generation, as its log has it.
    fn trace_all(&self) {
        let (Some(traces), Some(trace)) = (self.shared.traces.clone(), &self.context.trace) else {
            return;
        };
        let (request, identity) = (self.request, trace.identity);
        let does = traces.does(self.execution.flow());
        let accepted = Arc::clone(&self.context.accepted);
        let log = Arc::clone(&self.shared.log);
        let task = self.shared.tasks.token();
        tokio::spawn(async move {
            let mut telling = Telling::new(request, identity, does, accepted);
            match log.read(request, Seq::START).await {
                Ok(records) => traces
                    .exporter
                    .send(newest_generation(&mut telling, &records)),
                Err(error) => {
                    tracing::warn!(%request, %error, "trace of a failed request could not be read");
                }
            }
            drop(task);
        });
    }
}

/// Who told of the first of these records: the first driver that went on after it.
fn teller(records: &[Record]) -> Option<ReplicaId> {
    let mut envelopes = records.iter().map(|record| &record.append.envelope);
    let driver = envelopes.find(|envelope| envelope.kind == Kind::Driver);
    driver.map(|envelope| envelope.replica)
}

/// The spans up to the last end, without those of ends before.
fn newest_generation(telling: &mut Telling, records: &[Record]) -> Vec<Span> {
    let (mut spans, mut is_over) = (Vec::new(), false);
    for Record { append, .. } in records {
        let more = telling.fold(append);
        if is_over && !more.is_empty() {
            spans.clear();
        }
        is_over = append
            .events
            .iter()
            .any(|it| matches!(it, Event::Ended { .. }));
        spans.extend(more);
    }
    spans
}

fn is_failure(append: &Append) -> bool {
    let fails =
        |outcome: &Outcome| !matches!(outcome, Outcome::Succeeded { .. } | Outcome::Cancelled);
    let mut events = append.events.iter();
    events.any(|event| matches!(event, Event::Ended { outcome, .. } if fails(outcome)))
}
