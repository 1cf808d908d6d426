//! From a draft to a flow: every reference resolved, every expression compiled, every limit kept.
//!
//! Invariants: time linear in nodes + edges (the visits are counted, and a test holds them to it);
//! all problems of a draft are found in one go.

mod cycle;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::draft::{
    DraftApply, DraftEdge, DraftFlow, DraftGraph, DraftNode, DraftOperation, DraftSource,
};
use crate::duration::{DURATION_MAX, format_duration};
use crate::error::{FlowError, Problem};
use crate::expression::Expression;
use crate::graph::{
    Apply, Case, Edge, Flow, FlowVersion, ForEach, Graph, NodeIx, Operation, Output, Source,
    Switch, Vertex,
};
use crate::ids::NodeId;
use crate::picture;
use crate::retry::Retry;

/// Bounds on a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits;

impl Limits {
    /// Most nodes in a flow, bodies included: twice the longest chain that is tested.
    pub const NODES_MAX: usize = 20_000;
    /// Most edges in a flow, bodies included: ten for each node.
    pub const EDGES_MAX: usize = 200_000;
    /// Deepest nesting of bodies.
    pub const DEPTH_MAX: usize = 8;
    /// Most cases of one switch.
    pub const CASES_MAX: usize = 1_000;
    /// Most items of a `for_each` in progress at once, and the default.
    pub const PARALLEL_MAX: usize = 10_000;
    /// Items in progress at once where the flow does not say.
    pub const PARALLEL_DEFAULT: usize = 64;
    /// How long a request may take where the flow does not say.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
}

/// Words that name a graph's input and cannot name a node.
const RESERVED: [&str; 2] = ["input", "item"];

/// Validates a draft. The second number is how many nodes and edges were visited.
pub(crate) fn validate(draft: DraftFlow) -> (Result<Flow, FlowError>, u64) {
    let mut check = Check {
        file: draft.file,
        flow: draft.name.clone(),
        problems: Vec::new(),
        names: HashSet::new(),
        scopes: Vec::new(),
        nodes: 0,
        edges: 0,
        visits: 0,
    };
    let name = draft.name.parse().map_err(|error: crate::IdError| {
        check.problem(None, None, error.to_string());
    });
    let timeout = draft.timeout.unwrap_or(Limits::TIMEOUT_DEFAULT);
    check.duration(None, None, "timeout", Some(timeout));
    let (graph, _) = check.graph(draft.graph, 0);
    let visits = check.visits;
    let (Ok(name), true) = (name, check.problems.is_empty()) else {
        return (Err(FlowError::new(check.problems)), visits);
    };
    let described = picture::json(&graph).to_string() + &format_duration(timeout);
    let hash = Sha256::digest(described.as_bytes());
    let hash: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let version = FlowVersion(Arc::from(hash));
    (
        Ok(Flow {
            name,
            version,
            timeout,
            graph: Arc::new(graph),
        }),
        visits,
    )
}

struct Check {
    file: Option<String>,
    flow: String,
    problems: Vec<Problem>,
    /// Names of all nodes so far: they are unique in the whole flow, bodies included.
    names: HashSet<String>,
    /// For each open graph, outermost first, where its nodes stand.
    scopes: Vec<HashMap<String, NodeIx>>,
    nodes: usize,
    edges: usize,
    visits: u64,
}

/// What a body takes from outside: each becomes an edge of the node that owns the body.
struct Captures {
    first: usize,
    list: Vec<DraftEdge>,
    index: HashMap<DraftEdge, usize>,
}

impl Captures {
    fn edge(&mut self, edge: &DraftEdge) -> usize {
        let next = self.first + self.list.len();
        *self.index.entry(edge.clone()).or_insert_with(|| {
            self.list.push(edge.clone());
            next
        })
    }
}

impl Check {
    fn problem(&mut self, line: Option<u64>, node: Option<&str>, message: String) {
        self.problems.push(Problem {
            file: self.file.clone(),
            line,
            flow: self.flow.clone(),
            node: node.map(str::to_owned),
            message,
        });
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
            let output = Output::Sinks(Vec::new());
            return (
                Graph {
                    nodes: Vec::new(),
                    successors: Vec::new(),
                    output,
                },
                Vec::new(),
            );
        }
        self.scopes.push(HashMap::with_capacity(draft.nodes.len()));
        for (ix, node) in draft.nodes.iter().enumerate() {
            self.declare(ix, node, depth);
        }
        let lines: Vec<_> = draft.nodes.iter().map(|node| node.line).collect();
        let mut nodes = Vec::with_capacity(draft.nodes.len());
        for node in draft.nodes {
            let vertex = self.vertex(node, depth, &mut captures);
            nodes.push(vertex);
        }
        let successors = self.successors(&nodes);
        self.refuse_cycles(&nodes, &successors, &lines);
        let output = self.output(draft.output.as_deref(), &successors);
        self.scopes.pop();
        (
            Graph {
                nodes,
                successors,
                output,
            },
            captures.list,
        )
    }

    fn admit(&mut self, draft: &DraftGraph, depth: usize) -> bool {
        let before = self.problems.len();
        self.nodes += draft.nodes.len();
        if draft.nodes.is_empty() {
            self.problem(
                None,
                None,
                "a graph has no nodes; write at least one".to_owned(),
            );
        }
        if self.nodes > Limits::NODES_MAX {
            let (found, limit) = (self.nodes, Limits::NODES_MAX);
            let text = format!("{found} nodes, limit {limit}; split the flow, or use for_each");
            self.problem(None, None, text);
        }
        if depth > Limits::DEPTH_MAX {
            let limit = Limits::DEPTH_MAX;
            self.problem(
                None,
                None,
                format!("bodies are nested deeper than {limit}; flatten them"),
            );
        }
        self.problems.len() == before
    }

    fn declare(&mut self, ix: NodeIx, node: &DraftNode, depth: usize) {
        self.visits += 1;
        if let Err(error) = node.id.parse::<NodeId>() {
            self.problem(node.line, Some(&node.id), error.to_string());
        } else if RESERVED.contains(&node.id.as_str()) {
            let text = "the name stands for a graph's input; choose another".to_owned();
            self.problem(node.line, Some(&node.id), text);
        } else if !self.names.insert(node.id.clone()) {
            let text = "the name is used twice in the flow; names are unique, bodies included";
            self.problem(node.line, Some(&node.id), text.to_owned());
        }
        self.scopes[depth].insert(node.id.clone(), ix);
    }

    fn vertex(&mut self, draft: DraftNode, depth: usize, captures: &mut Captures) -> Vertex {
        let DraftNode {
            id,
            line,
            operation,
            mut edges,
            retry,
            timeout,
        } = draft;
        if edges.is_empty() {
            edges.push(DraftEdge {
                from: DraftSource::Input(depth),
                case: None,
            });
        }
        self.refuse_repeats(&id, line, &edges);
        let own = edges.len();
        let operation = self.operation(operation, &id, line, &mut edges);
        self.edges += edges.len();
        if self.edges > Limits::EDGES_MAX && self.edges - edges.len() <= Limits::EDGES_MAX {
            let text = format!("over {} edges; join them in steps", Limits::EDGES_MAX);
            self.problem(line, Some(&id), text);
        }
        let edges = edges
            .iter()
            .enumerate()
            .map(|(ix, edge)| self.edge(edge, &id, line, depth, captures, ix >= own))
            .collect();
        self.duration(line, Some(&id), "timeout", timeout);
        let retry = retry.unwrap_or(Retry::never());
        if let Some(text) = retry.problem() {
            self.problem(line, Some(&id), text);
        }
        let id = id.parse().unwrap_or_else(|_| placeholder());
        Vertex {
            id,
            operation,
            edges,
            retry,
            timeout,
        }
    }

    fn edge(
        &mut self,
        draft: &DraftEdge,
        node: &str,
        line: Option<u64>,
        depth: usize,
        captures: &mut Captures,
        capture: bool,
    ) -> Edge {
        self.visits += 1;
        let local = match &draft.from {
            DraftSource::Input(from) if *from == depth => Some(Source::Input),
            DraftSource::Input(_) => None,
            DraftSource::Node(name) => self.scopes[depth].get(name).copied().map(Source::Node),
        };
        let outside = match &draft.from {
            DraftSource::Input(from) => *from < depth,
            DraftSource::Node(name) => self.scopes[..depth].iter().any(|s| s.contains_key(name)),
        };
        let name = match &draft.from {
            DraftSource::Input(0) => "input",
            DraftSource::Input(_) => "item",
            DraftSource::Node(name) => name,
        };
        if name == node {
            let text = "it comes after itself; take the edge out".to_owned();
            self.problem(line, Some(node), text);
        }
        let from = match local {
            Some(from) => from,
            None if outside => Source::Outer(captures.edge(draft)),
            None => {
                let known = self.known_names(depth);
                let text =
                    format!("it comes after {name:?}, which is no node; write one of {known}");
                self.problem(line, Some(node), text);
                Source::Input
            }
        };
        Edge {
            from,
            case: draft.case,
            name: Arc::from(name),
            capture,
        }
    }

    fn known_names(&self, depth: usize) -> String {
        let mut names: Vec<_> = self.scopes[depth].keys().map(String::as_str).collect();
        names.sort_unstable();
        let more = if names.len() > 8 { ", …" } else { "" };
        names.truncate(8);
        names.join(", ") + more
    }

    fn refuse_repeats(&mut self, id: &str, line: Option<u64>, edges: &[DraftEdge]) {
        let mut seen: HashMap<&DraftSource, Option<usize>> = HashMap::new();
        for edge in edges {
            let earlier = seen.insert(&edge.from, edge.case);
            if earlier
                .is_some_and(|case| case.is_none() || edge.case.is_none() || case == edge.case)
            {
                let text = format!("it comes twice after {:?}; write it once", edge.from.text());
                self.problem(line, Some(id), text);
            }
        }
    }

    fn operation(
        &mut self,
        draft: DraftOperation,
        id: &str,
        line: Option<u64>,
        edges: &mut Vec<DraftEdge>,
    ) -> Operation {
        match draft {
            DraftOperation::Apply(apply) => self.apply(apply, id, line),
            DraftOperation::Map(map) => Operation::Map(map),
            DraftOperation::Pass(text) => match self.expression(&text, id, line) {
                Some(expression) => Operation::Pass(expression),
                None => Operation::Switch(Switch { cases: Vec::new() }),
            },
            DraftOperation::Switch(cases) => self.switch(cases, id, line),
            DraftOperation::ForEach {
                items,
                body,
                parallel_max,
            } => {
                let items = items.and_then(|text| self.expression(&text, id, line));
                let parallel_max = parallel_max.unwrap_or(Limits::PARALLEL_DEFAULT);
                if parallel_max == 0 || parallel_max > Limits::PARALLEL_MAX {
                    let limit = Limits::PARALLEL_MAX;
                    let text = format!("max_parallel is {parallel_max}; write 1 to {limit}");
                    self.problem(line, Some(id), text);
                }
                let (body, captures) = self.graph(body, edges.len());
                edges.extend(captures);
                Operation::ForEach(ForEach {
                    items,
                    body: Arc::new(body),
                    parallel_max,
                })
            }
        }
    }

    fn expression(&mut self, text: &str, id: &str, line: Option<u64>) -> Option<Expression> {
        let compiled = Expression::compile(text);
        compiled
            .map_err(|error| self.problem(line, Some(id), error.to_string()))
            .ok()
    }

    fn switch(&mut self, cases: Vec<Option<String>>, id: &str, line: Option<u64>) -> Operation {
        if cases.is_empty() || cases.len() > Limits::CASES_MAX {
            let (found, limit) = (cases.len(), Limits::CASES_MAX);
            self.problem(
                line,
                Some(id),
                format!("switch has {found} cases; write 1 to {limit}"),
            );
        }
        let last = cases.len().saturating_sub(1);
        let mut compiled = Vec::with_capacity(cases.len());
        for (ix, case) in cases.into_iter().enumerate() {
            if case.is_none() && ix != last {
                let text = "the default stands before other cases; write it last".to_owned();
                self.problem(line, Some(id), text);
            }
            let when = case.and_then(|text| self.expression(&text, id, line));
            compiled.push(Case { when });
        }
        Operation::Switch(Switch { cases: compiled })
    }

    fn apply(&mut self, draft: DraftApply, id: &str, line: Option<u64>) -> Operation {
        let function = draft.function.parse().map_err(|error: crate::IdError| {
            self.problem(line, Some(id), error.to_string());
        });
        let method = draft.method.unwrap_or_else(|| "POST".to_owned());
        if !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method.as_str())
        {
            let text =
                format!("method {method:?} is unknown; write POST, GET, PUT, PATCH or DELETE");
            self.problem(line, Some(id), text);
        }
        let path = draft.path.unwrap_or_default();
        let clean = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !clean || !(path.is_empty() || path.starts_with(['/', '?'])) {
            let text = format!("path {path:?} is no URL path; begin it with / or ?, and escape it");
            self.problem(line, Some(id), text);
        }
        for (name, value) in &draft.headers {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            let shown = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
            if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(shown) {
                let text = format!("header {name:?} is not one line of plain text; mend it");
                self.problem(line, Some(id), text);
            }
        }
        let content_type = draft.content_type.as_deref();
        if !matches!(
            content_type,
            None | Some("application/json" | "application/msgpack")
        ) {
            let found = content_type.unwrap_or_default();
            let text = format!(
                "content_type {found:?} is unknown; write application/json or application/msgpack"
            );
            self.problem(line, Some(id), text);
        }
        let msgpack = content_type == Some("application/msgpack");
        match function {
            Ok(function) => Operation::Apply(Apply {
                function,
                method,
                path,
                headers: draft.headers,
                msgpack,
            }),
            Err(()) => Operation::Switch(Switch { cases: Vec::new() }),
        }
    }

    fn duration(
        &mut self,
        line: Option<u64>,
        node: Option<&str>,
        what: &str,
        found: Option<Duration>,
    ) {
        let Some(found) = found else { return };
        if found.is_zero() || found > DURATION_MAX {
            let text = format!("{what} is {}; write 1us to 366d", format_duration(found));
            self.problem(line, node, text);
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
        let found = cycle::find(nodes, successors, &mut self.visits);
        let Some(cycle) = found.filter(|cycle| cycle.len() > 1) else {
            return; // none, or a self-edge, already told
        };
        let names: Vec<_> = cycle.iter().map(|ix| nodes[*ix].id.as_str()).collect();
        let more = if names.len() > 12 { " → …" } else { "" };
        let path = names[..names.len().min(12)].join(" → ");
        let text = format!(
            "cycle {path}{more} → {}; take one of these edges out",
            names[0]
        );
        self.problem(lines[cycle[0]], Some(names[0]), text);
    }

    fn output(&mut self, named: Option<&str>, successors: &[Vec<(NodeIx, usize)>]) -> Output {
        let depth = self.scopes.len() - 1;
        if let Some(name) = named {
            if let Some(ix) = self.scopes[depth].get(name) {
                return Output::Node(*ix);
            }
            let known = self.known_names(depth);
            let text = format!("output is {name:?}, which is no node; write one of {known}");
            self.problem(None, None, text);
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
