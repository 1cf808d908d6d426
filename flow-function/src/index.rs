//! The index of requests: a projection of the logs, for lists, and for what is to be forgotten.
//!
//! Invariants: lists are in the order of acceptance, whatever the ids are (those of requests with a
//! key are hashes); a page costs what it shows, where nothing but its place is asked for.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use turlough_sdk::{FlowName, FlowVersion, RequestId};
use turlough_statestore::Standing;
use turlough_statestore::event::Outcome;
use uuid::Uuid;

/// What a list says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) flow: FlowName,
    /// The version that it runs on now.
    pub(crate) version: String,
    pub(crate) accepted_us: u64,
    /// How it stands, while it has not ended.
    pub(crate) state: Standing,
    /// How often it was restarted.
    pub(crate) generation: u32,
    /// The request whose step it is.
    pub(crate) parent: Option<RequestId>,
    pub(crate) ended: Option<Ended>,
    /// Until when it can be restarted.
    pub(crate) kept_until_us: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) status: &'static str,
    pub(crate) at_us: u64,
    pub(crate) error: Option<String>,
    pub(crate) settled: bool,
}

/// What a request's status may be, as the API names it.
pub(crate) const STATUSES: [&str; 9] = [
    "running",
    "sleeping",
    "paused",
    "unwinding",
    "succeeded",
    "failed",
    "timed_out",
    "cancelled",
    "dead",
];

impl Summary {
    pub(crate) fn accepted(
        flow: &FlowName,
        version: &FlowVersion,
        accepted_us: u64,
        parent: Option<RequestId>,
    ) -> Self {
        let version = version.as_str().to_owned();
        Self {
            flow: flow.clone(),
            version,
            accepted_us,
            state: Standing::Running,
            generation: 0,
            parent,
            ended: None,
            kept_until_us: None,
        }
    }

    pub(crate) fn status(&self) -> &'static str {
        self.ended_status().unwrap_or(self.state.name())
    }

    pub(crate) fn ended_status(&self) -> Option<&'static str> {
        self.ended.as_ref().map(|ended| ended.status)
    }
}

impl Ended {
    pub(crate) fn new(outcome: &Outcome, at_us: u64) -> Self {
        let error = match outcome {
            Outcome::Failed { step, message, .. } => Some(format!("step {step}: {message}")),
            Outcome::Dead { message } => Some(message.clone()),
            Outcome::TimedOut => Some("took longer than the flow's timeout".to_owned()),
            Outcome::Succeeded { .. } | Outcome::Cancelled => None,
        };
        Self {
            status: outcome.status(),
            at_us,
            error,
            settled: false,
        }
    }
}

/// Which of the requests a list shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) flow: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) parent: Option<RequestId>,
    /// Those that were accepted before this one.
    pub(crate) before: Option<RequestId>,
    pub(crate) limit: usize,
}

#[derive(Debug)]
pub(crate) struct Index {
    ended_max: usize,
    ended_bytes_max: u64,
    state: Mutex<State>,
}

/// Place of a request in the order of acceptance.
type Rank = (u64, RequestId);

#[derive(Debug, Default)]
struct State {
    requests: HashMap<RequestId, Summary>,
    order: BTreeSet<Rank>,
    /// Sub-flows in the order of acceptance, by their parent.
    children: BTreeSet<(RequestId, Rank)>,
    /// Ended requests that can be restarted, with until when.
    kept: BTreeSet<(u64, RequestId)>,
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
        let mut state = self.state();
        state.remove(request);
        let rank = (summary.accepted_us, request);
        state.order.insert(rank);
        if let Some(parent) = summary.parent {
            state.children.insert((parent, rank));
        }
        state.requests.insert(request, summary);
    }

    pub(crate) fn get(&self, request: RequestId) -> Option<Summary> {
        self.state().requests.get(&request).cloned()
    }

    /// It stands otherwise now.
    pub(crate) fn stand(&self, request: RequestId, standing: Standing) {
        self.change(request, |summary| summary.state = standing);
    }

    /// True where it had not ended before.
    pub(crate) fn end(&self, request: RequestId, outcome: &Outcome, at_us: u64) -> bool {
        let mut state = self.state();
        let Some(summary) = state.requests.get_mut(&request) else {
            return false;
        };
        let ended = Ended::new(outcome, at_us);
        summary.ended.replace(ended).is_none()
    }

    /// It has ended, and can be restarted until then, or until the time that it was given before.
    /// With it come those that are let go for it, the oldest ones past `kept_max`.
    pub(crate) fn keep(
        &self,
        request: RequestId,
        until_us: u64,
        kept_max: usize,
    ) -> (u64, Vec<RequestId>) {
        let mut state = self.state();
        let State { requests, kept, .. } = &mut *state;
        let Some(summary) = requests.get_mut(&request) else {
            return (0, Vec::new());
        };
        let until_us = *summary.kept_until_us.get_or_insert(until_us);
        if until_us > 0 {
            kept.insert((until_us, request));
        }
        let mut excess = Vec::new();
        while kept.len() > kept_max
            && let Some((_, oldest)) = kept.pop_first()
        {
            if let Some(summary) = requests.get_mut(&oldest) {
                summary.kept_until_us = Some(0);
            }
            excess.push(oldest);
        }
        let until_us = if excess.contains(&request) {
            0
        } else {
            until_us
        };
        excess.retain(|oldest| *oldest != request);
        (until_us, excess)
    }

    /// It runs in this generation. True where it had ended in an earlier one.
    pub(crate) fn reopen(&self, request: RequestId, generation: u32) -> bool {
        let mut state = self.state();
        let Some(summary) = state.requests.get(&request) else {
            return false;
        };
        if summary.generation >= generation {
            return false;
        }
        state.let_go(request);
        let Some(summary) = state.requests.get_mut(&request) else {
            return false;
        };
        summary.generation = generation;
        summary.kept_until_us = None;
        summary.state = Standing::Running;
        summary.ended.take().is_some()
    }

    /// It runs on another version from now on.
    pub(crate) fn switch(&self, request: RequestId, version: &FlowVersion) {
        self.change(request, |summary| {
            version.as_str().clone_into(&mut summary.version);
        });
    }

    pub(crate) fn settle(&self, request: RequestId, log_bytes: u64) {
        let mut state = self.state();
        state.let_go(request);
        if let Some(summary) = state.requests.get_mut(&request) {
            summary.kept_until_us = None;
            if let Some(ended) = &mut summary.ended {
                ended.settled = true;
            }
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
            state.remove(request);
            taken.insert(request);
        }
        taken
    }

    /// Whether a request may still run on this version of a flow.
    pub(crate) fn uses(&self, flow: &FlowName, version: &str) -> bool {
        let settled = |summary: &Summary| summary.ended.as_ref().is_some_and(|end| end.settled);
        let needs = |summary: &Summary| {
            summary.flow == *flow && summary.version == version && !settled(summary)
        };
        self.state().requests.values().any(needs)
    }

    /// Whether a list can go on after this request.
    pub(crate) fn can_follow(&self, request: RequestId) -> bool {
        self.state().rank(request).is_some()
    }

    /// Newest first; nothing where nobody can say when `before` was accepted.
    pub(crate) fn list(&self, filter: &Filter) -> Vec<(RequestId, Summary)> {
        let state = self.state();
        let end = match filter.before.map(|before| state.rank(before)) {
            None => Bound::Unbounded,
            Some(Some(rank)) => Bound::Excluded(rank),
            Some(None) => return Vec::new(),
        };
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let matches = |summary: &Summary| {
            is(&filter.flow, summary.flow.as_str()) && is(&filter.status, summary.status())
        };
        let known = |(_, id): &Rank| Some((*id, state.requests.get(id)?));
        let found = |ranks: &mut dyn Iterator<Item = &Rank>| {
            let found = ranks.filter_map(known).filter(|(_, s)| matches(s));
            let found = found.take(filter.limit);
            found.map(|(id, s)| (id, s.clone())).collect()
        };
        match filter.parent {
            // From its place in the order: the pages of a list cost what they show.
            None => found(&mut state.order.range((Bound::Unbounded, end)).rev()),
            Some(parent) => {
                let first = (parent, (0, RequestId::from_uuid(Uuid::nil())));
                let last = match end {
                    Bound::Excluded(rank) => Bound::Excluded((parent, rank)),
                    _ => Bound::Included((parent, (u64::MAX, RequestId::from_uuid(Uuid::max())))),
                };
                if matches!(last, Bound::Excluded(last) if last < first) {
                    return Vec::new();
                }
                let range = state.children.range((Bound::Included(first), last));
                found(&mut range.rev().map(|(_, rank)| rank))
            }
        }
    }

    fn change(&self, request: RequestId, change: impl FnOnce(&mut Summary)) {
        if let Some(summary) = self.state().requests.get_mut(&request) {
            change(summary);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// It is not kept any more.
    fn let_go(&mut self, request: RequestId) {
        let summary = self.requests.get(&request);
        if let Some(until_us) = summary.and_then(|summary| summary.kept_until_us) {
            self.kept.remove(&(until_us, request));
        }
    }

    fn remove(&mut self, request: RequestId) {
        self.let_go(request);
        let Some(summary) = self.requests.remove(&request) else {
            return;
        };
        let rank = (summary.accepted_us, request);
        self.order.remove(&rank);
        if let Some(parent) = summary.parent {
            self.children.remove(&(parent, rank));
        }
    }

    /// Where a request stands or stood. Of a forgotten one the id tells the millisecond, if it is one
    /// that holds a time: the end of it, so that nothing is left out.
    fn rank(&self, request: RequestId) -> Option<Rank> {
        if let Some(summary) = self.requests.get(&request) {
            return Some((summary.accepted_us, request));
        }
        let uuid = request.as_uuid();
        let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
        let ms = seconds.checked_mul(1_000)? + u64::from(nanos) / 1_000_000;
        let at_us = ms.checked_add(1)?.checked_mul(1_000)?;
        Some((at_us, RequestId::from_uuid(Uuid::nil())))
    }
}

#[cfg(test)]
mod tests;
