mod constructs;
mod drafts;
mod random;

use std::fmt::Write as _;

use super::*;
use crate::closure::StepError;
use crate::graph::{Edge, Operation};
use crate::yaml::read_counted;

fn visits(text: &str) -> u64 {
    let (flow, visits) = read_counted(text);
    flow.unwrap();
    visits
}

fn built(make: impl Fn(&crate::FlowBuilder)) -> u64 {
    let flow = Flow::builder("f");
    make(&flow);
    let (flow, visits) = flow.build_counted();
    flow.unwrap();
    visits
}

/// What a graph may cost: each node declared and freed once, each edge resolved, listed, counted
/// and freed once.
fn bound(nodes: u64, edges: u64) -> u64 {
    2 * nodes + 4 * edges
}

fn yaml_chain(nodes: usize) -> String {
    let mut text = "flow: f\nnodes:\n  n0: { pass: . }\n".to_owned();
    for n in 1..nodes {
        let _ = writeln!(text, "  n{n}: {{ after: [n{}], pass: . }}", n - 1);
    }
    text
}

fn yaml_diamonds(diamonds: usize) -> String {
    let mut text = "flow: f\nnodes:\n  j0: { pass: . }\n".to_owned();
    for n in 1..=diamonds {
        for side in ["l", "r"] {
            let _ = writeln!(text, "  {side}{n}: {{ after: [j{}], pass: . }}", n - 1);
        }
        let _ = writeln!(text, "  j{n}: {{ after: [l{n}, r{n}], pass: . }}");
    }
    text
}

fn build_chain(nodes: usize) -> u64 {
    built(|flow| {
        let mut last = flow.pass::<u32, _>("n0", &flow.input::<u32>(), ".");
        for n in 1..nodes {
            last = flow.pass(&format!("n{n}"), &last, ".");
        }
    })
}

fn build_diamonds(diamonds: usize) -> u64 {
    built(|flow| {
        let same = |n: u32| -> Result<u32, StepError> { Ok(n) };
        let sum = |(a, b): (u32, u32)| -> Result<u32, StepError> { Ok(a + b) };
        let mut last = flow.map("j0", &flow.input::<u32>(), same).plain();
        for n in 1..=diamonds {
            let left = flow.map(&format!("l{n}"), &last, same);
            let right = flow.map(&format!("r{n}"), &last, same);
            last = flow.map(&format!("j{n}"), (&left, &right), sum).plain();
        }
    })
}

#[test]
fn stacked_diamonds_are_visited_once_each() {
    // 2 to the power of 40 paths.
    for (once, twice) in [
        (visits(&yaml_diamonds(40)), visits(&yaml_diamonds(80))),
        (build_diamonds(40), build_diamonds(80)),
    ] {
        assert!(once <= bound(121, 161), "{once}");
        assert!(twice <= 2 * once, "{twice} for twice the graph of {once}");
    }
}

#[test]
fn a_long_chain_is_visited_in_linear_time() {
    for (once, twice) in [
        (visits(&yaml_chain(10_000)), visits(&yaml_chain(20_000))),
        (build_chain(10_000), build_chain(20_000)),
    ] {
        assert!(once <= bound(10_000, 10_000), "{once}");
        assert!(
            twice <= 2 * once + 8,
            "{twice} for twice the chain of {once}"
        );
    }
}

#[test]
fn a_long_cycle_is_found_in_linear_time() {
    let cycle = |nodes: usize| {
        let text = yaml_chain(nodes).replace("n0: {", &format!("n0: {{ after: [n{}],", nodes - 1));
        let (flow, visits) = read_counted(&text);
        assert!(flow.unwrap_err().to_string().contains(" → … → "));
        visits
    };
    let (once, twice) = (cycle(10_000), cycle(20_000));
    assert!(
        twice <= 2 * once + 8,
        "{twice} for twice the cycle of {once}"
    );
}

#[test]
fn a_wide_join_and_a_wide_switch_are_visited_in_linear_time() {
    let wide = |width: usize| {
        let mut text = "flow: f\nnodes:\n  s: { switch: [".to_owned();
        for n in 0..width {
            let _ = write!(text, "{{ when: '. == {n}', to: n{n} }}, ");
        }
        text.push_str("] }\n");
        let names: Vec<_> = (0..width).map(|n| format!("n{n}")).collect();
        for name in &names {
            let _ = writeln!(text, "  {name}: {{ pass: . }}");
        }
        let _ = writeln!(text, "  join: {{ after: [{}], pass: . }}", names.join(", "));
        visits(&text)
    };
    let (once, twice) = (wide(500), wide(1_000));
    assert!(once <= bound(502, 1_001), "{once}");
    assert!(twice <= 2 * once, "{twice} for twice the join of {once}");
}

#[test]
fn a_value_from_outside_nested_bodies_is_an_edge_of_each_owner() {
    let flow = Flow::builder("f");
    let lists = flow.input::<Vec<Vec<u32>>>();
    let extra = flow.map(
        "extra",
        &lists,
        |l: Vec<Vec<u32>>| -> Result<usize, StepError> { Ok(l.len()) },
    );
    let all = flow.for_each("outer", &lists, |outer, list| {
        outer.for_each("inner", list, |inner, item| {
            inner.map(
                "add",
                (item, list, &extra, &lists),
                |(n, _, m, _): (u32, Vec<u32>, usize, Vec<Vec<u32>>)| -> Result<usize, StepError> {
                    Ok(n as usize + m)
                },
            )
        })
    });
    let flow = flow.output(&all).build().unwrap();
    let shown = |vertex: &Vertex| {
        let edge = |e: &Edge| {
            format!(
                "{}={:?}{}",
                e.name,
                e.from,
                if e.capture { "*" } else { "" }
            )
        };
        vertex.edges.iter().map(edge).collect::<Vec<_>>().join(" ")
    };
    let body = |vertex: &Vertex| match &vertex.operation {
        Operation::ForEach(each) => Arc::clone(&each.body),
        _ => panic!("no for_each"),
    };
    let outer = &flow.graph().nodes[1];
    assert_eq!(shown(outer), "input=Input extra=Node(0)* input=Input*");
    let inner = &body(outer).nodes[0];
    assert_eq!(
        shown(inner),
        "item=Input item=Input* extra=Outer(1)* input=Outer(2)*"
    );
    // The two items bear two names, so that a join holds both.
    let add = &body(inner).nodes[0];
    assert_eq!(
        shown(add),
        "item=Input outer=Outer(1) extra=Outer(2) input=Outer(3)"
    );
}
