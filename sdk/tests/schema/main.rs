//! The schema of the notation takes what the reader takes, and names the keys that it names.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod checker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use turlough_sdk::schema::{flow_schema, graph_schema};
use turlough_sdk::{read_graph, read_yaml};

fn json(yaml: &str) -> Json {
    serde_saphyr::from_str(yaml).unwrap()
}

fn refusal(yaml: &str) -> Option<String> {
    let schema = flow_schema();
    checker::refusal(&schema, &schema, &json(yaml))
}

#[test]
fn the_schema_is_as_it_is_published() {
    let published: Json = serde_json::from_str(include_str!("../golden/flow.schema.json")).unwrap();
    assert!(flow_schema() == published, "publish\n{:#}", flow_schema());
}

/// The YAML flows below a folder: files, and what stands in documents.
fn flows(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                flows(&path, found);
            }
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let is_flow = |text: &str| text.lines().any(|line| line.starts_with("flow: "));
        if name.ends_with(".yaml") || name.ends_with(".yml") {
            found.extend(is_flow(&text).then_some(text));
        } else if name.ends_with(".md") {
            let blocks = text.split("```yaml\n").skip(1);
            let blocks = blocks.filter_map(|block| block.split_once("```"));
            found.extend(
                blocks
                    .filter(|(flow, _)| is_flow(flow))
                    .map(|(flow, _)| flow.to_owned()),
            );
        }
    }
}

#[test]
fn every_flow_of_the_repository_holds() {
    let mut found = Vec::new();
    flows(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        &mut found,
    );
    assert!(found.len() >= 4, "{}", found.len());
    for text in found {
        read_yaml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(refusal(&text), None, "{text}");
    }
}

/// Nodes that the reader takes.
const GOOD: &[&str] = &[
    "{ apply: 1 }",
    "{ apply: x.y, method: OPTIONS, path: '', mode: sync }",
    "{ apply: x, path: '?a=1', query: { n: 1, b: true, s: { secret: k } } }",
    "{ http: HTTPS://a.example, method: HEAD, callback: false }",
    "{ pass: 1 }",
    "{ pass: true, set: { _a: .b } }",
    "{ apply: x, timeout: 1h30m, retry: { attempts: 1000, backoff: 1.5s } }",
    "{ apply: x, retry: { attempts: 2, backoff: '1s .. 2s', on: [transient, timeout, panic, unanswered] } }",
    "{ apply: x, fallback: { value: null } }",
    "{ apply: x, fallback: { value: { a: [1] } } }",
    "{ apply: x, fallback: { http: 'https://a.example', method: GET, timeout: 1s } }",
    "{ apply: x, compensate: { pass: ., retry: { attempts: 2 } } }",
    "{ wait: 5m }",
    "{ wait: { until: . } }",
    "{ wait: { signal: go }, timeout: 1d }",
    "{ expand: { apply: x, method: GET }, retry: { attempts: 2 } }",
    "{ flow: other, idempotent: false }",
    "{ for_each: { body: { nodes: { b: { pass: . } } } }, after: [{ node: input }] }",
    "{ loop: { while: ., max_iterations: 100000, body: { nodes: { b: { pass: . } }, output: b } } }",
];

#[test]
fn what_the_reader_takes_holds() {
    for node in GOOD {
        let text = format!("flow: f\nnodes:\n  a: {node}\n");
        read_yaml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(refusal(&text), None, "{text}");
    }
}

/// What the reader refuses, and the schema too.
const BAD: &[&str] = &[
    "nodes: { a: { pass: . } }",
    "flow: f",
    "flow: f\nnodes: {}",
    "flow: a b\nnodes: { a: { pass: . } }",
    "flow: f\nnodes: { a b: { pass: . } }",
    "flow: f\nnodes: { item: { pass: . } }",
    "flow: f\nnodes: { a: { pass: . } }\nnode: {}",
    "flow: f\nnodes: { a: { pass: . } }\nconcurrency: 0",
    "flow: f\nnodes: { a: { pass: . } }\nheaders: X-A",
    "flow: f\nnodes: { a: { pass: . } }\nfinally: { pass: . }",
    "flow: f\nnodes: { a: {} }",
    "flow: f\nnodes: { a: { pass: ., apply: x } }",
    "flow: f\nnodes: { a: { map: x } }",
    "flow: f\nnodes: { a: { aply: x } }",
    "flow: f\nnodes: { a: { apply: X_Y } }",
    "flow: f\nnodes: { a: { apply: x, method: get } }",
    "flow: f\nnodes: { a: { apply: x, path: p } }",
    "flow: f\nnodes: { a: { apply: x, path: { jq: ., secret: x } } }",
    "flow: f\nnodes: { a: { apply: x, mode: later } }",
    "flow: f\nnodes: { a: { apply: x, callback: true } }",
    "flow: f\nnodes: { a: { apply: x, content_type: text/plain } }",
    "flow: f\nnodes: { a: { http: ftp://a.example, method: GET } }",
    "flow: f\nnodes: { a: { pass: ., path: /p } }",
    "flow: f\nnodes: { a: { pass: [1] } }",
    "flow: f\nnodes: { a: { pass: ., match: all } }",
    "flow: f\nnodes: { a: { pass: ., after: b } }",
    "flow: f\nnodes: { a: { pass: ., after: [{ data: false }] } }",
    "flow: f\nnodes: { a: { pass: ., timeout: 5 } }",
    "flow: f\nnodes: { a: { pass: ., timeout: 5 parsecs } }",
    "flow: f\nnodes: { a: { apply: x, retry: 3 } }",
    "flow: f\nnodes: { a: { apply: x, retry: { attempts: 0 } } }",
    "flow: f\nnodes: { a: { apply: x, retry: { attempts: 2, backoff: fast } } }",
    "flow: f\nnodes: { a: { apply: x, retry: { attempts: 2, on: [permanent] } } }",
    "flow: f\nnodes: { a: { apply: x, idempotent: maybe } }",
    "flow: f\nnodes: { a: { apply: x, fallback: 1 } }",
    "flow: f\nnodes: { a: { apply: x, fallback: { value: 1, apply: y } } }",
    "flow: f\nnodes: { a: { apply: x, compensate: { value: 1 } } }",
    "flow: f\nnodes: { a: { apply: x, set: { a-b: . } } }",
    "flow: f\nnodes: { a: { switch: [] } }",
    "flow: f\nnodes: { a: { switch: [{ when: . }] } }",
    "flow: f\nnodes: { a: { switch: [{ when: ., default: a }] } }",
    "flow: f\nnodes: { a: { for_each: {} } }",
    "flow: f\nnodes: { a: { for_each: { errors: skip, body: { nodes: { b: { pass: . } } } } } }",
    "flow: f\nnodes: { a: { for_each: { max_parallel: 10001, body: { nodes: { b: { pass: . } } } } } }",
    "flow: f\nnodes: { a: { loop: { while: ., body: { nodes: { b: { pass: . } } } } } }",
    "flow: f\nnodes: { a: { expand: { flow: b } } }",
    "flow: f\nnodes: { a: { expand: { http: 'https://a.example', method: GET } } }",
    "flow: f\nnodes: { a: { expand: { apply: x, timeout: 1s } } }",
    "flow: f\nnodes: { a: { wait: { signal: a, until: . } } }",
    "flow: f\nnodes: { a: { wait: tomorrow } }",
];

#[test]
fn what_the_reader_refuses_by_its_shape_does_not_hold() {
    for text in BAD {
        assert!(read_yaml(text).is_err(), "the reader takes {text}");
        assert!(refusal(text).is_some(), "the schema takes {text}");
    }
}

/// The keys that a schema names, in all its shapes.
fn keys(schema: &Json, of: &Json, found: &mut BTreeSet<String>) {
    if let Some(name) = of["$ref"].as_str() {
        keys(schema, schema.pointer(&name[1..]).unwrap(), found);
    }
    found.extend(
        of["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone()),
    );
    for shape in of["anyOf"].as_array().into_iter().flatten() {
        keys(schema, shape, found);
    }
}

#[test]
fn the_keys_of_the_schema_are_those_of_the_reader() {
    let schema = graph_schema();
    let root = ("", "{ zz: 1 }");
    for (place, text) in [
        root,
        ("/$defs/node", "nodes: { a: { zz: 1 } }"),
        ("/$defs/after", "nodes: { a: { after: [{ zz: 1 }] } }"),
        ("/$defs/text", "nodes: { a: { path: { zz: 1 } } }"),
        ("/$defs/case", "nodes: { a: { switch: [{ zz: 1 }] } }"),
        ("/$defs/for_each", "nodes: { a: { for_each: { zz: 1 } } }"),
        ("/$defs/loop", "nodes: { a: { loop: { zz: 1 } } }"),
        ("/$defs/wait", "nodes: { a: { wait: { zz: 1 } } }"),
        ("/$defs/retry", "nodes: { a: { retry: { zz: 1 } } }"),
        (
            "/$defs/node/properties/fallback",
            "nodes: { a: { fallback: { zz: 1 } } }",
        ),
    ] {
        let told = read_graph(text, &BTreeMap::new()).unwrap_err().to_string();
        let (_, known) = told
            .split_once("write one of ")
            .unwrap_or_else(|| panic!("{told}"));
        let known: BTreeSet<_> = known.split(", ").map(str::to_owned).collect();
        let mut found = BTreeSet::new();
        keys(&schema, schema.pointer(place).unwrap(), &mut found);
        assert_eq!(found, known, "{place}");
    }
    let flow = flow_schema();
    let told = read_yaml("zz: 1").unwrap_err().to_string();
    let (_, known) = told.split_once("write one of ").unwrap();
    let mut found = BTreeSet::new();
    keys(&flow, &flow, &mut found);
    assert_eq!(found, known.split(", ").map(str::to_owned).collect());
}

#[test]
fn a_graph_made_at_run_time_may_name_closures() {
    let schema = graph_schema();
    let graph = json("nodes: { a: { map: double, fallback: { map: same } } }\noutput: a");
    assert_eq!(checker::refusal(&schema, &schema, &graph), None);
    assert!(checker::refusal(&schema, &schema, &json("flow: f")).is_some());
}
