//! What is called or computed: by a node, and by what stands in for one.

use serde_json::{Map as Object, Value as Json, json};

use super::{duration, goes_with, object, one_of, reference};
use crate::validate::Limits;

const METHODS: [&str; 7] = ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
const MEDIA: [&str; 2] = ["application/json", "application/msgpack"];

/// The operations that call or compute.
pub(super) fn operations(map: bool) -> Vec<&'static str> {
    let mut operations = vec!["apply", "http", "pass"];
    operations.extend(map.then_some("map"));
    operations
}

/// The keys of an operation that calls or computes.
pub(super) fn keys(map: bool) -> Object<String, Json> {
    let texts = |most: usize, description: &str| {
        json!({
            "type": "object", "additionalProperties": reference("text"), "maxProperties": most,
            "description": description,
        })
    };
    let word =
        |words: &[&str], description: &str| json!({ "enum": words, "description": description });
    let mut keys = Object::new();
    let mut put = |key: &str, schema: Json| keys.insert(key.to_owned(), schema);
    put("apply", name_of_function());
    put("http", text(Some("^[Hh][Tt][Tt][Pp][Ss]?://")));
    put("pass", reference("jq"));
    if map {
        put(
            "map",
            json!({ "type": ["string", "integer"], "description": "a closure by its name" }),
        );
    }
    put("method", word(&METHODS, "HTTP method; POST by default"));
    put("path", text(Some("^([/?]|$)")));
    put(
        "query",
        texts(Limits::QUERY_MAX, "query parameters to send"),
    );
    put("headers", texts(Limits::HEADERS_MAX, "headers to send"));
    put(
        "content_type",
        word(&MEDIA, "how a value that a closure made is sent"),
    );
    put(
        "mode",
        word(&["sync", "async"], "async answers by a callback"),
    );
    put(
        "data",
        word(
            &["body", "reference"],
            "reference: the function is told where its input lies in the store of its host, and says where it put its output",
        ),
    );
    put(
        "callback",
        json!({ "type": "boolean", "description": "the endpoint answers by a callback" }),
    );
    keys
}

/// Which keys go with which operation.
pub(super) const WITH: &[(&str, &[&str])] = &[
    ("method", &["apply", "http"]),
    ("path", &["apply"]),
    ("query", &["apply", "http"]),
    ("headers", &["apply", "http"]),
    ("content_type", &["apply", "http"]),
    ("mode", &["apply"]),
    ("data", &["apply"]),
    ("callback", &["http"]),
];

/// What takes the place of a node, or undoes it.
pub(super) fn action(map: bool) -> Json {
    let mut keys = keys(map);
    keys.insert("retry".to_owned(), reference("retry"));
    keys.insert("timeout".to_owned(), duration("of one attempt"));
    keys.insert("idempotent".to_owned(), json!({ "type": "boolean" }));
    one_operation(keys, map)
}

/// What makes a graph, at once.
pub(super) fn maker(map: bool) -> Json {
    let mut keys = keys(map);
    keys.retain(|key, _| !matches!(key.as_str(), "http" | "callback"));
    one_operation(keys, map)
}

fn one_operation(keys: Object<String, Json>, map: bool) -> Json {
    let mut action = object(keys.into(), &[]);
    action["oneOf"] = one_of(&operations(map));
    action["dependentSchemas"] = goes_with(WITH);
    action
}

/// A text as it stands, computed, or secret.
pub(super) fn text(pattern: Option<&str>) -> Json {
    let mut literal = json!({ "type": ["string", "number", "boolean"] });
    if let Some(pattern) = pattern {
        literal["pattern"] = json!(pattern);
    }
    let jq = json!({ "jq": reference("jq") });
    let secret = json!({ "secret": { "type": ["string", "number", "boolean"] } });
    json!({ "anyOf": [literal, object(jq, &["jq"]), object(secret, &["secret"])] })
}

fn name_of_function() -> Json {
    let label = "[a-z0-9][a-z0-9-]{0,62}";
    json!({
        "type": ["string", "integer"], "pattern": format!("^{label}(\\.{label})?$"),
        "description": "an OpenFaaS function, name or name.namespace",
    })
}
