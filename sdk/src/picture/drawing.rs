//! Boxes and arrows: nodes, bodies as nested boxes, and the edges between them.

use std::fmt::Write as _;

use super::label;
use super::language::{Dot, End, Language, Mermaid};
use crate::graph::{Edge, Flow, Graph, Operation, Source, Vertex};

/// The flow in Graphviz's language.
#[must_use]
pub fn dot(flow: &Flow) -> String {
    let mut drawing = Drawing::new(&Dot);
    drawing.text = format!(
        "digraph \"{}\" {{\n  rankdir=LR; node [shape=box];\n",
        flow.name()
    );
    drawing.flow(flow);
    drawing.text + &drawing.arrows + "}\n"
}

/// The flow in Mermaid's language, for Markdown.
#[must_use]
pub fn mermaid(flow: &Flow) -> String {
    let mut drawing = Drawing::new(&Mermaid);
    drawing.text = "flowchart LR\n".to_owned();
    drawing.flow(flow);
    drawing.text + &drawing.arrows
}

struct Drawing<'a> {
    language: &'a dyn Language,
    text: String,
    /// Written last, outside all boxes: an arrow inside a box would pull both its ends into it.
    arrows: String,
}

/// What a graph is given: of a body, by the node that owns it.
#[derive(Clone, Copy)]
struct Given<'a> {
    /// The input of the outermost graph.
    input: &'a str,
    owner: Option<(&'a str, &'a str)>,
}

impl<'a> Drawing<'a> {
    fn new(language: &'a dyn Language) -> Self {
        Self {
            language,
            text: String::new(),
            arrows: String::new(),
        }
    }

    fn line(&mut self, depth: usize, line: &str) {
        let _ = writeln!(self.text, "{:1$}{line}", "", depth * 2);
    }

    fn flow(&mut self, flow: &Flow) {
        let input = self.language.input("input");
        self.line(1, &input);
        let given = |input| Given { input, owner: None };
        self.graph(flow.graph(), given("input"), 1);
        let unwinding = [
            ("on_failure", "on failure", flow.on_failure()),
            ("finally", "finally", flow.finally()),
        ];
        for (id, label, graph) in unwinding {
            if let Some(graph) = graph {
                let input = self.language.input(id);
                self.line(1, &input);
                // No node's name holds a dot.
                self.boxed(&format!(".{id}"), label, graph, given(id), 1);
            }
        }
    }

    fn boxed(&mut self, id: &str, label: &str, graph: &Graph, given: Given<'_>, depth: usize) {
        let open = self.language.open(id, label);
        self.line(depth, &open);
        self.graph(graph, given, depth + 1);
        let close = self.language.close();
        self.line(depth, close);
    }

    /// The nodes of a graph, bodies as nested boxes, and its edges. An item comes from the node
    /// that owns the body, a captured value from its source straight to where it is used.
    fn graph(&mut self, graph: &Graph, given: Given<'_>, depth: usize) {
        for node in &graph.nodes {
            self.node(node, given, depth);
        }
        for node in &graph.nodes {
            for edge in node.edges.iter().filter(|edge| !edge.capture) {
                let (from, what) = match (edge.from, given.owner) {
                    (Source::Input, Some((owner, item))) => (End::Node(owner), Some(item)),
                    (Source::Input, None) => (End::Input(given.input), None),
                    _ if &*edge.name == "input" => (End::Input(given.input), None),
                    _ => (End::Node(&edge.name), None),
                };
                let label = edge_label(graph, edge, what);
                let to = node.id.as_str();
                let arrow = self.language.arrow(from, to, label.as_deref(), edge.data);
                let _ = writeln!(self.arrows, "  {arrow}");
            }
        }
    }

    fn node(&mut self, node: &Vertex, given: Given<'_>, depth: usize) {
        let id = node.id.as_str();
        let choice = matches!(node.operation, Operation::Switch(_));
        let drawn = self.language.node(id, &label::node(node), choice);
        self.line(depth, &drawn);
        let (word, item, body) = match &node.operation {
            Operation::ForEach(each) => ("each", "item", &each.body),
            Operation::Loop(again) => ("repeat", "state", &again.body),
            _ => return,
        };
        let owner = Some((id, item));
        let given = Given { owner, ..given };
        self.boxed(id, &format!("{word} {id}"), body, given, depth);
    }
}

/// What the edge brings, on which case, and what is made of it.
fn edge_label(graph: &Graph, edge: &Edge, what: Option<&str>) -> Option<String> {
    let transform = edge.transform.as_ref();
    let parts = [
        what.map(str::to_owned),
        case_label(graph, edge),
        transform.map(|formula| format!("via {}", label::formula(formula))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| label::line(&parts.join(", ")))
}

fn case_label(graph: &Graph, edge: &Edge) -> Option<String> {
    let (case, Source::Node(from)) = (edge.case?, edge.from) else {
        return None;
    };
    let Operation::Switch(switch) = &graph.nodes[from].operation else {
        return None;
    };
    let when = switch.cases.get(case).and_then(|case| case.when.as_ref());
    Some(when.map_or_else(|| "default".to_owned(), label::formula))
}
