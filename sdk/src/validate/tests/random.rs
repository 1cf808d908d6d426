//! Drafts at random: none breaks validation, and what passes keeps the graph's invariants.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;
use crate::closure::{Cause, Closure};
use crate::draft::{
    DraftApply, DraftEdge, DraftFallback, DraftFormula, DraftHttp, DraftOperation, DraftSource,
    DraftText, DraftWait,
};
use crate::retry::Retry;
use crate::value::Value;

/// Names of nodes, few enough to meet, some of which cannot be.
const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "input", "item", "", "a/b", "-"];
const WORDS: [&str; 9] = [".", ".a", "(", "x", "http://h", "/p", "..", "a\r\nb", "GET"];

fn word() -> BoxedStrategy<String> {
    prop_oneof![
        9 => select(&WORDS[..]).prop_map(str::to_owned),
        1 => ".{0,20}",
    ]
    .boxed()
}

fn located() -> BoxedStrategy<Located> {
    (word(), option::of(1..9_u64))
        .prop_map(|(text, line)| Located { text, line })
        .boxed()
}

fn name() -> BoxedStrategy<String> {
    select(&NAMES[..]).prop_map(str::to_owned).boxed()
}

fn map() -> Map {
    Map {
        closure: Closure::Sync(Arc::new(|_| Ok(Value::empty()))),
        version: 1,
    }
}

fn formula() -> BoxedStrategy<DraftFormula> {
    prop_oneof![
        4 => located().prop_map(DraftFormula::Jq),
        1 => Just(()).prop_map(|()| DraftFormula::Closure(map())),
    ]
    .boxed()
}

fn text() -> BoxedStrategy<DraftText> {
    prop_oneof![
        word().prop_map(DraftText::Literal),
        located().prop_map(DraftText::Jq),
        word().prop_map(DraftText::Secret),
    ]
    .boxed()
}

fn texts() -> BoxedStrategy<Vec<(String, DraftText)>> {
    vec((word(), text()), 0..3).boxed()
}

fn duration() -> BoxedStrategy<Duration> {
    select(vec![Duration::ZERO, Duration::from_secs(1), Duration::MAX]).boxed()
}

fn call() -> BoxedStrategy<DraftOperation> {
    let apply = (
        word(),
        option::of(word()),
        option::of(text()),
        texts(),
        texts(),
        any::<bool>(),
    );
    let apply = apply.prop_map(|(function, method, path, query, headers, asynchronous)| {
        DraftOperation::Apply(DraftApply {
            function,
            method,
            path,
            query,
            headers,
            content_type: None,
            asynchronous,
            by_reference: false,
        })
    });
    let http = (
        text(),
        option::of(word()),
        texts(),
        option::of(word()),
        any::<bool>(),
    );
    let http = http.prop_map(|(url, method, query, content_type, callback)| {
        DraftOperation::Http(DraftHttp {
            url,
            method,
            query,
            headers: Vec::new(),
            content_type,
            callback,
        })
    });
    prop_oneof![
        apply,
        http,
        located().prop_map(DraftOperation::Pass),
        located().prop_map(DraftOperation::Named),
        located().prop_map(DraftOperation::Flow),
        Just(()).prop_map(|()| DraftOperation::Map(map())),
        located().prop_map(|it| DraftOperation::Wait(DraftWait::Signal(it))),
        located().prop_map(|it| DraftOperation::Wait(DraftWait::Until(it))),
        duration().prop_map(|it| DraftOperation::Wait(DraftWait::Duration(it))),
        (vec(option::of(formula()), 0..4), any::<bool>())
            .prop_map(|(cases, all)| DraftOperation::Switch { cases, all }),
    ]
    .boxed()
}

fn operation(graph: BoxedStrategy<DraftGraph>) -> BoxedStrategy<DraftOperation> {
    let each = (
        option::of(located()),
        graph.clone(),
        option::of(0..3_usize),
        any::<bool>(),
    );
    let each = each.prop_map(
        |(items, body, parallel_max, collect)| DraftOperation::ForEach {
            items,
            body,
            parallel_max,
            collect,
        },
    );
    let again = (graph, formula(), option::of(0..3_u32));
    let again = again.prop_map(|(body, again, iterations_max)| DraftOperation::Loop {
        body,
        again,
        iterations_max,
    });
    let expand = call().prop_map(|by| DraftOperation::Expand(Box::new(by)));
    prop_oneof![6 => call(), 1 => each, 1 => again, 1 => expand].boxed()
}

fn edge() -> BoxedStrategy<DraftEdge> {
    let from = prop_oneof![
        5 => name().prop_map(DraftSource::Node),
        1 => (0..3_usize).prop_map(DraftSource::Input),
    ];
    let rest = (option::of(0..2_usize), any::<bool>(), option::of(formula()));
    (from, rest)
        .prop_map(|(from, (case, data, transform))| DraftEdge {
            data,
            transform,
            ..DraftEdge::new(from, case, None)
        })
        .boxed()
}

fn retry() -> BoxedStrategy<Retry> {
    let causes = [Cause::Timeout, Cause::Permanent, Cause::Unknown];
    (
        any::<u32>(),
        duration(),
        duration(),
        option::of(vec(select(causes.to_vec()), 0..2)),
    )
        .prop_map(|(attempts, from, to, on)| {
            let retry = Retry::exponential(attempts, from..to);
            match on {
                Some(on) => retry.on(&on),
                None => retry,
            }
        })
        .boxed()
}

fn stand_in() -> BoxedStrategy<Box<DraftNode>> {
    (
        call(),
        vec(edge(), 0..2),
        option::of(retry()),
        option::of(any::<bool>()),
    )
        .prop_map(|(operation, edges, retry, idempotent)| {
            Box::new(DraftNode {
                retry,
                idempotent,
                ..DraftNode::new("", operation, edges)
            })
        })
        .boxed()
}

fn node(graph: BoxedStrategy<DraftGraph>) -> BoxedStrategy<DraftNode> {
    let shape = (name(), operation(graph), vec(edge(), 0..4));
    let conditions = (option::of(formula()), option::of(formula()));
    let promises = (option::of(any::<bool>()), option::of(any::<bool>()));
    let fallback = prop_oneof![
        Just(()).prop_map(|()| DraftFallback::Constant(Value::empty())),
        stand_in().prop_map(DraftFallback::Node),
    ];
    let ends = (
        option::weighted(0.2, fallback),
        option::weighted(0.2, stand_in()),
        vec((word(), located()), 0..2),
        option::weighted(0.2, retry()),
        option::weighted(0.2, duration()),
    );
    (shape, conditions, promises, ends)
        .prop_map(
            |((id, operation, edges), (when, aggregate), (idempotent, pure), ends)| DraftNode {
                when,
                aggregate,
                idempotent,
                pure,
                fallback: ends.0,
                compensate: ends.1,
                set: ends.2,
                retry: ends.3,
                timeout: ends.4,
                ..DraftNode::new(&id, operation, edges)
            },
        )
        .boxed()
}

fn graph(depth: u32) -> BoxedStrategy<DraftGraph> {
    let inner = if depth == 0 {
        Just(()).prop_map(|()| DraftGraph::default()).boxed()
    } else {
        graph(depth - 1)
    };
    let output = option::of(name().prop_map(|text| Located { text, line: None }));
    (vec(node(inner), 0..5), output)
        .prop_map(|(nodes, output)| DraftGraph { nodes, output })
        .boxed()
}

/// A draft that passes: a DAG of plain nodes, whose edges go from earlier to later ones.
fn sound() -> BoxedStrategy<DraftGraph> {
    let edges = vec((any::<prop::sample::Index>(), any::<bool>()), 0..4);
    vec(edges, 1..20)
        .prop_map(|nodes| {
            let nodes = nodes.into_iter().enumerate().map(|(ix, from)| {
                let mut before: BTreeMap<usize, bool> = BTreeMap::new();
                for (index, data) in from.iter().filter(|_| ix > 0) {
                    before.insert(index.index(ix), *data);
                }
                let edges = before.into_iter().map(|(from, data)| DraftEdge {
                    data,
                    ..DraftEdge::new(DraftSource::Node(format!("n{from}")), None, None)
                });
                let operation = DraftOperation::Pass(".".into());
                DraftNode::new(&format!("n{ix}"), operation, edges.collect())
            });
            DraftGraph {
                nodes: nodes.collect(),
                output: None,
            }
        })
        .boxed()
}

fn draft(graph: DraftGraph, on_failure: Option<DraftGraph>) -> DraftFlow {
    DraftFlow {
        name: "f".into(),
        timeout: None,
        graph,
        on_failure,
        finally: None,
        concurrency: None,
        headers: Vec::new(),
        is_signed: false,
        closures: BTreeMap::new(),
    }
}

/// Indexes in range, successors that mirror the edges, captures of the owner, and no cycle.
fn check(graph: &Graph, owner_edges: usize) {
    let mut waits: Vec<_> = graph.nodes.iter().map(|_| 0_usize).collect();
    for (ix, node) in graph.nodes.iter().enumerate() {
        assert!(!node.edges.is_empty());
        for (edge_ix, edge) in node.edges.iter().enumerate() {
            assert!(edge.data || edge.transform.is_none());
            match edge.from {
                Source::Input => {}
                Source::Node(from) => {
                    assert!(graph.successors[from].contains(&(ix, edge_ix)));
                    waits[ix] += 1;
                }
                Source::Outer(outer) => assert!(outer < owner_edges),
            }
        }
        match &node.operation {
            Operation::ForEach(each) => check(&each.body, node.edges.len()),
            Operation::Loop(again) => check(&again.body, node.edges.len()),
            _ => {}
        }
    }
    let mut free: Vec<_> = (0..waits.len()).filter(|ix| waits[*ix] == 0).collect();
    let mut done = 0;
    while let Some(ix) = free.pop() {
        done += 1;
        for (next, _) in &graph.successors[ix] {
            waits[*next] -= 1;
            if waits[*next] == 0 {
                free.push(*next);
            }
        }
    }
    assert_eq!(done, graph.nodes.len(), "there is a cycle");
}

proptest! {
    #[test]
    fn no_draft_breaks_validation(first in graph(2), second in option::of(graph(1))) {
        let (flow, _) = validate(draft(first, second), Problems::new(None, "f"));
        match flow {
            Ok(flow) => check(flow.graph(), 0),
            Err(error) => prop_assert!(!error.problems().is_empty()),
        }
    }

    #[test]
    fn no_graph_made_at_run_time_breaks_validation(made in graph(2)) {
        let closures = BTreeMap::from([("x".to_owned(), map())]);
        if let (Ok(made), _) = validate_graph(made, &closures, Problems::new(None, "")) {
            check(&made, 0);
        }
    }

    #[test]
    fn a_sound_draft_passes(made in sound()) {
        let (flow, _) = validate(draft(made, None), Problems::new(None, "f"));
        check(flow.unwrap().graph(), 0);
    }
}
