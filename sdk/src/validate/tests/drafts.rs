//! Drafts that YAML cannot write.

use std::time::Duration;

use super::super::*;
use crate::closure::{Cause, Closure};
use crate::draft::{
    DraftApply, DraftEdge, DraftFallback, DraftFormula, DraftOperation, DraftSource, DraftWait,
};
use crate::retry::Retry;
use crate::value::Value;

fn draft(nodes: Vec<DraftNode>) -> DraftFlow {
    DraftFlow {
        name: "f".into(),
        timeout: None,
        graph: DraftGraph {
            nodes,
            output: None,
        },
        on_failure: None,
        finally: None,
        concurrency: None,
        headers: Vec::new(),
        is_signed: false,
        closures: BTreeMap::new(),
    }
}

#[track_caller]
fn refused(draft: DraftFlow, told: &str) {
    let (flow, _) = validate(draft, Problems::new(None, "f"));
    assert_eq!(flow.unwrap_err().to_string(), told);
}

fn pass() -> DraftOperation {
    DraftOperation::Pass(".".into())
}

fn node(operation: DraftOperation) -> DraftNode {
    DraftNode::new("a", operation, Vec::new())
}

fn map() -> Map {
    Map {
        closure: Closure::Sync(Arc::new(|_| Ok(Value::empty()))),
        version: 1,
    }
}

/// A stand-in with all that only the node itself can have.
fn overloaded() -> Box<DraftNode> {
    let input = DraftEdge::new(DraftSource::Input(0), None, None);
    Box::new(DraftNode {
        aggregate: Some(DraftFormula::Closure(map())),
        when: Some(DraftFormula::Jq(".".into())),
        pure: Some(true),
        fallback: Some(DraftFallback::Constant(Value::empty())),
        compensate: Some(Box::new(node(pass()))),
        set: vec![("v".to_owned(), ".".into())],
        ..DraftNode::new("", pass(), vec![input])
    })
}

#[test]
fn a_stand_in_has_nothing_that_is_the_nodes() {
    let keys = "after, aggregate, when, pure, fallback, compensate, set";
    let told = |role: &str| {
        format!("flow f: node a: its {role} has {keys}, which it cannot; take it out of {role}")
    };
    let mut undone = node(pass());
    undone.compensate = Some(overloaded());
    refused(draft(vec![undone]), &told("compensate"));
    let mut replaced = node(pass());
    replaced.fallback = Some(DraftFallback::Node(overloaded()));
    refused(draft(vec![replaced]), &told("fallback"));
}

#[test]
fn a_stand_in_owns_no_body_and_takes_no_way() {
    let body = || DraftGraph {
        nodes: vec![DraftNode::new("b", pass(), Vec::new())],
        output: None,
    };
    let each = DraftOperation::ForEach {
        items: None,
        body: body(),
        parallel_max: None,
        collect: false,
    };
    let again = DraftOperation::Loop {
        body: body(),
        again: DraftFormula::Closure(map()),
        iterations_max: Some(1),
    };
    let switch = DraftOperation::Switch {
        cases: vec![None],
        all: false,
    };
    for (operation, found) in [
        (each, "a for_each"),
        (again, "a loop"),
        (switch, "a switch"),
        (DraftOperation::Expand(Box::new(pass())), "an expand"),
        (DraftOperation::Flow("g".into()), "a flow"),
        (
            DraftOperation::Wait(DraftWait::Signal("s".into())),
            "a wait",
        ),
    ] {
        let mut undone = node(pass());
        undone.compensate = Some(Box::new(DraftNode::new("", operation, Vec::new())));
        let known = "write a synchronous apply, http, map or pass";
        refused(
            draft(vec![undone]),
            &format!("flow f: node a: its compensate is {found}; {known}"),
        );
    }
}

#[test]
fn a_graph_is_not_made_by_what_makes_graphs() {
    let inner = DraftOperation::Expand(Box::new(pass()));
    refused(
        draft(vec![node(DraftOperation::Expand(Box::new(inner)))]),
        "flow f: node a: expand has its graph made by a synchronous apply that is sent its input, a map or a pass; write \
         expand: { apply: FUNCTION }, and for another operation a node before it",
    );
}

#[test]
fn a_wait_of_no_time_or_of_centuries_is_refused() {
    for (duration, shown) in [
        (Duration::ZERO, "0ns"),
        (Duration::from_nanos(1), "1ns"),
        (Duration::from_secs(36_500 * 86_400), "3153600000s"),
    ] {
        let wait = DraftOperation::Wait(DraftWait::Duration(duration));
        refused(
            draft(vec![node(wait)]),
            &format!("flow f: node a: wait is {shown}; write 1us to 366d"),
        );
    }
}

#[test]
fn a_variable_is_set_once() {
    let mut setting = node(pass());
    setting.set = vec![("v".to_owned(), ".a".into()), ("v".to_owned(), ".b".into())];
    refused(
        draft(vec![setting]),
        "flow f: node a: it sets v twice; set it once",
    );
}

#[test]
fn a_closure_is_registered_under_a_name() {
    let mut flow = draft(vec![node(pass())]);
    flow.closures.insert("a/b".to_owned(), map());
    refused(
        flow,
        "flow f: closure name \"a/b\" is not allowed; write letters, digits, - and _, at most 63, a \
         letter or digit first",
    );
    let mut flow = draft(vec![node(pass())]);
    let many = (0..=Limits::CLOSURES_MAX).map(|n| (format!("c{n}"), map()));
    flow.closures = many.collect();
    refused(flow, "flow f: 1001 closures, limit 1000; take some out");
}

#[test]
fn a_retry_is_on_what_may_pass() {
    let second = Duration::from_secs(1);
    for causes in [&[][..], &[Cause::Timeout, Cause::Unknown]] {
        let mut tried = node(DraftOperation::Apply(DraftApply {
            function: "x".to_owned(),
            ..DraftApply::default()
        }));
        tried.retry = Some(Retry::exponential(2, second..second).on(causes));
        refused(
            draft(vec![tried]),
            "flow f: node a: retry is on failures that no attempt may mend, or on none; write some \
             of transient, timeout, panic, unanswered",
        );
    }
}
