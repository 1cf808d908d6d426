//! What follows from an event by itself: steps become ready or are skipped, items start, bodies end.

use std::sync::Arc;

use turlough_sdk::{Cause, Operation, Wait};

use super::plain::{End, How, Item, Plain, Scope, Seen, Stage};
use super::rules::join;
use super::undo::Unwound;
use crate::machine::given::Given;

/// What opened or ended while a graph settled.
#[derive(Default)]
pub(super) struct News {
    pub(super) event: u64,
    pub(super) now: u64,
    /// Steps that begin without a record of it, and can be undone: path, and what they are given.
    pub(super) begun: Vec<(
        String,
        Arc<turlough_sdk::Graph>,
        usize,
        Vec<(Arc<str>, Option<Given>)>,
    )>,
    /// Nodes that were made again: path, and what they gave before, where they give another.
    pub(super) remade: Vec<(String, Option<End>)>,
    /// What steps gave that can be undone: path, text of their graph, value.
    pub(super) learned: Vec<(String, Option<Arc<str>>, Given)>,
    /// Steps that became ready.
    pub(super) opened: Vec<String>,
    /// Sleepers that opened: they may take a signal that is kept.
    pub(super) sleeps: Vec<(String, String)>,
}

impl Scope {
    /// One round; whether anything changed.
    fn settle(&mut self, outer: &[Seen], news: &mut News) -> bool {
        let mut changed = false;
        for node in 0..self.steps.len() {
            let seen = self.seen(outer, node);
            let step = &self.steps[node];
            if step.end.is_none() && step.opened.is_none() && seen.iter().all(|seen| seen.known) {
                self.release(outer, node, &seen, news);
                changed = true;
            }
            if self.stage(node) == Some(Stage::Body) {
                changed |= self.settle_bodies(&seen, node, news);
            }
            if !news.remade.is_empty() {
                return true;
            }
        }
        changed
    }

    fn release(&mut self, outer: &[Seen], node: usize, seen: &[Seen], news: &mut News) {
        let graph = Arc::clone(&self.graph);
        let vertex = &graph.nodes[node];
        let edges = vertex.edges.iter().zip(seen);
        let mut own = edges.filter(|(edge, _)| !edge.capture);
        if !own.any(|(_, seen)| seen.live) {
            self.end(node, End::Skipped, news);
            return;
        }
        self.steps[node].opened = Some(news.event);
        news.opened.push(self.path(node));
        self.enter(outer, node, news);
    }

    /// A node's `when` holds, or it has none.
    pub(super) fn enter(&mut self, outer: &[Seen], node: usize, news: &mut News) {
        let (stage, path) = (self.stage(node), self.path(node));
        let graph = Arc::clone(&self.graph);
        let vertex = &graph.nodes[node];
        let waits = stage == Some(Stage::Sleep)
            && matches!(vertex.operation, Operation::Wait(Wait::Duration(_)));
        if waits && self.steps[node].before.is_some() {
            // It has waited already.
            let given = join(self.inputs(outer, node));
            self.end(node, End::Done(given), news);
            return;
        }
        if vertex.compensate.is_some() && matches!(stage, Some(Stage::Sleep | Stage::Ask)) {
            let inputs = self.inputs(outer, node);
            news.begun
                .push((path.clone(), Arc::clone(&graph), node, inputs));
        }
        if stage != Some(Stage::Sleep) {
            return;
        }
        let limit = vertex
            .timeout
            .map_or(0, |limit| news.now + limit.as_micros() as u64);
        let step = &mut self.steps[node];
        match &vertex.operation {
            Operation::Wait(Wait::Duration(wait)) => {
                step.until = news.now + wait.as_micros() as u64;
                step.due = if limit > 0 {
                    limit.min(step.until)
                } else {
                    step.until
                };
            }
            Operation::Wait(Wait::Signal(name)) => {
                (step.until, step.due, step.slept) = (0, limit, news.event);
                news.sleeps.push((path, name.to_string()));
            }
            _ => {}
        }
    }

    fn settle_bodies(&mut self, seen: &[Seen], node: usize, news: &mut News) -> bool {
        let (prefix, graph) = (self.path(node), Arc::clone(&self.graph));
        let step = &mut self.steps[node];
        let mut changed = false;
        match &graph.nodes[node].operation {
            Operation::ForEach(each) => {
                let Some((manifest, items)) = &mut step.items else {
                    return false;
                };
                for item in items.iter_mut() {
                    if let Item::Runs(scope) = item {
                        changed |= scope.settle(seen, news);
                        if scope.is_done() {
                            *item = Item::Done(scope.output());
                            changed = true;
                        }
                    }
                }
                let running = items
                    .iter()
                    .filter(|item| matches!(item, Item::Runs(_)))
                    .count();
                let room = each.parallel_max.saturating_sub(running);
                let fresh = items.iter_mut().enumerate();
                let fresh = fresh
                    .filter(|(_, item)| matches!(item, Item::Fresh))
                    .take(room);
                for (index, item) in fresh {
                    let input = Given::Item {
                        manifest: Arc::clone(manifest),
                        index: index as u32,
                    };
                    let mut scope = Scope::new(&each.body, format!("{prefix}[{index}]/"), input);
                    scope.text.clone_from(&self.text);
                    *item = Item::Runs(Box::new(scope));
                    changed = true;
                }
                if self.stage(node) == Some(Stage::Gather) {
                    let step = &mut self.steps[node];
                    step.anew();
                    step.failures = 0;
                }
            }
            Operation::Loop(_) => {
                let Some(turn) = &mut step.turn else {
                    return false;
                };
                let Some(scope) = &mut turn.body else {
                    return false;
                };
                changed |= scope.settle(seen, news);
                if scope.is_done() {
                    (turn.state, turn.body) = (scope.output(), None);
                    step.anew();
                    step.failures = 0;
                    changed = true;
                }
            }
            _ => {
                let Some(scope) = &mut step.made else {
                    return false;
                };
                changed |= scope.settle(&[], news);
                if scope.is_done() {
                    let output = scope.output();
                    self.end(node, End::Done(output), news);
                    changed = true;
                }
            }
        }
        changed
    }

    /// A node has come to something.
    pub(super) fn end(&mut self, node: usize, end: End, news: &mut News) {
        let path = self.path(node);
        let step = &mut self.steps[node];
        step.turn = None;
        step.made = None;
        step.opened.get_or_insert(news.event);
        let before = step.before.take();
        let undone = self.graph.nodes[node].compensate.is_some() && !step.fallen;
        if let (End::Done(given) | End::Took(_, given), true) = (&end, undone) {
            let text = self.text.clone();
            news.learned.push((path.clone(), text, given.clone()));
        }
        step.end = Some(end);
        if let Some(before) = before {
            let same = same_end(&before, step.end.as_ref().unwrap());
            news.remade.push((path, (!same).then_some(before)));
        }
    }
}

fn same_end(a: &End, b: &End) -> bool {
    match (a, b) {
        (End::Done(a), End::Done(b)) => same(a, b),
        (End::Took(x, a), End::Took(y, b)) => x == y && same(a, b),
        (a, b) => a == b,
    }
}

/// The same data, wherever it lies.
pub(super) fn same(a: &Given, b: &Given) -> bool {
    use turlough_sdk::ValueRef::{Inline, Stored};
    match (a, b) {
        (Given::Value(a), Given::Value(b)) => match (&**a, &**b) {
            (Stored { digest: a, .. }, Stored { digest: b, .. }) => a == b,
            (Inline(a), Inline(b)) => a == b,
            _ => false,
        },
        (Given::Map(a), Given::Map(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b.iter())
                    .all(|((m, a), (n, b))| m == n && same(a, b))
        }
        (a, b) => a == b,
    }
}

impl Plain {
    pub(super) fn news(&self) -> News {
        News {
            event: self.event,
            now: self.now,
            ..News::default()
        }
    }

    /// All that follows, until nothing does.
    pub(super) fn settle(&mut self, mut news: News) {
        loop {
            self.take_news(&mut news);
            let changed = match (&self.phase, &mut self.handler) {
                (Unwound::Open, _) => {
                    let changed = self.root.settle(&[], &mut news);
                    if !changed && self.root.is_done() {
                        let output = self.root.output();
                        self.conclude(How::Succeeded(output));
                        continue;
                    }
                    changed
                }
                (Unwound::OnFailure | Unwound::Finally, Some(handler)) => {
                    let changed = handler.settle(&[], &mut news);
                    if !changed && handler.is_done() {
                        self.handled(None);
                        continue;
                    }
                    changed
                }
                _ => false,
            };
            if !changed && news.remade.is_empty() {
                break;
            }
        }
        self.take_news(&mut news);
        self.release_held();
        self.unwind();
    }

    fn take_news(&mut self, news: &mut News) {
        for path in news.opened.drain(..) {
            // It runs again before its earlier call has ended.
            if let Some(stray) = self.strays.remove(&path).filter(|stray| stray.undone) {
                self.undo_learns(&path, stray.text.as_ref(), None, Some(Cause::Unknown));
            }
        }
        for (path, text, given) in news.learned.drain(..) {
            self.undo_learns(&path, text.as_ref(), Some(given), None);
        }
        for (path, graph, node, inputs) in news.begun.drain(..) {
            if !path.starts_with('~') {
                self.undo_begins(&path, &graph, node, inputs);
            }
        }
        let fresh = std::mem::take(&mut news.sleeps);
        self.sleepers_opened.extend(fresh);
        for (path, before) in std::mem::take(&mut news.remade) {
            if let Some(before) = before.filter(|_| self.runs()) {
                self.diverged(&path, before);
            }
        }
    }

    pub(super) fn take(&mut self, mut news: News) {
        self.take_news(&mut news);
    }

    /// Recorded starts whose values are there again are called.
    fn release_held(&mut self) {
        let mut ready: Vec<String> = Vec::new();
        for leaf in self.leaves() {
            if leaf.step.held && !leaf.remaking {
                ready.push(leaf.path);
            }
        }
        for path in ready {
            self.with(&path, |step| step.held = false);
        }
    }
}
