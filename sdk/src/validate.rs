//! From a draft to a flow: every reference resolved, every expression compiled, every limit kept.
//!
//! Invariants: time linear in nodes + edges (the visits are counted, and a test holds them to it);
//! all problems of a draft are found in one go.

mod attribute;
mod call;
mod cycle;
mod edge;
mod limits;
mod operation;

pub use limits::Limits;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::draft::{DraftEdge, DraftFlow, DraftGraph, DraftNode, DraftSource, Located};
use crate::error::{FlowError, Problems, choice};
use crate::expression::Expression;
use crate::graph::{
    Flow, FlowVersion, Graph, Map, NodeIx, Operation, Output, Source, Switch, Vertex,
};
use crate::ids::NodeId;
use crate::picture;
use attribute::Promise;
use edge::Captures;

/// Words that name a graph's input and cannot name a node.
const RESERVED: [&str; 2] = ["input", "item"];

/// Validates a draft; `problems` are those that its reader found. The second number is how many
/// nodes and edges were visited.
pub(crate) fn validate(draft: DraftFlow, problems: Problems) -> (Result<Flow, FlowError>, u64) {
    let mut check = Check::new(problems, None);
    let Located { text, line } = draft.name;
    let name = text.parse().map_err(|error: crate::IdError| {
        check.problems.add(line, None, || error.to_string());
    });
    let timeout = draft.timeout.unwrap_or(Limits::TIMEOUT_DEFAULT);
    check.duration(line, None, "timeout", Some(timeout));
    check.refuse_concurrency(line, draft.concurrency);
    check.refuse_closures(line, &draft.closures);
    let headers = check.recorded_headers(draft.headers);
    let graph = check.root(draft.graph);
    let on_failure = draft.on_failure.map(|graph| check.root(graph));
    let finally = draft.finally.map(|graph| check.root(graph));
    let visits = check.visits;
    let (Ok(name), true) = (name, check.problems.is_empty()) else {
        return (Err(check.problems.into_error()), visits);
    };
    let mut flow = Flow {
        name,
        version: FlowVersion(Arc::from("")),
        timeout,
        graph,
        on_failure,
        finally,
        concurrency: draft.concurrency,
        headers: Arc::from(headers),
        is_signed: draft.is_signed,
        closures: Arc::new(draft.closures),
    };
    flow.version = FlowVersion(Arc::from(picture::fingerprint(&flow)));
    (Ok(flow), visits)
}

/// Validates a graph that was made at run time; `closures` are those that it may name.
pub(crate) fn validate_graph(
    draft: DraftGraph,
    closures: &BTreeMap<String, Map>,
    problems: Problems,
) -> (Result<Graph, FlowError>, u64) {
    let mut check = Check::new(problems, Some(closures));
    let (graph, _) = check.graph(draft, 0);
    let visits = check.visits;
    if check.problems.is_empty() {
        (Ok(graph), visits)
    } else {
        (Err(check.problems.into_error()), visits)
    }
}

struct Check<'a> {
    problems: Problems,
    /// What `map: NAME` may name; nothing in a flow's own text.
    closures: Option<&'a BTreeMap<String, Map>>,
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

/// The node that is being looked at.
#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a str,
    line: Option<u64>,
    depth: usize,
}

impl<'a> Check<'a> {
    fn new(problems: Problems, closures: Option<&'a BTreeMap<String, Map>>) -> Self {
        Self {
            problems,
            closures,
            names: HashSet::new(),
            compiled: HashMap::new(),
            scopes: Vec::new(),
            owners: Vec::new(),
            nodes: 0,
            edges: 0,
            visits: 0,
        }
    }
}

impl Check<'_> {
    fn problem(&mut self, at: At<'_>, message: String) {
        self.problems.add(at.line, Some(at.node), || message);
    }

    fn refuse_concurrency(&mut self, line: Option<u64>, found: Option<usize>) {
        let limit = Limits::CONCURRENCY_MAX;
        if let Some(found) = found
            && !(1..=limit).contains(&found)
        {
            self.problems.add(line, None, || {
                format!("concurrency is {found}; write 1 to {limit}")
            });
        }
    }

    fn refuse_closures(&mut self, line: Option<u64>, closures: &BTreeMap<String, Map>) {
        let (found, limit) = (closures.len(), Limits::CLOSURES_MAX);
        if found > limit {
            self.problems.add(line, None, || {
                format!("{found} closures, limit {limit}; take some out")
            });
        }
        for name in closures.keys() {
            if let Err(error) = name.parse::<NodeId>() {
                let text = error.to_string().replacen("node", "closure", 1);
                self.problems.add(line, None, || text);
            }
        }
    }

    /// A graph that stands by itself: nothing around it can be named in it.
    fn root(&mut self, draft: DraftGraph) -> Arc<Graph> {
        Arc::new(self.graph(draft, 0).0)
    }

    /// `captures_first`: edges that the owner of this body has of its own.
    fn graph(&mut self, draft: DraftGraph, captures_first: usize) -> (Graph, Vec<DraftEdge>) {
        let mut captures = Captures::after(captures_first);
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
        let mut nodes: Vec<_> = draft
            .nodes
            .into_iter()
            .map(|node| self.vertex(node, depth, &mut captures))
            .collect();
        share_names(&mut nodes);
        let successors = self.successors(&nodes);
        self.refuse_cycles(&nodes, &successors, &lines);
        let output = self.output(draft.output.as_ref(), &successors);
        self.scopes.pop();
        let graph = Graph {
            nodes,
            successors,
            output,
        };
        (graph, captures.into_edges())
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

    fn vertex(&mut self, draft: DraftNode, depth: usize, captures: &mut Captures) -> Vertex {
        let (id, line) = (draft.id, draft.line);
        let at = At {
            node: &id,
            line,
            depth,
        };
        let mut edges = draft.edges;
        if edges.is_empty() {
            edges.push(DraftEdge::new(DraftSource::Input(depth), None, line));
        }
        self.refuse_repeats(at, &edges);
        let own = edges.len();
        let operation = self.operation(draft.operation, at, &mut edges);
        self.count_edges(edges.len(), at);
        let edges = edges
            .into_iter()
            .enumerate()
            .map(|(ix, edge)| self.edge(edge, at, captures, ix >= own))
            .collect();
        self.duration(line, Some(&id), "timeout", draft.timeout);
        let retry = self.retry(draft.retry, at);
        let said = Promise {
            idempotent: draft.idempotent,
            pure: draft.pure,
            compensated: draft.compensate.is_some(),
        };
        let (idempotent, pure) = match &operation {
            Some(operation) => self.promise(&said, operation, &retry, at),
            None => (true, false),
        };
        if draft.fallback.is_some() && matches!(operation, Some(Operation::Switch(_))) {
            let text = "a switch takes one of its ways, which a fallback cannot; write a default";
            self.problem(at, text.to_owned());
        }
        let fallback = draft.fallback.and_then(|it| self.fallback(it, at));
        let compensate = draft
            .compensate
            .and_then(|it| self.stand_in(*it, "compensate", at));
        if let Some(text) = operation.as_ref().and_then(Operation::sets_nothing)
            && !draft.set.is_empty()
        {
            let text = format!("it sets variables, but {text}; set them in a pass after it");
            self.problem(at, text);
        }
        Vertex {
            id: at.id(),
            operation: operation.unwrap_or(NOTHING),
            edges,
            aggregate: draft.aggregate.and_then(|it| self.formula(it, at)),
            when: draft.when.and_then(|it| self.formula(it, at)),
            retry,
            timeout: draft.timeout,
            idempotent,
            pure,
            fallback,
            compensate: compensate.map(Box::new),
            set: self.set(draft.set, at),
        }
    }

    fn count_edges(&mut self, more: usize, at: At<'_>) {
        let (before, limit) = (self.edges, Limits::EDGES_MAX);
        self.edges += more;
        if self.edges > limit && before <= limit {
            self.problem(at, format!("over {limit} edges; join them in steps"));
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

impl At<'_> {
    /// The node's name; one that was refused is told, and stands as another meanwhile.
    fn id(&self) -> NodeId {
        #[allow(clippy::unwrap_used, reason = "a constant that is a node name")]
        self.node
            .parse()
            .unwrap_or_else(|_| "refused".parse().unwrap())
    }
}

/// A node's name is one text, wherever it stands: who runs the graph reads it at every edge.
fn share_names(nodes: &mut [Vertex]) {
    let names: Vec<_> = nodes
        .iter()
        .map(|node| Arc::clone(node.id.text()))
        .collect();
    for edge in nodes.iter_mut().flat_map(|node| &mut node.edges) {
        if let Source::Node(from) = edge.from
            && edge.name == names[from]
        {
            edge.name = Arc::clone(&names[from]);
        }
    }
}

/// Stands for an operation that was refused, so that the other problems are still found.
const NOTHING: Operation = Operation::Switch(Switch {
    cases: Vec::new(),
    all: false,
});

#[cfg(test)]
mod tests;
