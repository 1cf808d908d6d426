//! The way to the end, read plainly: what is awaited, what is undone, which handlers run.

use std::sync::Arc;

use turlough_sdk::{Cause, Graph};

use super::plain::{Begun, How, Leaf, Plain, Scope, Seen, Stage, Stray};
use super::rules::{limit, once};
use super::settle::same;
use crate::machine::given::Given;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwound {
    Open,
    Awaiting,
    Undoing,
    OnFailure,
    BetweenHandlers,
    Finally,
    Last,
    Over,
}

/// Attempts of a step that can be undone, on one input.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) path: String,
    pub(super) inputs: Vec<(Arc<str>, Option<Given>)>,
    pub(super) graph: Arc<Graph>,
    /// Of a graph made at run time.
    pub(super) text: Option<Arc<str>>,
    pub(super) node: usize,
    pub(super) output: Option<Given>,
    pub(super) attempts: Vec<Try>,
    pub(super) undone: bool,
    pub(super) stuck: bool,
    /// Its compensation, while that is open.
    pub(super) open: bool,
    pub(super) failures: u32,
    pub(super) begun: Begun,
    pub(super) attempt: Option<u32>,
    pub(super) due: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Try {
    pub(super) at: u64,
    pub(super) came_to: CameTo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CameTo {
    Pending,
    Done,
    Unknown,
    /// It is known not to have happened.
    Nothing,
}

impl Group {
    /// Whether it must be undone: one attempt is not known to have come to nothing.
    pub(super) fn is_due(&self) -> bool {
        let mut attempts = self.attempts.iter();
        !self.undone && !self.stuck && attempts.any(|it| it.came_to != CameTo::Nothing)
    }

    /// When that attempt started.
    pub(super) fn started(&self) -> u64 {
        let mut attempts = self.attempts.iter();
        attempts
            .find(|it| it.came_to != CameTo::Nothing)
            .map_or(0, |it| it.at)
    }
}

impl Plain {
    pub(super) fn undo_begins(
        &mut self,
        path: &str,
        graph: &Arc<Graph>,
        node: usize,
        inputs: Vec<(Arc<str>, Option<Given>)>,
    ) {
        let text = self.at(path, |scope, _, _| scope.text.clone()).flatten();
        let attempt = Try {
            at: self.event,
            came_to: CameTo::Pending,
        };
        if let Some(last) = self.undo.iter_mut().rfind(|group| group.path == path) {
            let equal = last.inputs.len() == inputs.len()
                && last.inputs.iter().zip(&inputs).all(|((m, a), (n, b))| {
                    m == n
                        && match (a, b) {
                            (Some(a), Some(b)) => same(a, b),
                            (a, b) => a.is_none() && b.is_none(),
                        }
                });
            if equal && !last.undone && last.text == text {
                (last.graph, last.node) = (Arc::clone(graph), node);
                last.attempts.push(attempt);
                return;
            }
        }
        self.undo.push(Group {
            path: path.to_owned(),
            inputs,
            graph: Arc::clone(graph),
            text,
            node,
            output: None,
            attempts: vec![attempt],
            undone: false,
            stuck: false,
            open: false,
            failures: 0,
            begun: Begun::No,
            attempt: None,
            due: 0,
        });
    }

    /// How the newest attempt of a step ended, where that can be undone.
    pub(super) fn step_learns(&mut self, path: &str, output: Option<Given>, cause: Option<Cause>) {
        let text = self.at(path, |scope, _, node| {
            let undone = scope.graph.nodes[node].compensate.is_some();
            undone.then(|| scope.text.clone())
        });
        if let Some(Some(text)) = text {
            self.undo_learns(path, text.as_ref(), output, cause);
        }
    }

    /// How the newest attempt of a step that can be undone ended.
    pub(super) fn undo_learns(
        &mut self,
        path: &str,
        text: Option<&Arc<str>>,
        output: Option<Given>,
        cause: Option<Cause>,
    ) {
        let newest = self.undo.iter_mut().rfind(|group| group.path == path);
        let Some(group) = newest.filter(|group| !group.undone && group.text.as_ref() == text)
        else {
            return;
        };
        let Some(attempt) = group.attempts.last_mut() else {
            return;
        };
        attempt.came_to = match (attempt.came_to, cause) {
            (CameTo::Pending | CameTo::Unknown | CameTo::Done, None) => CameTo::Done,
            (CameTo::Pending, Some(Cause::Permanent | Cause::Transient)) => CameTo::Nothing,
            (CameTo::Pending, Some(_)) => CameTo::Unknown,
            _ => return,
        };
        if output.is_some() {
            group.output = output;
        }
    }

    pub(super) fn conclude(&mut self, how: How) {
        if self.phase != Unwound::Open {
            return;
        }
        let dropped = dropped(&self.leaves(), self.epoch);
        for (path, fate) in dropped {
            if let Fate::Gone { cause, .. } = fate {
                self.with(&path, |step| step.begun = Begun::No);
                if cause.is_some() {
                    self.step_learns(&path, None, cause);
                }
            }
        }
        self.how = Some(how);
        self.paused = false;
        self.phase = Unwound::Awaiting;
        self.until = self.now + self.flow.timeout().as_micros() as u64;
        self.unwind();
    }

    /// Steps of the flow that are awaited while the request is unwound.
    pub(super) fn awaited(&self) -> Vec<Leaf<'_>> {
        let mut leaves = Vec::new();
        self.root.leaves(&[], &mut leaves);
        leaves.retain(|leaf| leaf.must_end(self.epoch));
        leaves
    }

    pub(super) fn unwind(&mut self) {
        loop {
            let cancelled = self.how == Some(How::Cancelled);
            let succeeded = matches!(self.how, Some(How::Succeeded(_)));
            self.phase = match self.phase {
                Unwound::Awaiting if self.awaited().is_empty() && self.strays.is_empty() => {
                    if succeeded {
                        Unwound::BetweenHandlers
                    } else {
                        Unwound::Undoing
                    }
                }
                Unwound::Undoing if self.undo.iter().any(|group| group.is_due()) => return,
                Unwound::Undoing => match self.flow.on_failure().filter(|_| !cancelled) {
                    Some(graph) => {
                        self.handle(&Arc::clone(graph), "~on_failure/");
                        self.phase = Unwound::OnFailure;
                        return self.settle(self.news());
                    }
                    None => Unwound::BetweenHandlers,
                },
                Unwound::BetweenHandlers if self.strays.is_empty() => {
                    match self.flow.finally().filter(|_| !self.finished) {
                        Some(graph) => {
                            self.handle(&Arc::clone(graph), "~finally/");
                            self.phase = Unwound::Finally;
                            return self.settle(self.news());
                        }
                        None => Unwound::Last,
                    }
                }
                Unwound::Last if self.strays.is_empty() => Unwound::Over,
                _ => return,
            };
        }
    }

    fn handle(&mut self, graph: &Arc<Graph>, prefix: &str) {
        // What a handler is given is checked by examples.
        self.handler = Some(Scope::new(graph, prefix.to_owned(), Given::Empty));
    }

    /// A handler is over; `failed` by this step.
    pub(super) fn handled(&mut self, failed: Option<String>) {
        if let Some(step) = failed {
            if self.phase == Unwound::Finally && matches!(self.how, Some(How::Succeeded(_))) {
                self.how = Some(How::Failed(step));
            } else {
                self.trouble += 1;
            }
        }
        if let Some(handler) = self.handler.take() {
            self.drop_scope(&handler, &[]);
        }
        self.finished |= self.phase == Unwound::Finally;
        self.phase = match self.phase {
            Unwound::OnFailure => Unwound::BetweenHandlers,
            _ => Unwound::Last,
        };
        self.unwind();
    }

    pub(super) fn give_up(&mut self) {
        let undoes = !matches!(self.how, Some(How::Succeeded(_)));
        for group in self.undo.iter_mut().filter(|it| undoes && it.is_due()) {
            (group.stuck, group.open) = (true, false);
            self.trouble += 1;
        }
        if let Some(handler) = self.handler.take() {
            self.drop_scope(&handler, &[]);
            self.trouble += 1;
        }
        self.finished |= self.phase == Unwound::Finally;
        self.phase = Unwound::Over;
    }

    /// A graph is gone; what runs in it and must be awaited is.
    pub(super) fn drop_scope(&mut self, scope: &Scope, outer: &[Seen]) {
        let mut leaves = Vec::new();
        scope.leaves(outer, &mut leaves);
        self.let_go(dropped(&leaves, self.epoch));
    }

    pub(super) fn let_go(&mut self, dropped: Vec<(String, Fate)>) {
        for (path, fate) in dropped {
            match fate {
                Fate::Awaited(stray) => {
                    self.strays.insert(path, stray);
                }
                Fate::Gone { cause: None, .. } => {}
                Fate::Gone { cause, text } => self.undo_learns(&path, text.as_ref(), None, cause),
            }
        }
    }
}

/// What becomes of an open step when nobody waits for its node.
#[derive(Debug)]
pub(super) enum Fate {
    Awaited(Stray),
    /// Its start may have been recorded, and no call made.
    Gone {
        cause: Option<Cause>,
        text: Option<Arc<str>>,
    },
}

pub(super) fn dropped(leaves: &[Leaf<'_>], epoch: u64) -> Vec<(String, Fate)> {
    let fate = |leaf: &Leaf<'_>| {
        let undone = leaf.stage == Stage::Run && leaf.vertex.compensate.is_some();
        if leaf.must_end(epoch) {
            return Fate::Awaited(Stray {
                attempt: leaf.step.attempt.unwrap_or(0),
                called: leaf.step.begun == Begun::Called,
                epoch: match leaf.step.begun {
                    Begun::Started(at) if once(leaf.vertex, leaf.stage) => at,
                    // Whoever took over called it again.
                    Begun::Started(_) => epoch,
                    _ => 0,
                },
                limit: limit(leaf.vertex, leaf.stage),
                due: leaf.step.due,
                undone,
                text: leaf.text.clone(),
            });
        }
        let cause = match leaf.step.begun {
            Begun::Started(at) if leaf.step.held && at == epoch => Some(Cause::Permanent),
            Begun::Started(_) if leaf.step.held => Some(Cause::Unknown),
            _ => None,
        };
        let (cause, text) = (cause.filter(|_| undone), leaf.text.clone());
        Fate::Gone { cause, text }
    };
    leaves
        .iter()
        .map(|leaf| (leaf.path.clone(), fate(leaf)))
        .collect()
}
