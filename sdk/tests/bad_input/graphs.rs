//! Graphs that are made at run time.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use turlough_sdk::{FlowError, Graph, Limits, Map, Operation, Output, read_graph};

use crate::same;

fn closures(names: &[&str]) -> BTreeMap<String, Map> {
    let flow = turlough_sdk::Flow::builder("f");
    let n = flow.input::<u32>();
    flow.map("a", &n, same);
    let flow = flow.build().unwrap();
    let Operation::Map(map) = &flow.graph().nodes[0].operation else {
        panic!("no map")
    };
    names
        .iter()
        .map(|name| ((*name).to_owned(), map.clone()))
        .collect()
}

fn read(text: &str) -> Result<Graph, FlowError> {
    read_graph(text, &closures(&["clean", "load"]))
}

#[track_caller]
fn refused(text: &str, told: &str) {
    let begun = Instant::now();
    assert_eq!(read(text).unwrap_err().to_string(), told);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it took {:?}",
        begun.elapsed()
    );
}

#[test]
fn json_and_yaml_give_the_same_graph() {
    for text in [
        r#"{"nodes": {"a": {"map": "clean"}, "b": {"after": ["a"], "apply": "x"}}, "output": "b"}"#,
        "{\n\t\"nodes\": {\n\t\t\"a\": {\"map\": \"clean\"},\n\t\t\"b\": {\"after\": [\"a\"], \"apply\": \"x\"}\n\t},\n\t\"output\": \"b\"\n}",
        "nodes:\n  a: { map: clean }\n  b: { after: [a], apply: x }\noutput: b\n",
    ] {
        let graph = read(text).unwrap();
        assert!(matches!(graph.nodes[0].operation, Operation::Map(_)));
        assert_eq!(graph.output, Output::Node(1));
        assert_eq!(&*graph.nodes[0].edges[0].name, "input");
    }
}

#[test]
fn the_escapes_of_json_are_read() {
    let text = r#"{"nodes": {"a": {"pass": "\"\ud83d\ude00\/\u00e9\""}}}"#;
    let graph = read(text).unwrap();
    let Operation::Pass(jq) = &graph.nodes[0].operation else {
        panic!("no pass")
    };
    assert_eq!(jq.source(), "\"😀/é\"");
}

#[test]
fn an_unknown_closure_is_told_with_the_known_ones() {
    refused(
        r#"{"nodes": {"a": {"map": "cleen"}}}"#,
        "line 1: node a: map \"cleen\" is unknown; write one of clean, load",
    );
    assert_eq!(
        read_graph("nodes: { a: { map: b } }", &BTreeMap::new())
            .unwrap_err()
            .to_string(),
        "line 1: node a: map \"b\" is unknown: the flow registers no closures; write apply",
    );
}

#[test]
fn a_graph_is_no_flow() {
    refused(
        "flow: f\nnodes: { a: { pass: . } }",
        "line 1: flow f: key \"flow\" is unknown; write one of nodes, output",
    );
    refused(
        "",
        "the graph is empty; write nodes: { NAME: { apply: FUNCTION } }",
    );
    refused("null", "line 1: a map is wanted here; write { KEY: VALUE }");
    refused("[]", "line 1: a map is wanted here; write { KEY: VALUE }");
    refused(
        "{}",
        "line 1: nodes is missing; write nodes: { NAME: { apply: FUNCTION } }",
    );
    refused(r#"{"nodes": {}}"#, "there are no nodes; write at least one");
    refused(
        r#"{"nodes": {"a": {"after": ["extract"], "pass": "."}}}"#,
        "line 1: node a: it comes after \"extract\", which is no node; write one of a",
    );
    for garbage in [
        "\0",
        "\u{feff}",
        "%PDF-1.4",
        "{{{{",
        "<html>",
        "nodes",
        "!!python/object:os.system [ls]",
    ] {
        assert!(read(garbage).is_err(), "{garbage:?}");
    }
}

#[test]
fn a_graph_that_is_too_large_is_refused_at_once() {
    refused(
        &" ".repeat(Limits::GRAPH_BYTES_MAX + 1),
        "393217 bytes, limit 393216; expand in steps",
    );
    let mut million = "{\"nodes\":{".to_owned();
    for n in 0..1_000_000 {
        let _ = write!(million, "\"{n}\":{{\"pass\":\".\"}},");
    }
    refused(
        &format!("{}}}}}", million.trim_end_matches(',')),
        "21888901 bytes, limit 393216; expand in steps",
    );
    let mut most = "nodes:\n".to_owned();
    for n in 0..=Limits::NODES_MAX {
        let _ = writeln!(most, " {n}: {{pass: .}}");
    }
    refused(
        &most,
        "20001 nodes, limit 20000; split the flow, or use for_each",
    );
}

#[test]
fn a_hostile_graph_is_refused_at_once() {
    refused(
        "nodes:\n  a: { after: [b], pass: . }\n  b: { after: [a], pass: . }\n",
        "line 3: node b: cycle b → a → b; take one of these edges out",
    );
    let mut cycle = "nodes:\n  n0: {after: [n8999],pass: .}\n".to_owned();
    for n in 1..9_000 {
        let _ = writeln!(cycle, "  n{n}: {{after: [n{}],pass: .}}", n - 1);
    }
    let told = read(&cycle).unwrap_err().to_string();
    assert!(
        told.contains("cycle n") && told.contains(" → … → "),
        "{told}"
    );
    let mut bomb = "x: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..40 {
        let all = vec![format!("*a{}", n - 1); 10].join(", ");
        let _ = writeln!(bomb, "x{n}: &a{n} [{all}]");
    }
    refused(
        &format!("nodes: {{ a: {{ pass: . }} }}\n{bomb}"),
        "line 2: key \"x\" is unknown; write one of nodes, output",
    );
    let mut bomb = "nodes:\n  a:\n    apply: x\n    fallback:\n      value:\n        x: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..40 {
        let all = vec![format!("*a{}", n - 1); 10].join(", ");
        let _ = writeln!(bomb, "        x{n}: &a{n} [{all}]");
    }
    refused(
        &bomb,
        "line 9: aliases unfold to too much; write it out, or split the flow",
    );
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!(
            "{{\"nodes\":{}1{}}}",
            open.repeat(60_000),
            close.repeat(60_000)
        );
        assert!(read(&deep).is_err());
        let deep = format!(
            "{{\"nodes\":{{\"a\":{{\"apply\":\"x\",\"fallback\":{{\"value\":{}1{}}}}}}}}}",
            open.repeat(60_000),
            close.repeat(60_000)
        );
        refused(
            &deep,
            "line 1: the YAML is nested too deeply or too large; flatten or split it",
        );
    }
}
