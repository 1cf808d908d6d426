//! Names and numbers of the domain, each its own type.
//!
//! Invariants: parsed in the constructor; `Display` round-trips; safe in a path, a subject, a
//! metric label and a header.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {found:?} is not allowed; write {allowed}")]
pub struct IdError {
    kind: &'static str,
    found: String,
    allowed: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    let found = text.chars().take(80).collect();
                    Err(IdError { kind: $kind, found, allowed: $allowed })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

/// Longest name of a flow, node, tenant or function, in bytes (OpenFaaS's own limit).
const NAME_BYTES_MAX: usize = 63;

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_dns_label(text: &str) -> bool {
    is_name(text)
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_function(text: &str) -> bool {
    match text.rsplit_once('.') {
        Some((name, namespace)) => is_dns_label(name) && is_dns_label(namespace),
        None => is_dns_label(text),
    }
}

text_id!(
    /// Name of a flow: letters, digits, `-`, `_`; at most 63 bytes.
    FlowName, "flow name", is_name, "letters, digits, - and _, at most 63, a letter or digit first"
);
text_id!(
    /// Name of a node within its graph: letters, digits, `-`, `_`; at most 63 bytes.
    NodeId, "node name", is_name, "letters, digits, - and _, at most 63, a letter or digit first"
);
text_id!(
    /// Name of a signal that a request may wait for: letters, digits, `-`, `_`; at most 63 bytes.
    SignalName, "signal name", is_name, "letters, digits, - and _, at most 63, a letter or digit first"
);
text_id!(
    /// Who pays: a lower-case DNS label.
    TenantId, "tenant", is_dns_label, "lower-case letters, digits and -, at most 63"
);
text_id!(
    /// An OpenFaaS function, `name` or `name.namespace`.
    FunctionName, "function name", is_function,
    "name or name.namespace, each of lower-case letters, digits and -, at most 63"
);

/// A process that drives requests: drawn at random at its start, so that a process that comes back
/// under its old host name is another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReplicaId(Uuid);

/// One run of a flow. Ids of new requests are UUIDv7, so they sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(Uuid);

macro_rules! uuid_id {
    ($name:ident, $kind:literal) => {
        impl $name {
            /// Wraps a UUID that the caller drew.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let found = || text.chars().take(80).collect();
                Uuid::try_parse(text).map(Self).map_err(|_| IdError {
                    kind: $kind,
                    found: found(),
                    allowed: "a UUID",
                })
            }
        }
    };
}
uuid_id!(ReplicaId, "replica id");
uuid_id!(RequestId, "request id");

/// Where a step stands in its request: `load`, `months[3]/clean`, `poll#2/get`, `build/echo1`. What
/// undoes a step is `book/~compensate`; steps of handlers begin with `~on_failure` or `~finally`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepPath(Arc<str>);

/// Which of a node's bodies a path goes on in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// That of an item of a `for_each`, from 0.
    Item(u32),
    /// That of an iteration of a loop, from 1.
    Iteration(u32),
}

impl NodeId {
    /// The text of the id, to be shared.
    pub(crate) const fn text(&self) -> &Arc<str> {
        &self.0
    }
}

impl StepPath {
    /// The path of a node of the flow's own graph: its name, which it shares.
    #[must_use]
    pub fn root(node: &NodeId) -> Self {
        Self(Arc::clone(&node.0))
    }

    /// The path of `node` in a body of this step; without a place in a graph made at run time.
    #[must_use]
    pub fn inside(&self, place: Option<Place>, node: &NodeId) -> Self {
        let mut digits = Digits::default();
        Self(match place {
            Some(Place::Item(index)) => joined([&self.0, "[", digits.of(index), "]/", &node.0]),
            Some(Place::Iteration(number)) => {
                joined([&self.0, "#", digits.of(number), "/", &node.0])
            }
            None => joined([&self.0, "/", &node.0, "", ""]),
        })
    }

    /// The path of what undoes this step.
    #[must_use]
    pub fn compensation(&self) -> Self {
        Self(Arc::from(format!("{}/~compensate", self.0)))
    }

    /// The text of the path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The step in whose body or graph it stands, or which it undoes; none for a node of the flow's own graph
    /// or of a handler.
    #[must_use]
    pub fn outer(&self) -> Option<Self> {
        let (outer, _) = self.0.rsplit_once('/')?;
        let begin = outer.rfind('/').map_or(0, |at| at + 1);
        let end = outer[begin..]
            .find(['[', '#'])
            .map_or(outer.len(), |at| begin + at);
        (!outer.starts_with('~') || outer.contains('/')).then(|| Self(Arc::from(&outer[..end])))
    }

    /// Whether it stands in an item of a `for_each`.
    #[must_use]
    pub fn is_of_item(&self) -> bool {
        self.0.contains('[')
    }

    /// Whether it stands in a graph that was made at run time: authors did not write its nodes.
    #[must_use]
    pub fn is_expanded(&self) -> bool {
        let mut outer = self.0.split('/');
        let last = outer.next_back();
        if last == Some("~compensate") {
            outer.next_back();
        }
        let has_place = |segment: &str| segment.contains(['[', '#']) || segment.starts_with('~');
        outer.any(|segment| !has_place(segment))
    }

    /// Splits the path into nodes, each with the place in which the path goes on.
    ///
    /// # Errors
    /// An empty segment, a bad node name or a bad number; compensations and handlers, which are no
    /// nodes of the graph.
    pub fn segments(&self) -> Result<Vec<(NodeId, Option<Place>)>, IdError> {
        let wrong = || IdError {
            kind: "step path",
            found: self.0.chars().take(80).collect(),
            allowed: "node, node[index]/node or node#iteration/node",
        };
        let number = |digits: &str| {
            let number: u32 = digits.parse().map_err(|_| wrong())?;
            // One path, one text: neither `[+1]` nor `[01]`.
            if number.to_string() == digits {
                Ok(number)
            } else {
                Err(wrong())
            }
        };
        let segment = |text: &str| {
            if let Some((node, rest)) = text.split_once('[') {
                let digits = rest.strip_suffix(']').ok_or_else(wrong)?;
                return Ok((node.parse()?, Some(Place::Item(number(digits)?))));
            }
            if let Some((node, digits)) = text.split_once('#') {
                return Ok((node.parse()?, Some(Place::Iteration(number(digits)?))));
            }
            Ok((text.parse()?, None))
        };
        self.0.split('/').map(segment).collect()
    }
}

/// Texts as one. Most fit on the stack: what is allocated then is the whole alone. A machine makes a
/// path for every item of a `for_each`.
fn joined(texts: [&str; 5]) -> Arc<str> {
    let mut room = [0; 128];
    let mut length = 0;
    for text in texts {
        let end = length + text.len();
        let Some(place) = room.get_mut(length..end) else {
            return Arc::from(texts.concat());
        };
        place.copy_from_slice(text.as_bytes());
        length = end;
    }
    Arc::from(str::from_utf8(&room[..length]).unwrap_or_else(|_| unreachable!("all are texts")))
}

/// Room for a number in decimal.
#[derive(Default)]
struct Digits([u8; 10]);

impl Digits {
    fn of(&mut self, mut number: u32) -> &str {
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        str::from_utf8(&self.0[at..]).unwrap_or_else(|_| unreachable!("digits are text"))
    }
}

impl From<&str> for StepPath {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_break_a_path_or_a_subject_is_refused() {
        for bad in [
            "",
            "a/b",
            "a.b",
            "..",
            "a*",
            "a>",
            "a b",
            "a\n",
            "-a",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "load_2-x".parse::<NodeId>().unwrap().to_string(),
            "load_2-x"
        );
    }

    #[test]
    fn a_function_may_name_its_namespace() {
        assert!("resize.images".parse::<FunctionName>().is_ok());
        for bad in ["Resize", "a.b.c", "a.", ".b", "a_b"] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_put_together_whatever_its_length() {
        let node: NodeId = "x".repeat(NAME_BYTES_MAX).parse().unwrap();
        let (mut path, mut text) = (StepPath::root(&node), node.to_string());
        for number in [0, 7, 10, 4_294_967_295] {
            path = path.inside(Some(Place::Item(number)), &node);
            text = format!("{text}[{number}]/{node}");
            assert_eq!(path.as_str(), text);
            let short = StepPath::from("a").inside(Some(Place::Iteration(number)), &node);
            assert_eq!(short.as_str(), format!("a#{number}/{node}"));
        }
        assert_eq!(path.inside(None, &node).as_str(), format!("{text}/{node}"));
    }

    #[test]
    fn a_step_path_reads_back_its_segments() {
        let months: NodeId = "months".parse().unwrap();
        let path = StepPath::root(&months).inside(Some(Place::Item(3)), &"clean".parse().unwrap());
        assert_eq!(path.as_str(), "months[3]/clean");
        let segments = path.segments().unwrap();
        assert_eq!(segments[0], (months, Some(Place::Item(3))));
        assert_eq!(segments[1].1, None);
        assert!(StepPath::from("months[x]/clean").segments().is_err());
        for (path, outer) in [
            ("load", None),
            ("months[3]/clean", Some("months")),
            ("months[3]/days[2]/clean", Some("months[3]/days")),
            ("poll#2/get", Some("poll")),
            ("book/~compensate", Some("book")),
            ("months[3]/book/~compensate", Some("months[3]/book")),
            ("build/echo1", Some("build")),
            ("~finally/tell", None),
            ("~finally/all[2]/tell", Some("~finally/all")),
        ] {
            let found = StepPath::from(path).outer();
            assert_eq!(found.as_ref().map(StepPath::as_str), outer, "{path}");
        }
        for (path, is_expanded) in [
            ("load", false),
            ("months[3]/clean", false),
            ("poll#2/get", false),
            ("book/~compensate", false),
            ("months[3]/book/~compensate", false),
            ("~finally/tell", false),
            ("~finally/all[2]/tell", false),
            ("build/echo1", true),
            ("build/all[2]/echo1", true),
            ("months[3]/build/echo1", true),
            ("build/echo1/~compensate", true),
            ("~finally/build/echo1", true),
        ] {
            assert_eq!(StepPath::from(path).is_expanded(), is_expanded, "{path}");
        }
    }
}
