//! What an author is told about a flow that cannot be: the whole message, by YAML and by builder.

use std::time::Duration;

use turlough_sdk::{Flow, FlowBuilder, Limits, Node, Retry, StepError, read_yaml_file_text};

/// Reads `text` without its indentation, and compares all that is told.
#[track_caller]
fn refused(text: &str, told: &str) {
    let error = read_yaml_file_text("f.yaml", text).expect_err("the flow should be refused");
    assert_eq!(error.to_string(), told);
}

/// The same for a flow of one node, on line 3.
#[track_caller]
fn refused_node(node: &str, told: &str) {
    let text = format!("flow: f\nnodes:\n  a: {node}\n");
    refused(&text, &format!("f.yaml:3: flow f: node a: {told}"));
}

#[track_caller]
fn refused_build(flow: FlowBuilder, told: &str) {
    let error = flow.build().expect_err("the flow should be refused");
    assert_eq!(error.to_string(), told);
}

#[allow(clippy::unnecessary_wraps, reason = "a closure's shape")]
fn same(n: u32) -> Result<u32, StepError> {
    Ok(n)
}

const UNITS: &str = "write a number and a unit (us, ms, s, m, h, d), such as 500ms, 30s or 1h30m";

#[test]
fn a_cycle_is_shown_with_its_path() {
    refused(
        "flow: f\nnodes:\n  in: { apply: x }\n  a: { after: [in, c], apply: x }\n  b: { after: [a], apply: x }\n  c: { after: [b], apply: x }\n  out: { after: [c], apply: x }\n",
        "f.yaml:5: flow f: node b: cycle b → c → a → b; take one of these edges out",
    );
}

#[test]
fn a_cycle_through_a_body_is_shown_at_its_owner() {
    refused(
        "flow: f\nnodes:\n  each: { for_each: { body: { nodes: { in: { after: [item, late], pass: . } } } } }\n  late: { after: [each], pass: . }\n",
        "f.yaml:4: flow f: node late: cycle late → each → late; take one of these edges out",
    );
}

#[test]
fn a_node_after_itself_is_refused_and_hides_no_cycle() {
    refused_node(
        "{ after: [a], apply: x }",
        "it comes after itself; take the edge out",
    );
    refused(
        "flow: f\nnodes:\n  a: { after: [a], pass: . }\n  b: { after: [c], pass: . }\n  c: { after: [b], pass: . }\n",
        "f.yaml:3: flow f: node a: it comes after itself; take the edge out\n\
         f.yaml:5: flow f: node c: cycle c → b → c; take one of these edges out",
    );
    refused_node(
        "{ switch: [{ default: a }] }",
        "it comes after itself; take the edge out",
    );
}

#[test]
fn an_unknown_node_is_named_with_what_could_be_meant() {
    refused(
        "flow: f\nnodes:\n  a: { apply: x }\n  b:\n    after:\n      - a\n      - lod\n    apply: x\n",
        "f.yaml:7: flow f: node b: it comes after \"lod\", which is no node; write one of a, b",
    );
    refused_node(
        "{ switch: [{ when: ., to: b }] }",
        "case goes to \"b\", which is no node here; write one of a",
    );
    refused(
        "flow: f\nnodes: { a: { apply: x } }\noutput: b\n",
        "f.yaml:3: flow f: output is \"b\", which is no node; write one of a",
    );
    refused_node(
        "{ for_each: { body: { nodes: { b: { pass: . } }, output: c } } }",
        "output is \"c\", which is no node; write one of b",
    );
    let many: String = (0..9)
        .map(|n| format!("  a{n}: {{ apply: x }}\n"))
        .collect();
    refused(
        &format!("flow: f\nnodes:\n{many}output: b\n"),
        "f.yaml:12: flow f: output is \"b\", which is no node; \
         write one of a0, a1, a2, a3, a4, a5, a6, a7, …",
    );
}

#[test]
fn a_body_cannot_wait_for_the_node_that_owns_it() {
    refused(
        "flow: f\nnodes:\n  a: { for_each: { body: { nodes: { b: { after: [a], pass: . } } } } }\n",
        "f.yaml:3: flow f: node b: it comes after \"a\", whose body it is in; take the edge out",
    );
}

#[test]
fn an_item_outside_a_body_is_refused() {
    refused_node(
        "{ after: [item], apply: x }",
        "it comes after item, which stands for the item of a for_each, and it is in no body; \
         write input, or a node",
    );
}

#[test]
fn a_name_stands_once() {
    refused(
        "flow: f\nnodes:\n  a: { apply: x }\n  b: { apply: x }\n  a: { apply: y }\n",
        "f.yaml:5: flow f: node a: key \"a\" is written twice; rename one, or take it out",
    );
    refused(
        "flow: f\nnodes:\n  a:\n    for_each:\n      body:\n        nodes:\n          b: { pass: . }\n  b: { after: [a], pass: . }\n",
        "f.yaml:7: flow f: node b: the name is used twice in the flow; names are unique, bodies included",
    );
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    flow.map("a", &n, same);
    flow.map("a", &n, same);
    refused_build(
        flow,
        "flow f: node a: the name is used twice in the flow; names are unique, bodies included",
    );
    refused_node(
        "{ after: [input, input], pass: . }",
        "it comes twice after \"input\"; write it once",
    );
    refused(
        "flow: f\nnodes:\n  a: { switch: [{ when: ., to: b }] }\n  b: { after: [a], pass: . }\n",
        "f.yaml:3: flow f: node b: a case of \"a\" leads here already; take a out of its after",
    );
}

#[test]
fn a_name_that_cannot_be_is_refused() {
    let names = "write letters, digits, - and _, at most 63, a letter or digit first";
    refused(
        "flow: f\nnodes:\n  a.b: { apply: x }\n",
        &format!("f.yaml:3: flow f: node a.b: node name \"a.b\" is not allowed; {names}"),
    );
    refused(
        "timeout: 1s\nflow: a/b\nnodes: { a: { apply: x } }\n",
        &format!("f.yaml:2: flow a/b: flow name \"a/b\" is not allowed; {names}"),
    );
    for word in ["input", "item"] {
        refused(
            &format!("flow: f\nnodes:\n  {word}: {{ apply: x }}\n"),
            &format!(
                "f.yaml:3: flow f: node {word}: the name stands for a graph's input; choose another"
            ),
        );
    }
    refused_node(
        "{ apply: Resize_It }",
        "function name \"Resize_It\" is not allowed; write name or name.namespace, each of \
         lower-case letters, digits and -, at most 63",
    );
}

#[test]
fn bad_jq_is_shown_where_it_stands() {
    refused(
        "flow: f\nnodes:\n  a:\n    pass: '.a |'\n",
        "f.yaml:4: flow f: node a: jq expression \".a |\" does not compile: expected term at the end",
    );
    refused(
        "flow: f\nnodes:\n  a:\n    switch:\n      - { when: ., to: b }\n      - when: nonsense\n        to: c\n  b: { pass: . }\n  c: { pass: . }\n",
        "f.yaml:6: flow f: node a: jq expression \"nonsense\" does not compile: unknown filter nonsense",
    );
    refused_node(
        "{ for_each: { items: '.[', body: { nodes: { b: { pass: . } } } } }",
        "jq expression \".[\" does not compile: expected closing bracket at the end",
    );
    refused_node(
        "{ pass: env }",
        "jq expression \"env\" does not compile: unknown filter env",
    );
    let long = format!(".{}", " | .".repeat(200));
    refused_node(
        &format!("{{ pass: {long:?} }}"),
        &format!(
            "jq expression {:?} does not compile: it chains or nests more than 128 operators; \
             split it into several steps",
            &long[..200]
        ),
    );
}

#[test]
fn a_bad_duration_is_shown_where_it_stands() {
    for (text, told) in [
        ("30", format!("\"30\" has no known unit; {UNITS}")),
        (
            "5 parsecs",
            format!("\"5 parsecs\" has no known unit; {UNITS}"),
        ),
        (
            "-5s",
            format!("\"-5s\" does not begin with a number; {UNITS}"),
        ),
        ("0s", format!("\"0s\" is zero; {UNITS}")),
        (
            "400d",
            "\"400d\" is over the limit of 366d; write a shorter one".to_owned(),
        ),
    ] {
        refused_node(
            &format!("{{ apply: x, timeout: {text} }}"),
            &format!("timeout: duration {told}"),
        );
        refused(
            &format!(
                "flow: f\nnodes:\n  a:\n    apply: x\n    retry:\n      attempts: 2\n      backoff: {text}..1s\n"
            ),
            &format!("f.yaml:7: flow f: node a: backoff: duration {told}"),
        );
        refused(
            &format!("flow: f\ntimeout: {text}\nnodes: {{ a: {{ apply: x }} }}\n"),
            &format!("f.yaml:2: flow f: timeout: duration {told}"),
        );
    }
    refused_node(
        "{ apply: x, retry: { attempts: 2, backoff: 1s.. } }",
        &format!("backoff: duration is empty; {UNITS}"),
    );
    let flow = Flow::builder("f").timeout(Duration::from_nanos(1));
    let n = flow.input::<u32>();
    let _ = flow.map("a", &n, same).timeout(Duration::MAX);
    refused_build(
        flow,
        "flow f: timeout is 1ns; write 1us to 366d\n\
         flow f: node a: timeout is 18446744073709551615.999999999s; write 1us to 366d",
    );
}

#[test]
fn an_unknown_key_is_told_with_the_known_ones() {
    refused(
        "flow: f\nnodse: {}\n",
        "f.yaml:2: flow f: key \"nodse\" is unknown; write one of flow, timeout, nodes, output",
    );
    refused_node(
        "{ aply: x }",
        "key \"aply\" is unknown; write one of after, apply, pass, switch, for_each, method, path, \
         headers, content_type, retry, timeout",
    );
    refused_node(
        "{ switch: [{ if: ., to: b }] }",
        "key \"if\" is unknown; write one of when, to, default",
    );
    refused_node(
        "{ for_each: { parallel: 3 } }",
        "key \"parallel\" is unknown; write one of items, max_parallel, body",
    );
    refused_node(
        "{ for_each: { body: { node: 3 } } }",
        "key \"node\" is unknown; write one of nodes, output",
    );
    refused_node(
        "{ apply: x, retry: { tries: 3 } }",
        "key \"tries\" is unknown; write one of attempts, backoff",
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
        "body is missing; write for_each: { body: { nodes: { NAME: { apply: FUNCTION } } } }",
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
        "f.yaml:4: flow f: key \"outptu\" is unknown; write one of flow, timeout, nodes, output",
    );
}

#[test]
fn a_node_has_one_operation() {
    refused_node(
        "{ timeout: 1s }",
        "it has no operation; write one of apply, pass, switch and for_each",
    );
    refused_node(
        "{ apply: x, pass: . }",
        "it has two operations; write one of apply, pass, switch and for_each, and a node for each other",
    );
    refused_node(
        "{ pass: ., method: GET }",
        "method, path, headers and content_type go with apply; take them out",
    );
}

#[test]
fn a_call_that_is_no_http_is_refused() {
    refused_node(
        "{ apply: x, method: FETCH }",
        "method \"FETCH\" is unknown; write one of POST, GET, PUT, PATCH, DELETE, HEAD, OPTIONS",
    );
    for (written, path) in [
        ("a", "a"),
        ("'/a b'", "/a b"),
        ("'/a#b'", "/a#b"),
        (r#""/a\r\nb""#, "/a\r\nb"),
    ] {
        refused_node(
            &format!("{{ apply: x, path: {written} }}"),
            &format!("path {path:?} is no URL path; begin it with / or ?, and escape it"),
        );
    }
    refused_node(
        "{ apply: x, content_type: text/html }",
        "content_type \"text/html\" is unknown; write application/json or application/msgpack",
    );
    refused_node(
        r#"{ apply: x, headers: { X-A: "1\r\nX-B: 2" } }"#,
        r#"header X-A: "1\r\nX-B: 2" is not one line of plain text; mend it"#,
    );
    refused_node(
        r#"{ apply: x, headers: { "X A": 1 } }"#,
        "header name \"X A\" is not allowed; write letters, digits and -",
    );
    refused_node(
        "{ apply: x, headers: { Content-Length: 5 } }",
        "header Content-Length is the platform's own; take it out",
    );
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let call: Node<u32, _, _> = flow.apply("a", &n, "x");
    let _ = call.header("X-A\r\n", "1").method("GET\r\n");
    refused_build(
        flow,
        "flow f: node a: method \"GET\\r\\n\" is unknown; write one of POST, GET, PUT, PATCH, DELETE, HEAD, OPTIONS\n\
         flow f: node a: header name \"X-A\\r\\n\" is not allowed; write letters, digits and -",
    );
}

#[test]
fn a_switch_has_cases_and_ends_in_its_default() {
    refused_node("{ switch: [] }", "switch has 0 cases; write 1 to 1000");
    refused_node(
        "{ switch: [{ to: b }] }",
        "a case of switch is of another shape; write { when: JQ, to: NODE } or { default: NODE }",
    );
    refused(
        "flow: f\nnodes:\n  a: { switch: [{ default: b }, { when: ., to: c }] }\n  b: { pass: . }\n  c: { pass: . }\n",
        "f.yaml:3: flow f: node a: the default stands before other cases; write it once, and last",
    );
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let choice = flow.switch("a", &n);
    let _ = choice.otherwise();
    let _ = choice.otherwise();
    refused_build(
        flow,
        "flow f: node a: the default stands before other cases; write it once, and last",
    );
}

#[test]
fn a_number_outside_its_range_is_refused() {
    let body = "body: { nodes: { b: { pass: . } } }";
    for found in [0, Limits::PARALLEL_MAX + 1] {
        refused_node(
            &format!("{{ for_each: {{ max_parallel: {found}, {body} }} }}"),
            &format!("max_parallel is {found}; write 1 to 10000"),
        );
    }
    for found in [0, 1001] {
        refused_node(
            &format!("{{ apply: x, retry: {{ attempts: {found} }} }}"),
            &format!("retry has {found} attempts; write 1 to 1000"),
        );
    }
    refused_node(
        "{ apply: x, retry: { attempts: 2, backoff: 2s..1s } }",
        "retry has a back-off that ends below its start; write SHORT..LONG",
    );
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let retry = Retry::exponential(2, Duration::ZERO..Duration::MAX);
    let _ = flow.map("a", &n, same).retry(retry);
    refused_build(
        flow,
        "flow f: node a: retry has a back-off of over 366d; write a shorter one",
    );
}

#[test]
fn too_large_a_flow_is_refused_with_limit_and_size() {
    let nodes: String = (0..=Limits::NODES_MAX)
        .map(|n| format!("  n{n}: {{ pass: . }}\n"))
        .collect();
    refused(
        &format!("flow: f\nnodes:\n{nodes}"),
        "f.yaml: flow f: 20001 nodes, limit 20000; split the flow, or use for_each",
    );
    let sources: Vec<_> = (0..500).map(|i| format!("s{i}")).collect();
    let mut text = "flow: f\nnodes:\n".to_owned();
    for name in &sources {
        text.push_str(&format!("  {name}: {{ pass: . }}\n"));
    }
    let all = sources.join(", ");
    for i in 0..400 {
        text.push_str(&format!("  j{i}: {{ after: [{all}], pass: . }}\n"));
    }
    refused(
        &text,
        "f.yaml:902: flow f: node j399: over 200000 edges; join them in steps",
    );
    let mut nested = "{ pass: . }".to_owned();
    for depth in (1..=9).rev() {
        nested = format!("{{ for_each: {{ body: {{ nodes: {{ n{depth}: {nested} }} }} }} }}");
    }
    refused(
        &format!("flow: f\nnodes:\n  a: {nested}\n"),
        "f.yaml:3: flow f: node n8: bodies are nested 9 deep, limit 8; flatten them",
    );
}

#[test]
fn an_empty_flow_and_an_empty_body_are_refused() {
    refused(
        "flow: f\nnodes: {}\n",
        "f.yaml: flow f: there are no nodes; write at least one",
    );
    refused_node(
        "{ for_each: { body: { nodes: {} } } }",
        "there are no nodes; write at least one",
    );
    refused_build(
        Flow::builder("f"),
        "flow f: there are no nodes; write at least one",
    );
    for empty in ["", "\n\n", "  "] {
        refused(
            empty,
            "f.yaml: the file is empty; write flow: NAME and nodes:",
        );
    }
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
fn all_problems_are_told_at_once_and_no_more_than_fifty() {
    refused(
        "flow: f\nnodes:\n  a: { apply: X, timeout: 5 }\n  b: { pass: '(', after: [c] }\n",
        "f.yaml:3: flow f: node a: timeout: duration \"5\" has no known unit; write a number and a unit (us, ms, s, m, h, d), such as 500ms, 30s or 1h30m\n\
         f.yaml:3: flow f: node a: function name \"X\" is not allowed; write name or name.namespace, each of lower-case letters, digits and -, at most 63\n\
         f.yaml:4: flow f: node b: jq expression \"(\" does not compile: expected closing parenthesis at the end\n\
         f.yaml:4: flow f: node b: it comes after \"c\", which is no node; write one of a, b",
    );
    let nodes: String = (0..5000)
        .map(|n| format!("  n{n}: {{ pass: ., after: [x{n}] }}\n"))
        .collect();
    let error = read_yaml_file_text("f.yaml", &format!("flow: f\nnodes:\n{nodes}")).unwrap_err();
    assert_eq!(error.problems().len(), 51);
    assert_eq!(
        error.problems()[50].to_string(),
        "f.yaml: flow f: 4950 more problems"
    );
}
