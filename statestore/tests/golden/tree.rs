//! MessagePack as a tree: to look at, and to change as another version would have written it.

use std::fmt::Write as _;

use rmpv::Value;

pub(crate) fn read(mut bytes: &[u8]) -> Value {
    rmpv::decode::read_value(&mut bytes).unwrap()
}

pub(crate) fn write(tree: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, tree).unwrap();
    bytes
}

/// Shows a tree to people: one line per scalar.
pub(crate) fn dump(tree: &Value) -> String {
    let mut text = String::new();
    visit(tree, &mut |path, value| {
        let shown = match value {
            Value::Map(members) if members.is_empty() => "{}".to_owned(),
            Value::Array(members) if members.is_empty() => "[]".to_owned(),
            Value::Map(_) | Value::Array(_) => return,
            Value::Binary(bytes) => {
                let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
                format!("0x{}", hex.collect::<String>())
            }
            scalar => scalar.to_string(),
        };
        writeln!(text, "{} = {shown}", path.join(".")).unwrap();
    });
    text
}

pub(crate) fn visit(tree: &Value, see: &mut impl FnMut(&[String], &Value)) {
    fn go(path: &mut Vec<String>, value: &Value, see: &mut impl FnMut(&[String], &Value)) {
        see(path, value);
        let inner: Vec<(String, &Value)> = match value {
            Value::Map(members) => {
                let member = |(key, inner)| (name(key), inner);
                members
                    .iter()
                    .map(|(key, inner)| member((key, inner)))
                    .collect()
            }
            Value::Array(members) => {
                let member = |(at, inner): (usize, _)| (at.to_string(), inner);
                members.iter().enumerate().map(member).collect()
            }
            _ => Vec::new(),
        };
        for (step, inner) in inner {
            path.push(step);
            go(path, inner, see);
            path.pop();
        }
    }
    go(&mut Vec::new(), tree, see);
}

/// Where structs stand: maps that are not the one name of a variant.
pub(crate) fn structs(tree: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    visit(tree, &mut |path, value| {
        let variant = path.last().is_some_and(|last| {
            let list = path.len() >= 2 && ["events"].contains(&path[path.len() - 2].as_str());
            let pair = path.len() >= 3 && path[path.len() - 3] == "set";
            let fields = [
                "end", "outcome", "value", "input", "output", "state", "manifest", "to",
            ];
            list || pair || fields.contains(&last.as_str())
        });
        if matches!(value, Value::Map(_)) && !variant {
            found.push(path.to_vec());
        }
    });
    found
}

pub(crate) fn at<'a>(tree: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(tree, |value, step| match value {
        Value::Map(members) => {
            let member = members.iter_mut().find(|(key, _)| name(key) == *step);
            &mut member.unwrap().1
        }
        Value::Array(members) => &mut members[step.parse::<usize>().unwrap()],
        other => panic!("{other} has no {step}"),
    })
}

fn name(key: &Value) -> String {
    key.as_str().unwrap().to_owned()
}
