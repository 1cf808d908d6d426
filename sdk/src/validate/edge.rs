//! Edges: where each comes from, and what a body takes from outside.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{At, Check};
use crate::draft::{DraftEdge, DraftSource};
use crate::error::choice;
use crate::graph::{Edge, Source};

/// What a body takes from outside: each becomes an edge of the node that owns the body.
pub(super) struct Captures {
    first: usize,
    list: Vec<DraftEdge>,
    index: HashMap<(DraftSource, Option<usize>), usize>,
}

impl Captures {
    /// `first`: edges that the owner has of its own.
    pub(super) fn after(first: usize) -> Self {
        Self {
            first,
            list: Vec::new(),
            index: HashMap::new(),
        }
    }

    pub(super) fn into_edges(self) -> Vec<DraftEdge> {
        self.list
    }

    /// The index that the captured edge will have at the owner. It brings a value where any of the
    /// edges inside does.
    fn edge(&mut self, edge: &DraftEdge) -> usize {
        let key = (edge.from.clone(), edge.case);
        let at = *self.index.entry(key).or_insert_with(|| {
            let mut captured = DraftEdge::new(edge.from.clone(), edge.case, edge.line);
            captured.data = false;
            self.list.push(captured);
            self.list.len() - 1
        });
        self.list[at].data |= edge.data;
        self.first + at
    }
}

impl Check<'_> {
    pub(super) fn edge(
        &mut self,
        mut draft: DraftEdge,
        at: At<'_>,
        captures: &mut Captures,
        capture: bool,
    ) -> Edge {
        self.visits += 1;
        let name = match &draft.from {
            DraftSource::Input(0) => "input",
            DraftSource::Input(from) if *from < at.depth => &self.owners[*from - 1].0,
            DraftSource::Input(_) => "item",
            DraftSource::Node(name) => name,
        };
        let name: Arc<str> = Arc::from(name);
        let at = At {
            line: draft.line.or(at.line),
            ..at
        };
        let transform = draft.transform.take();
        if transform.is_some() && !draft.data {
            let text = format!(
                "the edge from {name:?} is order alone, and so has no value to transform; take \
                 transform out, or data: false"
            );
            self.problem(at, text);
        }
        let from = self.source(&draft, at, captures).unwrap_or_else(|message| {
            self.problem(at, message);
            Source::Input
        });
        Edge {
            from,
            case: draft.case,
            name,
            capture,
            data: draft.data,
            transform: transform.and_then(|formula| self.formula(formula, at)),
        }
    }

    fn source(
        &self,
        draft: &DraftEdge,
        at: At<'_>,
        captures: &mut Captures,
    ) -> Result<Source, String> {
        let (here, around) = (&self.scopes[at.depth], &self.scopes[..at.depth]);
        match &draft.from {
            DraftSource::Input(from) if *from == at.depth => Ok(Source::Input),
            DraftSource::Input(from) if *from < at.depth => Ok(Source::Outer(captures.edge(draft))),
            DraftSource::Input(_) => {
                Err("it takes the item of a body that it does not stand in".to_owned())
            }
            DraftSource::Node(name) if name == at.node => {
                Err("it comes after itself; take the edge out".to_owned())
            }
            DraftSource::Node(name) if self.owners.iter().any(|(owner, _)| owner == name) => Err(
                format!("it comes after {name:?}, whose body it is in; take the edge out"),
            ),
            DraftSource::Node(name) => match here.get(name) {
                Some(ix) => Ok(Source::Node(*ix)),
                None if around.iter().any(|scope| scope.contains_key(name)) => {
                    Ok(Source::Outer(captures.edge(draft)))
                }
                None if self.problems.is_full() => Err(String::new()),
                None => Err(format!(
                    "it comes after {name:?}, which is no node; write one of {}",
                    choice(here.keys().map(String::as_str))
                )),
            },
        }
    }

    pub(super) fn refuse_repeats(&mut self, at: At<'_>, edges: &[DraftEdge]) {
        let mut seen: HashMap<&DraftSource, HashSet<Option<usize>>> = HashMap::new();
        for edge in edges {
            let cases = seen.entry(&edge.from).or_default();
            let whole = edge.case.is_none() && !cases.is_empty();
            if whole || cases.contains(&None) || !cases.insert(edge.case) {
                let from = edge.from.text();
                let text = if edge.case.is_none() == cases.contains(&None) {
                    format!("it comes twice after {from:?}; write it once")
                } else {
                    format!("a case of {from:?} leads here already; take {from} out of its after")
                };
                self.problems
                    .add(edge.line.or(at.line), Some(at.node), || text);
            }
        }
    }
}

impl DraftSource {
    fn text(&self) -> &str {
        match self {
            Self::Input(0) => "input",
            Self::Input(_) => "item",
            Self::Node(name) => name,
        }
    }
}
