//! What may be written, as serde reads it: the keys of a flow, a node, and all that stands in it.

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use super::scalar::TextOr;

/// A text with the line where it stands.
pub(super) type Words = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowYaml {
    pub(super) flow: Words,
    pub(super) timeout: Option<Words>,
    pub(super) concurrency: Option<usize>,
    pub(super) headers: Option<Vec<Words>>,
    pub(super) signed: Option<bool>,
    pub(super) nodes: NodesYaml,
    pub(super) output: Option<Words>,
    pub(super) on_failure: Option<GraphYaml>,
    pub(super) finally: Option<GraphYaml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GraphYaml {
    pub(super) nodes: NodesYaml,
    pub(super) output: Option<Words>,
}

/// The nodes, each under its name and with the line where that stands.
pub(super) struct NodesYaml(pub(super) Vec<(Words, Box<NodeYaml>)>);

impl<'de> Deserialize<'de> for NodesYaml {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Nodes;
        impl<'de> Visitor<'de> for Nodes {
            type Value = NodesYaml;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of nodes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodesYaml, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = map.next_entry()? {
                    nodes.push(node);
                }
                Ok(NodesYaml(nodes))
            }
        }
        from.deserialize_map(Nodes)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeYaml {
    pub(super) after: Option<Vec<Spanned<TextOr<AfterYaml>>>>,
    // The operation: exactly one.
    pub(super) apply: Option<Words>,
    pub(super) http: Option<Spanned<TextOr<TextYaml>>>,
    pub(super) map: Option<Words>,
    pub(super) pass: Option<Words>,
    pub(super) switch: Option<Vec<Spanned<CaseYaml>>>,
    pub(super) for_each: Option<Box<ForEachYaml>>,
    #[serde(rename = "loop")]
    pub(super) again: Option<Box<LoopYaml>>,
    pub(super) expand: Option<Box<Spanned<ActionYaml>>>,
    pub(super) flow: Option<Words>,
    pub(super) wait: Option<Spanned<TextOr<WaitYaml>>>,
    // What goes with a call.
    pub(super) method: Option<String>,
    pub(super) path: Option<Spanned<TextOr<TextYaml>>>,
    pub(super) query: Option<IndexMap<String, Spanned<TextOr<TextYaml>>>>,
    pub(super) headers: Option<IndexMap<String, Spanned<TextOr<TextYaml>>>>,
    pub(super) content_type: Option<String>,
    pub(super) mode: Option<Words>,
    pub(super) data: Option<Words>,
    pub(super) callback: Option<bool>,
    // What goes with a switch.
    #[serde(rename = "match")]
    pub(super) matching: Option<Words>,
    // What every node may have.
    pub(super) aggregate: Option<Words>,
    pub(super) when: Option<Words>,
    pub(super) retry: Option<RetryYaml>,
    pub(super) timeout: Option<Words>,
    pub(super) idempotent: Option<bool>,
    pub(super) pure: Option<bool>,
    pub(super) fallback: Option<Box<Spanned<ActionYaml>>>,
    pub(super) compensate: Option<Box<Spanned<ActionYaml>>>,
    pub(super) set: Option<IndexMap<String, Words>>,
}

/// What stands in for a node, undoes it, or makes a graph for it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionYaml {
    #[serde(default, deserialize_with = "even_null")]
    pub(super) value: Option<Json>,
    pub(super) apply: Option<Words>,
    pub(super) http: Option<Spanned<TextOr<TextYaml>>>,
    pub(super) map: Option<Words>,
    pub(super) pass: Option<Words>,
    pub(super) method: Option<String>,
    pub(super) path: Option<Spanned<TextOr<TextYaml>>>,
    pub(super) query: Option<IndexMap<String, Spanned<TextOr<TextYaml>>>>,
    pub(super) headers: Option<IndexMap<String, Spanned<TextOr<TextYaml>>>>,
    pub(super) content_type: Option<String>,
    pub(super) mode: Option<Words>,
    pub(super) data: Option<Words>,
    pub(super) callback: Option<bool>,
    pub(super) retry: Option<RetryYaml>,
    pub(super) timeout: Option<Words>,
    pub(super) idempotent: Option<bool>,
}

/// A value that may be null, which otherwise reads as missing.
fn even_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(from).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AfterYaml {
    pub(super) node: Words,
    pub(super) data: Option<bool>,
    pub(super) transform: Option<Words>,
}

/// A text that is computed or secret: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextYaml {
    pub(super) jq: Option<Words>,
    pub(super) secret: Option<Words>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseYaml {
    pub(super) when: Option<Words>,
    pub(super) to: Option<Words>,
    pub(super) default: Option<Words>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForEachYaml {
    pub(super) items: Option<Words>,
    pub(super) max_parallel: Option<usize>,
    pub(super) errors: Option<Words>,
    pub(super) body: GraphYaml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoopYaml {
    #[serde(rename = "while")]
    pub(super) again: Words,
    pub(super) max_iterations: Option<u32>,
    pub(super) body: GraphYaml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitYaml {
    pub(super) signal: Option<Words>,
    pub(super) until: Option<Words>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryYaml {
    pub(super) attempts: u32,
    pub(super) backoff: Option<Words>,
    pub(super) on: Option<Vec<Words>>,
}
