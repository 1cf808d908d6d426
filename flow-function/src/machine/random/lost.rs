//! Lost data, read plainly: who makes it again, and what is void where it differs.

use turlough_sdk::{Cause, Operation, Output, Source, ValueRef, Wait};

use super::plain::{Begun, End, How, Leaf, Plain, Scope, Seen, Stage, Step};
use super::rules::once;
use super::undo::{Unwound, dropped};
use crate::machine::given::Given;

impl Plain {
    /// A value that a step needs is gone.
    pub(super) fn lost(&mut self, path: &str, value: &ValueRef) {
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
            if self.at(path, |scope, _, node| scope.stage(node)) == Some(Some(Stage::Run)) {
                self.step_learns(path, None, Some(Cause::Permanent));
            }
        }
        if !self.runs() {
            self.out_of_attempts(path);
            return;
        }
        self.with(path, Step::anew);
        let makers = self.makers(path, value);
        self.made_anew(path, makers, value);
    }

    /// A value of the output is gone: its last steps are not over, and are made again.
    pub(super) fn output_lost(&mut self, value: &ValueRef) {
        let last = match &self.root.graph.output {
            Output::Node(node) => vec![*node],
            Output::Sinks(sinks) => sinks.clone(),
        };
        let gave = |node: &usize| {
            let value_of = self.root.value(*node);
            value_of.is_some_and(|given| reads(&given, value))
        };
        let last = last.into_iter().filter(gave);
        let makers: Vec<_> = last.map(|node| self.root.path(node)).collect();
        if makers.is_empty() {
            return self.output_failed();
        }
        (self.phase, self.how) = (Unwound::Open, None);
        self.made_anew("output", Makers::Steps(makers), value);
    }

    pub(super) fn output_failed(&mut self) {
        self.phase = Unwound::Open;
        self.conclude(How::Failed("output".to_owned()));
    }

    /// Whoever made a value makes it again, for a step or the output.
    fn made_anew(&mut self, path: &str, first: Makers, value: &ValueRef) {
        let mut left = vec![first];
        let mut waited = Vec::new();
        while let Some(makers) = left.pop() {
            match makers {
                Makers::Nobody => {
                    self.gives_up_waits(&waited);
                    return self.gives_up(path);
                }
                // What a wait passes on was made again before.
                Makers::Whole(owner) if waited.contains(&owner) => {}
                Makers::Whole(owner) => {
                    if !self.may_make_again(&owner) {
                        self.gives_up_waits(&waited);
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
                            self.gives_up_waits(&waited);
                            return self.gives_up(&maker);
                        }
                        self.make_anew(&maker, true);
                        if waits {
                            waited.push(maker.clone());
                            left.push(self.makers(&maker, value));
                        }
                    }
                }
            }
        }
        self.settle(self.news());
    }

    /// Waits whose value was to be made again, and cannot be.
    fn gives_up_waits(&mut self, waited: &[String]) {
        for path in waited {
            self.with(path, |step| {
                step.opened.get_or_insert(0);
                step.end = Some(End::Failed);
            });
        }
    }

    fn gives_up(&mut self, path: &str) {
        self.with(path, |step| {
            if let Some(end) = step.end.take() {
                // What has begun on it is given it still.
                step.before.get_or_insert(end);
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
            let signal = matches!(
                scope.graph.nodes[node].operation,
                Operation::Wait(Wait::Signal(_))
            );
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
            scope
                .bodies(node)
                .iter()
                .for_each(|body| body.leaves(&seen, &mut leaves));
            let mut gone = dropped(&leaves, epoch);
            if !known && let Some(leaf) = own_leaf(scope, outer, node) {
                gone.extend(dropped(&[leaf], epoch));
            }
            let step = &mut scope.steps[node];
            let end = step.end.take().filter(|_| known);
            let before = step.before.take().or(end);
            *step = Step {
                before,
                ..Step::default()
            };
            let operation = &scope.graph.nodes[node].operation;
            // The value of a wait is its input: that is made again.
            if !known || !matches!(operation, Operation::Wait(Wait::Duration(_))) {
                scope.steps[node].opened = Some(news.event);
                scope.enter(outer, node, &mut news);
            }
            gone
        });
        self.let_go(gone.unwrap_or_default());
        self.take(news);
    }

    /// What was made again is not what it was: all that used it is void.
    pub(super) fn diverged(&mut self, path: &str, before: End) {
        let epoch = self.epoch;
        let found = self.at(path, |scope, outer, node| {
            let used: Vec<_> = scope
                .after(node)
                .into_iter()
                .filter(|at| scope.steps[*at].opened.is_some())
                .collect();
            if used.iter().any(|at| scope.steps[*at].once > 0) {
                return None;
            }
            let mut gone = Vec::new();
            for at in used {
                let seen = scope.seen(outer, at);
                let mut leaves = Vec::new();
                scope
                    .bodies(at)
                    .iter()
                    .for_each(|body| body.leaves(&seen, &mut leaves));
                leaves.extend(own_leaf(scope, outer, at));
                gone.extend(dropped(&leaves, epoch));
                let before = scope.steps[at].before.take();
                scope.steps[at] = Step {
                    before,
                    ..Step::default()
                };
            }
            Some(gone)
        });
        match found {
            Some(Some(gone)) => self.let_go(gone),
            Some(None) => {
                self.with(path, |step| step.before = Some(before));
                self.gives_up(path);
            }
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
            (
                sources.clone(),
                sources
                    .iter()
                    .filter_map(|source| match source {
                        Source::Node(maker) => Some(name(*maker)),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
                prefix,
            )
        });
        let Some((mut sources, mut steps, mut prefix)) = found else {
            return Makers::Nobody;
        };
        let mut own = path.to_owned();
        loop {
            if !steps.is_empty() {
                return Makers::Steps(steps);
            }
            if sources.is_empty() {
                return Makers::Whole(own);
            }
            let Some(owner) = owner_of(&prefix) else {
                return Makers::Nobody;
            };
            let outer = sources.iter().find_map(|source| match source {
                Source::Outer(edge) => Some(*edge),
                _ => None,
            });
            let Some(outer) = outer else {
                return Makers::Whole(owner);
            };
            let next = self.at(&owner, |scope, _, node| {
                let from = scope.graph.nodes[node].edges[outer].from;
                let step = match from {
                    Source::Node(maker) => vec![scope.path(maker)],
                    _ => Vec::new(),
                };
                (vec![from], step, scope.prefix.clone())
            });
            let Some(next) = next else {
                return Makers::Nobody;
            };
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
pub(super) fn owner_of(prefix: &str) -> Option<String> {
    let path = prefix
        .strip_suffix('/')
        .filter(|path| !path.starts_with('~') || path.contains('/'))?;
    if let Some(inner) = path.strip_suffix(']') {
        return inner.rsplit_once('[').map(|(owner, _)| owner.to_owned());
    }
    let (before, last) = path
        .rsplit_once('/')
        .map_or(("", path), |(before, last)| (before, last));
    let name = last.split('#').next().unwrap_or(last);
    Some(if before.is_empty() {
        name.to_owned()
    } else {
        format!("{before}/{name}")
    })
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
        text: scope.text.clone(),
    })
}
