//! What a node does.

use turlough_sdk::{Flow, Limits, Node, read_yaml_file_text};

use crate::{UNITS, refused, refused_build, refused_node};

#[test]
fn a_node_has_one_operation() {
    refused_node(
        "{ timeout: 1s }",
        "it has no operation; write one of apply, http, pass, switch, for_each, loop, expand, flow \
         and wait",
    );
    refused_node(
        "{ apply: x, pass: . }",
        "it has 2 operations; write one of apply, http, pass, switch, for_each, loop, expand, flow and \
         wait, and a node for each other",
    );
    refused_node(
        "{ pass: ., method: GET }",
        "method goes with apply and http; take it out",
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
fn a_key_that_goes_with_another_operation_is_refused() {
    for (node, told) in [
        (
            "http: http://h, method: GET, path: /a",
            "path goes with apply",
        ),
        (
            "http: http://h, method: GET, mode: async",
            "mode goes with apply",
        ),
        ("apply: x, callback: true", "callback goes with http"),
        (
            "wait: 1s, query: { a: b }",
            "query goes with apply and http",
        ),
        (
            "flow: g, headers: { A: b }",
            "headers goes with apply and http",
        ),
        (
            "pass: ., content_type: text/html",
            "content_type goes with apply and http",
        ),
        ("apply: x, match: all", "match goes with switch"),
        (
            "apply: x, fallback: { pass: ., path: /a }",
            "path goes with apply",
        ),
    ] {
        refused_node(&format!("{{ {node} }}"), &format!("{told}; take it out"));
    }
}

#[test]
fn a_word_that_is_none_of_two_is_told_with_both() {
    let body = "body: { nodes: { b: { pass: . } } }";
    refused_node(
        "{ apply: x, mode: queued }",
        "mode is \"queued\"; write sync or async",
    );
    refused_node(
        &format!("{{ for_each: {{ errors: ignore, {body} }} }}"),
        "errors is \"ignore\"; write stop or collect",
    );
    refused(
        "flow: f\nnodes:\n  a: { switch: [{ default: b }], match: any }\n  b: { pass: . }\n",
        "f.yaml:3: flow f: node a: match is \"any\"; write first or all",
    );
}

#[test]
fn a_url_that_leads_nowhere_or_too_far_is_refused() {
    for (url, why) in [
        ("/a", "is not absolute"),
        ("h/a", "is not absolute"),
        ("ftp://h", "is neither http nor https"),
        ("file:///etc/passwd", "is neither http nor https"),
        ("gopher://h", "is neither http nor https"),
        ("http://", "has no host"),
        ("http:///a", "has no host"),
        ("http://?a=b", "has no host"),
        ("http://[::1", "has no host"),
        ("http://a%2fb/", "has no host"),
        (
            "http://h:99999/",
            "has a port that is no number up to 65535",
        ),
        ("http://h:-1/", "has a port that is no number up to 65535"),
        (
            "http://u:p@h/",
            "has credentials in it, which belong in a secret",
        ),
        (
            "http://u@h",
            "has credentials in it, which belong in a secret",
        ),
        ("http://h/#a", "has a fragment, which is never sent"),
        ("http://h/a b", "has characters that must be escaped"),
        ("http://h\\@g/", "has characters that must be escaped"),
        ("http://h/\r\nX: 1", "has characters that must be escaped"),
        ("http://ü/", "has characters that must be escaped"),
    ] {
        refused_node(
            &format!("{{ http: {url:?}, method: GET }}"),
            &format!("url {url:?} {why}; write http://HOST/PATH or https://HOST/PATH"),
        );
    }
    for url in [
        "http://h",
        "HTTPS://h.example:8443/a?b=c%20d",
        "http://[2001:db8::1]:80/",
        "http://user.example/a@b",
        "http://10.0.0.1:8080/a",
    ] {
        let text = format!("flow: f\nnodes: {{ a: {{ http: {url:?}, method: GET }} }}\n");
        read_yaml_file_text("f.yaml", &text).unwrap();
    }
}

#[test]
fn a_header_or_parameter_that_breaks_the_message_is_refused() {
    for (headers, told) in [
        (
            r#""X-A": "1\nX-B: 2""#,
            r#"header X-A: "1\nX-B: 2" is not one line of plain text; mend it"#,
        ),
        (
            r#""X-A": "\0""#,
            r#"header X-A: "\0" is not one line of plain text; mend it"#,
        ),
        (
            r#""": a"#,
            r#"header name "" is not allowed; write letters, digits and -"#,
        ),
        (
            r#""A\nB": a"#,
            r#"header name "A\nB" is not allowed; write letters, digits and -"#,
        ),
        (
            r#""A:": { jq: . }"#,
            r#"header name "A:" is not allowed; write letters, digits and -"#,
        ),
        ("HOST: a", "header HOST is the platform's own; take it out"),
        (
            "Transfer-Encoding: { jq: . }",
            "header Transfer-Encoding is the platform's own; take it out",
        ),
        (
            "X-Callback-Url: { secret: a }",
            "header X-Callback-Url is the platform's own; take it out",
        ),
        (
            "X-Turlough-Attempt: 1",
            "header X-Turlough-Attempt is the platform's own; take it out",
        ),
    ] {
        refused_node(&format!("{{ apply: x, headers: {{ {headers} }} }}"), told);
    }
    for name in ["", "a\nb", "\0"] {
        refused_node(
            &format!("{{ apply: x, query: {{ {name:?}: a }} }}"),
            &format!(
                "query parameter {name:?} is not allowed; write a name of one line, 1 to 256 bytes"
            ),
        );
    }
    let many = |count: usize| {
        let pairs: Vec<_> = (0..count).map(|n| format!("A{n}: b")).collect();
        format!("{{ {} }}", pairs.join(", "))
    };
    refused_node(
        &format!("{{ apply: x, headers: {} }}", many(101)),
        "101 headers, limit 100; take some out",
    );
    refused_node(
        &format!("{{ apply: x, query: {} }}", many(101)),
        "101 query parameters, limit 100; take some out",
    );
    refused_node(
        &format!("{{ apply: x, path: /{} }}", "a".repeat(8192)),
        "path of 8193 bytes, limit 8192; shorten it",
    );
}

#[test]
fn a_secret_that_leaves_its_folder_is_refused() {
    let long = "a".repeat(254);
    for name in [
        "", ".", "..", "...", "..data", "a/b", "../a", "a\\b", "a b", "a\n", "\0", &long,
    ] {
        let shown: String = name.chars().take(80).collect();
        refused_node(
            &format!("{{ apply: x, headers: {{ Authorization: {{ secret: {name:?} }} }} }}"),
            &format!(
                "secret {shown:?} is not allowed; write letters, digits, -, _ and ., at most 253, a \
                 letter or digit first"
            ),
        );
    }
}

#[test]
fn a_wait_has_an_end_and_a_signal_a_name() {
    for (text, told) in [
        ("0s", format!("duration \"0s\" is zero; {UNITS}")),
        (
            "-5m",
            format!("duration \"-5m\" does not begin with a number; {UNITS}"),
        ),
        ("5", format!("duration \"5\" has no known unit; {UNITS}")),
        (
            "36500d",
            "duration \"36500d\" is over the limit of 366d; write a shorter one".to_owned(),
        ),
        (
            "forever",
            format!("duration \"forever\" does not begin with a number; {UNITS}"),
        ),
    ] {
        refused_node(&format!("{{ wait: {text} }}"), &format!("wait: {told}"));
    }
    for name in [
        "",
        "a b",
        "a.b",
        "a/b",
        "*",
        "a>",
        "a\n",
        "..",
        &"a".repeat(64),
    ] {
        refused_node(
            &format!("{{ wait: {{ signal: {name:?} }} }}"),
            &format!(
                "signal name {name:?} is not allowed; write letters, digits, - and _, at most 63, a \
                 letter or digit first"
            ),
        );
    }
    refused_node(
        "{ wait: { until: '.a |' } }",
        "jq expression \".a |\" does not compile: expected term at the end",
    );
}

#[test]
fn a_loop_has_a_bound() {
    let rest = "while: ., body: { nodes: { b: { pass: . } } }";
    refused_node(
        &format!("{{ loop: {{ {rest} }} }}"),
        "loop has no bound; write max_iterations: 1 to 100000",
    );
    for found in [0, Limits::ITERATIONS_MAX + 1] {
        refused_node(
            &format!("{{ loop: {{ max_iterations: {found}, {rest} }} }}"),
            &format!("max_iterations is {found}; write 1 to 100000"),
        );
    }
    refused_node(
        "{ loop: { max_iterations: 3, body: { nodes: { b: { pass: . } } } } }",
        "while is missing; write while: JQ",
    );
    refused_node(
        "{ loop: { while: '(', max_iterations: 3, body: { nodes: { b: { pass: . } } } } }",
        "jq expression \"(\" does not compile: expected closing parenthesis at the end",
    );
}

#[test]
fn a_graph_is_made_by_what_answers_at_once() {
    for by in ["apply: x, mode: async", "http: http://h, method: GET"] {
        refused_node(
            &format!("{{ expand: {{ {by} }} }}"),
            "expand has its graph made by a synchronous apply that is sent its input, a map or a pass; write \
             expand: { apply: FUNCTION }, and for another operation a node before it",
        );
    }
    for shape in ["{}", "{ apply: x, pass: . }"] {
        refused_node(
            &format!("{{ expand: {shape} }}"),
            "its expand is of another shape; write one of apply, http and pass",
        );
    }
    refused_node(
        "{ expand: { apply: x, retry: { attempts: 3 } } }",
        "its expand has retry; write that beside expand, or leave it out",
    );
    refused_node(
        "{ expand: { apply: X } }",
        "function name \"X\" is not allowed; write name or name.namespace, each of lower-case \
         letters, digits and -, at most 63",
    );
}

#[test]
fn a_flow_that_cannot_be_named_is_refused() {
    refused_node(
        "{ flow: a/b }",
        "flow name \"a/b\" is not allowed; write letters, digits, - and _, at most 63, a letter or \
         digit first",
    );
}

#[test]
fn a_closure_in_yaml_is_refused() {
    let told = "map runs a Rust closure, which YAML cannot hold; write the flow in Rust, or \
                apply: FUNCTION";
    refused_node("{ map: clean }", told);
    refused_node("{ expand: { map: clean } }", told);
    refused_node("{ apply: x, fallback: { map: clean } }", told);
}
