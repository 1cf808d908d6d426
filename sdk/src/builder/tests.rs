use std::time::Duration;

use super::*;
use crate::closure::{Closure, Inputs, StepError};
use crate::context::Context;
use crate::graph::{Operation, Source};
use crate::value::Value;

fn double(n: u32) -> Result<u32, StepError> {
    Ok(n * 2)
}
async fn halve(n: u32) -> Result<u32, std::num::TryFromIntError> {
    u8::try_from(n / 2).map(u32::from)
}
fn either((a, b): (Option<u32>, Option<u32>)) -> Result<u32, StepError> {
    a.or(b).ok_or_else(|| StepError::permanent("neither"))
}
fn both((a, b): (u32, Option<u32>)) -> Result<u32, StepError> {
    Ok(a + b.unwrap_or(100))
}

fn run(flow: &Flow, node: &str, members: &[Option<u32>]) -> Result<u32, StepError> {
    let vertex = flow
        .graph()
        .nodes
        .iter()
        .find(|vertex| vertex.id.as_str() == node)
        .unwrap();
    let Operation::Map(map) = &vertex.operation else {
        panic!("no map")
    };
    let member = |n: &Option<u32>| ("x".into(), n.map(|n| Value::encode(&n).unwrap()));
    let inputs = Inputs {
        context: Context::default(),
        members: members.iter().map(member).collect(),
    };
    let Closure::Sync(closure) = &map.closure else {
        panic!("not sync")
    };
    closure(&inputs).map(|value| value.decode().unwrap())
}

#[test]
fn sync_and_async_functions_are_told_apart() {
    let flow = Flow::builder("f").timeout(Duration::from_secs(1));
    let n = flow.input::<u32>();
    let doubled = flow.map("double", &n, double);
    let halved = flow.map("halve", &doubled, halve);
    let flow = flow.output(&halved).build().unwrap();
    let closure = |ix: usize| match &flow.graph().nodes[ix].operation {
        Operation::Map(map) => format!("{:?}", map.closure),
        _ => String::new(),
    };
    assert_eq!(
        (closure(0), closure(1)),
        ("Closure::Sync".into(), "Closure::Async".into())
    );
    assert_eq!(run(&flow, "double", &[Some(4)]), Ok(8));
}

#[test]
fn what_a_switch_may_skip_arrives_in_a_join_as_an_option() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let route = flow.switch("route", &n);
    let small = flow.map("small", &route.when(". < 10"), double);
    let large = flow.map("large", &route.otherwise(), double);
    let any = flow.map("any", (&small, &large), either);
    flow.map("both", (&n, &any), both);
    let flow = flow.build().unwrap();
    assert_eq!(run(&flow, "any", &[None, Some(3)]), Ok(3));
    assert_eq!(run(&flow, "both", &[Some(1), None]), Ok(101));
    assert_eq!(
        run(&flow, "both", &[None, None]).unwrap_err().message,
        "input \"x\" has no value"
    );
}

#[test]
fn a_body_takes_values_from_outside_by_an_edge_of_its_owner() {
    let flow = Flow::builder("f");
    let list = flow.input::<Vec<u32>>();
    let extra = flow.map("extra", &list, |list: Vec<u32>| -> Result<_, StepError> {
        Ok(list.len())
    });
    let all = flow.for_each("all", &list, |body, item| {
        body.map(
            "add",
            (item, &extra),
            |(n, m): (u32, usize)| -> Result<_, StepError> { Ok(n as usize + m) },
        )
    });
    let flow = flow.output(&all.max_parallel(2)).build().unwrap();
    let each = &flow.graph().nodes[1];
    assert_eq!(each.edges[1].from, Source::Node(0));
    assert!(each.edges[1].capture && !each.edges[0].capture);
    let Operation::ForEach(for_each) = &each.operation else {
        panic!("no for_each")
    };
    assert_eq!(for_each.body.nodes[0].edges[1].from, Source::Outer(1));
    assert_eq!(for_each.parallel_max, 2);
}

#[test]
fn a_handle_of_a_body_means_nothing_outside_it() {
    let flow = Flow::builder("f");
    let list = flow.input::<Vec<u32>>();
    let mut stolen = None;
    let all = flow.for_each("all", &list, |body, item| {
        stolen = Some(body.map("inner", item, double));
        body.map("inner2", item, double)
    });
    flow.map(
        "outer",
        (&all, &stolen.unwrap()),
        |_: (Vec<u32>, u32)| -> Result<u32, StepError> { Ok(1) },
    );
    let error = flow.build().unwrap_err().to_string();
    assert_eq!(
        error,
        "flow f: node outer: it comes after \"inner\", which is no node; write one of all, outer"
    );
}

#[test]
fn errors_of_any_type_carry_their_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("load failed")]
    struct Outer(#[source] std::num::ParseIntError);
    let source = "x".parse::<u8>().unwrap_err();
    let error = StepError::from(Outer(source));
    assert_eq!(error.message, "load failed: invalid digit found in string");
    assert!(error.cause.may_retry());
}
