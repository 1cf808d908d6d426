//! What the log of a request says, as spans.
//!
//! Invariant: a span is made of events alone, and of nothing that the process knows which tells it. An append
//! counts once, and not where its driver had lost its claim.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{self as otlp, SpanKind};
use turlough_sdk::{Flow, Operation, RequestId, StepPath, ValueRef};
use turlough_statestore::event::{Accepted, Outcome, StepEnd, StepEnded};
use turlough_statestore::{Append, AppendId, Event, Kind};

use super::identity::Identity;
use super::span::{event, exception, failed, link, number, span, text};
use crate::view::{Nodes, node_path};

/// What is told of a request beside its steps: claims, signals, what was asked of it.
const NOTES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Telling {
    request: RequestId,
    identity: Identity,
    does: Arc<Does>,
    accepted: Arc<Accepted>,
    generation: u32,
    /// When the generation began.
    begin_us: u64,
    /// Whether it has had a driver.
    is_claimed: bool,
    epoch: u64,
    steps: HashMap<StepPath, Step>,
    /// Of an earlier generation: what failed, by its last attempt.
    failed: HashMap<StepPath, u64>,
    notes: Vec<otlp::Event>,
    folded: HashSet<AppendId>,
}

/// What a flow's nodes do, by the paths of their steps.
#[derive(Debug)]
pub(crate) struct Does(HashMap<String, Operates>);

#[derive(Debug)]
struct Operates {
    name: String,
    /// The method, where it calls somebody.
    calls_by: Option<String>,
    function: Option<String>,
}

impl Does {
    pub(super) fn of(flow: &Flow) -> Self {
        let nodes = Nodes::of(Some(flow)).all();
        let all = nodes.map(|(path, node)| {
            let operates = match &node.operation {
                Operation::Apply(apply) => Operates {
                    name: format!("apply {}", apply.function),
                    calls_by: Some(apply.method.clone()),
                    function: Some(apply.function.to_string()),
                },
                Operation::Http(http) => Operates {
                    name: "http".to_owned(),
                    calls_by: Some(http.method.clone()),
                    function: None,
                },
                operation => Operates {
                    name: operation.name().to_owned(),
                    calls_by: None,
                    function: None,
                },
            };
            (path, operates)
        });
        Self(all.collect())
    }
}

/// A step that has begun.
#[derive(Debug)]
struct Step {
    begin_us: u64,
    end_us: u64,
    attempts: u32,
    /// Its newest attempt.
    last: u64,
    stands: Stands,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stands {
    Open,
    /// Its last attempt failed; another may follow.
    Failed(String),
    /// Its span was told.
    Done,
}

impl Telling {
    pub(crate) fn new(
        request: RequestId,
        identity: Identity,
        does: Arc<Does>,
        accepted: Arc<Accepted>,
    ) -> Self {
        Self {
            request,
            identity,
            does,
            begin_us: accepted.at_us,
            accepted,
            generation: 0,
            is_claimed: false,
            epoch: 0,
            steps: HashMap::new(),
            failed: HashMap::new(),
            notes: Vec::new(),
            folded: HashSet::new(),
        }
    }

    /// The spans that end with an append.
    pub(crate) fn fold(&mut self, append: &Append) -> Vec<Span> {
        let envelope = &append.envelope;
        let is_late = envelope.kind == Kind::Driver && envelope.epoch < self.epoch;
        let mut spans = Vec::new();
        if envelope.kind == Kind::Driver && !is_late {
            // The restart may have gone with the log's head.
            self.generation = self.generation.max(envelope.generation);
        }
        if is_late || !self.folded.insert(envelope.id) {
            return spans;
        }
        for event in &append.events {
            self.apply(event, &mut spans);
        }
        if let [Event::Accepted(_)] = append.events[..] {
            self.is_claimed = false;
        }
        spans
    }

    fn apply(&mut self, event: &Event, to: &mut Vec<Span>) {
        match event {
            // Where it is claimed as it is accepted, it does not wait.
            Event::Accepted(_) => self.is_claimed = true,
            Event::Claimed {
                replica,
                epoch,
                at_us,
            } => {
                self.epoch = self.epoch.max(*epoch);
                if !self.is_claimed {
                    self.is_claimed = true;
                    to.push(self.wait_for_driver(*at_us));
                }
                let about = vec![
                    text("turlough.replica", &replica.to_string()),
                    number("turlough.epoch", *epoch),
                ];
                self.note(*at_us, "claimed", about);
            }
            Event::StepEnded(ended) => self.ended(ended, to),
            Event::Signalled { name, at_us, .. } => {
                self.note(*at_us, "signalled", vec![text("turlough.signal", name)]);
            }
            Event::PauseAsked { at_us } => self.note(*at_us, "pause asked", Vec::new()),
            Event::ResumeAsked { at_us } => self.note(*at_us, "resume asked", Vec::new()),
            Event::CancelAsked { at_us } => self.note(*at_us, "cancel asked", Vec::new()),
            Event::OutputLost { at_us, .. } => self.note(*at_us, "output lost", Vec::new()),
            Event::RestartAsked { at_us, .. } => {
                self.generation += 1;
                self.begin_us = *at_us;
                self.is_claimed = false;
            }
            Event::Ended { outcome, at_us, .. } => self.end(outcome, *at_us, to),
            _ => {}
        }
    }

    fn note(&mut self, at_us: u64, name: &str, about: Vec<KeyValue>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(event(at_us, name, about));
        }
    }

    fn wait_for_driver(&self, until_us: u64) -> Span {
        let id = self
            .identity
            .derived(format_args!("{}/~queue", self.generation));
        let parent = self.identity.request_span(self.generation);
        let times = (self.begin_us, until_us);
        let mut span = self.span((id, Some(parent)), "queue".to_owned(), times);
        span.kind = SpanKind::Consumer.into();
        span.attributes
            .push(text("messaging.operation.type", "receive"));
        span.attributes
            .push(text("messaging.destination.name", "work"));
        span
    }

    /// A span with what all of a request have.
    fn span(&self, ids: (u64, Option<u64>), name: String, times: (u64, u64)) -> Span {
        let mut span = span(self.identity.trace, ids, name, times);
        span.attributes = vec![
            text("turlough.tenant", self.accepted.tenant.as_str()),
            text("turlough.flow", self.accepted.flow.as_str()),
            text("turlough.request_id", &self.request.to_string()),
        ];
        span
    }

    fn ended(&mut self, ended: &StepEnded, to: &mut Vec<Span>) {
        let outer = ended.step.outer();
        if let Some(outer) = &outer {
            self.reach(outer, ended);
        }
        let attempt = self.attempt(ended);
        let id = attempt.1;
        to.push(attempt.0);
        let step = self.begun(&ended.step, ended.begin_us);
        step.begin_us = step.begin_us.min(ended.begin_us);
        step.end_us = step.end_us.max(ended.end_us);
        step.attempts = step.attempts.max(ended.attempt);
        step.last = id;
        step.stands = match &ended.end {
            StepEnd::Failed { message, .. } => Stands::Failed(message.clone()),
            end if is_last(end) => Stands::Done,
            _ => Stands::Open,
        };
        if step.stands == Stands::Done {
            let told = self.steps.get(&ended.step);
            to.extend(told.map(|step| self.step(&ended.step, step, None)));
        }
    }

    /// What stands around a step goes on at least as long, and has begun.
    fn reach(&mut self, outer: &StepPath, ended: &StepEnded) {
        let step = self.begun(outer, ended.begin_us);
        step.end_us = step.end_us.max(ended.end_us);
        if let Some(outer) = outer.outer() {
            self.reach(&outer, ended);
        }
    }

    fn begun(&mut self, step: &StepPath, begin_us: u64) -> &mut Step {
        self.steps.entry(step.clone()).or_insert_with(|| Step {
            begin_us,
            end_us: begin_us,
            attempts: 0,
            last: 0,
            stands: Stands::Open,
        })
    }

    /// The span of an attempt, and its id.
    fn attempt(&self, ended: &StepEnded) -> (Span, u64) {
        let (identity, step) = (&self.identity, &ended.step);
        let part = match part(&ended.end) {
            // A loop asks before each iteration, and all of its questions are one attempt.
            Some(part) => format!("/~{part}.{}", ended.begin_us),
            None => String::new(),
        };
        let which = (step, ended.attempt, ended.epoch);
        let id = identity.attempt_span(self.generation, which, &part);
        let parent = Some(identity.step_span(self.generation, step));
        let operates = self.does.0.get(&node_path(step));
        let name = operates.map_or("step", |it| it.name.as_str());
        let name = match self::part(&ended.end) {
            None => name.to_owned(),
            Some(part) => format!("{name} {part}"),
        };
        let mut span = self.span((id, parent), name, (ended.begin_us, ended.end_us));
        let about = &mut span.attributes;
        about.push(text("turlough.step", step.as_str()));
        about.push(number("turlough.attempt", ended.attempt.into()));
        about.push(number("turlough.epoch", ended.epoch));
        about.push(text("turlough.replica", &ended.replica.to_string()));
        if let Some(operates) = operates.filter(|_| part.is_empty())
            && let Some(method) = &operates.calls_by
        {
            span.kind = SpanKind::Client.into();
            about.push(text("http.request.method", method));
            if let Some(function) = &operates.function {
                about.push(text("faas.invoked_name", function));
                about.push(text("faas.invoked_provider", "openfaas"));
            }
        }
        match &ended.end {
            StepEnd::Succeeded { value } => {
                about.push(number("turlough.value.bytes", value.size()))
            }
            StepEnd::Split { items, .. } => about.push(number("turlough.items", (*items).into())),
            StepEnd::Failed { message, cause } => {
                about.push(text("error.type", cause.name()));
                span.events
                    .push(exception(ended.end_us, cause.name(), message));
                span.status = failed(message);
            }
            StepEnd::Lost { value } => {
                let message = match value {
                    ValueRef::Stored { store, .. } => format!("a value of {store} is gone"),
                    _ => "a value is gone".to_owned(),
                };
                about.push(text("error.type", "lost"));
                span.events.push(exception(ended.end_us, "lost", &message));
                span.status = failed(&message);
            }
            _ => {}
        }
        span.links.extend(self.before(ended));
        (span, id)
    }

    /// What an attempt does over again.
    fn before(&self, ended: &StepEnded) -> Option<otlp::Link> {
        if let Some(step) = self.steps.get(&ended.step)
            && step.stands == Stands::Done
        {
            let to = self.identity.parent_of_call(step.last);
            return Some(link(to, "made again"));
        }
        let begun = self.steps.get(&ended.step);
        let is_first = begun.is_none_or(|step| step.attempts == 0);
        let failed = self.failed.get(&ended.step).filter(|_| is_first);
        failed.map(|span| link(self.identity.parent_of_call(*span), "restarted"))
    }

    fn step(&self, path: &StepPath, step: &Step, failure: Option<&str>) -> Span {
        let identity = &self.identity;
        let parent = match path.outer() {
            Some(outer) => identity.step_span(self.generation, &outer),
            None => identity.request_span(self.generation),
        };
        let ids = (identity.step_span(self.generation, path), Some(parent));
        // Names of spans are few.
        let name = node_path(path);
        let mut span = self.span(ids, name, (step.begin_us, step.end_us));
        span.attributes.push(text("turlough.step", path.as_str()));
        let attempts = number("turlough.attempts", step.attempts.into());
        span.attributes.push(attempts);
        span.status = failure.and_then(failed);
        span
    }

    /// The generation is over: what is still open of it is told, and the request.
    fn end(&mut self, outcome: &Outcome, at_us: u64, to: &mut Vec<Span>) {
        let steps = std::mem::take(&mut self.steps);
        self.failed.clear();
        let mut open: Vec<_> = steps.iter().collect();
        open.retain(|(_, step)| step.stands != Stands::Done);
        open.sort_by(|a, b| a.0.cmp(b.0));
        for (path, step) in open {
            let failure = match &step.stands {
                Stands::Failed(message) => {
                    self.failed.insert(path.clone(), step.last);
                    Some(message.as_str())
                }
                _ => None,
            };
            to.push(self.step(path, step, failure));
        }
        let root = self.root(outcome, at_us);
        to.push(root);
    }

    fn root(&mut self, outcome: &Outcome, at_us: u64) -> Span {
        let identity = self.identity;
        let ids = (identity.request_span(self.generation), identity.parent);
        let name = format!("flow {}", self.accepted.flow);
        let mut span = self.span(ids, name, (self.begin_us, at_us));
        span.kind = SpanKind::Server.into();
        let about = &mut span.attributes;
        about.push(text("turlough.flow.version", &self.accepted.version));
        about.push(text("turlough.outcome", outcome.status()));
        about.push(number("turlough.generation", self.generation.into()));
        about.push(text("faas.trigger", "http"));
        if let Some(call) = &self.accepted.call_id {
            about.push(text("faas.invocation_id", call));
        }
        match outcome {
            Outcome::Failed {
                step,
                message,
                cause,
            } => {
                about.push(text("error.type", cause.name()));
                about.push(text("turlough.failed_step", step.as_str()));
                span.events.push(exception(at_us, cause.name(), message));
                span.status = failed(message);
            }
            Outcome::TimedOut => {
                about.push(text("error.type", "timeout"));
                span.status = failed("it took longer than its flow's timeout");
            }
            Outcome::Dead { message } => {
                about.push(text("error.type", "dead"));
                span.events.push(exception(at_us, "dead", message));
                span.status = failed(message);
            }
            Outcome::Succeeded { .. } | Outcome::Cancelled => {}
        }
        span.events.append(&mut self.notes);
        span.links
            .extend(identity.begun_by.map(|by| link(by, "sub-flow of")));
        if let Some(before) = self.generation.checked_sub(1) {
            let before = identity.request_span(before);
            span.links
                .push(link(identity.parent_of_call(before), "restart of"));
        }
        span
    }
}

/// Which part of an attempt an end is of; none for its operation, or what stands in for it.
const fn part(end: &StepEnd) -> Option<&'static str> {
    Some(match end {
        StepEnd::Succeeded { .. } | StepEnd::Took { .. } | StepEnd::Failed { .. } => return None,
        StepEnd::Went | StepEnd::Skipped => "when",
        StepEnd::Split { .. } => "split",
        StepEnd::Asked { .. } => "while",
        StepEnd::Expanded { .. } => "graph",
        StepEnd::Waits { .. } => "until",
        StepEnd::Lost { .. } => "lost",
    })
}

/// Whether nothing more comes of the step.
const fn is_last(end: &StepEnd) -> bool {
    matches!(
        end,
        StepEnd::Succeeded { .. }
            | StepEnd::Took { .. }
            | StepEnd::Skipped
            | StepEnd::Asked { again: false, .. }
    )
}
