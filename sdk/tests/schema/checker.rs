//! As much of JSON Schema as our own schemas use. A keyword that it does not know is a failure, so
//! that none is passed over.

use serde_json::Value as Json;

/// Why `found` does not hold to `schema`, which stands in `root`.
pub(crate) fn refusal(root: &Json, schema: &Json, found: &Json) -> Option<String> {
    let Json::Object(keywords) = schema else {
        return (schema == &Json::Bool(false)).then(|| "nothing is allowed".to_owned());
    };
    let inner = |schema: &Json, found: &Json| refusal(root, schema, found);
    keywords.iter().find_map(|(keyword, value)| {
        let wrong = || Some(format!("{found} against {keyword}: {value}"));
        let list = || value.as_array().unwrap().iter();
        let map = || value.as_object().unwrap().iter();
        let holds = |schema: &Json| inner(schema, found).is_none();
        let within = |number: Option<f64>, holds: fn(&f64, &f64) -> bool| {
            let limit = value.as_f64().unwrap();
            number
                .filter(|number| !holds(number, &limit))
                .and_then(|_| wrong())
        };
        let size = |len: Option<usize>| len.map(|len| len as f64);
        let (items, members) = (found.as_array(), found.as_object());
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => None,
            "$ref" => {
                let target = root.pointer(&value.as_str().unwrap()[1..]).unwrap();
                inner(target, found)
            }
            "type" => match value {
                Json::Array(types) if types.iter().any(|kind| is(kind, found)) => None,
                Json::String(_) if is(value, found) => None,
                _ => wrong(),
            },
            "enum" if list().any(|one| one == found) => None,
            "anyOf" if list().any(holds) => None,
            "oneOf" if list().filter(|one| holds(one)).count() == 1 => None,
            "not" if !holds(value) => None,
            "enum" | "anyOf" | "oneOf" | "not" => wrong(),
            "pattern" => {
                let text = found.as_str()?;
                (!pattern(value.as_str().unwrap(), text)).then(wrong)?
            }
            "minimum" => within(found.as_f64(), f64::ge),
            "maximum" => within(found.as_f64(), f64::le),
            "minItems" => within(size(items.map(Vec::len)), f64::ge),
            "maxItems" => within(size(items.map(Vec::len)), f64::le),
            "minProperties" => within(size(members.map(|all| all.len())), f64::ge),
            "maxProperties" => within(size(members.map(|all| all.len())), f64::le),
            "items" => items?.iter().find_map(|item| inner(value, item)),
            "required" => {
                let members = members?;
                let all = list().all(|key| members.contains_key(key.as_str().unwrap()));
                (!all).then(wrong)?
            }
            "properties" => {
                let members = members?;
                map().find_map(|(key, schema)| inner(schema, members.get(key)?))
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object();
                let unknown = |key: &String| known.is_none_or(|known| !known.contains_key(key));
                let mut others = members?.iter().filter(|(key, _)| unknown(key));
                others.find_map(|(_, member)| inner(value, member))
            }
            "propertyNames" => members?
                .keys()
                .find_map(|key| inner(value, &Json::from(key.as_str()))),
            "dependentSchemas" => {
                let members = members?;
                map().find_map(|(key, schema)| members.get(key).and_then(|_| inner(schema, found)))
            }
            unknown => panic!("keyword {unknown}"),
        }
    })
}

fn is(kind: &Json, found: &Json) -> bool {
    match kind.as_str().unwrap() {
        "object" => found.is_object(),
        "array" => found.is_array(),
        "string" => found.is_string(),
        "number" => found.is_number(),
        "integer" => found.is_i64() || found.is_u64(),
        "boolean" => found.is_boolean(),
        kind => panic!("type {kind}"),
    }
}

/// Whether a text matches; jq is the nearest regular expression of draft 2020-12's kind.
fn pattern(pattern: &str, text: &str) -> bool {
    let test = format!("test({})", Json::from(pattern));
    let test = turlough_sdk::Expression::compile(&test).unwrap();
    test.holds(
        &turlough_sdk::Value::encode(text).unwrap(),
        &turlough_sdk::Variables::default(),
    )
    .unwrap()
}
