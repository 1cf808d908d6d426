//! `GET /requests/<id>/events`: the log as server-sent events, from its start or after
//! `Last-Event-ID`. The stream ends when the request is settled: a failed one that can be restarted
//! is followed until then. With `?until=end` it ends where the request has ended, which a restart
//! takes back. With `?at=<place>` the answer is the request's document as of that event.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use turlough_sdk::RequestId;
use turlough_statestore::{Event, Record, Seq};

use super::extract::{Path, Query, shortened};
use super::problem::Problem;
use super::requests::{parse, whole};
use crate::engine::{ControlError, Engine};
use crate::view;

/// How soon a log is looked at again that had nothing new: soon after it had, seldom where it sleeps.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(10);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(500);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    at: Option<String>,
    until: Option<String>,
}

/// When a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Settled,
    Ended,
}

impl EventsQuery {
    fn until(&self) -> Result<Until, Problem> {
        match self.until.as_deref() {
            None | Some("settled") => Ok(Until::Settled),
            Some("end") => Ok(Until::Ended),
            Some(other) => {
                let text = format!(
                    "until {:?} is unknown; write end or settled",
                    shortened(other)
                );
                Err(Problem::new(StatusCode::BAD_REQUEST, &text))
            }
        }
    }

    fn at(&self) -> Result<Option<Seq>, Problem> {
        let at = self.at.as_ref().map(|text| {
            text.parse().map_err(|_| {
                let text = format!(
                    "at {:?} is no place of an event; write the id of one",
                    shortened(text)
                );
                Problem::new(StatusCode::BAD_REQUEST, &text)
            })
        });
        at.transpose()
    }
}

/// How far a log has come, as far as a stream's end goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    ended: bool,
    settled: bool,
}

impl Progress {
    fn take(&mut self, record: &Record) {
        for event in &record.append.events {
            match event {
                Event::Ended { .. } => self.ended = true,
                Event::RestartAsked { .. } => self.ended = false,
                Event::Settled { .. } => self.settled = true,
                _ => {}
            }
        }
    }

    const fn is_over(self, until: Until) -> bool {
        match until {
            Until::Settled => self.settled,
            Until::Ended => self.ended || self.settled,
        }
    }
}

struct Follower {
    engine: Engine,
    request: RequestId,
    after: Seq,
    /// How long to wait before the log is looked at again.
    wait: Duration,
    pending: std::vec::IntoIter<Sse>,
    until: Until,
    progress: Progress,
}

pub(super) async fn stream(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = parse(&id)?;
    let until = query.until()?;
    if let Some(at) = query.at()? {
        let records = engine.records(request).await?;
        let view = whole(&engine, request, records, Some(at)).await?;
        return Ok(axum::Json(view).into_response());
    }
    let last = engine.shared.log.last(request).await;
    let last = last.map_err(|error| ControlError::Read(request, error))?;
    let end = last.ok_or(ControlError::Unknown(request))?.seq;
    let after = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    // A place that the log has not come to is none of this log's: it is told from its start.
    let after = after.filter(|after| *after <= end).unwrap_or(Seq::START);
    let mut progress = Progress::default();
    if after > Seq::START {
        let records = engine.records(request).await?;
        let seen = records.iter().filter(|record| record.seq <= after);
        seen.for_each(|record| progress.take(record));
        let more = records.last().is_some_and(|last| last.seq > after);
        if progress.is_over(until) && !more {
            // Nothing will follow; to a browser that reconnects this says so.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
    let pending = Vec::new().into_iter();
    let follower = Follower {
        engine,
        request,
        after,
        wait: LOOK_AGAIN_MIN,
        pending,
        until,
        progress,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(axum::response::Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

impl Follower {
    async fn next(&mut self) -> Option<Sse> {
        loop {
            if let Some(event) = self.pending.next() {
                return Some(event);
            }
            let records = self
                .engine
                .shared
                .log
                .read(self.request, self.after)
                .await
                .ok()?;
            if records.is_empty() {
                if self.progress.is_over(self.until) {
                    return None;
                }
                let closing = &self.engine.shared.closing;
                tokio::select! {
                    () = tokio::time::sleep(self.wait) => {}
                    // Otherwise a follower would keep the process for as long as its request runs.
                    () = closing.cancelled() => return None,
                }
                if self.wait == LOOK_AGAIN_MAX {
                    // One that is forgotten will have nothing new.
                    self.engine.shared.log.last(self.request).await.ok()??;
                }
                self.wait = (self.wait * 2).min(LOOK_AGAIN_MAX);
                continue;
            }
            self.wait = LOOK_AGAIN_MIN;
            let events: Vec<_> = records.iter().flat_map(render).collect();
            self.after = records.last().map_or(self.after, |record| record.seq);
            records.iter().for_each(|record| self.progress.take(record));
            self.pending = events.into_iter();
        }
    }
}

/// The events of an append. Its place goes with the last one: a client that reconnects has seen
/// all of it or asks for all of it again.
fn render(record: &Record) -> Vec<Sse> {
    let events = record.append.events.iter();
    let shown: Vec<_> = events.filter_map(view::event).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_where_and_until_when_or_is_refused() {
        let query = |at: Option<&str>, until: Option<&str>| EventsQuery {
            at: at.map(str::to_owned),
            until: until.map(str::to_owned),
        };
        assert_eq!(query(None, None).until().unwrap(), Until::Settled);
        assert_eq!(query(None, Some("end")).until().unwrap(), Until::Ended);
        assert_eq!(query(Some("7"), None).at().unwrap(), "7".parse().ok());
        assert_eq!(query(None, None).at().unwrap(), None);
        for bad in ["", "-1", "x", "99999999999999999999", "1 "] {
            let problem = query(Some(bad), None).at().unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{bad}");
            let problem = query(None, Some(bad)).until().unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{bad}");
        }
    }

    #[test]
    fn a_restart_takes_the_end_of_a_stream_back() {
        let mut progress = Progress::default();
        assert!(!progress.is_over(Until::Ended));
        progress.ended = true;
        assert!(progress.is_over(Until::Ended) && !progress.is_over(Until::Settled));
        progress.settled = true;
        assert!(progress.is_over(Until::Settled));
    }
}
