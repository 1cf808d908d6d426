//! What is no flow in YAML.

use turlough_sdk::read_yaml_file_text;

use crate::{refused, refused_node};

#[test]
fn an_unknown_key_is_told_with_the_known_ones() {
    refused(
        "flow: f\nnodse: {}\n",
        "f.yaml:2: flow f: key \"nodse\" is unknown; write one of flow, timeout, concurrency, headers, signed, nodes, output, on_failure, finally",
    );
    refused_node(
        "{ aply: x }",
        "key \"aply\" is unknown; write one of after, apply, http, map, pass, switch, for_each, loop, expand, \
         flow, wait, method, path, query, headers, content_type, mode, data, callback, match, aggregate, when, \
         retry, timeout, idempotent, pure, fallback, compensate, set",
    );
    refused_node(
        "{ switch: [{ if: ., to: b }] }",
        "key \"if\" is unknown; write one of when, to, default",
    );
    refused_node(
        "{ for_each: { parallel: 3 } }",
        "key \"parallel\" is unknown; write one of items, max_parallel, errors, body",
    );
    refused_node(
        "{ for_each: { body: { node: 3 } } }",
        "key \"node\" is unknown; write one of nodes, output",
    );
    refused_node(
        "{ apply: x, retry: { tries: 3 } }",
        "key \"tries\" is unknown; write one of attempts, backoff, on",
    );
}

#[test]
fn a_missing_key_and_a_wrong_type_say_what_to_write() {
    refused(
        "nodes: { a: { apply: x } }\n",
        "f.yaml:1: flow is missing; write flow: NAME",
    );
    refused(
        "flow: f\n",
        "f.yaml:1: flow f: nodes is missing; write nodes: { NAME: { apply: FUNCTION } }",
    );
    refused_node(
        "{ apply: x, retry: {} }",
        "attempts is missing; write retry: { attempts: 3 }",
    );
    refused_node(
        "{ for_each: {} }",
        "body is missing; write body: { nodes: { NAME: { apply: FUNCTION } } }",
    );
    refused_node(
        "{ after: b, apply: x }",
        "a list is wanted here; write [A, B]",
    );
    refused_node("x", "a map is wanted here; write { KEY: VALUE }");
    refused_node("{ pass: [1] }", "a text is wanted here; write it in quotes");
    for attempts in ["-1", "many", "99999999999999999999"] {
        refused_node(
            &format!("{{ apply: x, retry: {{ attempts: {attempts} }} }}"),
            "a whole number is wanted here; write 1 or more",
        );
    }
}

#[test]
fn a_problem_outside_the_nodes_blames_none() {
    refused(
        "flow: f\nnodes:\n  a: { pass: . }\noutptu: a\n",
        "f.yaml:4: flow f: key \"outptu\" is unknown; write one of flow, timeout, concurrency, headers, signed, nodes, output, on_failure, finally",
    );
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    refused(
        "flow: f\nnodes: { a: { pass: . }\n",
        "f.yaml:2: this is not YAML: unclosed bracket '{'; mend it, or write a text in quotes",
    );
    refused(
        "flow: f\nnodes:\n\ta: { pass: . }\n",
        "f.yaml:3: tabs disallowed within this context (block indentation); indent with spaces",
    );
    refused(
        "- a\n",
        "f.yaml:1: a map is wanted here; write { KEY: VALUE }",
    );
    refused(
        "flow: f\nnodes:\n  a: { pass: *no }\n",
        "f.yaml:3: an alias has no anchor; put what begins with * in quotes",
    );
    for text in [
        "\u{0}\u{1}",
        "%!PS-Adobe",
        "{{{{",
        "\u{feff}",
        "a: b: c",
        "!!map",
        "? ? ?",
    ] {
        assert!(read_yaml_file_text("f.yaml", text).is_err(), "{text:?}");
    }
}

#[test]
fn yaml_that_unfolds_or_nests_without_end_is_refused() {
    let mut bomb = "flow: f\nnodes:\n".to_owned();
    bomb.push_str("  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let all = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("  a{n}: &a{n} [{all}]\n"));
    }
    refused(
        &bomb,
        "f.yaml:3: a map is wanted here; write { KEY: VALUE }",
    );
    for (open, close) in [("[", "]"), ("{ a: ", "}")] {
        let deep = format!(
            "flow: f\nnodes: {}{}\n",
            open.repeat(100_000),
            close.repeat(100_000)
        );
        assert!(read_yaml_file_text("f.yaml", &deep).is_err());
    }
    let mut nested = "{ pass: . }".to_owned();
    for depth in (1..=500).rev() {
        nested = format!("{{ for_each: {{ body: {{ nodes: {{ n{depth}: {nested} }} }} }} }}");
    }
    refused(
        &format!("flow: f\nnodes: {{ a: {nested} }}\n"),
        "f.yaml:2: the YAML is nested too deeply or too large; flatten or split it",
    );
    refused(
        &format!("flow: f\n{}", "# nothing\n".repeat(900_000)),
        "f.yaml: 9000008 bytes, limit 8388608; split the flow, or use for_each",
    );
}

#[test]
fn a_key_of_what_stands_inside_a_node_is_told_with_the_known_ones() {
    let call = "apply, http, map, pass, method, path, query, headers, content_type, mode, data, callback, \
                retry, timeout, idempotent";
    for (node, key, known) in [
        (
            "apply: x, after: [{ name: b }]",
            "name",
            "node, data, transform",
        ),
        ("apply: x, path: { js: . }", "js", "jq, secret"),
        ("loop: { until: . }", "until", "while, max_iterations, body"),
        ("wait: { for: 1s }", "for", "signal, until"),
        (
            "apply: x, fallback: { after: [b] }",
            "after",
            &format!("value, {call}"),
        ),
        (
            "apply: x, compensate: { when: . }",
            "when",
            &format!("value, {call}"),
        ),
        ("expand: { flow: b }", "flow", &format!("value, {call}")),
    ] {
        refused_node(
            &format!("{{ {node} }}"),
            &format!("key {key:?} is unknown; write one of {known}"),
        );
    }
    refused(
        "flow: f\nnodes: { a: { pass: . } }\nfinally: { steps: {} }\n",
        "f.yaml:3: flow f: key \"steps\" is unknown; write one of nodes, output",
    );
}

#[test]
fn what_is_neither_of_two_shapes_says_what_is_wanted() {
    refused_node(
        "{ apply: x, path: [a] }",
        "a text is wanted here; write it so, or in quotes",
    );
    refused_node(
        "{ apply: x, after: [[b]] }",
        "a text is wanted here; write it so, or in quotes",
    );
    refused_node(
        "{ wait: null }",
        "it has no operation; write one of apply, http, pass, switch, for_each, loop, expand, flow \
         and wait",
    );
    refused_node(
        "{ apply: x, query: { a: { jq: ., secret: b } } }",
        "query is of another shape; write a text, { jq: EXPRESSION } or { secret: NAME }",
    );
    refused_node(
        "{ http: {} }",
        "http is of another shape; write a text, { jq: EXPRESSION } or { secret: NAME }",
    );
    refused_node(
        "{ wait: {} }",
        "wait is of another shape; write wait: 5m, { until: JQ } or { signal: NAME }",
    );
    refused_node(
        "{ apply: x, after: [{ data: false }] }",
        "node is missing; write { node: NAME, data: false } or { node: NAME, transform: JQ }",
    );
    for word in ["yes", "1", "maybe"] {
        refused_node(
            &format!("{{ apply: x, idempotent: {word} }}"),
            "true or false is wanted here",
        );
    }
    refused_node(
        "{ apply: x, fallback: { value: .nan } }",
        "no value holds this number; write it in quotes, or another",
    );
}
