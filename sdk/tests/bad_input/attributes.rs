//! What is said of a node, and of the flow.

use std::time::Duration;

use turlough_sdk::{Cause, Flow, Limits, Retry};

use crate::{UNITS, refused, refused_build, refused_node, same};

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
fn what_may_happen_once_is_not_repeated() {
    refused_node(
        "{ apply: x, idempotent: false, retry: { attempts: 3 } }",
        "retry calls again, and idempotent: false forbids it; take one of them out",
    );
    refused_node(
        "{ apply: x, idempotent: false, mode: async }",
        "mode: async may deliver a call twice, and idempotent: false forbids it; write mode: sync",
    );
    refused_node(
        "{ apply: x, idempotent: false, pure: true }",
        "pure: true may be called again, and idempotent: false forbids it; take one of them out",
    );
    for (node, name) in [
        ("pass: .", "pass"),
        ("wait: 1s", "wait"),
        ("expand: { apply: x }", "expand"),
        (
            "for_each: { body: { nodes: { b: { apply: x } } } }",
            "for_each",
        ),
        (
            "loop: { while: ., max_iterations: 1, body: { nodes: { b: { apply: x } } } }",
            "loop",
        ),
    ] {
        refused_node(
            &format!("{{ {node}, idempotent: false }}"),
            &format!(
                "idempotent: false is said of what is called, and {name} calls nothing itself; \
                 write it on an apply, http, map or flow"
            ),
        );
    }
    for method in ["", ", method: PUT", ", method: DELETE", ", method: OPTIONS"] {
        let shown = method.strip_prefix(", method: ").unwrap_or("POST");
        refused_node(
            &format!("{{ http: http://h{method} }}"),
            &format!(
                "http by {shown} may change what it calls; write idempotent: true where calling \
                 twice does no harm, otherwise idempotent: false"
            ),
        );
    }
}

#[test]
fn what_leaves_no_trace_needs_no_undoing() {
    refused_node(
        "{ apply: x, pure: true, compensate: { apply: y } }",
        "pure: true leaves nothing that compensate could undo; take one of them out",
    );
    for node in [
        "apply: x, mode: async",
        "http: http://h, method: GET, callback: true",
        "flow: g",
    ] {
        refused_node(
            &format!("{{ {node}, pure: true }}"),
            "pure: true may be called ahead and again, and what somebody else completes may not; \
             take pure out",
        );
    }
}

#[test]
fn what_stands_in_for_a_node_is_a_call() {
    for role in ["fallback", "compensate"] {
        for (action, found) in [
            ("apply: y, mode: async", "an asynchronous apply"),
            (
                "http: http://h, method: GET, callback: true",
                "an http with a callback",
            ),
        ] {
            refused_node(
                &format!("{{ apply: x, {role}: {{ {action} }} }}"),
                &format!("its {role} is {found}; write a synchronous apply, http, map or pass"),
            );
        }
        for shape in ["{}", "{ apply: y, pass: . }", "{ retry: { attempts: 3 } }"] {
            refused_node(
                &format!("{{ apply: x, {role}: {shape} }}"),
                &format!("its {role} is of another shape; write one of apply, http and pass"),
            );
        }
        refused_node(
            &format!(
                "{{ apply: x, {role}: {{ apply: y, idempotent: false, retry: {{ attempts: 2 }} }} }}"
            ),
            "retry calls again, and idempotent: false forbids it; take one of them out",
        );
        refused(
            &format!("flow: f\nnodes:\n  a:\n    apply: x\n    {role}:\n      http: http://h\n"),
            "f.yaml:6: flow f: node a: http by POST may change what it calls; write idempotent: true \
             where calling twice does no harm, otherwise idempotent: false",
        );
        refused(
            &format!("flow: f\nnodes:\n  a:\n    apply: x\n    {role}:\n      pass: '('\n"),
            "f.yaml:6: flow f: node a: jq expression \"(\" does not compile: expected closing \
             parenthesis at the end",
        );
    }
    refused_node(
        "{ apply: x, fallback: { value: 1, apply: y } }",
        "its fallback has other keys beside value; write the value alone, or an operation",
    );
    refused_node(
        "{ apply: x, compensate: { value: 1 } }",
        "its compensate is of another shape; write one of apply, http and pass",
    );
}

#[test]
fn a_switch_has_no_fallback() {
    refused(
        "flow: f\nnodes:\n  a: { switch: [{ when: ., to: b }], fallback: { value: 1 } }\n  b: { pass: . }\n",
        "f.yaml:3: flow f: node a: a switch takes one of its ways, which a fallback cannot; write a \
         default",
    );
}

#[test]
fn a_retry_is_on_failures_that_pass() {
    for found in ["permanent", "unknown", "everything"] {
        refused_node(
            &format!("{{ apply: x, retry: {{ attempts: 3, on: [{found}] }} }}"),
            &format!(
                "retry on {found:?} is unknown; write one of transient, timeout, panic, unanswered"
            ),
        );
    }
    let told = "retry is on failures that no attempt may mend, or on none; write some of transient, \
                timeout, panic, unanswered";
    refused_node("{ apply: x, retry: { attempts: 3, on: [] } }", told);
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let retry = Retry::exponential(2, Duration::ZERO..Duration::ZERO).on(&[Cause::Permanent]);
    let _ = flow.map("a", &n, same).retry(retry);
    refused_build(flow, &format!("flow f: node a: {told}"));
}

#[test]
fn an_edge_without_a_value_has_none_to_transform() {
    refused(
        "flow: f\nnodes:\n  a: { pass: . }\n  b:\n    pass: .\n    after:\n      - { node: a, data: false, transform: .x }\n",
        "f.yaml:7: flow f: node b: the edge from \"a\" is order alone, and so has no value to \
         transform; take transform out, or data: false",
    );
    refused(
        "flow: f\nnodes:\n  a: { pass: . }\n  b:\n    pass: .\n    after:\n      - { node: a, transform: '(' }\n",
        "f.yaml:7: flow f: node b: jq expression \"(\" does not compile: expected closing \
         parenthesis at the end",
    );
    refused(
        "flow: f\nnodes:\n  a: { pass: . }\n  b: { pass: ., after: [a, { node: a, data: false }] }\n",
        "f.yaml:4: flow f: node b: it comes twice after \"a\"; write it once",
    );
}

#[test]
fn a_variable_that_jq_cannot_name_is_refused() {
    for name in ["", "1a", "a-b", "a.b", "$a", "a b", &"a".repeat(64)] {
        refused_node(
            &format!("{{ pass: ., set: {{ {name:?}: . }} }}"),
            &format!(
                "variable {name:?} is not allowed; write letters, digits and _, at most 63, no digit \
                 first"
            ),
        );
    }
    let many: Vec<_> = (0..65).map(|n| format!("v{n}: .")).collect();
    refused_node(
        &format!("{{ pass: ., set: {{ {} }} }}", many.join(", ")),
        "it sets 65 variables, limit 64; set one that holds them",
    );
    refused(
        "flow: f\nnodes:\n  a:\n    pass: .\n    set:\n      b: '('\n",
        "f.yaml:6: flow f: node a: jq expression \"(\" does not compile: expected closing \
         parenthesis at the end",
    );
}

#[test]
fn variables_of_an_output_that_nothing_of_ours_sees_are_refused() {
    for (node, why) in [
        ("wait: 1s", "a wait computes nothing"),
        (
            "expand: { pass: . }",
            "its output is that of the graph that it makes",
        ),
        ("apply: f, mode: async", "somebody else gives its output"),
        ("flow: other", "somebody else gives its output"),
    ] {
        refused_node(
            &format!("{{ {node}, set: {{ a: . }} }}"),
            &format!("it sets variables, but {why}; set them in a pass after it"),
        );
    }
}

#[test]
fn a_bad_condition_or_aggregate_is_shown_where_it_stands() {
    for key in ["when", "aggregate"] {
        refused(
            &format!("flow: f\nnodes:\n  a:\n    apply: x\n    {key}: '('\n"),
            "f.yaml:5: flow f: node a: jq expression \"(\" does not compile: expected closing \
             parenthesis at the end",
        );
    }
}

#[test]
fn what_a_flow_says_of_itself_is_held_to_its_limits() {
    let flow = |what: &str| format!("flow: f\nnodes: {{ a: {{ pass: . }} }}\n{what}\n");
    for found in [0, Limits::CONCURRENCY_MAX + 1] {
        refused(
            &flow(&format!("concurrency: {found}")),
            &format!("f.yaml:1: flow f: concurrency is {found}; write 1 to 100000"),
        );
    }
    for name in ["Authorization", "COOKIE", "proxy-authorization"] {
        let shown = name.to_lowercase();
        refused(
            &flow(&format!("headers: [{name}]")),
            &format!(
                "f.yaml:3: flow f: header {shown} proves who the caller is, and is never recorded; take it out"
            ),
        );
    }
    refused(
        &flow("headers:\n- X-A\n- x-a"),
        "f.yaml:5: flow f: header x-a is written twice; write it once",
    );
    refused(
        &flow("headers: ['a b']"),
        "f.yaml:3: flow f: header name \"a b\" is not allowed; write letters, digits and -",
    );
    let many: Vec<_> = (0..101).map(|n| format!("x{n}")).collect();
    refused(
        &flow(&format!("headers: [{}]", many.join(", "))),
        "f.yaml:3: flow f: 101 headers, limit 100; take some out",
    );
}

#[test]
fn the_graphs_of_the_end_stand_by_themselves() {
    for key in ["on_failure", "finally"] {
        refused(
            &format!(
                "flow: f\nnodes: {{ a: {{ pass: . }} }}\n{key}:\n  nodes:\n    b: {{ after: [a], pass: . }}\n"
            ),
            "f.yaml:5: flow f: node b: it comes after \"a\", which is no node; write one of b",
        );
        refused(
            &format!(
                "flow: f\nnodes: {{ a: {{ pass: . }} }}\n{key}:\n  nodes:\n    a: {{ pass: . }}\n"
            ),
            "f.yaml:5: flow f: node a: the name is used twice in the flow; names are unique, bodies \
             included",
        );
        refused(
            &format!(
                "flow: f\nnodes: {{ a: {{ pass: . }} }}\n{key}:\n  nodes:\n    b: {{ pass: ., after: [item] }}\n"
            ),
            "f.yaml:5: flow f: node b: it comes after item, which stands for the item of a for_each \
             or the state of a loop, and it is in no body; write input, or a node",
        );
    }
}
