//! What is said of nodes, and what their closures are given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::double;
use crate::builder::*;
use crate::closure::{Closure, Inputs, StepError};
use crate::context::{Attempt, Context};
use crate::graph::{
    Fallback, Flow, Formula as GraphFormula, Graph, Map, Operation, Vertex as GraphNode,
};
use crate::report::{Collected, Compensation};
use crate::retry::Retry;
use crate::value::Value;

fn vertex<'a>(graph: &'a Graph, name: &str) -> &'a GraphNode {
    let node = graph.nodes.iter().find(|node| node.id.as_str() == name);
    node.unwrap()
}

fn call(operation: &Operation, members: &[(&str, Option<Value>)]) -> Result<Value, StepError> {
    let Operation::Map(Map {
        closure: Closure::Sync(closure),
        ..
    }) = operation
    else {
        panic!("no sync closure: {operation:?}")
    };
    let member = |(name, value): &(&str, Option<Value>)| (Arc::from(*name), value.clone());
    closure(&Inputs {
        context: Context::default(),
        members: members.iter().map(member).collect(),
    })
}

fn value<T: serde::Serialize>(data: T) -> Value {
    Value::encode(&data).unwrap()
}

#[test]
fn a_closure_sees_its_context_and_sets_variables() {
    let flow = Flow::builder("f");
    let both = |(n, context): (u32, Context)| -> Result<String, StepError> {
        context.set("n", &n)?;
        Ok(format!("{} {}", context.node(), context.attempt()))
    };
    flow.map("a", (&flow.input::<u32>(), flow.context()), both);
    let flow = flow.build().unwrap();
    let Operation::Map(map) = &flow.graph().nodes[0].operation else {
        panic!("no map")
    };
    let Closure::Sync(closure) = &map.closure else {
        panic!("not sync")
    };
    let context = Context::from(Attempt {
        node: "all[1]/a".into(),
        attempt: 3,
        ..Attempt::default()
    });
    let inputs = Inputs {
        context: context.clone(),
        members: vec![("input".into(), Some(value(7)))],
    };
    assert_eq!(closure(&inputs), Ok(value("all[1]/a 3")));
    assert_eq!(context.take_sets(), [("n".to_owned(), value(7))]);
}

type Charged = Compensation<(Option<u32>, String, Context), u32>;

#[test]
fn a_compensation_takes_its_input_apart_as_the_step_took_it() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let text = flow.pass::<String, _>("text", &n, "tostring");
    let some = flow.apply::<u32, _>("some", &n, "some").when(". > 3");
    let charge = |(n, text, _): (Option<u32>, String, Context)| -> Result<u32, StepError> {
        Ok(n.unwrap_or(0) + u32::try_from(text.len())?)
    };
    let refund = |done: Charged| -> Result<String, StepError> {
        let (n, text, _) = done.input;
        Ok(format!("{n:?} {text} {:?}", done.output))
    };
    let one = |done: Compensation<u32, u32>| -> Result<String, StepError> {
        Ok(format!("{} {:?}", done.input, done.output))
    };
    flow.map("charge", (&some, &text, flow.context()), charge)
        .compensate(|undo| undo.map(refund));
    flow.map("one", &n, double).compensate(|undo| undo.map(one));
    let flow = flow.build().unwrap();
    let undo = |name: &str, input: Value, output: Option<Value>| {
        let output = output.as_ref().map(|output| ("output", output));
        let members: Vec<_> = [Some(("input", &input)), output]
            .into_iter()
            .flatten()
            .collect();
        let whole = Value::map(&members).unwrap();
        let node = vertex(flow.graph(), name).compensate.as_ref().unwrap();
        call(&node.operation, &[("charge", Some(whole))])
            .map(|told| told.decode::<String>().unwrap())
    };
    let joined = |members: &[(&str, &Value)]| Value::map(members).unwrap();
    let (four, text) = (value(4), value("four"));
    let whole = joined(&[("some", &four), ("text", &text)]);
    assert_eq!(
        undo("charge", whole, Some(value(8))),
        Ok("Some(4) four Some(8)".to_owned())
    );
    let part = joined(&[("text", &text)]);
    assert_eq!(undo("charge", part, None), Ok("None four None".to_owned()));
    assert_eq!(
        undo("charge", joined(&[]), None).unwrap_err().message,
        "input \"text\" has no value"
    );
    assert_eq!(undo("one", value(4), None), Ok("4 None".to_owned()));
}

#[test]
fn edges_may_be_order_alone_or_transform_their_value() {
    let flow = Flow::builder("f");
    let list = flow.input::<Vec<u32>>();
    let first = flow.apply::<(), _>("first", &list, "first");
    let nothing = |(): ()| -> Result<u32, StepError> { Ok(1) };
    let alone = flow.map("alone", after(&first), nothing);
    let len = |list: Vec<u32>| -> Result<usize, StepError> { Ok(list.len()) };
    let same = |n: usize| -> Result<usize, StepError> { Ok(n) };
    let counted = flow.map("counted", &list.via(len), same).after(&alone);
    flow.map("jq", &counted.via::<usize, _>(". + 1"), same);
    let flow = flow.build().unwrap();
    let edges = |name: &str| {
        let edge = |edge: &crate::Edge| {
            let transform = match &edge.transform {
                Some(GraphFormula::Closure(map)) => {
                    let members = [("input", Some(value([1, 2, 3])))];
                    format!(
                        "{:?}",
                        call(&Operation::Map(map.clone()), &members).unwrap().body()
                    )
                }
                Some(GraphFormula::Jq(jq)) => jq.source().to_owned(),
                None => String::new(),
            };
            format!("{} {} {transform}", edge.name, edge.data)
        };
        let node = vertex(flow.graph(), name);
        node.edges.iter().map(edge).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(edges("alone"), "first false ");
    assert_eq!(edges("counted"), "input true b\"\\x03\", alone false ");
    assert_eq!(edges("jq"), "counted true . + 1");
    assert_eq!(
        call(&vertex(flow.graph(), "alone").operation, &[]),
        Ok(value(1))
    );
}

#[test]
fn conditions_and_aggregates_may_be_closures() {
    let flow = Flow::builder("f");
    let lists = flow.input::<BTreeMap<String, u32>>();
    let failed =
        |all: crate::CollectedMap<u32>| -> Result<usize, StepError> { Ok(all.errors.len()) };
    let each = flow
        .for_each("each", &lists, |body, n| body.map("double", n, double))
        .collect()
        .aggregate(failed)
        .version(3);
    flow.map("even", &each, |n: usize| -> Result<usize, StepError> {
        Ok(n)
    })
    .when(|n: &usize| n.is_multiple_of(2));
    let flow = flow.build().unwrap();
    let each = vertex(flow.graph(), "each");
    let Operation::ForEach(for_each) = &each.operation else {
        panic!("no for_each")
    };
    assert!(for_each.collect);
    let Some(GraphFormula::Closure(failed)) = &each.aggregate else {
        panic!("no aggregate")
    };
    assert_eq!(failed.version, 3);
    let all = serde_json::json!({ "results": { "a": 1, "b": null }, "errors": [
        { "index": 1, "step": "each[1]/double", "message": "no", "cause": "permanent" },
    ] });
    let failed = Operation::Map(failed.clone());
    assert_eq!(call(&failed, &[("each", Some(value(all)))]), Ok(value(1)));
    let Some(GraphFormula::Closure(even)) = vertex(flow.graph(), "even").when.clone() else {
        panic!("no when")
    };
    let even = Operation::Map(even);
    assert_eq!(call(&even, &[("each", Some(value(3)))]), Ok(value(false)));
    assert_eq!(call(&even, &[("each", Some(value(4)))]), Ok(value(true)));
}

#[test]
fn what_is_said_of_the_maker_of_a_graph_is_said_of_the_node() {
    let flow = Flow::builder("f").closure(
        "sum",
        |parts: BTreeMap<String, u32>| -> Result<u32, StepError> { Ok(parts.values().sum()) },
    );
    let n = flow.input::<u32>();
    flow.expand::<u32, _, _, _>("build", &n, |by| {
        by.apply("plan")
            .method("PUT")
            .timeout(Duration::from_secs(3))
    })
    .fallback_with(|other| other.pass(". + 1").retry(Retry::never()));
    let flow = flow.build().unwrap();
    let build = &flow.graph().nodes[0];
    assert_eq!(build.timeout, Some(Duration::from_secs(3)));
    let Operation::Expand(expand) = &build.operation else {
        panic!("no expand")
    };
    let Operation::Apply(apply) = &*expand.by else {
        panic!("no apply")
    };
    assert_eq!(
        (apply.function.as_str(), apply.method.as_str()),
        ("plan", "PUT")
    );
    assert!(
        matches!(&build.fallback, Some(Fallback::Node(node)) if node.operation.name() == "pass")
    );
    // A graph that is made at run time may join anything before a closure.
    let sum = Operation::Map(flow.closures()["sum"].clone());
    let members = [("a", Some(value(1))), ("b", Some(value(2))), ("c", None)];
    assert_eq!(call(&sum, &members), Ok(value(3)));
}

#[test]
fn what_the_compiler_cannot_see_is_told_by_build() {
    let flow = Flow::builder("f")
        .closure("twice", double)
        .closure("twice", double);
    let keys = std::collections::HashMap::from([(vec![1_u8], 1_u32)]);
    let n = flow.input::<u32>();
    let made =
        |_: u32| -> Result<std::collections::HashMap<Vec<u8>, u32>, StepError> { Ok([].into()) };
    let node = flow.map("a", &n, made);
    node.fallback(keys);
    flow.apply::<Unwritable, _>("b", &n, "b")
        .fallback(Unwritable);
    let told = flow.build().unwrap_err().to_string();
    assert_eq!(
        told,
        "flow f: closure \"twice\" is registered twice; rename one\n\
         flow f: node b: its fallback: cannot encode a value of type \
         turlough_sdk::builder::tests::attributes::Unwritable: cannot"
    );
}

struct Unwritable;
impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("cannot"))
    }
}

#[test]
fn on_failure_and_finally_are_graphs_of_their_own() {
    let unwound = |stolen: bool| {
        let flow = Flow::builder("f");
        let step = flow.map("a", &flow.input::<u32>(), double).plain();
        let flow = flow.on_failure(|body, report| body.pass::<u32, _>("told", report, ".status"));
        let last = flow.finally(|body, report| match stolen {
            true => body.pass::<u32, _>("last", &step, ".").plain(),
            false => body.pass::<u32, _>("last", report, ".").plain(),
        });
        last.build()
    };
    let flow = unwound(false).unwrap();
    let ids = |graph: &Graph| {
        graph
            .nodes
            .iter()
            .map(|node| node.id.to_string())
            .collect::<String>()
    };
    let graphs = [Some(flow.graph()), flow.on_failure(), flow.finally()];
    assert_eq!(
        graphs.map(|graph| ids(graph.unwrap())),
        ["a", "told", "last"]
    );
    let error = unwound(true).unwrap_err().to_string();
    assert!(
        error.contains("node last: it comes after \"a\", which is no node"),
        "{error}"
    );
}

#[test]
fn a_collected_list_reads_back() {
    let text = r#"{"results":[1,null],"errors":[{"index":1,"step":"a[1]/b","message":"m","cause":"timeout"}]}"#;
    let all: Collected<u32> = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&all).unwrap(), text);
}
