//! The rules of `docs/semantics.md`, read plainly: a tree of graphs, and what is open in it, made out
//! anew after every event. Slow, and nothing in it is counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use turlough_sdk::{Edge, Flow, Graph, Operation, Output, Source, ValueRef, Vertex, Wait};

use super::rules::once;
use super::undo::{Group, Unwound};
use crate::machine::given::Given;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    Done(Given),
    Took(Vec<u32>, Given),
    Skipped,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Begun {
    #[default]
    No,
    Started(u64),
    Called,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    When,
    Run,
    Sleep,
    Ask,
    Gather,
    Fallback,
    Body,
}

/// A node in its graph.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The event at which it became ready.
    pub(super) opened: Option<u64>,
    pub(super) went: bool,
    pub(super) fallen: bool,
    pub(super) asleep: bool,
    /// The event at which it began to wait for a signal.
    pub(super) slept: u64,
    pub(super) end: Option<End>,
    /// What it had come to, while it is made again.
    pub(super) before: Option<End>,
    pub(super) failures: u32,
    pub(super) begun: Begun,
    /// Its start was recorded while a value was made again that it needs.
    pub(super) held: bool,
    pub(super) attempt: Option<u32>,
    pub(super) until: u64,
    pub(super) due: u64,
    /// Calls that must not be repeated, in it or in its bodies.
    pub(super) once: u32,
    pub(super) items: Option<(Arc<ValueRef>, Vec<Item>)>,
    pub(super) turn: Option<Turn>,
    pub(super) made: Option<Box<Scope>>,
}

#[derive(Debug)]
pub(super) enum Item {
    Fresh,
    Runs(Box<Scope>),
    Done(Given),
    Failed,
}

#[derive(Debug)]
pub(super) struct Turn {
    pub(super) state: Given,
    pub(super) number: u32,
    /// Its condition held after its last iteration.
    pub(super) spent: bool,
    pub(super) body: Option<Box<Scope>>,
}

/// A graph that runs.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) graph: Arc<Graph>,
    pub(super) prefix: String,
    pub(super) input: Given,
    /// Of a graph made at run time, and of what stands in it, that graph's text.
    pub(super) text: Option<Arc<str>>,
    pub(super) steps: Vec<Step>,
}

/// What an edge brings.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) known: bool,
    pub(super) live: bool,
    pub(super) remaking: bool,
    pub(super) value: Option<Given>,
}

/// An open step, as it was found.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    pub(super) path: String,
    pub(super) stage: Stage,
    pub(super) step: &'a Step,
    pub(super) vertex: &'a Vertex,
    pub(super) inputs: Vec<(Arc<str>, Option<Given>)>,
    pub(super) remaking: bool,
    pub(super) text: Option<Arc<str>>,
}

/// A start that is awaited though its graph is gone.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) attempt: u32,
    pub(super) called: bool,
    /// Under which claim it started.
    pub(super) epoch: u64,
    pub(super) limit: u64,
    pub(super) due: u64,
    /// Whether it is undone if the flow fails, and the text of its graph.
    pub(super) undone: bool,
    pub(super) text: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum How {
    Succeeded(Given),
    Failed(String),
    TimedOut,
    Cancelled,
}

/// A request, read plainly.
pub(super) struct Plain {
    pub(super) flow: Arc<Flow>,
    pub(super) root: Scope,
    pub(super) handler: Option<Scope>,
    pub(super) event: u64,
    pub(super) now: u64,
    pub(super) epoch: u64,
    pub(super) generation: u32,
    pub(super) paused: bool,
    pub(super) deadline: u64,
    pub(super) until: u64,
    pub(super) how: Option<How>,
    pub(super) phase: Unwound,
    pub(super) ended: bool,
    /// What comes finally was done.
    pub(super) finished: bool,
    pub(super) strays: BTreeMap<String, Stray>,
    pub(super) undo: Vec<Group>,
    pub(super) signals: BTreeMap<String, VecDeque<ValueRef>>,
    pub(super) variables: BTreeMap<String, ValueRef>,
    pub(super) remakes: BTreeMap<String, u32>,
    pub(super) trouble: usize,
    /// Sleepers that opened, and the signal that each waits for.
    pub(super) sleepers_opened: Vec<(String, String)>,
}

impl Scope {
    pub(super) fn new(graph: &Arc<Graph>, prefix: String, input: Given) -> Self {
        Self {
            graph: Arc::clone(graph),
            prefix,
            input,
            text: None,
            steps: graph.nodes.iter().map(|_| Step::default()).collect(),
        }
    }

    pub(super) fn path(&self, node: usize) -> String {
        format!("{}{}", self.prefix, self.graph.nodes[node].id)
    }

    pub(super) fn is_done(&self) -> bool {
        self.steps
            .iter()
            .all(|step| matches!(&step.end, Some(end) if *end != End::Failed))
    }

    pub(super) fn value(&self, node: usize) -> Option<Given> {
        match &self.steps[node].end {
            Some(End::Done(given) | End::Took(_, given)) => Some(given.clone()),
            _ => None,
        }
    }

    pub(super) fn output(&self) -> Given {
        match &self.graph.output {
            Output::Node(node) => self.value(*node).unwrap_or(Given::Empty),
            Output::Sinks(sinks) => {
                let member = |node: &usize| {
                    let name: Arc<str> = Arc::from(self.graph.nodes[*node].id.as_str());
                    Some((name, self.value(*node)?))
                };
                Given::Map(Arc::new(sinks.iter().filter_map(member).collect()))
            }
        }
    }

    pub(super) fn edge(&self, outer: &[Seen], edge: &Edge) -> Seen {
        let node = match edge.from {
            Source::Input => {
                return Seen {
                    known: true,
                    live: true,
                    remaking: false,
                    value: Some(self.input.clone()),
                };
            }
            Source::Outer(outer_edge) => {
                return Seen {
                    known: true,
                    ..outer[outer_edge].clone()
                };
            }
            Source::Node(node) => node,
        };
        let step = &self.steps[node];
        let failed = step.end == Some(End::Failed);
        let end = step.end.as_ref().filter(|_| !failed);
        let (live, value) = match end.or(step.before.as_ref()) {
            Some(End::Done(value)) => (edge.case.is_none(), Some(value)),
            Some(End::Took(cases, value)) => {
                let taken = |case: usize| cases.iter().any(|taken| *taken as usize == case);
                (edge.case.is_none_or(taken), Some(value))
            }
            _ => (false, None),
        };
        Seen {
            known: end.is_some(),
            live,
            remaking: end.is_none() && !failed,
            value: value.filter(|_| live).cloned(),
        }
    }

    pub(super) fn seen(&self, outer: &[Seen], node: usize) -> Vec<Seen> {
        let edges = self.graph.nodes[node].edges.iter();
        edges.map(|edge| self.edge(outer, edge)).collect()
    }

    pub(super) fn inputs(&self, outer: &[Seen], node: usize) -> Vec<(Arc<str>, Option<Given>)> {
        let edges = &self.graph.nodes[node].edges;
        let given = edges.iter().filter(|edge| edge.data && !edge.capture);
        given
            .map(|edge| (Arc::clone(&edge.name), self.edge(outer, edge).value))
            .collect()
    }

    /// Where an open node stands.
    pub(super) fn stage(&self, node: usize) -> Option<Stage> {
        let (step, vertex) = (&self.steps[node], &self.graph.nodes[node]);
        if step.opened.is_none() || step.end.is_some() {
            return None;
        }
        Some(if vertex.when.is_some() && !step.went {
            Stage::When
        } else if step.fallen {
            Stage::Fallback
        } else {
            match &vertex.operation {
                Operation::ForEach(_) => match &step.items {
                    None => Stage::Run,
                    Some((_, items)) => {
                        let ended = |item: &Item| matches!(item, Item::Done(_) | Item::Failed);
                        if items.iter().all(ended) {
                            Stage::Gather
                        } else {
                            Stage::Body
                        }
                    }
                },
                Operation::Loop(_) => match &step.turn {
                    Some(Turn { body: Some(_), .. }) => Stage::Body,
                    _ => Stage::Ask,
                },
                Operation::Expand(_) if step.made.is_some() => Stage::Body,
                Operation::Wait(Wait::Duration(_) | Wait::Signal(_)) => Stage::Sleep,
                Operation::Wait(Wait::Until(_)) if step.asleep => Stage::Sleep,
                _ => Stage::Run,
            }
        })
    }

    /// Bodies in progress, in the order of their items.
    pub(super) fn bodies(&self, node: usize) -> Vec<&Scope> {
        let step = &self.steps[node];
        let items = step.items.iter().flat_map(|(_, items)| items);
        let items = items.filter_map(|item| match item {
            Item::Runs(scope) => Some(&**scope),
            _ => None,
        });
        let turn = step.turn.iter().filter_map(|turn| turn.body.as_deref());
        items.chain(turn).chain(step.made.as_deref()).collect()
    }

    /// Every open step in it.
    pub(super) fn leaves<'a>(&'a self, outer: &[Seen], into: &mut Vec<Leaf<'a>>) {
        for node in 0..self.steps.len() {
            let Some(stage) = self.stage(node) else {
                continue;
            };
            let seen = self.seen(outer, node);
            if stage == Stage::Body {
                for body in self.bodies(node) {
                    body.leaves(&seen, into);
                }
                continue;
            }
            into.push(Leaf {
                path: self.path(node),
                stage,
                step: &self.steps[node],
                vertex: &self.graph.nodes[node],
                inputs: self.inputs(outer, node),
                remaking: seen.iter().any(|seen| seen.remaking),
                text: self.text.clone(),
            });
        }
    }

    /// Nodes that come after one, in this graph.
    pub(super) fn after(&self, node: usize) -> Vec<usize> {
        let mut after: Vec<usize> = Vec::new();
        let mut left = vec![node];
        while let Some(at) = left.pop() {
            for (ix, vertex) in self.graph.nodes.iter().enumerate() {
                let comes = vertex
                    .edges
                    .iter()
                    .any(|edge| edge.from == Source::Node(at));
                if comes && !after.contains(&ix) {
                    after.push(ix);
                    left.push(ix);
                }
            }
        }
        after
    }
}

impl Step {
    /// A new attempt, at a new stage or at the same one.
    pub(super) const fn anew(&mut self) {
        self.begun = Begun::No;
        self.held = false;
        self.attempt = None;
        self.due = 0;
    }
}

impl Leaf<'_> {
    /// Whether it is awaited to its end when nothing else is.
    pub(super) fn must_end(&self, epoch: u64) -> bool {
        let must = once(self.vertex, self.stage)
            || self.stage == Stage::Run && self.vertex.compensate.is_some();
        must && match self.step.begun {
            Begun::No => false,
            Begun::Started(at) => !self.step.held || at < epoch && once(self.vertex, self.stage),
            Begun::Called => true,
        }
    }
}
