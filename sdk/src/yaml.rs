//! The YAML notation of a flow: the same model, no compiler needed.

mod complaint;
mod node;
mod notation;
mod operation;
mod scalar;

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use crate::draft::{DraftEdge, DraftFlow, DraftGraph, DraftNode, DraftSource, Located};
use crate::duration::parse_duration;
use crate::error::{FlowError, Problems, choice};
use crate::graph::{Flow, Graph, Map};
use crate::validate::{Limits, validate, validate_graph};
use complaint::Kind;
use notation::{FlowYaml, GraphYaml, Words};

/// Reads and validates one flow.
///
/// # Errors
/// Every problem that was found, each with its line.
pub fn read_yaml(text: &str) -> Result<Flow, FlowError> {
    read(None, text).0
}

/// Reads and validates one flow whose text came from `file`, which its problems then name.
///
/// # Errors
/// As for [`read_yaml`].
pub fn read_yaml_file_text(file: &str, text: &str) -> Result<Flow, FlowError> {
    read(Some(file.to_owned()), text).0
}

/// Reads and validates a graph that was made at run time: `{nodes: {…}, output: NODE}` as JSON or
/// YAML text of at most [`Limits::GRAPH_BYTES_MAX`]. `map: NAME` in it names one of `closures`.
///
/// # Errors
/// Every problem that was found, each with its line.
pub fn read_graph(text: &str, closures: &BTreeMap<String, Map>) -> Result<Graph, FlowError> {
    read_graph_counted(text, closures).0
}

/// [`read_yaml`] with the number of nodes and edges that validation visited.
#[cfg(test)]
pub(crate) fn read_counted(text: &str) -> (Result<Flow, FlowError>, u64) {
    read(None, text)
}

/// [`read_graph`] with the number of nodes and edges that validation visited.
pub(crate) fn read_graph_counted(
    text: &str,
    closures: &BTreeMap<String, Map>,
) -> (Result<Graph, FlowError>, u64) {
    let parsed = sized(None, text, Limits::GRAPH_BYTES_MAX, "expand in steps")
        .and_then(|text| Ok((text, parse(Kind::Graph, None, text)?)));
    let (source, yaml) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return (Err(error), 0),
    };
    let mut reader = Reader {
        problems: Problems::new(None, ""),
        source,
    };
    let draft = reader.graph(yaml, 0);
    validate_graph(draft, closures, reader.problems)
}

fn read(file: Option<String>, text: &str) -> (Result<Flow, FlowError>, u64) {
    let parsed = sized(
        file.as_ref(),
        text,
        TEXT_BYTES_MAX,
        "split the flow, or use for_each",
    )
    .and_then(|text| Ok((text, parse::<FlowYaml>(Kind::Flow, file.as_ref(), text)?)));
    let (source, yaml) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return (Err(error), 0),
    };
    let mut reader = Reader {
        problems: Problems::new(file, &yaml.flow.value),
        source,
    };
    let timeout = yaml
        .timeout
        .as_ref()
        .and_then(|text| reader.duration("timeout", text, None));
    let graph = GraphYaml {
        nodes: yaml.nodes,
        output: yaml.output,
    };
    let draft = DraftFlow {
        name: located(yaml.flow),
        timeout,
        graph: reader.graph(graph, 0),
        on_failure: yaml.on_failure.map(|graph| reader.graph(graph, 0)),
        finally: yaml.finally.map(|graph| reader.graph(graph, 0)),
        concurrency: yaml.concurrency,
        headers: yaml.headers.into_iter().flatten().map(located).collect(),
        is_signed: yaml.signed.unwrap_or(false),
        closures: BTreeMap::new(),
    };
    validate(draft, reader.problems)
}

/// Longest file: room for as many nodes as a flow may have, at four hundred bytes each.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most scalars, lists and maps in a file: fifty for each node that a flow may have.
const YAML_NODES_MAX: usize = 50 * Limits::NODES_MAX;

/// Most scalars, lists and maps that aliases may unfold to: a hundred copies of a large node.
const ALIASED_MAX: usize = 10_000;

/// The text without its mark of byte order, where it is not too long.
fn sized<'a>(
    file: Option<&String>,
    text: &'a str,
    limit: usize,
    remedy: &str,
) -> Result<&'a str, FlowError> {
    let size = text.len();
    if size <= limit {
        return Ok(text.strip_prefix('\u{feff}').unwrap_or(text));
    }
    let mut problems = Problems::new(file.cloned(), "");
    problems.add(None, None, || {
        format!("{size} bytes, limit {limit}; {remedy}")
    });
    Err(problems.into_error())
}

fn parse<T: DeserializeOwned>(
    kind: Kind,
    file: Option<&String>,
    text: &str,
) -> Result<T, FlowError> {
    let refused = |error| complaint::told(kind, file.cloned(), text, &error);
    // `yes` and `no` are words; true and false are what they are in JSON.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: YAML_NODES_MAX,
            max_events: 2 * YAML_NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIASED_MAX,
        },
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(refused)
}

fn located(text: Words) -> Located {
    Located {
        line: Some(text.referenced.line()),
        text: text.value,
    }
}

struct Reader<'a> {
    problems: Problems,
    /// What is being read.
    source: &'a str,
}

/// The node that is being read.
#[derive(Clone, Copy)]
struct At<'a> {
    id: &'a str,
    line: u64,
    depth: usize,
}

/// An edge that a switch declares.
struct Branch {
    from: String,
    case: usize,
    to: Words,
}

impl Reader<'_> {
    fn problem(&mut self, line: u64, node: &str, message: String) {
        self.problems.add(Some(line), Some(node), || message);
    }

    fn graph(&mut self, yaml: GraphYaml, depth: usize) -> DraftGraph {
        let mut nodes: IndexMap<String, DraftNode> = IndexMap::with_capacity(yaml.nodes.0.len());
        let mut branches = Vec::new();
        for (id, node) in yaml.nodes.0 {
            let at = At {
                id: &id.value,
                line: id.referenced.line(),
                depth,
            };
            let node = self.node(at, *node, &mut branches);
            nodes.insert(id.value, node);
        }
        for branch in branches {
            let line = branch.to.referenced.line();
            let Some(target) = nodes.get_mut(&branch.to.value) else {
                self.problems.add(Some(line), Some(&branch.from), || {
                    let known = choice(nodes.keys().map(String::as_str));
                    let to = &branch.to.value;
                    format!("case goes to {to:?}, which is no node here; write one of {known}")
                });
                continue;
            };
            let from = DraftSource::Node(branch.from);
            target
                .edges
                .push(DraftEdge::new(from, Some(branch.case), Some(line)));
        }
        DraftGraph {
            nodes: nodes.into_values().collect(),
            output: yaml.output.map(located),
        }
    }

    fn duration(&mut self, what: &str, text: &Words, node: Option<&str>) -> Option<Duration> {
        let line = text.referenced.line();
        let parsed = parse_duration(&text.value);
        let told = |message| {
            self.problems
                .add(Some(line), node, || format!("{what}: {message}"));
        };
        parsed.map_err(told).ok()
    }

    /// Which of two words stands here; the first where none does.
    fn second(&mut self, at: At<'_>, key: &str, found: Option<Words>, known: [&str; 2]) -> bool {
        let Some(found) = found else { return false };
        let [first, second] = known;
        if found.value != first && found.value != second {
            let word: String = found.value.chars().take(80).collect();
            let text = format!("{key} is {word:?}; write {first} or {second}");
            self.problem(found.referenced.line(), at.id, text);
        }
        found.value == second
    }
}

#[cfg(test)]
mod tests;
