//! What the version of a flow depends on, and what tells two versions of a node apart.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use insta::assert_snapshot;
use turlough_sdk::{Flow, Graph, Node, Operation, StepError, picture, read_yaml};

use crate::ROUTED;
use crate::everything::EVERYTHING;

pub(crate) fn version(text: &str) -> String {
    read_yaml(text).unwrap().version().to_string()
}

#[test]
fn a_version_stays_the_same_across_runs_and_releases() {
    // Requests in progress hold to the version that they began with: changing this strands them.
    assert_snapshot!(version(ROUTED), @"d121be31af9f407d");
}

#[test]
fn both_notations_of_a_flow_have_one_version() {
    let flow = Flow::builder("f").timeout(std::time::Duration::from_secs(30));
    let n = flow.input::<u32>();
    let call: Node<u32, _, _> = flow.apply("a", &n, "x").header("A", "b");
    let route = flow.switch("route", &call);
    let small: Node<u32, _, _> = flow.pass("small", &route.when(". < 3"), ". + 1");
    flow.pass::<u32, _>("large", &route.otherwise(), ".");
    let built = flow.output(&small).build().unwrap();
    let read = "flow: g\ntimeout: 30s\noutput: small\nnodes:\n  a: { apply: x, headers: { A: b } }\n  \
                route: { after: [a], switch: [{ when: '. < 3', to: small }, { default: large }] }\n  \
                small: { pass: '. + 1' }\n  large: { pass: . }\n";
    assert_eq!(version(read), built.version().as_str());
}

#[test]
fn a_version_differs_by_all_that_matters() {
    let base = "flow: f\noutput: d\nnodes:\n  a: { apply: x }\n  b: { after: [a], switch: [{ when: '.x', to: c }, { when: '.y', to: d }] }\n  c: { pass: . }\n  d: { pass: . }\n  e: { after: [a], for_each: { body: { nodes: { f: { pass: . } } } } }\n";
    assert_eq!(version(base), version(&base.replace("flow: f", "flow: g")));
    let mut versions = vec![version(base)];
    for (from, to) in [
        ("a: { apply: x }", "a: { apply: y }"),
        ("a: { apply: x }", "a: { apply: x, method: GET }"),
        ("a: { apply: x }", "a: { apply: x, path: /p }"),
        ("a: { apply: x }", "a: { apply: x, headers: { A: b } }"),
        ("a: { apply: x }", "a: { apply: x, headers: { A: c } }"),
        (
            "a: { apply: x }",
            "a: { apply: x, content_type: application/msgpack }",
        ),
        ("a: { apply: x }", "a: { apply: x, timeout: 1s }"),
        ("a: { apply: x }", "a: { apply: x, retry: { attempts: 2 } }"),
        (
            "a: { apply: x }",
            "a: { apply: x, retry: { attempts: 2, backoff: 1s } }",
        ),
        ("flow: f", "flow: f\ntimeout: 1s"),
        ("output: d", "output: c"),
        ("output: d\n", ""),
        (
            "'.x', to: c }, { when: '.y', to: d",
            "'.y', to: c }, { when: '.x', to: d",
        ),
        (
            "'.x', to: c }, { when: '.y', to: d",
            "'.x', to: d }, { when: '.y', to: c",
        ),
        ("{ when: '.y', to: d }", "{ default: d }"),
        ("c: { pass: . }", "c: { pass: .. }"),
        ("c: { pass: . }", "c: { after: [a], pass: . }"),
        ("body:", "max_parallel: 3, body:"),
        ("body:", "items: .l, body:"),
        ("f: { pass: . }", "f: { after: [item, a], pass: . }"),
    ] {
        let changed = base.replace(from, to);
        assert_ne!(changed, base, "{from}");
        versions.push(version(&changed));
    }
    let built = |version| {
        let flow = Flow::builder("f");
        let same = |n: u32| -> Result<u32, StepError> { Ok(n) };
        let _ = flow.map("a", &flow.input::<u32>(), same).version(version);
        flow.build().unwrap().version().to_string()
    };
    versions.extend([built(1), built(2)]);
    versions.extend([nested_version(true), nested_version(false)]);
    let mut seen = std::collections::HashSet::new();
    let mut twice = String::new();
    for (ix, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            let _ = write!(twice, "{ix} ");
        }
    }
    assert_eq!(
        twice, "",
        "these changes gave a version that was there before"
    );
}

/// A body that takes the outer item, or its own.
fn nested_version(outer: bool) -> String {
    let flow = Flow::builder("f");
    flow.for_each("a", &flow.input::<Vec<Vec<u32>>>(), |body, list| {
        body.for_each("b", list, |body, item| {
            let same = |n: serde_json::Value| -> Result<_, StepError> { Ok(n) };
            let taken = body.pass::<serde_json::Value, _>("c", item, ".").plain();
            let list = body.pass::<serde_json::Value, _>("d", list, ".").plain();
            body.map("e", if outer { &list } else { &taken }, same)
        })
    });
    flow.build().unwrap().version().to_string()
}

/// The fingerprint of each node, by its name.
fn fingerprints(graph: &Graph, all: &mut BTreeMap<String, String>) {
    for (ix, node) in graph.nodes.iter().enumerate() {
        let fingerprint = picture::node_fingerprint(graph, ix);
        all.insert(node.id.to_string(), fingerprint);
        match &node.operation {
            Operation::ForEach(each) => fingerprints(&each.body, all),
            Operation::Loop(again) => fingerprints(&again.body, all),
            _ => {}
        }
    }
}

/// The version, and the names of the nodes that are not as in `before`.
fn changed(text: &str, before: &BTreeMap<String, String>) -> (String, String) {
    let flow = read_yaml(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut after = BTreeMap::new();
    let graphs = [Some(flow.graph()), flow.on_failure(), flow.finally()];
    for graph in graphs.into_iter().flatten() {
        fingerprints(graph, &mut after);
    }
    let names: Vec<_> = after
        .iter()
        .filter(|(name, print)| before.get(*name) != Some(*print))
        .map(|(name, _)| name.as_str())
        .collect();
    let names = names.join(" ");
    (flow.version().to_string(), names)
}

#[test]
fn every_attribute_tells_versions_and_nodes_apart() {
    let mut before = BTreeMap::new();
    let (version, all) = changed(EVERYTHING, &before);
    for graph in {
        let flow = read_yaml(EVERYTHING).unwrap();
        [
            Some(flow.graph().clone()),
            flow.on_failure().cloned(),
            flow.finally().cloned(),
        ]
    } {
        fingerprints(&graph.unwrap(), &mut before);
    }
    assert_eq!(all.split(' ').count(), before.len());
    assert_eq!(
        changed(EVERYTHING, &before),
        (version.clone(), String::new())
    );
    let mut seen = BTreeMap::from([(version, "")]);
    let mut wrong = String::new();
    for (from, to, nodes) in CHANGES {
        assert_eq!(EVERYTHING.matches(from).count(), 1, "{from}");
        let (version, found) = changed(&EVERYTHING.replace(from, to), &before);
        if found != *nodes {
            let _ = writeln!(wrong, "{from:?} to {to:?} changes {found:?}, not {nodes:?}");
        }
        if let Some(other) = seen.insert(version, to) {
            let _ = writeln!(
                wrong,
                "{from:?} to {to:?} has a version of before: {other:?}"
            );
        }
    }
    assert_eq!(wrong, "");
}

/// What is replaced, by what, and the nodes that are others by it.
const CHANGES: &[(&str, &str, &str)] = &[
    ("timeout: 1m", "timeout: 2m", ""),
    ("concurrency: 2", "concurrency: 3", ""),
    ("headers: [X-A]", "headers: [X-B]", ""),
    ("output: last", "output: one", ""),
    ("apply: x", "apply: y", "call"),
    ("method: PUT", "method: PATCH", "call"),
    ("path: /p", "path: /q", "call"),
    ("path: /p", "path: { jq: .p }", "call"),
    ("q: one", "q: two", "call"),
    ("q: one", "q: { jq: .one }", "call"),
    ("A: b", "A: c", "call"),
    ("content_type: application/msgpack, ", "", "call"),
    ("timeout: 1s", "timeout: 2s", "call"),
    ("attempts: 2", "attempts: 3", "call"),
    ("backoff: 1s..2s", "backoff: 1s..3s", "call"),
    ("on: [timeout]", "on: [transient]", "call"),
    (", on: [timeout]", "", "call"),
    ("when: .w", "when: .v", "call"),
    ("set: { v: .v }", "set: { v: .u }", "call"),
    ("set: { v: .v }", "set: { u: .v }", "call"),
    ("value: 1", "value: 2", "call"),
    ("value: 1", "value: null", "call"),
    ("value: 1", "pass: '1'", "call"),
    ("value: 1", "pass: '1', timeout: 3s", "call"),
    ("value: 1", "apply: x, idempotent: false", "call"),
    ("value: 1", "apply: x, retry: { attempts: 2 }", "call"),
    ("apply: undo", "apply: undo-2", "call"),
    (", idempotent: false }", " }", "once"),
    (", pure: true", "", "trace"),
    (", mode: async", "", "later"),
    ("https://a.example/b", "https://a.example/c", "end"),
    ("https://a.example/b", "http://a.example/b", "end"),
    (", callback: true", "", "end"),
    ("http: { jq: .url }", "http: { jq: .uri }", "computed"),
    ("secret: key", "secret: lock", "computed"),
    ("match: all, ", "", "pick"),
    ("when: .x", "when: .y", "pick"),
    ("transform: .list", "transform: .lists", "each"),
    (", transform: .list", "", "each"),
    ("items: .i", "items: .j", "each"),
    ("max_parallel: 3", "max_parallel: 4", "each"),
    ("errors: collect", "errors: stop", "each"),
    ("aggregate: length", "aggregate: first", "each"),
    ("pass: .e", "pass: .f", "each inner"),
    ("after: [item, once]", "after: [item, later]", "each inner"),
    ("while: .w", "while: .x", "again"),
    ("max_iterations: 3", "max_iterations: 4", "again"),
    ("pass: .s }", "pass: .r }", "again step"),
    ("apply: planner", "apply: planner-2", "made"),
    ("apply: planner", "pass: .plan", "made"),
    ("flow: other", "flow: others", "sub"),
    ("wait: 5m", "wait: 6m", "nap"),
    ("until: .at", "until: .on", "moment"),
    ("signal: go", "signal: gone", "signalled"),
    ("{ node: nap, data: false }", "nap", "last"),
    (
        "{ node: nap, data: false }",
        "{ node: sub, data: false }",
        "last",
    ),
    ("pass: .status", "pass: .error", "told"),
    ("pass: .request", "pass: .flow", "logged"),
];

#[test]
fn closures_tell_versions_apart_by_the_version_that_is_declared() {
    let built = |registered: u32, condition: u32, failed: u32| {
        let same = |n: u32| -> Result<u32, StepError> { Ok(n) };
        let flow = Flow::builder("f").closure_of_version("same", registered, same);
        let n = flow.input::<u32>();
        let route = flow.switch("route", &n).version(condition);
        let case = route.when(|n: &u32| *n > 3);
        flow.map("a", &case, same)
            .fallback_with(|other| other.map(same))
            .version(failed);
        flow.build().unwrap().version().to_string()
    };
    let versions = [
        built(1, 1, 1),
        built(2, 1, 1),
        built(1, 2, 1),
        built(1, 1, 2),
    ];
    let distinct: std::collections::BTreeSet<_> = versions.iter().collect();
    assert_eq!(distinct.len(), 4);
    assert_eq!(built(1, 1, 1), versions[0]);
}
