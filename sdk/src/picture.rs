//! A flow as data and as pictures: JSON, DOT (Graphviz) and Mermaid.

mod drawing;

use std::fmt::Write as _;

use serde_json::{Value as Json, json as object};
use sha2::{Digest as _, Sha256};

use crate::duration::format_duration;
use crate::graph::{Edge, Flow, Formula, Graph, Operation, Output, Text, Vertex};
use crate::retry::Retry;

pub use drawing::{dot, mermaid};

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
fn json(graph: &Graph) -> Json {
    let nodes: Vec<_> = graph.nodes.iter().map(node_json).collect();
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

fn node_json(node: &Vertex) -> Json {
    let after: Vec<_> = node.edges.iter().map(edge_json).collect();
    let mut json = object!({
        "id": node.id.as_str(),
        "operation": node.operation.name(),
        "after": after,
    });
    let detail = match &node.operation {
        Operation::Apply(apply) => object!({
            "function": apply.function.as_str(),
            "method": apply.method,
            "path": text_json(&apply.path),
            "headers": apply.headers.iter().map(|(name, text)| object!([name, text_json(text)])).collect::<Vec<_>>(),
            "msgpack": apply.msgpack,
        }),
        Operation::Map(map) => object!({ "closure_version": map.version }),
        Operation::Pass(expression) => object!({ "jq": expression.source() }),
        Operation::Switch(switch) => {
            let when = |case: &crate::Case| case.when.as_ref().map(formula_json);
            object!({ "cases": switch.cases.iter().map(when).collect::<Vec<_>>() })
        }
        Operation::ForEach(each) => object!({
            "items": each.items.as_ref().map(|e| e.source().to_owned()),
            "max_parallel": each.parallel_max,
            "body": self::json(&each.body),
        }),
        Operation::Http(http) => object!({ "url": text_json(&http.url), "method": http.method }),
        Operation::Loop(again) => object!({
            "while": formula_json(&again.again),
            "max_iterations": again.iterations_max,
            "body": self::json(&again.body),
        }),
        Operation::Expand(expand) => object!({ "by": expand.by.name() }),
        Operation::Flow(name) => object!({ "flow": name.as_str() }),
        Operation::Wait(_) => object!({}),
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

fn text_json(text: &Text) -> Json {
    match text {
        Text::Literal(text) => object!(text),
        Text::Jq(expression) => object!({ "jq": expression.source() }),
        Text::Secret(name) => object!({ "secret": name }),
    }
}

fn formula_json(formula: &Formula) -> Json {
    match formula {
        Formula::Jq(expression) => object!(expression.source()),
        Formula::Closure(map) => object!({ "closure_version": map.version }),
    }
}

fn edge_json(edge: &Edge) -> Json {
    let mut json = object!({ "from": &*edge.name });
    if let Some(case) = edge.case {
        json["case"] = object!(case);
    }
    if edge.capture {
        json["capture"] = object!(true);
    }
    json
}

/// A hash of a flow's graph and time limit: the first 64 bits of a SHA-256, in hexadecimal.
pub(crate) fn fingerprint(flow: &Flow) -> String {
    let mut text = String::new();
    canonical(&mut text, &json(flow.graph()));
    text.push_str(&format_duration(flow.timeout()));
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// JSON with its keys in order, whichever features of its library a build has switched on.
fn canonical(text: &mut String, json: &Json) {
    match json {
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (ix, (key, member)) in members.into_iter().enumerate() {
                let comma = if ix == 0 { "" } else { "," };
                let _ = write!(text, "{comma}\"{key}\":");
                canonical(text, member);
            }
            text.push('}');
        }
        Json::Array(items) => {
            text.push('[');
            for (ix, item) in items.iter().enumerate() {
                text.push_str(if ix == 0 { "" } else { "," });
                canonical(text, item);
            }
            text.push(']');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}
