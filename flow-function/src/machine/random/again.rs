//! Restart, read plainly.

use std::collections::BTreeSet;
use std::sync::Arc;

use turlough_sdk::Flow;

use super::plain::{End, Item, Plain, Scope, Step};
use super::undo::{CameTo, Try, Unwound};

impl Plain {
    /// The request goes on in the next generation.
    pub(super) fn restart(
        &mut self,
        from: Option<&str>,
        version: Option<(&Arc<Flow>, &[String])>,
        deadline: u64,
    ) {
        self.generation += 1;
        (self.phase, self.how, self.ended) = (Unwound::Open, None, false);
        (self.deadline, self.paused, self.trouble) = (deadline, false, 0);
        (self.handler, self.finished) = (None, false);
        self.strays.clear();
        self.remakes.clear();
        if let Some((flow, same)) = version {
            self.switch(flow, same);
        }
        let undone: BTreeSet<_> = self
            .undo
            .iter()
            .filter(|it| it.undone)
            .map(|it| it.path.clone())
            .collect();
        for path in undone {
            reset_at(&mut self.root, &path, false);
        }
        if let Some(path) = from {
            reset_at(&mut self.root, path, true);
        }
        // What is known to have come to nothing is no input that it was done on.
        self.undo.retain(|group| {
            let mut attempts = group.attempts.iter();
            !group.undone && attempts.any(|attempt| attempt.came_to != CameTo::Nothing)
        });
        for group in &mut self.undo {
            if group.stuck {
                // Nobody knows how far it came.
                group.attempts.push(Try {
                    at: group.started(),
                    came_to: CameTo::Unknown,
                });
                group.attempts.sort_by_key(|attempt| attempt.at);
            }
            (group.stuck, group.open) = (false, false);
        }
        reopen(&mut self.root);
        self.settle(self.news());
    }

    fn switch(&mut self, flow: &Arc<Flow>, same: &[String]) {
        let mut root = Scope::new(flow.graph(), String::new(), self.root.input.clone());
        let old = &mut self.root;
        let mut changed = Vec::new();
        for (ix, vertex) in flow.graph().nodes.iter().enumerate() {
            let from = old.graph.nodes.iter().position(|node| node.id == vertex.id);
            match from.filter(|_| same.iter().any(|name| *name == vertex.id.to_string())) {
                Some(from) => root.steps[ix] = std::mem::take(&mut old.steps[from]),
                None => changed.push(ix),
            }
        }
        for ix in changed {
            for after in root.after(ix) {
                root.steps[after] = Step::default();
            }
        }
        self.flow = Arc::clone(flow);
        self.root = root;
    }
}

/// A step and all that comes after it run again; of what has ended, the whole body. How many calls that
/// must not be repeated are void by it.
fn reset_at(scope: &mut Scope, path: &str, named: bool) -> u32 {
    let (head, rest) = path
        .split_once('/')
        .map_or((path, None), |(head, rest)| (head, Some(rest)));
    let name = head.split(['[', '#']).next().unwrap_or(head);
    let Some(node) = scope
        .graph
        .nodes
        .iter()
        .position(|node| node.id.as_str() == name)
    else {
        return 0;
    };
    let suffix = &head[name.len()..];
    let number = |text: &str| text.parse::<usize>().ok();
    let item = suffix.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let (item, turn) = (
        item.and_then(number),
        suffix.strip_prefix('#').and_then(number),
    );
    let step = &mut scope.steps[node];
    let mut itself = true;
    if let (Some((_, items)), Some(place), Some(rest)) = (&mut step.items, item, rest) {
        match items.get_mut(place) {
            Some(Item::Runs(inner)) => {
                let void = reset_at(inner, rest, named);
                step.once -= void;
                return void;
            }
            Some(item @ (Item::Done(_) | Item::Failed)) => *item = Item::Fresh,
            Some(Item::Fresh) | None => return 0,
        }
        (itself, step.end) = (false, None);
    } else if let (Some(looped), Some(rest)) = (&mut step.turn, rest)
        && let Some(inner) = looped
            .body
            .as_mut()
            .filter(|_| turn == Some(looped.number as usize))
    {
        let void = reset_at(inner, rest, named);
        step.once -= void;
        return void;
    } else if let (Some(inner), Some(rest), "") = (&mut step.made, rest, suffix) {
        let void = reset_at(inner, rest, named);
        step.once -= void;
        return void;
    } else if let (Some((_, items)), true, None) = (&mut step.items, named, rest) {
        let failed = items.iter_mut().filter(|item| matches!(item, Item::Failed));
        if failed.map(|item| *item = Item::Fresh).count() > 0 {
            (itself, step.end) = (false, None);
        }
    }
    let mut void = 0;
    for after in scope.after(node) {
        void += std::mem::take(&mut scope.steps[after]).once;
    }
    if itself {
        void += std::mem::take(&mut scope.steps[node]).once;
    } else {
        scope.steps[node].fallen = false;
        scope.steps[node].opened.get_or_insert(0);
        scope.steps[node].anew();
    }
    void
}

/// What failed or was stopped runs again, and all that comes after it. How many calls are void by it.
fn reopen(scope: &mut Scope) -> u32 {
    let mut void = 0;
    for node in 0..scope.steps.len() {
        let step = &mut scope.steps[node];
        step.before = None;
        let stopped =
            step.opened.is_some() && (step.end.is_none() || step.end == Some(End::Failed));
        if !stopped {
            continue;
        }
        for after in scope.after(node) {
            void += std::mem::take(&mut scope.steps[after]).once;
        }
        let step = &mut scope.steps[node];
        let mut inner_void = 0;
        if step.items.is_some() || step.turn.is_some() {
            step.end = None;
            step.failures = 0;
            step.anew();
        }
        let items = step.items.iter_mut().flat_map(|(_, items)| items);
        for item in items {
            if let Item::Runs(inner) = item {
                inner_void += reopen(inner);
            }
        }
        if let Some(turn) = &mut step.turn {
            if let Some(inner) = &mut turn.body {
                inner_void += reopen(inner);
            }
        } else if let Some(inner) = &mut step.made {
            inner_void += reopen(inner);
        } else if step.items.is_none() {
            void += std::mem::take(step).once;
        }
        step.once -= inner_void;
        void += inner_void;
    }
    void
}
