//! How many calls are worked on at once.
//!
//! Invariants: what starts a request is refused before what goes on with one: callbacks, signals and control
//! have a part of the room to themselves; health, readiness and metrics are always told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;

use super::problem::Problem;
use crate::engine::Engine;
use crate::metrics::Metrics;

/// Of so many calls one is kept free for what goes on with requests.
const RESERVE: usize = 8;

/// Calls that are worked on, and how many there may be.
#[derive(Debug)]
pub(crate) struct InFlight {
    now: Arc<AtomicUsize>,
    most: usize,
    most_starts: usize,
}

/// A call that is worked on.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl InFlight {
    /// With room for so many; 0 for no limit.
    pub(crate) fn new(max_inflight: usize) -> Self {
        let most = if max_inflight == 0 {
            usize::MAX
        } else {
            max_inflight
        };
        Self {
            now: Arc::default(),
            most,
            // Of one place none can be kept.
            most_starts: (most - most / RESERVE).min(most.saturating_sub(1)).max(1),
        }
    }

    /// How many connections there may be, with some that are idle.
    pub(super) fn connections(&self) -> usize {
        self.most
            .saturating_add(self.most / 4)
            .clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
    }

    /// Whether what starts a request is refused now.
    pub(super) fn is_full(&self) -> bool {
        self.now.load(Ordering::Relaxed) >= self.most_starts
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    fn enter(&self, most: usize) -> Option<Place> {
        let entered = self.now.fetch_add(1, Ordering::Relaxed) < most;
        let place = Place(Arc::clone(&self.now));
        entered.then_some(place)
    }
}

/// Connections: each is a file descriptor, and the kernel keeps further ones waiting.
const CONNECTIONS_MIN: usize = 16_384;
const CONNECTIONS_MAX: usize = 262_144;

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What starts a request, or runs a step for another replica.
pub(super) async fn starts(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let most = engine.shared.in_flight.most_starts;
    within(&engine, most, request, next).await
}

/// What goes on with requests, or tells of them.
pub(super) async fn others(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let most = engine.shared.in_flight.most;
    within(&engine, most, request, next).await
}

async fn within(engine: &Engine, most: usize, request: Request, next: Next) -> Response {
    let Some(place) = engine.shared.in_flight.enter(most) else {
        return refused(&engine.shared.metrics, most);
    };
    let response = next.run(request).await;
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    // It is told bit by bit, and is worked on until then.
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &place;
            frame
        }))
    })
}

fn refused(metrics: &Metrics, most: usize) -> Response {
    metrics.calls_refused.inc();
    let text = format!(
        "{most} calls are worked on, limit {most}; try again, or raise max_inflight or the number of replicas"
    );
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, &text);
    problem.retry_after(1).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_room_is_for_what_goes_on() {
        for (max_inflight, starts) in [(1, 1), (2, 1), (7, 6), (8, 7), (80, 70), (12_288, 10_752)] {
            let calls = InFlight::new(max_inflight);
            let begun: Vec<_> = (0..starts)
                .map(|_| calls.enter(calls.most_starts).unwrap())
                .collect();
            assert!(
                calls.enter(calls.most_starts).is_none() && calls.is_full(),
                "{max_inflight}"
            );
            let more: Vec<_> = (starts..max_inflight)
                .map(|_| calls.enter(calls.most).unwrap())
                .collect();
            assert!(calls.enter(calls.most).is_none(), "{max_inflight}");
            drop((begun, more));
            assert_eq!(calls.now(), 0);
        }
        assert!((0..100_000).all(|_| InFlight::new(0).enter(usize::MAX).is_some()));
    }
}
