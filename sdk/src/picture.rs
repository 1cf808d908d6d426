//! A flow as data and as pictures: JSON, DOT (Graphviz) and Mermaid.

use std::fmt::Write as _;

use serde_json::{Value as Json, json as object};

use crate::duration::format_duration;
use crate::graph::{Edge, Flow, Graph, Operation, Output, Source, Vertex};
use crate::retry::Retry;

/// The flow as JSON: name, version, timeout, and its graph.
#[must_use]
pub fn flow_json(flow: &Flow) -> Json {
    object!({
        "flow": flow.name().as_str(),
        "version": flow.version().as_str(),
        "timeout": format_duration(flow.timeout()),
        "graph": json(flow.graph()),
    })
}

/// A graph as JSON. What a flow's version is a hash of; closures stand in it by their version.
pub(crate) fn json(graph: &Graph) -> Json {
    let nodes: Vec<_> = graph
        .nodes
        .iter()
        .map(|node| node_json(graph, node))
        .collect();
    let output = match &graph.output {
        Output::Node(ix) => object!(graph.nodes[*ix].id.as_str()),
        Output::Sinks(sinks) => {
            object!(
                sinks
                    .iter()
                    .map(|ix| graph.nodes[*ix].id.as_str())
                    .collect::<Vec<_>>()
            )
        }
    };
    object!({ "nodes": nodes, "output": output })
}

fn node_json(graph: &Graph, node: &Vertex) -> Json {
    let after: Vec<_> = node
        .edges
        .iter()
        .map(|edge| edge_json(graph, edge))
        .collect();
    let mut json = object!({
        "id": node.id.as_str(),
        "operation": node.operation.name(),
        "after": after,
    });
    let detail = match &node.operation {
        Operation::Apply(apply) => object!({
            "function": apply.function.as_str(),
            "method": apply.method,
            "path": apply.path,
            "headers": apply.headers,
            "msgpack": apply.msgpack,
        }),
        Operation::Map(map) => object!({ "closure_version": map.version }),
        Operation::Pass(expression) => object!({ "jq": expression.source() }),
        Operation::Switch(switch) => {
            let when = |case: &crate::Case| case.when.as_ref().map(|e| e.source().to_owned());
            object!({ "cases": switch.cases.iter().map(when).collect::<Vec<_>>() })
        }
        Operation::ForEach(each) => object!({
            "items": each.items.as_ref().map(|e| e.source().to_owned()),
            "max_parallel": each.parallel_max,
            "body": self::json(&each.body),
        }),
    };
    json["with"] = detail;
    if node.retry != Retry::never() {
        let (min, max) = node.retry.backoff();
        let backoff = format!("{}..{}", format_duration(min), format_duration(max));
        json["retry"] = object!({ "attempts": node.retry.attempts(), "backoff": backoff });
    }
    if let Some(timeout) = node.timeout {
        json["timeout"] = object!(format_duration(timeout));
    }
    json
}

fn edge_json(_graph: &Graph, edge: &Edge) -> Json {
    let mut json = object!({ "from": &*edge.name });
    if let Some(case) = edge.case {
        json["case"] = object!(case);
    }
    if edge.capture {
        json["capture"] = object!(true);
    }
    json
}

/// A picture language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Dot,
    Mermaid,
}

/// The flow in Graphviz's language.
#[must_use]
pub fn dot(flow: &Flow) -> String {
    let mut text = format!(
        "digraph {:?} {{\n  rankdir=LR; node [shape=box];\n",
        flow.name().as_str()
    );
    text.push_str("  input [shape=oval];\n");
    draw(&mut text, flow.graph(), Language::Dot, 1);
    text.push_str("}\n");
    text
}

/// The flow in Mermaid's language, for Markdown.
#[must_use]
pub fn mermaid(flow: &Flow) -> String {
    let mut text = "flowchart LR\n  input([input])\n".to_owned();
    draw(&mut text, flow.graph(), Language::Mermaid, 1);
    text
}

/// Writes the nodes of a graph, bodies as nested boxes, then its edges. Node names are letters,
/// digits, `-` and `_`, unique in the flow; a prefix keeps them apart from the languages' keywords.
fn draw(text: &mut String, graph: &Graph, language: Language, depth: usize) {
    let pad = "  ".repeat(depth);
    for node in &graph.nodes {
        let (id, name) = (node.id.as_str(), node.operation.name());
        let label = match &node.operation {
            Operation::Apply(apply) => format!("{id}: {name} {}", apply.function),
            _ => format!("{id}: {name}"),
        };
        let shape = matches!(node.operation, Operation::Switch(_));
        let _ = match (language, shape) {
            (Language::Dot, true) => {
                writeln!(text, "{pad}\"n_{id}\" [label={label:?},shape=diamond];")
            }
            (Language::Dot, false) => writeln!(text, "{pad}\"n_{id}\" [label={label:?}];"),
            (Language::Mermaid, true) => writeln!(text, "{pad}n_{id}{{\"{label}\"}}"),
            (Language::Mermaid, false) => writeln!(text, "{pad}n_{id}[\"{label}\"]"),
        };
        if let Operation::ForEach(each) = &node.operation {
            let _ = match language {
                Language::Dot => writeln!(
                    text,
                    "{pad}subgraph \"cluster_{id}\" {{ label=\"each {id}\";"
                ),
                Language::Mermaid => writeln!(text, "{pad}subgraph s_{id}[\"each {id}\"]"),
            };
            draw(text, &each.body, language, depth + 1);
            text.push_str(&pad);
            text.push_str(if language == Language::Dot {
                "}\n"
            } else {
                "end\n"
            });
            for (ix, inner) in each.body.nodes.iter().enumerate() {
                if inner.edges.iter().any(|edge| edge.from == Source::Input) {
                    arrow(
                        text,
                        language,
                        &pad,
                        id,
                        each.body.nodes[ix].id.as_str(),
                        Some("item"),
                    );
                }
            }
        }
    }
    for node in &graph.nodes {
        for edge in node.edges.iter().filter(|edge| drawn(edge, depth)) {
            let label = edge.case.map(|case| case_label(graph, edge, case));
            let from = if edge.from == Source::Input {
                ""
            } else {
                &*edge.name
            };
            arrow(
                text,
                language,
                &pad,
                from,
                node.id.as_str(),
                label.as_deref(),
            );
        }
    }
}

/// A body's item edges are drawn from the node that owns the body, captures from where they are used.
fn drawn(edge: &Edge, depth: usize) -> bool {
    !edge.capture && (edge.from != Source::Input || depth == 1)
}

fn case_label(graph: &Graph, edge: &Edge, case: usize) -> String {
    let Source::Node(from) = edge.from else {
        return String::new();
    };
    let Operation::Switch(switch) = &graph.nodes[from].operation else {
        return String::new();
    };
    let when = switch.cases.get(case).and_then(|case| case.when.as_ref());
    when.map_or("default".to_owned(), |expression| {
        expression.source().replace('"', "'")
    })
}

fn arrow(
    text: &mut String,
    language: Language,
    pad: &str,
    from: &str,
    to: &str,
    label: Option<&str>,
) {
    let from = if from.is_empty() {
        "input".to_owned()
    } else {
        format!("n_{from}")
    };
    let _ = match (language, label) {
        (Language::Dot, Some(label)) => {
            writeln!(text, "{pad}\"{from}\" -> \"n_{to}\" [label={label:?}];")
        }
        (Language::Dot, None) => writeln!(text, "{pad}\"{from}\" -> \"n_{to}\";"),
        (Language::Mermaid, Some(label)) => writeln!(text, "{pad}{from} -- \"{label}\" --> n_{to}"),
        (Language::Mermaid, None) => writeln!(text, "{pad}{from} --> n_{to}"),
    };
}
