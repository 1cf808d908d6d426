//! What events say of steps, read plainly.

use std::sync::Arc;

use turlough_sdk::{Cause, Operation, ValueRef, read_graph};
use turlough_statestore::event::StepEnd;

use super::failing::Failing;
use super::lost::owner_of;
use super::plain::{Begun, End, How, Item, Leaf, Plain, Scope, Seen, Stage, Step, Turn};
use super::rules::{again, join, limit, once};
use super::settle::News;
use super::undo::Unwound;
use crate::machine::given::Given;

pub(super) fn split(scope: &Scope, path: &str) -> Option<(usize, Option<u32>, Option<String>)> {
    let (head, rest) = match path.split_once('/') {
        Some((head, rest)) => (head, Some(rest.to_owned())),
        None => (path, None),
    };
    let name = head.split(['[', '#']).next()?;
    let node = scope
        .graph
        .nodes
        .iter()
        .position(|node| node.id.as_str() == name)?;
    let place = head[name.len()..]
        .trim_matches(['[', ']', '#'])
        .parse()
        .ok();
    Some((node, place, rest))
}

impl Scope {
    pub(super) fn body_mut(&mut self, node: usize, place: Option<u32>) -> Option<&mut Scope> {
        let step = &mut self.steps[node];
        if let (Some((_, items)), Some(place)) = (&mut step.items, place) {
            match items.get_mut(place as usize)? {
                Item::Runs(scope) => return Some(scope),
                _ => return None,
            }
        }
        if let (Some(turn), Some(place)) = (&mut step.turn, place) {
            return turn.body.as_deref_mut().filter(|_| turn.number == place);
        }
        step.made.as_deref_mut()
    }

    /// Does something at a step, if its graph is there.
    fn at<R>(
        &mut self,
        outer: &[Seen],
        path: &str,
        act: impl FnOnce(&mut Scope, &[Seen], usize) -> R,
    ) -> Option<R> {
        let (node, place, rest) = split(self, path)?;
        let Some(rest) = rest else {
            return Some(act(self, outer, node));
        };
        let seen = self.seen(outer, node);
        let inner_seen = if self.steps[node].made.is_some() {
            &[][..]
        } else {
            &seen[..]
        };
        self.body_mut(node, place)?.at(inner_seen, &rest, act)
    }
}

impl Plain {
    pub(super) const fn runs(&self) -> bool {
        matches!(
            self.phase,
            Unwound::Open | Unwound::OnFailure | Unwound::Finally
        )
    }

    /// Every open step: of the flow, or of the handler that runs.
    pub(super) fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut leaves = Vec::new();
        match self.phase {
            Unwound::OnFailure | Unwound::Finally => {
                self.handler
                    .iter()
                    .for_each(|handler| handler.leaves(&[], &mut leaves));
            }
            Unwound::Open => self.root.leaves(&[], &mut leaves),
            _ => leaves = self.awaited(),
        }
        leaves
    }

    pub(super) fn at<R>(
        &mut self,
        path: &str,
        act: impl FnOnce(&mut Scope, &[Seen], usize) -> R,
    ) -> Option<R> {
        if let Some(rest) = path.strip_prefix('~') {
            let (_, rest) = rest.split_once('/')?;
            return self.handler.as_mut()?.at(&[], rest, act);
        }
        self.root.at(&[], path, act)
    }

    pub(super) fn with(&mut self, path: &str, act: impl FnOnce(&mut Step)) {
        self.at(path, |scope, _, node| act(&mut scope.steps[node]));
    }

    /// Counts calls at a step and at all that it stands in.
    pub(super) fn count(&mut self, path: &str, act: impl Fn(&mut u32)) {
        let mut at = Some(path.to_owned());
        while let Some(path) = at {
            self.with(&path, |step| act(&mut step.once));
            let prefix = path.rfind('/').map(|end| path[..=end].to_owned());
            at = prefix.and_then(|prefix| owner_of(&prefix));
        }
    }

    pub(super) fn started(&mut self, path: &str, attempt: u32, at: u64) {
        self.now = self.now.max(at);
        let (epoch, deadline) = (self.epoch, self.bound());
        let found = self.at(path, |scope, outer, node| {
            let (stage, inputs) = (scope.stage(node)?, scope.inputs(outer, node));
            let held = scope.seen(outer, node).iter().any(|seen| seen.remaking);
            let graph = Arc::clone(&scope.graph);
            let vertex = &graph.nodes[node];
            let step = &mut scope.steps[node];
            (step.begun, step.held, step.attempt) = (Begun::Started(epoch), held, Some(attempt));
            if stage == Stage::Run && vertex.operation.is_remote() {
                let limit = limit(vertex, stage);
                step.due = if limit > 0 { at + limit } else { deadline };
            }
            let undone = stage == Stage::Run && vertex.compensate.is_some();
            Some((once(vertex, stage), undone, graph, node, inputs))
        });
        let Some((once, undone, graph, node, inputs)) = found.flatten() else {
            return;
        };
        if once {
            self.count(path, |calls| *calls += 1);
        }
        if undone && !path.starts_with('~') {
            self.undo_begins(path, &graph, node, inputs);
        }
    }

    /// It was started under an earlier claim, and never called.
    pub(super) fn started_again(&mut self, path: &str, at: u64) {
        if self.strays.contains_key(path) {
            return;
        }
        let (epoch, deadline) = (self.epoch, self.bound());
        self.at(path, |scope, outer, node| {
            let (stage, graph) = (scope.stage(node)?, Arc::clone(&scope.graph));
            let held = scope.seen(outer, node).iter().any(|seen| seen.remaking);
            let (vertex, step) = (&graph.nodes[node], &mut scope.steps[node]);
            if !matches!(step.begun, Begun::Started(earlier) if earlier < epoch) {
                return None;
            }
            (step.begun, step.held, step.due) = (Begun::Started(epoch), held, 0);
            if stage == Stage::Run && vertex.operation.is_remote() {
                let limit = limit(vertex, stage);
                step.due = if limit > 0 { at + limit } else { deadline };
            }
            Some(())
        });
        if self.phase == Unwound::Awaiting {
            self.unwind();
        }
    }

    /// An attempt ended, and its end counts.
    pub(super) fn ended(&mut self, path: &str, end: &StepEnd, set: &[(String, ValueRef)], at: u64) {
        self.now = self.now.max(at);
        if let Some(owner) = path.strip_suffix("/~compensate") {
            return self.undo_ended(owner, end);
        }
        if let Some(stray) = self.strays.remove(path) {
            let (output, cause) = match end {
                StepEnd::Succeeded { value } => (Some(Given::Value(Arc::new(value.clone()))), None),
                StepEnd::Failed { cause, .. } => (None, Some(*cause)),
                StepEnd::Lost { .. } => (None, Some(Cause::Permanent)),
                _ => (None, Some(Cause::Unknown)),
            };
            if stray.undone {
                self.undo_learns(path, stray.text.as_ref(), output, cause);
            }
            return self.unwind();
        }
        match end {
            StepEnd::Failed { cause, .. } => return self.failed(path, *cause),
            StepEnd::Lost { value } => return self.lost(path, value),
            _ => {}
        }
        for (name, value) in set {
            self.variables.insert(name.clone(), value.clone());
        }
        if matches!(end, StepEnd::Expanded { .. } | StepEnd::Waits { .. }) && !self.runs() {
            self.with(path, |step| step.end = Some(End::Failed));
            return self.unwind();
        }
        let mut news = self.news();
        let closures = self.flow.closures().clone();
        let came = self.at(path, |scope, outer, node| {
            take_end(scope, outer, node, end, (&mut news, &closures))
        });
        if let Some(Came::Fails(known)) = came {
            if let Some(cause) = known {
                self.step_learns(path, None, Some(cause));
            }
            return self.out_of_attempts(path);
        }
        self.settle(news);
    }

    pub(super) fn failed(&mut self, path: &str, cause: Cause) {
        let runs = self.runs();
        let tried = self.at(path, |scope, _, node| {
            let Some(stage) = scope.stage(node) else {
                return (None, true);
            };
            let graph = Arc::clone(&scope.graph);
            let first_ask = stage == Stage::Ask && scope.steps[node].turn.is_none();
            let step = &mut scope.steps[node];
            step.failures += 1;
            let again = runs && again(&graph.nodes[node], stage, step.failures, cause);
            // Nothing of a loop was done before its first iteration; asked again, it begins still.
            let own = matches!(stage, Stage::Run | Stage::Sleep) || first_ask && !again;
            if again {
                step.anew();
            }
            (own.then_some(cause), again)
        });
        let Some((cause, again)) = tried else { return };
        if cause.is_some() {
            self.step_learns(path, None, cause);
        }
        if again {
            self.settle(self.news());
        } else {
            self.out_of_attempts(path);
        }
    }

    pub(super) fn out_of_attempts(&mut self, path: &str) {
        let (runs, mut gone, mut news) = (self.runs(), Vec::new(), self.news());
        let epoch = self.epoch;
        let failing = match path.strip_prefix('~').and_then(|rest| rest.split_once('/')) {
            Some((_, rest)) => self
                .handler
                .as_mut()
                .map(|handler| handler.fail(&[], rest, runs, &mut gone, (epoch, &mut news))),
            None => Some(
                self.root
                    .fail(&[], path, runs, &mut gone, (epoch, &mut news)),
            ),
        };
        self.let_go(gone);
        if let Some(Failing::Up) = failing {
            if path.starts_with('~') {
                self.handled(Some(path.to_owned()));
            } else if self.phase == Unwound::Open {
                self.conclude(How::Failed(path.to_owned()));
            } else if !self.ended && self.phase != Unwound::Over {
                self.trouble += 1;
            }
        }
        self.settle(news);
    }

    fn undo_ended(&mut self, path: &str, end: &StepEnd) {
        match end {
            StepEnd::Succeeded { .. } => {
                let group = self
                    .undo
                    .iter_mut()
                    .find(|group| group.open && group.path == path);
                let group = group.unwrap();
                (group.undone, group.open) = (true, false);
            }
            StepEnd::Failed { cause, .. } => return self.undo_failed(path, *cause),
            _ => return self.undo_failed(path, Cause::Permanent),
        }
        self.unwind();
    }

    pub(super) fn undo_failed(&mut self, path: &str, cause: Cause) {
        let group = self
            .undo
            .iter_mut()
            .find(|group| group.open && group.path == path)
            .unwrap();
        let part = group.graph.nodes[group.node].compensate.as_ref().unwrap();
        group.failures += 1;
        (group.begun, group.attempt, group.due) = (Begun::No, None, 0);
        if !again(part, Stage::Run, group.failures, cause) {
            (group.stuck, group.open) = (true, false);
            self.trouble += 1;
        }
        self.unwind();
    }
}

/// What an end makes of a step.
enum Came {
    On,
    /// It is out of attempts; why, where nothing was done.
    Fails(Option<Cause>),
}

fn take_end(
    scope: &mut Scope,
    outer: &[Seen],
    node: usize,
    end: &StepEnd,
    (news, closures): (
        &mut News,
        &std::collections::BTreeMap<String, turlough_sdk::Map>,
    ),
) -> Came {
    let (graph, path) = (Arc::clone(&scope.graph), scope.path(node));
    let own = |at: &Option<ValueRef>, scope: &Scope| match at {
        Some(at) => Given::Value(Arc::new(at.clone())),
        None => join(scope.inputs(outer, node)),
    };
    match end {
        StepEnd::Went => {
            let step = &mut scope.steps[node];
            step.went = true;
            step.failures = 0;
            step.anew();
            scope.enter(outer, node, news);
        }
        StepEnd::Skipped => scope.end(node, End::Skipped, news),
        StepEnd::Succeeded { value } => {
            let given = Given::Value(Arc::new(value.clone()));
            scope.end(node, End::Done(given), news);
        }
        StepEnd::Took { cases, input } => {
            let given = own(input, scope);
            scope.end(node, End::Took(cases.clone(), given), news);
        }
        StepEnd::Split { items, manifest } => {
            let fresh = (0..*items).map(|_| Item::Fresh).collect();
            let step = &mut scope.steps[node];
            step.items = Some((Arc::new(manifest.clone()), fresh));
            step.failures = 0;
            step.anew();
        }
        StepEnd::Asked { again, input } => {
            let Operation::Loop(operation) = &graph.nodes[node].operation else {
                return Came::On;
            };
            let state = match &scope.steps[node].turn {
                Some(turn) => turn.state.clone(),
                None => own(input, scope),
            };
            if !again {
                scope.end(node, End::Done(state), news);
                return Came::On;
            }
            let step = &mut scope.steps[node];
            let number = step.turn.as_ref().map_or(0, |turn| turn.number) + 1;
            if number > operation.iterations_max {
                step.turn.as_mut().unwrap().spent = true;
                return Came::Fails(None);
            }
            let mut body = Scope::new(&operation.body, format!("{path}#{number}/"), state.clone());
            body.text.clone_from(&scope.text);
            step.turn = Some(Turn {
                state,
                number,
                spent: false,
                body: Some(Box::new(body)),
            });
            step.failures = 0;
            step.anew();
        }
        StepEnd::Expanded { graph: text, input } => {
            let input = own(input, scope);
            let Ok(made) = read_graph(text, closures) else {
                return Came::Fails(Some(Cause::Permanent));
            };
            let mut body = Scope::new(&Arc::new(made), format!("{path}/"), input);
            body.text = Some(Arc::from(text.as_str()));
            scope.steps[node].made = Some(Box::new(body));
            scope.steps[node].anew();
        }
        StepEnd::Waits { until_us } => {
            let vertex = &graph.nodes[node];
            let bound = limit(vertex, Stage::Run);
            let step = &mut scope.steps[node];
            let until_us = &(*until_us).max(1);
            (step.asleep, step.until) = (true, *until_us);
            step.due = if bound > 0 {
                (news.now + bound).min(*until_us)
            } else {
                *until_us
            };
            (step.begun, step.failures) = (Begun::No, 0);
        }
        StepEnd::Failed { .. } | StepEnd::Lost { .. } => {}
    }
    Came::On
}
