//! What events say of steps, read plainly.

use std::sync::Arc;

use turlough_sdk::{Cause, Fallback, Operation, Source, ValueRef, Wait, read_graph};
use turlough_statestore::event::StepEnd;

use super::plain::{
    Begun, End, How, Item, Leaf, Plain, Scope, Seen, Stage, Step, Turn, again, join, limit, once,
};
use super::settle::News;
use super::undo::{Fate, Unwound, dropped};
use crate::machine::given::Given;
use crate::machine::timers::HALF_HEARTBEAT_US;

/// How far a failure goes.
enum Failing {
    Caught,
    Up,
}

fn split(scope: &Scope, path: &str) -> Option<(usize, Option<u32>, Option<String>)> {
    let (head, rest) = match path.split_once('/') {
        Some((head, rest)) => (head, Some(rest.to_owned())),
        None => (path, None),
    };
    let name = head.split(['[', '#']).next()?;
    let node = scope.graph.nodes.iter().position(|node| node.id.as_str() == name)?;
    let place = head[name.len()..].trim_matches(['[', ']', '#']).parse().ok();
    Some((node, place, rest))
}

impl Scope {
    fn body_mut(&mut self, node: usize, place: Option<u32>) -> Option<&mut Scope> {
        let step = &mut self.steps[node];
        match (&mut step.items, place) {
            (Some((_, items)), Some(place)) => match items.get_mut(place as usize)? {
                Item::Runs(scope) => return Some(scope),
                _ => return None,
            },
            _ => {}
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
        let Some(rest) = rest else { return Some(act(self, outer, node)) };
        let seen = self.seen(outer, node);
        let inner_seen = if self.steps[node].made.is_some() { &[][..] } else { &seen[..] };
        self.body_mut(node, place)?.at(inner_seen, &rest, act)
    }

    /// A step is out of attempts: it, or what it stands in, gives way or fails.
    fn fail(&mut self, outer: &[Seen], path: &str, runs: bool, gone: &mut Vec<(String, Fate)>, (epoch, news): (u64, &mut News)) -> Failing {
        let Some((node, place, rest)) = split(self, path) else { return Failing::Caught };
        let graph = Arc::clone(&self.graph);
        let vertex = &graph.nodes[node];
        let seen = self.seen(outer, node);
        if let Some(rest) = &rest {
            let Some(body) = self.body_mut(node, place) else { return Failing::Caught };
            if matches!(body.fail(&seen, rest, runs, gone, (epoch, &mut *news)), Failing::Caught) {
                return Failing::Caught;
            }
            let collects = matches!(&vertex.operation, Operation::ForEach(each) if each.collect);
            let step = &mut self.steps[node];
            if let (Some((_, items)), true, true) = (&mut step.items, collects, runs) {
                let item = &mut items[place.unwrap() as usize];
                if let Item::Runs(scope) = item {
                    let mut leaves = Vec::new();
                    scope.leaves(&seen, &mut leaves);
                    gone.extend(dropped(&leaves, epoch));
                }
                *item = Item::Failed;
                if self.stage(node) == Some(Stage::Gather) {
                    self.steps[node].anew();
                    self.steps[node].failures = 0;
                }
                return Failing::Caught;
            }
        }
        if let Some(fallback) = vertex.fallback.as_ref().filter(|_| runs && !self.steps[node].fallen) {
            let mut leaves = Vec::new();
            self.bodies(node).iter().for_each(|body| body.leaves(&seen, &mut leaves));
            gone.extend(dropped(&leaves, epoch));
            let step = &mut self.steps[node];
            (step.items, step.turn, step.made) = (None, None, None);
            step.went = true;
            match fallback {
                Fallback::Constant(value) => {
                    let at = ValueRef::Inline(value.envelope().clone());
                    step.fallen = true;
                    self.end(node, End::Done(Given::Value(Arc::new(at))), news);
                }
                Fallback::Node(_) => {
                    step.fallen = true;
                    step.failures = 0;
                    step.anew();
                }
            }
            return Failing::Caught;
        }
        if rest.is_none() {
            self.steps[node].end = Some(End::Failed);
            self.steps[node].turn = self.steps[node].turn.take().filter(|turn| {
                // A loop that came to its bound begins anew.
                !matches!(&vertex.operation, Operation::Loop(it) if turn.number >= it.iterations_max && turn.spent)
            });
        }
        Failing::Up
    }
}

impl Plain {
    pub(super) const fn runs(&self) -> bool {
        matches!(self.phase, Unwound::Open | Unwound::OnFailure | Unwound::Finally)
    }

    /// Every open step: of the flow, or of the handler that runs.
    pub(super) fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut leaves = Vec::new();
        match self.phase {
            Unwound::OnFailure | Unwound::Finally => {
                self.handler.iter().for_each(|handler| handler.leaves(&[], &mut leaves));
            }
            Unwound::Open => self.root.leaves(&[], &mut leaves),
            _ => leaves = self.awaited(),
        }
        leaves
    }

    pub(super) fn at<R>(&mut self, path: &str, act: impl FnOnce(&mut Scope, &[Seen], usize) -> R) -> Option<R> {
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
    fn count(&mut self, path: &str, act: impl Fn(&mut u32)) {
        let mut at = Some(path.to_owned());
        while let Some(path) = at {
            self.with(&path, |step| act(&mut step.once));
            let prefix = path.rfind('/').map(|end| path[..=end].to_owned());
            at = prefix.and_then(|prefix| owner_of(&prefix));
        }
    }

    pub(super) fn started(&mut self, path: &str, attempt: u32, at: u64) {
        self.now = self.now.max(at);
        let (epoch, deadline) = (self.epoch, self.deadline);
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
        let Some((once, undone, graph, node, inputs)) = found.flatten() else { return };
        if once {
            self.count(path, |calls| *calls += 1);
        }
        if undone && !path.starts_with('~') {
            self.undo_begins(path, &graph, node, inputs);
        }
    }

    /// An attempt ended, and its end counts.
    pub(super) fn ended(&mut self, path: &str, end: &StepEnd, set: &[(String, ValueRef)], at: u64) {
        self.now = self.now.max(at);
        if let Some(owner) = path.strip_suffix("/~compensate") {
            return self.undo_ended(owner, end);
        }
        if self.strays.remove(path).is_some() {
            match end {
                StepEnd::Succeeded { value } => {
                    self.undo_learns(path, Some(Given::Value(Arc::new(value.clone()))), None);
                }
                StepEnd::Failed { cause, .. } => self.undo_learns(path, None, Some(*cause)),
                StepEnd::Lost { .. } => self.undo_learns(path, None, Some(Cause::Permanent)),
                _ => self.undo_learns(path, None, Some(Cause::Unknown)),
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
                self.undo_learns(path, None, Some(cause));
            }
            return self.out_of_attempts(path);
        }
        self.settle(news);
    }

    pub(super) fn failed(&mut self, path: &str, cause: Cause) {
        let runs = self.runs();
        let tried = self.at(path, |scope, _, node| {
            let Some(stage) = scope.stage(node) else { return (None, true) };
            let graph = Arc::clone(&scope.graph);
            let first_ask = stage == Stage::Ask && scope.steps[node].turn.is_none();
            let own = matches!(stage, Stage::Run | Stage::Sleep) || first_ask;
            let step = &mut scope.steps[node];
            step.failures += 1;
            let again = runs && again(&graph.nodes[node], stage, step.failures, cause);
            if again {
                step.anew();
            }
            (own.then_some(cause), again)
        });
        let Some((cause, again)) = tried else { return };
        if cause.is_some() {
            self.undo_learns(path, None, cause);
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
            Some((_, rest)) => self.handler.as_mut().map(|handler| {
                handler.fail(&[], rest, runs, &mut gone, (epoch, &mut news))
            }),
            None => Some(self.root.fail(&[], path, runs, &mut gone, (epoch, &mut news))),
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
                let group = self.undo.iter_mut().find(|group| group.open && group.path == path);
                let group = group.unwrap();
                (group.undone, group.open) = (true, false);
            }
            StepEnd::Failed { cause, .. } => return self.undo_failed(path, *cause),
            _ => return self.undo_failed(path, Cause::Permanent),
        }
        self.unwind();
    }

    pub(super) fn undo_failed(&mut self, path: &str, cause: Cause) {
        let group = self.undo.iter_mut().find(|group| group.open && group.path == path).unwrap();
        let part = group.graph.nodes[group.node].compensate.as_ref().unwrap();
        group.failures += 1;
        (group.begun, group.attempt, group.due) = (Begun::No, None, 0);
        if !again(part, Stage::Run, group.failures, cause) {
            (group.stuck, group.open) = (true, false);
            self.trouble += 1;
        }
        self.unwind();
    }

    /// A value that a step needs is gone.
    fn lost(&mut self, path: &str, value: &ValueRef) {
        let stage = self.at(path, |scope, _, node| {
            let stage = scope.stage(node);
            let called = once(&scope.graph.nodes[node], stage.unwrap_or(Stage::Run));
            let step = &scope.steps[node];
            (step.begun != Begun::No).then_some(called)
        });
        if let Some(Some(once)) = stage {
            if once {
                self.count(path, |calls| *calls -= 1);
            }
            self.undo_learns(path, None, Some(Cause::Permanent));
        }
        if !self.runs() {
            self.out_of_attempts(path);
            return;
        }
        self.with(path, Step::anew);
        let mut left = vec![path.to_owned()];
        while let Some(reader) = left.pop() {
            match self.makers(&reader, value) {
                Makers::Nobody => return self.gives_up(path),
                Makers::Whole(owner) => {
                    if !self.may_make_again(&owner) {
                        return self.gives_up(&owner);
                    }
                    self.make_anew(&owner, false);
                    break;
                }
                Makers::Steps(makers) => {
                    for maker in makers {
                        let state = self.at(&maker, |scope, _, node| {
                            let waits = matches!(
                                scope.graph.nodes[node].operation,
                                Operation::Wait(Wait::Duration(_))
                            );
                            (scope.steps[node].end.is_some(), waits)
                        });
                        let Some((true, waits)) = state else { continue };
                        if !self.may_make_again(&maker) {
                            return self.gives_up(&maker);
                        }
                        self.make_anew(&maker, true);
                        if waits {
                            self.with(&maker, |step| step.opened = None);
                            left.push(maker);
                        }
                    }
                }
            }
        }
        self.settle(self.news());
    }

    fn gives_up(&mut self, path: &str) {
        self.with(path, |step| {
            if step.end.is_some() {
                step.end = Some(End::Failed);
            }
        });
        match self.phase {
            Unwound::Open => self.conclude(How::Failed(path.to_owned())),
            _ => self.handled(Some(path.to_owned())),
        }
        self.settle(self.news());
    }

    fn may_make_again(&mut self, path: &str) -> bool {
        let times = self.remakes.entry(path.to_owned()).or_default();
        *times += 1;
        let few = *times <= 3;
        let calm = self.at(path, |scope, _, node| {
            let signal = matches!(scope.graph.nodes[node].operation, Operation::Wait(Wait::Signal(_)));
            !signal && scope.steps[node].once == 0
        });
        few && calm == Some(true)
    }

    /// A step runs from its beginning; `known`: others may have used what it gave.
    fn make_anew(&mut self, path: &str, known: bool) {
        let mut news = self.news();
        let epoch = self.epoch;
        let gone = self.at(path, |scope, outer, node| {
            let seen = scope.seen(outer, node);
            let mut leaves = Vec::new();
            scope.bodies(node).iter().for_each(|body| body.leaves(&seen, &mut leaves));
            let mut gone = dropped(&leaves, epoch);
            if !known && let Some(leaf) = own_leaf(scope, outer, node) {
                gone.extend(dropped(&[leaf], epoch));
            }
            let step = &mut scope.steps[node];
            let end = step.end.take().filter(|_| known);
            let before = step.before.take().or(end);
            *step = Step { before, opened: Some(news.event), ..Step::default() };
            scope.enter(outer, node, &mut news);
            gone
        });
        self.let_go(gone.unwrap_or_default());
        self.take(news);
    }

    /// What was made again is not what it was: all that used it is void.
    pub(super) fn diverged(&mut self, path: &str) {
        let epoch = self.epoch;
        let found = self.at(path, |scope, outer, node| {
            let used: Vec<_> = scope.after(node).into_iter().filter(|at| scope.steps[*at].opened.is_some()).collect();
            if used.iter().any(|at| scope.steps[*at].once > 0) {
                return None;
            }
            let mut gone = Vec::new();
            for at in used {
                let seen = scope.seen(outer, at);
                let mut leaves = Vec::new();
                scope.bodies(at).iter().for_each(|body| body.leaves(&seen, &mut leaves));
                leaves.extend(own_leaf(scope, outer, at));
                gone.extend(dropped(&leaves, epoch));
                let before = scope.steps[at].before.take();
                scope.steps[at] = Step { before, ..Step::default() };
            }
            Some(gone)
        });
        match found {
            Some(Some(gone)) => self.let_go(gone),
            Some(None) => self.gives_up(path),
            None => {}
        }
    }

    fn makers(&mut self, path: &str, value: &ValueRef) -> Makers {
        let found = self.at(path, |scope, outer, node| {
            let edges = scope.graph.nodes[node].edges.iter();
            let wanted = edges.filter(|edge| {
                let given = scope.edge(outer, edge).value;
                given.is_some_and(|given| reads(&given, value))
            });
            let sources: Vec<_> = wanted.map(|edge| edge.from).collect();
            let prefix = scope.prefix.clone();
            let name = |node: usize| scope.path(node);
            (sources.clone(), sources.iter().filter_map(|source| match source {
                Source::Node(maker) => Some(name(*maker)),
                _ => None,
            }).collect::<Vec<_>>(), prefix)
        });
        let Some((mut sources, mut steps, mut prefix)) = found else { return Makers::Nobody };
        let mut own = path.to_owned();
        loop {
            if !steps.is_empty() {
                return Makers::Steps(steps);
            }
            if sources.is_empty() {
                return Makers::Whole(own);
            }
            let Some(owner) = owner_of(&prefix) else { return Makers::Nobody };
            let outer = sources.iter().find_map(|source| match source {
                Source::Outer(edge) => Some(*edge),
                _ => None,
            });
            let Some(outer) = outer else { return Makers::Whole(owner) };
            let next = self.at(&owner, |scope, _, node| {
                let from = scope.graph.nodes[node].edges[outer].from;
                let step = match from {
                    Source::Node(maker) => vec![scope.path(maker)],
                    _ => Vec::new(),
                };
                (vec![from], step, scope.prefix.clone())
            });
            let Some(next) = next else { return Makers::Nobody };
            own = owner;
            (sources, steps, prefix) = next;
        }
    }
}

enum Makers {
    Steps(Vec<String>),
    Whole(String),
    Nobody,
}

/// The node whose body has this prefix.
fn owner_of(prefix: &str) -> Option<String> {
    let path = prefix.strip_suffix('/').filter(|path| !path.starts_with('~') || path.contains('/'))?;
    if let Some(inner) = path.strip_suffix(']') {
        return inner.rsplit_once('[').map(|(owner, _)| owner.to_owned());
    }
    let (before, last) = path.rsplit_once('/').map_or(("", path), |(before, last)| (before, last));
    let name = last.split('#').next().unwrap_or(last);
    Some(if before.is_empty() { name.to_owned() } else { format!("{before}/{name}") })
}

fn reads(given: &Given, value: &ValueRef) -> bool {
    match given {
        Given::Empty => false,
        Given::Value(at) => **at == *value,
        Given::Item { .. } => matches!(value, ValueRef::Stored { .. }),
        Given::Map(members) => members.iter().any(|(_, given)| reads(given, value)),
    }
}

fn own_leaf<'a>(scope: &'a Scope, outer: &[Seen], node: usize) -> Option<Leaf<'a>> {
    let stage = scope.stage(node).filter(|stage| *stage != Stage::Body)?;
    Some(Leaf {
        path: scope.path(node),
        stage,
        step: &scope.steps[node],
        vertex: &scope.graph.nodes[node],
        inputs: scope.inputs(outer, node),
        remaking: false,
    })
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
    (news, closures): (&mut News, &std::collections::BTreeMap<String, turlough_sdk::Map>),
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
            let Operation::Loop(operation) = &graph.nodes[node].operation else { return Came::On };
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
            let body = Scope::new(&operation.body, format!("{path}#{number}/"), state.clone());
            step.turn = Some(Turn { state, number, spent: false, body: Some(Box::new(body)) });
            step.failures = 0;
            step.anew();
        }
        StepEnd::Expanded { graph: text, input } => {
            let input = own(input, scope);
            let Ok(made) = read_graph(text, closures) else {
                return Came::Fails(Some(Cause::Permanent));
            };
            let body = Scope::new(&Arc::new(made), format!("{path}/"), input);
            scope.steps[node].made = Some(Box::new(body));
            scope.steps[node].anew();
        }
        StepEnd::Waits { until_us } => {
            let vertex = &graph.nodes[node];
            let bound = limit(vertex, Stage::Run);
            let step = &mut scope.steps[node];
            (step.asleep, step.until) = (true, *until_us);
            step.due = if bound > 0 { (news.now + bound).min(*until_us) } else { *until_us };
            (step.begun, step.failures) = (step.begun, 0);
        }
        StepEnd::Failed { .. } | StepEnd::Lost { .. } => {}
    }
    Came::On
}

impl Plain {
    /// A claim: what an earlier driver had started.
    pub(super) fn claimed(&mut self, epoch: u64, at: u64) {
        self.now = self.now.max(at);
        self.epoch = epoch;
        let (now, deadline) = (self.now, self.deadline);
        let unknown = |limit: u64| match limit {
            0 => deadline.max(now + HALF_HEARTBEAT_US),
            limit => now + HALF_HEARTBEAT_US + limit,
        };
        let leaves = self.leaves();
        let found: Vec<_> = leaves
            .iter()
            .filter(|leaf| matches!(leaf.step.begun, Begun::Started(_)) && leaf.stage != Stage::Sleep)
            .map(|leaf| {
                let due = once(leaf.vertex, leaf.stage).then(|| unknown(limit(leaf.vertex, leaf.stage)));
                (leaf.path.clone(), due, leaf.remaking)
            })
            .collect();
        for (path, due, remaking) in found {
            self.with(&path, |step| match due {
                Some(due) => step.due = due,
                None => step.held = remaking,
            });
        }
        for stray in self.strays.values_mut().filter(|stray| !stray.called) {
            stray.due = unknown(stray.limit);
        }
        for group in self.undo.iter_mut().filter(|group| group.open) {
            let part = group.graph.nodes[group.node].compensate.as_ref().unwrap();
            if matches!(group.begun, Begun::Started(_)) && !part.idempotent {
                group.due = unknown(limit(part, Stage::Run));
            }
        }
    }

    pub(super) fn ticked(&mut self, at: u64) {
        self.now = self.now.max(at);
        match self.phase {
            Unwound::Over => return,
            Unwound::Open if at >= self.deadline => {
                self.conclude(How::TimedOut);
                return;
            }
            Unwound::Open => {}
            _ if at >= self.until => return self.give_up(),
            _ => {}
        }
        loop {
            let mut due: Vec<(u64, String)> = Vec::new();
            due.extend(self.leaves().into_iter().map(|leaf| (leaf.step.due, leaf.path)));
            due.extend(self.strays.iter().map(|(path, stray)| (stray.due, path.clone())));
            let open = self.undo.iter().filter(|group| group.open);
            due.extend(open.map(|group| (group.due, format!("{}/~compensate", group.path))));
            due.retain(|(when, _)| *when > 0 && *when <= at);
            let Some((_, path)) = due.into_iter().min() else { return };
            self.due(&path);
        }
    }

    fn due(&mut self, path: &str) {
        if let Some(owner) = path.strip_suffix("/~compensate") {
            return self.undo_failed(owner, Cause::Unknown);
        }
        if self.strays.remove(path).is_some() {
            self.undo_learns(path, None, Some(Cause::Unknown));
            return self.unwind();
        }
        let mut news = self.news();
        let found = self.at(path, |scope, outer, node| {
            let stage = scope.stage(node)?;
            let is_once = once(&scope.graph.nodes[node], stage);
            let step = &scope.steps[node];
            if stage == Stage::Sleep && step.until > 0 && step.until <= step.due {
                let given = join(scope.inputs(outer, node));
                scope.end(node, End::Done(given), &mut news);
                return Some(Ok(()));
            }
            let unknown = is_once && stage != Stage::Sleep && step.begun != Begun::Called;
            Some(Err(if unknown { Cause::Unknown } else { Cause::Timeout }))
        });
        match found.flatten() {
            Some(Ok(())) => self.settle(news),
            Some(Err(cause)) => self.failed(path, cause),
            None => {}
        }
    }
}
