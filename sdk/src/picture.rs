//! A flow as data and as pictures: JSON, DOT (Graphviz) and Mermaid; and what tells two versions of
//! a flow, or of a node, apart.

mod drawing;
mod json;
mod label;
mod language;

use std::fmt::Write as _;

use serde_json::{Value as Json, json as object};
use sha2::{Digest as _, Sha256};

use crate::duration::format_duration;
use crate::graph::{Flow, Graph, NodeIx};

pub use drawing::{dot, mermaid};

/// The flow as JSON: name, version, timeout, and its graphs.
#[must_use]
pub fn flow_json(flow: &Flow) -> Json {
    let mut json = object!({
        "flow": flow.name().as_str(),
        "version": flow.version().as_str(),
        "timeout": format_duration(flow.timeout()),
        "graph": json::graph(flow.graph()),
    });
    for (key, value) in json::around(flow) {
        json[key] = value;
    }
    json
}

/// A hash of all that is said of a flow but its name.
pub(crate) fn fingerprint(flow: &Flow) -> String {
    let mut text = String::new();
    canonical(&mut text, &json::graph(flow.graph()));
    text.push_str(&format_duration(flow.timeout()));
    let around = json::around(flow);
    if !around.is_empty() {
        canonical(&mut text, &around.into());
    }
    hash(&text)
}

/// A hash of all that is said of a node, its body included, and of its edges by the names that they
/// come from: equal in two versions of a flow where the node is the same, wherever it stands. What
/// comes before it is not looked at.
///
/// # Panics
/// Where `node` is no node of `graph`.
#[must_use]
pub fn node_fingerprint(graph: &Graph, node: NodeIx) -> String {
    let mut text = String::new();
    canonical(&mut text, &json::node(&graph.nodes[node]));
    hash(&text)
}

/// The first 64 bits of a SHA-256, in hexadecimal.
fn hash(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let bytes = hash.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
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
