//! Bodies, stand-ins and graphs made at run time are visited in linear time.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{bound, visits};
use crate::yaml::read_graph_counted;

/// Nodes with everything that a node can have, each after the one before.
fn full(nodes: usize) -> String {
    let mut text = "flow: f\nnodes:\n  n0: { pass: . }\n".to_owned();
    for n in 1..nodes {
        let before = n - 1;
        let after = [
            "{ node: nX, data: false }",
            "{ node: nX, transform: .a }",
            "nX",
        ][n % 3];
        let after = after.replace('X', &before.to_string());
        let _ = writeln!(
            text,
            "  n{n}:\n    after: [{after}]\n    apply: x\n    when: .a\n    aggregate: .b\n    set: {{ v: . }}\n    \
             fallback: {{ apply: y }}\n    compensate: {{ apply: z }}"
        );
    }
    text
}

#[test]
fn stand_ins_are_visited_once_each() {
    let (once, twice) = (visits(&full(10_000)), visits(&full(20_000)));
    // A node's fallback and its compensation count as a node each.
    assert!(once <= bound(3 * 10_000, 10_000), "{once}");
    assert!(
        twice <= 2 * once + 8,
        "{twice} for twice the chain of {once}"
    );
}

/// Loops, one within the other, each of which takes all that stands outside.
fn nested(width: usize) -> String {
    let names: Vec<_> = (0..width).map(|n| format!("n{n}")).collect();
    let all = names.join(", ");
    let mut body = format!("{{ nodes: {{ last: {{ after: [{all}], pass: . }} }} }}");
    for depth in (0..7).rev() {
        let (kind, rest) = if depth % 2 == 0 {
            ("loop", "while: ., max_iterations: 3, ")
        } else {
            ("for_each", "errors: collect, ")
        };
        body = format!("{{ nodes: {{ l{depth}: {{ {kind}: {{ {rest}body: {body} }} }} }} }}");
    }
    let mut text = "flow: f\nnodes:\n".to_owned();
    for name in &names {
        let _ = writeln!(text, "  {name}: {{ pass: . }}");
    }
    let _ = writeln!(text, "  own: {{ for_each: {{ body: {body} }} }}");
    text
}

#[test]
fn what_nested_bodies_take_from_outside_is_visited_once_at_each_depth() {
    let (once, twice) = (visits(&nested(200)), visits(&nested(400)));
    // Nine bodies and graphs, each with an edge for each value that its nodes take from outside.
    assert!(once <= bound(209, 9 * 201), "{once}");
    assert!(twice <= 2 * once, "{twice} for twice the values of {once}");
}

#[test]
fn the_ends_of_a_flow_are_visited_once() {
    let ends = |nodes: usize| {
        let mut text = "flow: f\nnodes: { a: { pass: . } }\n".to_owned();
        for (key, prefix) in [("on_failure", "x"), ("finally", "y")] {
            let _ = writeln!(text, "{key}:\n  nodes:\n    {prefix}0: {{ pass: . }}");
            for n in 1..nodes {
                let before = n - 1;
                let _ = writeln!(
                    text,
                    "    {prefix}{n}: {{ after: [{prefix}{before}], pass: . }}"
                );
            }
        }
        visits(&text)
    };
    let (once, twice) = (ends(2_000), ends(4_000));
    assert!(once <= bound(2 * 2_000 + 1, 2 * 2_000 + 1), "{once}");
    assert!(twice <= 2 * once, "{twice} for twice the ends of {once}");
}

#[test]
fn a_graph_made_at_run_time_is_visited_in_linear_time() {
    let made = |nodes: usize| {
        let mut text = "{\"nodes\":{\"n0\":{\"pass\":\".\"}".to_owned();
        for n in 1..nodes {
            let before = n - 1;
            let _ = write!(
                text,
                ",\"n{n}\":{{\"after\":[\"n{before}\"],\"pass\":\".\"}}"
            );
        }
        let (graph, visits) = read_graph_counted(&format!("{text}}}}}"), &BTreeMap::new());
        graph.unwrap();
        visits
    };
    let (once, twice) = (made(4_000), made(8_000));
    assert!(once <= bound(4_000, 4_000), "{once}");
    assert!(
        twice <= 2 * once + 8,
        "{twice} for twice the graph of {once}"
    );
}
