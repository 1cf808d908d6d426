//! Spans of what one process does beside what the log says: reads and puts of values, appends. Told by it
//! alone, once it is done, under ids that are drawn.

use std::future::Future;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use uuid::Uuid;

use super::exporter::Exporter;
use super::identity::Identity;
use super::span::{failed, span};
use crate::clock::now_us;

tokio::task_local! {
    static CURRENT: Current;
}

/// The span that is under way in a task.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) identity: Identity,
    pub(crate) span: u64,
    pub(crate) exporter: Exporter,
}

/// Something that is being done.
#[derive(Debug)]
pub(crate) struct Timer(Option<Begun>);

#[derive(Debug)]
struct Begun {
    of: Current,
    name: &'static str,
    begin_us: u64,
}

/// What is timed in the future is of this span; of none where there is none.
pub(crate) async fn within<T>(current: Option<Current>, work: impl Future<Output = T>) -> T {
    match current {
        Some(current) => CURRENT.scope(current, work).await,
        None => work.await,
    }
}

/// Times something within the task's span. What does not end is not told.
pub(crate) fn timed(name: &'static str) -> Timer {
    Timer::of(CURRENT.try_with(Clone::clone).ok(), name)
}

impl Timer {
    pub(crate) fn of(current: Option<Current>, name: &'static str) -> Self {
        Self(current.map(|of| Begun {
            of,
            name,
            begin_us: now_us(),
        }))
    }

    /// It is done. `about` is asked where it is told; an error makes it a failed one.
    pub(crate) fn end(
        self,
        kind: SpanKind,
        error: Option<String>,
        about: impl FnOnce() -> Vec<KeyValue>,
    ) {
        let Some(Begun { of, name, begin_us }) = self.0 else {
            return;
        };
        let id = (Uuid::new_v4().as_u128() as u64).max(1);
        let ids = (id, Some(of.span));
        let mut span = span(
            of.identity.trace,
            ids,
            name.to_owned(),
            (begin_us, now_us()),
        );
        span.kind = kind.into();
        span.attributes = about();
        span.status = error.and_then(|error| failed(&error));
        of.exporter.send([span]);
    }
}
