//! How nodes hang together, and how many there may be.

use turlough_sdk::{Flow, Limits, read_yaml_file_text};

use crate::{refused, refused_build, refused_node, same};

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
        "it comes after item, which stands for the item of a for_each or the state of a loop, and it \
         is in no body; write input, or a node",
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
