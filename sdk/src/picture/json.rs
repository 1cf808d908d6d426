//! A graph as JSON: what its version is a hash of. Closures stand in it by their version.
//!
//! Invariant: what has its default value is left out where it was added after the first release, so
//! that the versions of flows that do not use it stay.

use serde_json::{Map as Object, Value as Json, json};

use crate::duration::format_duration;
use crate::graph::{
    Apply, Case, Edge, Fallback, Flow, Formula, Graph, Http, Operation, Output, Text, Vertex, Wait,
};
use crate::retry::Retry;

/// What a flow has besides its graph and its timeout.
pub(super) fn around(flow: &Flow) -> Object<String, Json> {
    let mut around = Object::new();
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            around.insert(key.to_owned(), value);
        }
    };
    put("on_failure", flow.on_failure().map(|body| graph(body)));
    put("finally", flow.finally().map(|body| graph(body)));
    put("concurrency", flow.concurrency().map(Json::from));
    let headers = flow.headers();
    put("headers", (!headers.is_empty()).then(|| json!(headers)));
    put("signed", flow.is_signed().then(|| true.into()));
    let closures = flow.closures().iter();
    let closures: Object<_, _> = closures
        .map(|(name, map)| (name.clone(), map.version.into()))
        .collect();
    put("closures", (!closures.is_empty()).then(|| closures.into()));
    around
}

pub(super) fn graph(graph: &Graph) -> Json {
    let id = |ix: &usize| graph.nodes[*ix].id.as_str();
    let output = match &graph.output {
        Output::Node(ix) => json!(id(ix)),
        Output::Sinks(sinks) => sinks.iter().map(id).collect(),
    };
    let nodes: Vec<_> = graph.nodes.iter().map(node).collect();
    json!({ "nodes": nodes, "output": output })
}

pub(super) fn node(node: &Vertex) -> Json {
    let mut json = said(node);
    json["id"] = json!(node.id.as_str());
    json["after"] = node.edges.iter().map(edge).collect();
    json
}

/// What is said of a node, and of what stands in for one.
fn said(node: &Vertex) -> Json {
    let mut json = json!({
        "operation": node.operation.name(),
        "with": operation(&node.operation),
    });
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            json[key] = value;
        }
    };
    put("aggregate", node.aggregate.as_ref().map(formula));
    put("when", node.when.as_ref().map(formula));
    put(
        "retry",
        (node.retry != Retry::never()).then(|| retry(&node.retry)),
    );
    put(
        "timeout",
        node.timeout.map(|timeout| format_duration(timeout).into()),
    );
    put("idempotent", (!node.idempotent).then(|| false.into()));
    put(
        "pure",
        (node.pure != is_free(node)).then(|| node.pure.into()),
    );
    put("fallback", node.fallback.as_ref().map(fallback));
    put("compensate", node.compensate.as_deref().map(said));
    let set = node.set.iter();
    let set: Object<_, _> = set
        .map(|(name, jq)| (name.clone(), jq.source().into()))
        .collect();
    put("set", (!set.is_empty()).then(|| set.into()));
    json
}

/// Whether a node is pure where nothing is said of it.
const fn is_free(node: &Vertex) -> bool {
    let free = matches!(
        node.operation,
        Operation::Pass(_) | Operation::Switch(_) | Operation::Wait(_)
    );
    free && node.compensate.is_none()
}

fn operation(operation: &Operation) -> Json {
    match operation {
        Operation::Apply(call) => apply(call),
        Operation::Http(call) => http(call),
        Operation::Map(map) => json!({ "closure_version": map.version }),
        Operation::Pass(jq) => json!({ "jq": jq.source() }),
        Operation::Switch(switch) => {
            let when = |case: &Case| case.when.as_ref().map(formula);
            let mut json = json!({ "cases": switch.cases.iter().map(when).collect::<Vec<_>>() });
            if switch.all {
                json["match"] = json!("all");
            }
            json
        }
        Operation::ForEach(each) => {
            let mut json = json!({
                "items": each.items.as_ref().map(|jq| jq.source()),
                "max_parallel": each.parallel_max,
                "body": graph(&each.body),
            });
            if each.collect {
                json["errors"] = json!("collect");
            }
            json
        }
        Operation::Loop(again) => json!({
            "while": formula(&again.again),
            "max_iterations": again.iterations_max,
            "body": graph(&again.body),
        }),
        Operation::Expand(expand) => json!({
            "operation": expand.by.name(),
            "with": self::operation(&expand.by),
        }),
        Operation::Flow(name) => json!({ "flow": name.as_str() }),
        Operation::Wait(Wait::Duration(time)) => json!({ "time": format_duration(*time) }),
        Operation::Wait(Wait::Until(jq)) => json!({ "until": jq.source() }),
        Operation::Wait(Wait::Signal(name)) => json!({ "signal": name.as_str() }),
    }
}

fn apply(call: &Apply) -> Json {
    let mut json = json!({
        "function": call.function.as_str(),
        "method": call.method,
        "path": text(&call.path),
        "headers": texts(&call.headers),
        "msgpack": call.msgpack,
    });
    if !call.query.is_empty() {
        json["query"] = texts(&call.query);
    }
    if call.asynchronous {
        json["mode"] = json!("async");
    }
    if call.by_reference {
        json["data"] = json!("reference");
    }
    json
}

fn http(call: &Http) -> Json {
    json!({
        "url": text(&call.url),
        "method": call.method,
        "query": texts(&call.query),
        "headers": texts(&call.headers),
        "msgpack": call.msgpack,
        "callback": call.callback,
    })
}

fn texts(texts: &[(String, Text)]) -> Json {
    let pair = |(name, value): &(String, Text)| json!([name, text(value)]);
    texts.iter().map(pair).collect()
}

fn text(text: &Text) -> Json {
    match text {
        Text::Literal(text) => json!(text),
        Text::Jq(jq) => json!({ "jq": jq.source() }),
        Text::Secret(name) => json!({ "secret": name }),
    }
}

fn formula(formula: &Formula) -> Json {
    match formula {
        Formula::Jq(jq) => json!(jq.source()),
        Formula::Closure(map) => json!({ "closure_version": map.version }),
    }
}

fn retry(retry: &Retry) -> Json {
    let (min, max) = retry.backoff();
    let backoff = format!("{}..{}", format_duration(min), format_duration(max));
    let mut json = json!({ "attempts": retry.attempts(), "backoff": backoff });
    if let Some(causes) = retry.causes() {
        json["on"] = json!(causes);
    }
    json
}

/// A constant as JSON where it can be, whichever notation it was written in.
fn fallback(fallback: &Fallback) -> Json {
    let value = match fallback {
        Fallback::Node(node) => return said(node),
        Fallback::Constant(value) => value,
    };
    let read = value.decode::<Json>();
    match read {
        Ok(read) => json!({ "value": read }),
        Err(_) => json!({
            "content_type": value.content_type().as_str(),
            "digest": crate::Digest::of(&value.body()).to_string(),
        }),
    }
}

fn edge(edge: &Edge) -> Json {
    let mut json = json!({ "from": &*edge.name });
    if let Some(case) = edge.case {
        json["case"] = json!(case);
    }
    if edge.capture {
        json["capture"] = json!(true);
    }
    if !edge.data {
        json["data"] = json!(false);
    }
    if let Some(transform) = &edge.transform {
        json["transform"] = formula(transform);
    }
    json
}
