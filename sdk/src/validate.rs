//! From a draft to a flow: every reference resolved, every expression compiled, every limit kept.
//!
//! Invariants: time linear in nodes + edges (the visits are counted, and a test holds them to it);
//! all problems of a draft are found in one go.

mod cycle;
mod limits;
mod operation;

pub use limits::Limits;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::draft::{DraftEdge, DraftFlow, DraftGraph, DraftNode, DraftSource, Located};
use crate::error::{FlowError, Problems, choice};
use crate::expression::Expression;
use crate::graph::{Edge, Flow, FlowVersion, Graph, NodeIx, Output, Source, Vertex};
use crate::ids::NodeId;
use crate::picture;
use crate::retry::Retry;

/// Words that name a graph's input and cannot name a node.
const RESERVED: [&str; 2] = ["input", "item"];

/// Validates a draft; `problems` are those that its reader found. The second number is how many
/// nodes and edges were visited.
pub(crate) fn validate(draft: DraftFlow, problems: Problems) -> (Result<Flow, FlowError>, u64) {
    let mut check = Check {
        problems,
        names: HashSet::new(),
        compiled: HashMap::new(),
        scopes: Vec::new(),
        owners: Vec::new(),
        nodes: 0,
        edges: 0,
        visits: 0,
    };
    let Located { text, line } = draft.name;
    let name = text.parse().map_err(|error: crate::IdError| {
        check.problems.add(line, None, || error.to_string());
    });
    let timeout = draft.timeout.unwrap_or(Limits::TIMEOUT_DEFAULT);
    check.duration(line, None, "timeout", Some(timeout));
    let (graph, _) = check.graph(draft.graph, 0);
    let visits = check.visits;
    let (Ok(name), true) = (name, check.problems.is_empty()) else {
        return (Err(check.problems.into_error()), visits);
    };
    let version = FlowVersion(Arc::from(picture::fingerprint(&graph, timeout)));
    let graph = Arc::new(graph);
    let flow = Flow {
        name,
        version,
        timeout,
        graph,
    };
    (Ok(flow), visits)
}

struct Check {
    problems: Problems,
    /// Names of all nodes so far: they are unique in the whole flow, bodies included.
    names: HashSet<String>,
    /// Expressions so far: compiling one is the dearest part of validation.
    compiled: HashMap<String, Expression>,
    /// For each open graph, outermost first, where its nodes stand.
    scopes: Vec<HashMap<String, NodeIx>>,
    /// For each open body, outermost first, the node that owns it and its line.
    owners: Vec<(String, Option<u64>)>,
    nodes: usize,
    edges: usize,
    visits: u64,
}

/// What a body takes from outside: each becomes an edge of the node that owns the body.
struct Captures {
    first: usize,
    list: Vec<DraftEdge>,
    index: HashMap<(DraftSource, Option<usize>), usize>,
}

impl Captures {
    fn edge(&mut self, edge: &DraftEdge) -> usize {
        let next = self.first + self.list.len();
        let key = (edge.from.clone(), edge.case);
        *self.index.entry(key).or_insert_with(|| {
            self.list.push(edge.clone());
            next
        })
    }
}

/// The node that is being looked at.
#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a str,
    line: Option<u64>,
    depth: usize,
}

impl Check {
    fn problem(&mut self, at: At<'_>, message: String) {
        self.problems.add(at.line, Some(at.node), || message);
    }

    /// `captures_first`: edges that the owner of this body has of its own.
    fn graph(&mut self, draft: DraftGraph, captures_first: usize) -> (Graph, Vec<DraftEdge>) {
        let mut captures = Captures {
            first: captures_first,
            list: Vec::new(),
            index: HashMap::new(),
        };
        let depth = self.scopes.len();
        if !self.admit(&draft, depth) {
            let nothing = Graph {
                nodes: Vec::new(),
                successors: Vec::new(),
                output: Output::Sinks(Vec::new()),
            };
            return (nothing, Vec::new());
        }
        self.scopes.push(HashMap::with_capacity(draft.nodes.len()));
        for (ix, node) in draft.nodes.iter().enumerate() {
            self.declare(ix, node, depth);
        }
        let lines: Vec<_> = draft.nodes.iter().map(|node| node.line).collect();
        let nodes: Vec<_> = draft
            .nodes
            .into_iter()
            .map(|node| self.vertex(node, depth, &mut captures))
            .collect();
        let successors = self.successors(&nodes);
        self.refuse_cycles(&nodes, &successors, &lines);
        let output = self.output(draft.output.as_ref(), &successors);
        self.scopes.pop();
        let graph = Graph {
            nodes,
            successors,
            output,
        };
        (graph, captures.list)
    }

    /// Whether a graph is within the bounds that keep the rest of its validation short.
    fn admit(&mut self, draft: &DraftGraph, depth: usize) -> bool {
        let before = self.nodes;
        self.nodes += draft.nodes.len();
        let (found, limit) = (self.nodes, Limits::NODES_MAX);
        let problem = if draft.nodes.is_empty() {
            "there are no nodes; write at least one".to_owned()
        } else if found > limit && before <= limit {
            format!("{found} nodes, limit {limit}; split the flow, or use for_each")
        } else if depth > Limits::DEPTH_MAX {
            let limit = Limits::DEPTH_MAX;
            format!("bodies are nested {depth} deep, limit {limit}; flatten them")
        } else {
            return found <= limit;
        };
        let owner = self.owners.last();
        let (node, line) = match owner {
            Some((node, line)) => (Some(node.as_str()), *line),
            None => (None, None),
        };
        self.problems.add(line, node, || problem);
        false
    }

    fn declare(&mut self, ix: NodeIx, node: &DraftNode, depth: usize) {
        self.visits += 1;
        let at = node.at(depth);
        if let Err(error) = node.id.parse::<NodeId>() {
            self.problem(at, error.to_string());
        } else if RESERVED.contains(&node.id.as_str()) {
            let text = "the name stands for a graph's input; choose another";
            self.problem(at, text.to_owned());
        } else if !self.names.insert(node.id.clone()) {
            let text = "the name is used twice in the flow; names are unique, bodies included";
            self.problem(at, text.to_owned());
        }
        self.scopes[depth].insert(node.id.clone(), ix);
    }

    fn vertex(&mut self, mut draft: DraftNode, depth: usize, captures: &mut Captures) -> Vertex {
        let mut edges = std::mem::take(&mut draft.edges);
        if edges.is_empty() {
            edges.push(DraftEdge {
                from: DraftSource::Input(depth),
                case: None,
                line: draft.line,
            });
        }
        let (id, line) = (draft.id, draft.line);
        let at = At {
            node: &id,
            line,
            depth,
        };
        self.refuse_repeats(at, &edges);
        let own = edges.len();
        let operation = self.operation(draft.operation, at, &mut edges);
        let before = self.edges;
        self.edges += edges.len();
        if self.edges > Limits::EDGES_MAX && before <= Limits::EDGES_MAX {
            let limit = Limits::EDGES_MAX;
            self.problem(at, format!("over {limit} edges; join them in steps"));
        }
        let edges = edges
            .iter()
            .enumerate()
            .map(|(ix, edge)| self.edge(edge, at, captures, ix >= own))
            .collect();
        self.duration(line, Some(&id), "timeout", draft.timeout);
        let retry = draft.retry.unwrap_or(Retry::never());
        if let Some(text) = retry.problem() {
            self.problem(at, text);
        }
        Vertex {
            id: id.parse().unwrap_or_else(|_| placeholder()),
            operation,
            edges,
            retry,
            timeout: draft.timeout,
        }
    }

    fn edge(
        &mut self,
        draft: &DraftEdge,
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
        let from = self.source(draft, at, captures).unwrap_or_else(|message| {
            self.problems
                .add(draft.line.or(at.line), Some(at.node), || message);
            Source::Input
        });
        Edge {
            from,
            case: draft.case,
            name,
            capture,
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

    fn refuse_repeats(&mut self, at: At<'_>, edges: &[DraftEdge]) {
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

    fn successors(&mut self, nodes: &[Vertex]) -> Vec<Vec<(NodeIx, usize)>> {
        let mut successors = vec![Vec::new(); nodes.len()];
        for (ix, node) in nodes.iter().enumerate() {
            for (edge_ix, edge) in node.edges.iter().enumerate() {
                self.visits += 1;
                if let Source::Node(from) = edge.from {
                    successors[from].push((ix, edge_ix));
                }
            }
        }
        successors
    }

    fn refuse_cycles(
        &mut self,
        nodes: &[Vertex],
        successors: &[Vec<(NodeIx, usize)>],
        lines: &[Option<u64>],
    ) {
        let Some(cycle) = cycle::find(nodes, successors, &mut self.visits) else {
            return;
        };
        let names: Vec<_> = cycle.iter().map(|ix| nodes[*ix].id.as_str()).collect();
        let more = if names.len() > 12 { " → …" } else { "" };
        let path = names[..names.len().min(12)].join(" → ");
        let first = names[0];
        self.problems.add(lines[cycle[0]], Some(first), || {
            format!("cycle {path}{more} → {first}; take one of these edges out")
        });
    }

    fn output(&mut self, named: Option<&Located>, successors: &[Vec<(NodeIx, usize)>]) -> Output {
        let scope = &self.scopes[self.scopes.len() - 1];
        if let Some(Located { text: name, line }) = named {
            if let Some(ix) = scope.get(name) {
                return Output::Node(*ix);
            }
            let owner = self.owners.last();
            let (owner, owner_line) = owner.map_or((None, None), |(id, l)| (Some(&**id), *l));
            self.problems.add(line.or(owner_line), owner, || {
                let known = choice(scope.keys().map(String::as_str));
                format!("output is {name:?}, which is no node; write one of {known}")
            });
        }
        let sinks: Vec<_> = (0..successors.len())
            .filter(|ix| successors[*ix].is_empty())
            .collect();
        match sinks[..] {
            [only] => Output::Node(only),
            _ => Output::Sinks(sinks),
        }
    }
}

impl DraftNode {
    fn at(&self, depth: usize) -> At<'_> {
        At {
            node: &self.id,
            line: self.line,
            depth,
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

/// Stands for a name that was refused, so that the other problems are still found.
fn placeholder() -> NodeId {
    #[allow(clippy::unwrap_used, reason = "a constant that is a node name")]
    "refused".parse().unwrap()
}

#[cfg(test)]
mod tests;
