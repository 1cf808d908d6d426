//! What a failure comes to, read plainly.

use std::sync::Arc;

use turlough_sdk::{Fallback, Operation, ValueRef};

use super::ends::split;
use super::plain::{End, Item, Scope, Seen, Stage};
use super::settle::News;
use super::undo::{Fate, dropped};
use crate::machine::given::Given;

/// How far a failure goes.
pub(super) enum Failing {
    Caught,
    Up,
}

impl Scope {
    /// A step is out of attempts: it, or what it stands in, gives way or fails.
    pub(super) fn fail(
        &mut self,
        outer: &[Seen],
        path: &str,
        runs: bool,
        gone: &mut Vec<(String, Fate)>,
        (epoch, news): (u64, &mut News),
    ) -> Failing {
        let Some((node, place, rest)) = split(self, path) else {
            return Failing::Caught;
        };
        let graph = Arc::clone(&self.graph);
        let vertex = &graph.nodes[node];
        let seen = self.seen(outer, node);
        if let Some(rest) = &rest {
            let Some(body) = self.body_mut(node, place) else {
                return Failing::Caught;
            };
            if matches!(
                body.fail(&seen, rest, runs, gone, (epoch, &mut *news)),
                Failing::Caught
            ) {
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
        if let Some(fallback) = vertex
            .fallback
            .as_ref()
            .filter(|_| runs && !self.steps[node].fallen)
        {
            let mut leaves = Vec::new();
            self.bodies(node)
                .iter()
                .for_each(|body| body.leaves(&seen, &mut leaves));
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
