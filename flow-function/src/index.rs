//! The index of requests: a projection of the logs, for lists, and for what is to be forgotten.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use turlough_sdk::{FlowName, FlowVersion, RequestId};
use turlough_statestore::event::Outcome;

/// What a list says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) flow: FlowName,
    pub(crate) version: String,
    pub(crate) accepted_us: u64,
    pub(crate) ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) status: &'static str,
    pub(crate) at_us: u64,
    pub(crate) error: Option<String>,
    pub(crate) settled: bool,
}

impl Summary {
    pub(crate) fn accepted(flow: &FlowName, version: &FlowVersion, accepted_us: u64) -> Self {
        let version = version.as_str().to_owned();
        Self {
            flow: flow.clone(),
            version,
            accepted_us,
            ended: None,
        }
    }

    pub(crate) fn status(&self) -> &'static str {
        self.ended_status().unwrap_or("running")
    }

    pub(crate) fn ended_status(&self) -> Option<&'static str> {
        self.ended.as_ref().map(|ended| ended.status)
    }
}

/// Which of the requests a list shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) flow: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) before: Option<RequestId>,
    pub(crate) limit: usize,
}

#[derive(Debug)]
pub(crate) struct Index {
    ended_max: usize,
    ended_bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: BTreeMap<RequestId, Summary>,
    /// Settled requests in the order of their settling, with the sizes of their logs.
    settled: VecDeque<(RequestId, u64)>,
    settled_bytes: u64,
}

impl Index {
    pub(crate) fn new(ended_max: usize, ended_bytes_max: u64) -> Self {
        Self {
            ended_max,
            ended_bytes_max,
            state: Mutex::default(),
        }
    }

    pub(crate) fn insert(&self, request: RequestId, summary: Summary) {
        self.state().requests.insert(request, summary);
    }

    pub(crate) fn get(&self, request: RequestId) -> Option<Summary> {
        self.state().requests.get(&request).cloned()
    }

    pub(crate) fn end(&self, request: RequestId, outcome: &Outcome, at_us: u64) {
        let error = match outcome {
            Outcome::Failed { step, message, .. } => Some(format!("step {step}: {message}")),
            Outcome::TimedOut => Some("took longer than the flow's timeout".to_owned()),
            Outcome::Succeeded { .. } | Outcome::Cancelled => None,
        };
        if let Some(summary) = self.state().requests.get_mut(&request) {
            let status = outcome.status();
            summary.ended = Some(Ended {
                status,
                at_us,
                error,
                settled: false,
            });
        }
    }

    pub(crate) fn settle(&self, request: RequestId, log_bytes: u64) {
        let mut state = self.state();
        if let Some(ended) = state
            .requests
            .get_mut(&request)
            .and_then(|s| s.ended.as_mut())
        {
            ended.settled = true;
        }
        state.settled.push_back((request, log_bytes));
        state.settled_bytes += log_bytes;
    }

    /// Takes the oldest settled requests out until both bounds hold.
    pub(crate) fn take_excess(&self) -> HashSet<RequestId> {
        let mut state = self.state();
        let mut taken = HashSet::new();
        while state.settled.len() > self.ended_max || state.settled_bytes > self.ended_bytes_max {
            let Some((request, bytes)) = state.settled.pop_front() else {
                break;
            };
            state.settled_bytes -= bytes;
            state.requests.remove(&request);
            taken.insert(request);
        }
        taken
    }

    /// Newest first. Ids are UUIDv7, so they sort by time.
    pub(crate) fn list(&self, filter: &Filter) -> Vec<(RequestId, Summary)> {
        let state = self.state();
        let matches = |summary: &Summary| {
            filter
                .flow
                .as_deref()
                .is_none_or(|flow| flow == summary.flow.as_str())
                && filter
                    .status
                    .as_deref()
                    .is_none_or(|status| status == summary.status())
        };
        // From its place in the order: the pages of a list cost what they show.
        let from = filter.before.map_or(Bound::Unbounded, Bound::Excluded);
        let after = state.requests.range((Bound::Unbounded, from)).rev();
        let found = after
            .filter(|(_, summary)| matches(summary))
            .take(filter.limit);
        found.map(|(id, summary)| (*id, summary.clone())).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u128) -> RequestId {
        RequestId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn summary() -> Summary {
        let flow: FlowName = "f".parse().unwrap();
        Summary {
            flow,
            version: "v".to_owned(),
            accepted_us: 0,
            ended: None,
        }
    }

    #[test]
    fn the_oldest_settled_requests_go_past_either_bound_and_open_ones_stay() {
        let index = Index::new(2, 100);
        for number in 1..=4 {
            index.insert(request(number), summary());
        }
        for number in 2..=4 {
            index.end(request(number), &Outcome::Cancelled, 1);
            index.settle(request(number), 10);
        }
        assert_eq!(index.take_excess(), HashSet::from([request(2)]));
        index.insert(request(5), summary());
        index.settle(request(5), 95);
        assert_eq!(index.take_excess(), HashSet::from([request(3), request(4)]));
        let filter = Filter {
            limit: 10,
            ..Filter::default()
        };
        let left: Vec<_> = index.list(&filter).into_iter().map(|(id, _)| id).collect();
        assert_eq!(left, [request(5), request(1)]);
    }
}
