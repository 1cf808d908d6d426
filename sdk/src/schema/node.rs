//! A node, and what stands in it.

use serde_json::{Value as Json, json};

use super::{
    SPAN, VARIABLE, action, described, duration, goes_with, name, object, one_of, reference,
};
use crate::retry::{ATTEMPTS_MAX, Retry};
use crate::validate::Limits;

pub(super) fn node(map: bool) -> Json {
    let mut keys = action::keys(map);
    let operations = json!({
        "switch": {
            "type": "array", "items": reference("case"),
            "minItems": 1, "maxItems": Limits::CASES_MAX,
            "description": "takes the first case that holds, or with match: all every one",
        },
        "for_each": reference("for_each"),
        "loop": reference("loop"),
        "expand": described(reference("maker"), "runs the graph that this gives"),
        "flow": name("runs another flow as a request of its own"),
        "wait": reference("wait"),
    });
    let attributes = json!({
        "after": {
            "type": "array", "items": reference("after"),
            "description": "what it waits for; without it, it takes the graph's input",
        },
        "match": { "enum": ["first", "all"], "description": "which cases of the switch are taken" },
        "aggregate": described(reference("jq"), "what is made of several inputs, or of results"),
        "when": described(reference("jq"), "it is skipped unless this holds on its input"),
        "retry": reference("retry"),
        "timeout": duration("of one attempt"),
        "idempotent": { "type": "boolean", "description": "false: called at most once" },
        "pure": { "type": "boolean", "description": "leaves no trace, and may start ahead" },
        "fallback": {
            "anyOf": [object(json!({ "value": true }), &["value"]), reference("action")],
            "description": "what takes its place when it is out of attempts",
        },
        "compensate": described(reference("action"), "undoes it when the flow fails later"),
        "set": {
            "type": "object", "maxProperties": Limits::VARIABLES_MAX,
            "propertyNames": { "pattern": VARIABLE },
            "additionalProperties": reference("jq"),
            "description": "variables of the request, from its output",
        },
    });
    let mut all = action::operations(map);
    for more in [operations, attributes] {
        for (key, schema) in more.as_object().into_iter().flatten() {
            keys.insert(key.clone(), schema.clone());
        }
    }
    all.extend(["switch", "for_each", "loop", "expand", "flow", "wait"]);
    let mut node = object(keys.into(), &[]);
    node["oneOf"] = one_of(&all);
    let own: &[(&str, &[&str])] = &[("match", &["switch"])];
    node["dependentSchemas"] = goes_with(&[action::WITH, own].concat());
    node
}

pub(super) fn after() -> Json {
    let edge = json!({
        "node": name("a node, input or item"),
        "data": { "type": "boolean", "description": "false: order alone" },
        "transform": described(reference("jq"), "what is made of the value on its way"),
    });
    json!({ "anyOf": [name("a node, input or item"), object(edge, &["node"])] })
}

pub(super) fn case() -> Json {
    let case = object(
        json!({ "when": reference("jq"), "to": name("the node of this case") }),
        &["when", "to"],
    );
    let default = json!({ "default": name("the node where no case holds") });
    json!({ "anyOf": [case, object(default, &["default"])] })
}

pub(super) fn for_each() -> Json {
    let keys = json!({
        "items": described(reference("jq"), "the list or map of items; the input by default"),
        "max_parallel": {
            "type": "integer", "minimum": 1, "maximum": Limits::PARALLEL_MAX,
            "description": "most items in progress at once; 64 by default",
        },
        "errors": { "enum": ["stop", "collect"], "description": "what a failed item does" },
        "body": reference("graph"),
    });
    object(keys, &["body"])
}

pub(super) fn again() -> Json {
    let keys = json!({
        "while": described(reference("jq"), "goes on while this holds on the state"),
        "max_iterations": { "type": "integer", "minimum": 1, "maximum": Limits::ITERATIONS_MAX },
        "body": reference("graph"),
    });
    object(keys, &["while", "max_iterations", "body"])
}

pub(super) fn wait() -> Json {
    let signal = json!({ "signal": name("waits for a signal, and gives its payload") });
    let until = json!({ "until": described(reference("jq"), "a time, RFC 3339 or Unix seconds") });
    json!({ "anyOf": [
        duration("waits for a time"),
        object(signal, &["signal"]),
        object(until, &["until"]),
    ] })
}

pub(super) fn retry() -> Json {
    let spans = format!("^ *({SPAN})+ *(\\.\\. *({SPAN})+ *)?$");
    let causes = Retry::CAUSES.map(|(name, _)| name);
    let keys = json!({
        "attempts": { "type": "integer", "minimum": 1, "maximum": ATTEMPTS_MAX },
        "backoff": {
            "type": "string", "pattern": spans,
            "description": "the shortest and the longest wait, 100ms..10s by default",
        },
        "on": { "type": "array", "items": { "enum": causes }, "description": "after which failures" },
    });
    object(keys, &["attempts"])
}
