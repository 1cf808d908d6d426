//! What is read is what was written: every operation and attribute of the notation.

use std::collections::BTreeMap;

use super::*;
use crate::closure::Cause;
use crate::graph::{Fallback, Formula, Operation, Text, Vertex, Wait};

#[track_caller]
fn flow(text: &str) -> Flow {
    read_yaml(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The one node of a flow.
#[track_caller]
fn vertex(node: &str) -> Vertex {
    let flow = flow(&format!("flow: f\nnodes:\n  a: {node}\n"));
    let Flow { graph, .. } = flow;
    let mut graph = std::sync::Arc::into_inner(graph).unwrap();
    graph.nodes.remove(0)
}

fn literal(text: &str) -> Text {
    Text::Literal(text.to_owned())
}

fn shown(text: &Text) -> String {
    match text {
        Text::Literal(text) => text.clone(),
        Text::Jq(jq) => format!("jq {}", jq.source()),
        Text::Secret(name) => format!("secret {name}"),
    }
}

fn jq(formula: Option<&Formula>) -> &str {
    match formula {
        Some(Formula::Jq(jq)) => jq.source(),
        other => panic!("no jq: {other:?}"),
    }
}

#[test]
fn what_a_function_is_told_of_by_reference_is_not_read_here() {
    let node = vertex("{ apply: x, data: reference }");
    assert!(matches!(&node.operation, Operation::Apply(apply) if apply.by_reference));
    let node = vertex("{ apply: x, data: body }");
    assert!(matches!(&node.operation, Operation::Apply(apply) if !apply.by_reference));
    for (node, says) in [
        (
            "{ apply: x, data: reference, mode: async }",
            "write mode: sync",
        ),
        (
            "{ apply: x, data: reference, headers: { a: { jq: .a } } }",
            "reads no input here",
        ),
        (
            "{ http: 'http://a', data: reference }",
            "data goes with apply",
        ),
        ("{ apply: x, data: elsewhere }", "body"),
        (
            "{ pass: ., compensate: { apply: x, data: reference } }",
            "its compensate is an apply with data: reference",
        ),
        (
            "{ expand: { apply: x, data: reference } }",
            "sent its input",
        ),
    ] {
        let text = format!("flow: f\nnodes: {{ n: {node} }}");
        let problems = read_yaml(&text).unwrap_err().to_string();
        assert!(problems.contains(says), "{node}: {problems}");
    }
}

#[test]
fn a_call_is_read_with_all_that_is_sent() {
    let node = vertex(
        "{ apply: x.images, method: PUT, path: '/p?q', mode: async, content_type: application/msgpack, \
         query: { page: { jq: .page }, size: 007, flag: true, ratio: 1.10, sign: +5, hex: 0x1F }, \
         headers: { Authorization: { secret: token }, X-A: 'a b' } }",
    );
    let Operation::Apply(apply) = &node.operation else {
        panic!("{:?}", node.operation)
    };
    assert_eq!(apply.function.as_str(), "x.images");
    assert_eq!(apply.method, "PUT");
    assert_eq!(apply.path, literal("/p?q"));
    assert!(apply.asynchronous && apply.msgpack);
    let query = apply.query.iter();
    let query: Vec<_> = query
        .map(|(name, text)| format!("{name}={}", shown(text)))
        .collect();
    assert_eq!(
        query,
        [
            "page=jq .page",
            "size=007",
            "flag=true",
            "ratio=1.10",
            "sign=+5",
            "hex=0x1F"
        ]
    );
    let headers = apply.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, text)| format!("{name}={}", shown(text)))
        .collect();
    assert_eq!(headers, ["Authorization=secret token", "X-A=a b"]);
}

#[test]
fn an_unquoted_text_is_read_as_it_was_written_behind_marks_and_aliases() {
    let text = "\u{feff}# ünïcödé\nflow: f\nnodes:\n  a: { apply: x, query: { a: &n 0010, b: *n, c: '0x2' } }\n";
    let flow = flow(text);
    let Operation::Apply(apply) = &flow.graph().nodes[0].operation else {
        panic!("no apply")
    };
    let query: Vec<_> = apply.query.iter().map(|(_, text)| shown(text)).collect();
    assert_eq!(query, ["0010", "0010", "0x2"]);
}

#[test]
fn an_endpoint_is_read() {
    let node = vertex("{ http: { jq: .url }, callback: true, idempotent: true }");
    let Operation::Http(http) = &node.operation else {
        panic!("{:?}", node.operation)
    };
    assert_eq!(shown(&http.url), "jq .url");
    assert_eq!(http.method, "POST");
    assert!(http.callback && node.commits_start());
}

#[test]
fn waits_are_read() {
    let wait = |text: &str| match vertex(&format!("{{ wait: {text} }}")).operation {
        Operation::Wait(wait) => wait,
        other => panic!("{other:?}"),
    };
    assert_eq!(wait("5m"), Wait::Duration(Duration::from_secs(300)));
    assert_eq!(wait("{ signal: go }"), Wait::Signal("go".parse().unwrap()));
    assert!(matches!(wait("{ until: .at }"), Wait::Until(_)));
}

#[test]
fn a_loop_an_expand_and_a_flow_are_read() {
    let body = "{ nodes: { b: { pass: '. + 1' }, c: { after: [b, input], pass: . } }, output: c }";
    let node = vertex(&format!(
        "{{ loop: {{ while: '. < 3', max_iterations: 5, body: {body} }} }}"
    ));
    let Operation::Loop(again) = &node.operation else {
        panic!("{:?}", node.operation)
    };
    assert_eq!(jq(Some(&again.again)), ". < 3");
    assert_eq!((again.iterations_max, again.body.nodes.len()), (5, 2));
    assert_eq!(&*again.body.nodes[0].edges[0].name, "item");
    let node = vertex("{ expand: { apply: plan, path: /p } }");
    let Operation::Expand(expand) = &node.operation else {
        panic!("{:?}", node.operation)
    };
    assert_eq!(expand.by.name(), "apply");
    assert!(
        matches!(vertex("{ flow: g }").operation, Operation::Flow(name) if name.as_str() == "g")
    );
}

#[test]
fn a_for_each_collects_and_a_switch_takes_all_where_it_says_so() {
    let each = |errors: &str| {
        let body = "body: { nodes: { b: { apply: x } } }";
        match vertex(&format!("{{ for_each: {{ {errors} {body} }} }}")).operation {
            Operation::ForEach(each) => each.collect,
            other => panic!("{other:?}"),
        }
    };
    assert!(each("errors: collect,") && !each("errors: stop,") && !each(""));
    let all = |matching: &str| {
        let text = format!(
            "flow: f\nnodes:\n  a: {{ switch: [{{ default: b }}]{matching} }}\n  b: {{ pass: . }}\n"
        );
        match &flow(&text).graph().nodes[0].operation {
            Operation::Switch(switch) => switch.all,
            other => panic!("{other:?}"),
        }
    };
    assert!(all(", match: all") && !all(", match: first") && !all(""));
}

#[test]
fn the_attributes_are_read() {
    let node = vertex(
        "{ apply: x, when: .a, aggregate: .b, timeout: 2s, retry: { attempts: 3, on: [timeout, panic] }, \
         set: { total: .n, last: . }, compensate: { http: 'http://h', idempotent: false, timeout: 1s } }",
    );
    assert_eq!(
        (jq(node.when.as_ref()), jq(node.aggregate.as_ref())),
        (".a", ".b")
    );
    assert_eq!(
        node.retry.causes(),
        Some(&[Cause::Timeout, Cause::Panic][..])
    );
    let set: Vec<_> = node
        .set
        .iter()
        .map(|(name, jq)| (&**name, jq.source()))
        .collect();
    assert_eq!(set, [("total", ".n"), ("last", ".")]);
    let compensate = node.compensate.as_ref().unwrap();
    assert_eq!((compensate.id.as_str(), compensate.edges.len()), ("a", 0));
    assert_eq!(compensate.timeout, Some(Duration::from_secs(1)));
    assert!(!compensate.idempotent && node.commits_start());
}

#[test]
fn what_is_not_said_of_repetition_follows_from_the_operation() {
    let body = "body: { nodes: { b: { pass: . } } }";
    for (node, idempotent, pure) in [
        ("apply: x", true, false),
        ("apply: x, idempotent: false", false, false),
        ("apply: x, pure: true", true, true),
        ("http: http://h, method: GET", true, false),
        ("http: http://h, method: HEAD", true, false),
        ("http: http://h, idempotent: false", false, false),
        ("http: http://h, pure: true", true, true),
        ("pass: .", true, true),
        ("pass: ., pure: false", true, false),
        ("pass: ., compensate: { apply: x }", true, false),
        ("wait: 1s", true, true),
        ("flow: g", true, false),
        ("flow: g, idempotent: false", false, false),
        ("expand: { pass: . }", true, false),
        (&format!("for_each: {{ {body} }}"), true, false),
        (
            &format!("loop: {{ while: ., max_iterations: 1, {body} }}"),
            true,
            false,
        ),
    ] {
        let found = vertex(&format!("{{ {node} }}"));
        assert_eq!((found.idempotent, found.pure), (idempotent, pure), "{node}");
    }
}

#[test]
fn a_fallback_is_any_value_or_an_operation() {
    let constant = |text: &str| {
        let node = vertex(&format!("{{ apply: x, fallback: {{ value: {text} }} }}"));
        match node.fallback {
            Some(Fallback::Constant(value)) => value.decode::<serde_json::Value>().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    for (text, json) in [
        ("null", "null"),
        ("0", "0"),
        ("no", "\"no\""),
        ("-1.5", "-1.5"),
        ("''", "\"\""),
        ("[1, { a: [] }]", "[1,{\"a\":[]}]"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(constant(text).to_string(), json, "{text}");
    }
    let node = vertex("{ apply: x, fallback: { apply: y, retry: { attempts: 2 } } }");
    let Some(Fallback::Node(stand_in)) = node.fallback else {
        panic!("{:?}", node.fallback)
    };
    assert_eq!((stand_in.id.as_str(), stand_in.retry.attempts()), ("a", 2));
}

#[test]
fn edges_are_order_alone_or_transformed_where_they_say_so() {
    let text = "flow: f\nnodes:\n  a: { pass: . }\n  1: { pass: . }\n  c:\n    pass: .\n    after:\n    - a\n    - { node: 1, data: false }\n    - { node: input, transform: .x }\n";
    let flow = flow(text);
    let edges = flow.graph().nodes[2].edges.iter();
    let edges: Vec<_> = edges
        .map(|edge| {
            (
                &*edge.name,
                edge.data,
                edge.transform.as_ref().map(|it| jq(Some(it))),
            )
        })
        .collect();
    assert_eq!(
        edges,
        [
            ("a", true, None),
            ("1", false, None),
            ("input", true, Some(".x"))
        ]
    );
}

#[test]
fn a_value_from_outside_is_captured_where_any_edge_inside_brings_it() {
    let flow = flow(
        "flow: f\nnodes:\n  a: { pass: . }\n  b: { pass: . }\n  each:\n    for_each:\n      body:\n        nodes:\n          c: { after: [item, { node: a, data: false }], pass: . }\n          d: { after: [item, { node: a, transform: .x }, { node: b, data: false }], pass: . }\n",
    );
    let edges = flow.graph().nodes[2].edges.iter();
    let edges: Vec<_> = edges
        .map(|edge| (&*edge.name, edge.capture, edge.data))
        .collect();
    assert_eq!(
        edges,
        [
            ("input", false, true),
            ("a", true, true),
            ("b", true, false)
        ]
    );
}

#[test]
fn a_flow_is_read_with_its_ends() {
    let flow = flow(
        "flow: f\ntimeout: 3s\nconcurrency: 7\nheaders: [X-Tenant, traceparent]\nnodes: { a: { pass: . } }\non_failure: { nodes: { told: { apply: tell } } }\nfinally: { nodes: { x: { pass: . }, y: { pass: . } }, output: y }\n",
    );
    assert_eq!(flow.concurrency(), Some(7));
    assert_eq!(flow.headers(), ["x-tenant", "traceparent"]);
    assert_eq!(&*flow.on_failure().unwrap().nodes[0].edges[0].name, "input");
    assert_eq!(
        flow.finally().unwrap().output,
        crate::graph::Output::Node(1)
    );
    assert_eq!(flow.closures().len(), 0);
}

#[test]
fn a_graph_may_expand_by_a_closure() {
    let closures = BTreeMap::from([(
        "plan".to_owned(),
        Map {
            closure: crate::closure::Closure::Sync(std::sync::Arc::new(|_| {
                Ok(crate::value::Value::empty())
            })),
            version: 3,
        },
    )]);
    let text = r#"{"nodes": {"a": {"expand": {"map": "plan"}}, "b": {"apply": "x", "fallback": {"map": "plan"}}}}"#;
    let graph = read_graph(text, &closures).unwrap();
    let Operation::Expand(expand) = &graph.nodes[0].operation else {
        panic!("no expand")
    };
    assert!(matches!(&*expand.by, Operation::Map(map) if map.version == 3));
}
