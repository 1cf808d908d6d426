//! JSON Schema (draft 2020-12) of the YAML notation, for editors and for programs that write flows.
//!
//! Invariant: the reader takes nothing that the schema refuses, but for `null` in the place of what
//! is left out. What needs the whole flow (names of nodes, cycles, jq) the reader alone refuses.

mod action;
mod node;

use serde_json::{Map as Object, Value as Json, json};

use crate::validate::Limits;

/// The schema of a flow: a document of its own, or in a folder of flows.
#[must_use]
pub fn flow_schema() -> Json {
    let mut flow = object(
        json!({
            "flow": { "type": "string", "pattern": NAME, "description": "the flow's name" },
            "timeout": duration("how long a request may take in all; 10m by default"),
            "concurrency": {
                "type": "integer", "minimum": 1, "maximum": Limits::CONCURRENCY_MAX,
                "description": "most requests that a replica drives at once",
            },
            "headers": {
                "type": "array", "items": { "type": "string" }, "maxItems": Limits::HEADERS_MAX,
                "description": "headers of the caller that are recorded",
            },
            "signed": {
                "type": "boolean",
                "description": "whether only signed calls are taken (RFC 9421); false by default",
            },
            "nodes": reference("nodes"),
            "output": name("the node whose value is the output"),
            "on_failure": reference("graph"),
            "finally": reference("graph"),
        }),
        &["flow", "nodes"],
    );
    flow["$defs"] = definitions(false);
    titled(flow, "Turlough flow")
}

/// The schema of a graph that is made at run time; it may name closures by `map`.
#[must_use]
pub fn graph_schema() -> Json {
    let mut graph = graph();
    graph["$defs"] = definitions(true);
    titled(graph, "Turlough graph")
}

fn titled(mut schema: Json, title: &str) -> Json {
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema
}

/// Names of flows and nodes, as `FlowName` and `NodeId` parse them.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]{0,62}$";
const SPAN: &str = r"([0-9]+\.?[0-9]*|\.[0-9]+)(us|ms|s|m|h|d)";

/// What is named more than once. `map`: whether closures may be named.
fn definitions(map: bool) -> Json {
    json!({
        "graph": graph(),
        "nodes": {
            "type": "object", "minProperties": 1,
            "propertyNames": { "pattern": NAME, "not": { "enum": ["input", "item"] } },
            "additionalProperties": reference("node"),
            "description": "the nodes, each under its name",
        },
        "node": node::node(map),
        "after": node::after(),
        "case": node::case(),
        "for_each": node::for_each(),
        "loop": node::again(),
        "wait": node::wait(),
        "retry": node::retry(),
        "action": action::action(map),
        "maker": action::maker(map),
        "text": action::text(None),
        "jq": { "type": ["string", "number", "boolean"], "description": "a jq expression" },
    })
}

fn graph() -> Json {
    let keys = json!({
        "nodes": reference("nodes"),
        "output": name("the node whose value is the output"),
    });
    object(keys, &["nodes"])
}

/// An object of these keys and no others.
fn object(keys: Json, required: &[&str]) -> Json {
    let mut object = json!({ "type": "object", "additionalProperties": false, "properties": keys });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn described(mut schema: Json, description: &str) -> Json {
    schema["description"] = json!(description);
    schema
}

/// A name; YAML takes one of digits for a number.
fn name(description: &str) -> Json {
    json!({ "type": ["string", "integer"], "pattern": NAME, "description": description })
}

fn duration(description: &str) -> Json {
    let pattern = format!("^ *({SPAN})+ *$");
    json!({ "type": "string", "pattern": pattern, "description": description })
}

/// One of these keys, and no two.
fn one_of(keys: &[&str]) -> Json {
    keys.iter()
        .map(|key| json!({ "required": [key] }))
        .collect()
}

/// Keys that go with some of the operations only.
fn goes_with(rules: &[(&str, &[&str])]) -> Json {
    let rule =
        |(key, with): &(&str, &[&str])| ((*key).to_owned(), json!({ "anyOf": one_of(with) }));
    let rules: Object<_, _> = rules.iter().map(rule).collect();
    rules.into()
}
