//! What the YAML parser found wrong, said so that an author knows what to write.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Spanned};

use crate::error::{FlowError, Problems};

/// The parser stops at its first error, so there is one problem.
pub(super) fn told(file: Option<String>, text: &str, error: &Error) -> FlowError {
    let error = error.without_snippet();
    let empty = text.trim().is_empty();
    let line = error.location().map(|location| location.line());
    let line = line.filter(|_| !empty);
    let outline = Outline::of(text);
    let mut problems = Problems::new(file, outline.flow.as_deref().unwrap_or_default());
    let message = match error {
        _ if empty => "the file is empty; write flow: NAME and nodes:".to_owned(),
        error => remedy(error),
    };
    let node = error
        .location()
        .and_then(|at| outline.node_at(at.line(), at.column()));
    problems.add(line, node, || message);
    problems.into_error()
}

fn remedy(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            let field: String = field.chars().take(80).collect();
            format!(
                "key {field:?} is unknown; write one of {}",
                expected.join(", ")
            )
        }
        Error::SerdeMissingField { field, .. } => format!("{field} is missing; {}", example(field)),
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("of a map");
            format!("key {key:?} is written twice; rename one, or take it out")
        }
        Error::Unexpected { expected, .. } => match *expected {
            "sequence start" => "a list is wanted here; write [A, B]".to_owned(),
            "mapping start" => "a map is wanted here; write { KEY: VALUE }".to_owned(),
            "string scalar" => "a text is wanted here; write it in quotes".to_owned(),
            other => format!("{other} is wanted here"),
        },
        Error::InvalidScalar { .. } => "a whole number is wanted here; write 1 or more".to_owned(),
        Error::NullIntoString { .. } => "a text is wanted here; write one".to_owned(),
        Error::Eof { .. } => "the file ends too early; write flow: NAME and nodes:".to_owned(),
        Error::UnknownAnchor { .. } => {
            "an alias has no anchor; put what begins with * in quotes".to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias stands inside its own anchor; write it out".to_owned()
        }
        Error::Budget { .. } => {
            "the YAML is nested too deeply or too large; flatten or split it".to_owned()
        }
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "aliases unfold to too much; write it out, or split the flow".to_owned()
        }
        other => {
            let text = other.to_string();
            // Where the problem stands is told in front of it.
            let text = text.rfind(" at line ").map_or(&*text, |at| &text[..at]);
            if text.contains("tab") {
                format!("{text}; indent with spaces")
            } else {
                format!("this is not YAML: {text}; mend it, or write a text in quotes")
            }
        }
    }
}

fn example(field: &str) -> &'static str {
    match field {
        "flow" => "write flow: NAME",
        "nodes" => "write nodes: { NAME: { apply: FUNCTION } }",
        "attempts" => "write retry: { attempts: 3 }",
        "body" => "write for_each: { body: { nodes: { NAME: { apply: FUNCTION } } } }",
        _ => "write it",
    }
}

/// What can be told of a flow that does not read: its name, and where its outermost nodes begin.
#[derive(Default, Deserialize)]
struct Outline {
    #[serde(default)]
    flow: Option<String>,
    #[serde(default)]
    nodes: Names,
}

#[derive(Default)]
struct Names(Vec<Spanned<String>>);

impl Outline {
    fn of(text: &str) -> Self {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::LastWins,
        };
        serde_saphyr::from_str_with_options(text, options).unwrap_or_default()
    }

    /// The last node that begins before a place, unless the place stands further out than it.
    fn node_at(&self, line: u64, column: u64) -> Option<&str> {
        let place = |name: &Spanned<String>| (name.referenced.line(), name.referenced.column());
        let names = self.nodes.0.iter();
        let name = names.rev().find(|name| place(name) <= (line, column))?;
        let (name_line, name_column) = place(name);
        let within = line == name_line || column >= name_column;
        within.then_some(name.value.as_str())
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Names;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of nodes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        from.deserialize_map(Keys)
    }
}
