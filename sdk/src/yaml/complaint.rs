//! What the YAML parser found wrong, said so that an author knows what to write.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Spanned};

use crate::error::{FlowError, Problems};

/// What a text should have been.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Flow,
    Graph,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Flow => "file",
            Self::Graph => "graph",
        }
    }

    const fn beginning(self) -> &'static str {
        match self {
            Self::Flow => "write flow: NAME and nodes:",
            Self::Graph => "write nodes: { NAME: { apply: FUNCTION } }",
        }
    }
}

/// The parser stops at its first error, so there is one problem.
pub(super) fn told(kind: Kind, file: Option<String>, text: &str, error: &Error) -> FlowError {
    let error = error.without_snippet();
    let empty = text.trim().is_empty();
    let line = error.location().map(|location| location.line());
    let line = line.filter(|_| !empty);
    let outline = Outline::of(text);
    let mut problems = Problems::new(file, outline.flow.as_deref().unwrap_or_default());
    let message = match error {
        _ if empty => format!("the {} is empty; {}", kind.name(), kind.beginning()),
        Error::Eof { .. } => format!("the {} ends too early; {}", kind.name(), kind.beginning()),
        error => remedy(error),
    };
    let node = error
        .location()
        .and_then(|at| outline.node_at(at.line(), at.column()));
    problems.add(line, node, || message);
    problems.into_error()
}

const TOO_LARGE: &str = "the YAML is nested too deeply or too large; flatten or split it";

const UNFOLDING: &str = "aliases unfold to too much; write it out, or split the flow";

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
        Error::InvalidBooleanStrict { .. } => "true or false is wanted here".to_owned(),
        Error::NonFiniteFloat { .. } => {
            "no value holds this number; write it in quotes, or another".to_owned()
        }
        Error::SerdeInvalidType { expected, .. } => {
            format!("{expected} is wanted here; write it so, or in quotes")
        }
        Error::InvalidScalar { .. } => "a whole number is wanted here; write 1 or more".to_owned(),
        Error::NullIntoString { .. } => "a text is wanted here; write one".to_owned(),
        Error::UnknownAnchor { .. } => {
            "an alias has no anchor; put what begins with * in quotes".to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias stands inside its own anchor; write it out".to_owned()
        }
        Error::Budget { .. } => TOO_LARGE.to_owned(),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => UNFOLDING.to_owned(),
        other => {
            let text = other.to_string();
            if text.contains("budget breached") || text.contains("recursion limit") {
                return TOO_LARGE.to_owned();
            }
            if text.contains("alias replay limit exceeded") {
                return UNFOLDING.to_owned();
            }
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
        "body" => "write body: { nodes: { NAME: { apply: FUNCTION } } }",
        "while" => "write while: JQ",
        "node" => "write { node: NAME, data: false } or { node: NAME, transform: JQ }",
        _ => "write it",
    }
}

/// What can be told of a flow that does not read: its name, and where its outermost keys and nodes
/// begin.
#[derive(Default)]
struct Outline {
    flow: Option<String>,
    keys: Vec<Spanned<String>>,
    nodes: Vec<Spanned<String>>,
}

impl Outline {
    fn of(text: &str) -> Self {
        let options = serde_saphyr::options! {
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: super::ALIASED_MAX,
            },
            duplicate_keys: DuplicateKeyPolicy::LastWins,
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        };
        serde_saphyr::from_str_with_options(text, options).unwrap_or_default()
    }

    /// The last node that begins before a place, where that is among the nodes, unless the place
    /// stands further out than the node.
    fn node_at(&self, line: u64, column: u64) -> Option<&str> {
        let place = |name: &Spanned<String>| (name.referenced.line(), name.referenced.column());
        let before = |name: &&Spanned<String>| place(name) <= (line, column);
        let key = self.keys.iter().rev().find(before)?;
        let name = self.nodes.iter().rev().find(before)?;
        let (name_line, name_column) = place(name);
        let within = line == name_line || column >= name_column;
        (key.value == "nodes" && within).then_some(name.value.as_str())
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Outline;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a flow")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
                let mut outline = Outline::default();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    match key.value.as_str() {
                        "flow" => outline.flow = map.next_value()?,
                        "nodes" => outline.nodes = map.next_value::<Names>()?.0,
                        _ => map.next_value::<IgnoredAny>().map(|_| ())?,
                    }
                    outline.keys.push(key);
                }
                Ok(outline)
            }
        }
        from.deserialize_map(Keys)
    }
}

struct Names(Vec<Spanned<String>>);

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
