//! `GET /requests/<id>/events`: the log as server-sent events, from its start or after
//! `Last-Event-ID`, until the request is settled.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;
use turlough_sdk::RequestId;
use turlough_statestore::{Event, Record, Seq};

use super::extract::Path;
use super::problem::Problem;
use super::requests::parse;
use crate::engine::{ControlError, Engine};
use crate::view;

struct Follower {
    engine: Engine,
    request: RequestId,
    after: Seq,
    tail: watch::Receiver<Seq>,
    pending: std::vec::IntoIter<Sse>,
    settled: bool,
}

pub(super) async fn stream(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = parse(&id)?;
    let tail = engine
        .shared
        .log
        .tail(request)
        .ok_or(ControlError::Unknown(request))?;
    let after = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    // A place that the log has not come to is none of this log's: it is told from its start.
    let end = *tail.borrow();
    let after = after.filter(|after| *after <= end).unwrap_or(Seq::START);
    let last = engine.shared.log.last(request).await;
    let last = last.map_err(|error| ControlError::Log(request, error))?;
    if last.is_some_and(|last| last.seq <= after && is_settled(&last)) {
        // Nothing will follow; to a browser that reconnects this says so.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let pending = Vec::new().into_iter();
    let follower = Follower {
        engine,
        request,
        after,
        tail,
        pending,
        settled: false,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(axum::response::Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

fn is_settled(record: &Record) -> bool {
    let mut events = record.append.events.iter();
    events.any(|event| matches!(event, Event::Settled { .. }))
}

impl Follower {
    async fn next(&mut self) -> Option<Sse> {
        loop {
            if let Some(event) = self.pending.next() {
                return Some(event);
            }
            if self.settled {
                return None;
            }
            self.tail.mark_unchanged();
            let records = self
                .engine
                .shared
                .log
                .read(self.request, self.after)
                .await
                .ok()?;
            if records.is_empty() {
                let closing = &self.engine.shared.closing;
                tokio::select! {
                    changed = self.tail.changed() => changed.ok()?,
                    // Otherwise a follower would keep the process for as long as its request runs.
                    () = closing.cancelled() => return None,
                }
                continue;
            }
            let events: Vec<_> = records
                .iter()
                .flat_map(|record| self.render(record))
                .collect();
            self.after = records.last().map_or(self.after, |record| record.seq);
            self.settled = records.iter().any(is_settled);
            self.pending = events.into_iter();
        }
    }

    /// The events of an append. Its place goes with the last one: a client that reconnects has seen
    /// all of it or asks for all of it again.
    fn render(&self, record: &Record) -> Vec<Sse> {
        let shown: Vec<_> = record
            .append
            .events
            .iter()
            .filter_map(view::event)
            .collect();
        let count = shown.len();
        let sse = |(at, (name, data)): (usize, (&str, serde_json::Value))| {
            let event = Sse::default().event(name).data(data.to_string());
            if at + 1 == count {
                event.id(record.seq.to_string())
            } else {
                event
            }
        };
        shown.into_iter().enumerate().map(sse).collect()
    }
}
