//! The YAML notation of a flow: the same model, no compiler needed.

mod complaint;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

use crate::draft::{
    DraftApply, DraftEdge, DraftFlow, DraftFormula, DraftGraph, DraftNode, DraftOperation,
    DraftSource, DraftText, Located,
};
use crate::duration::parse_duration;
use crate::error::{FlowError, Problems, choice};
use crate::graph::Flow;
use crate::retry::Retry;
use crate::validate::validate;

/// Reads and validates one flow.
///
/// # Errors
/// Every problem that was found, each with its line.
pub fn read_yaml(text: &str) -> Result<Flow, FlowError> {
    read(None, text).0
}

/// [`read_yaml`] with the number of nodes and edges that validation visited.
#[cfg(test)]
pub(crate) fn read_counted(text: &str) -> (Result<Flow, FlowError>, u64) {
    read(None, text)
}

/// Reads and validates one flow whose text came from `file`, which its problems then name.
///
/// # Errors
/// As for [`read_yaml`].
pub fn read_yaml_file_text(file: &str, text: &str) -> Result<Flow, FlowError> {
    read(Some(file.to_owned()), text).0
}

fn read(file: Option<String>, text: &str) -> (Result<Flow, FlowError>, u64) {
    let yaml = match parse(file.as_ref(), text) {
        Ok(yaml) => yaml,
        Err(error) => return (Err(error), 0),
    };
    let mut reader = Reader {
        problems: Problems::new(file, &yaml.flow.value),
    };
    let timeout = yaml
        .timeout
        .as_ref()
        .and_then(|text| reader.duration(text, None));
    let graph = GraphYaml {
        nodes: yaml.nodes,
        output: yaml.output,
    };
    let draft = DraftFlow {
        name: located(yaml.flow),
        timeout,
        graph: reader.graph(graph, 0),
        on_failure: None,
        finally: None,
        concurrency: None,
        headers: Vec::new(),
        closures: BTreeMap::new(),
    };
    validate(draft, reader.problems)
}

fn parse(file: Option<&String>, text: &str) -> Result<FlowYaml, FlowError> {
    let size = text.len();
    if size > TEXT_BYTES_MAX {
        let mut problems = Problems::new(file.cloned(), "");
        problems.add(None, None, || {
            format!("{size} bytes, limit {TEXT_BYTES_MAX}; split the flow, or use for_each")
        });
        return Err(problems.into_error());
    }
    serde_saphyr::from_str(text).map_err(|error| complaint::told(file.cloned(), text, &error))
}

/// Longest file: room for as many nodes as a flow may have, at four hundred bytes each.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

fn located(text: Spanned<String>) -> Located {
    Located {
        line: Some(text.referenced.line()),
        text: text.value,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowYaml {
    flow: Spanned<String>,
    timeout: Option<Spanned<String>>,
    nodes: NodesYaml,
    output: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphYaml {
    nodes: NodesYaml,
    output: Option<Spanned<String>>,
}

/// The nodes, each under its name and with the line where that stands.
struct NodesYaml(Vec<(Spanned<String>, NodeYaml)>);

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
struct NodeYaml {
    after: Option<Vec<Spanned<String>>>,
    // The operation: exactly one.
    apply: Option<String>,
    pass: Option<Spanned<String>>,
    switch: Option<Vec<Spanned<CaseYaml>>>,
    for_each: Option<ForEachYaml>,
    // What goes with `apply`.
    method: Option<String>,
    path: Option<String>,
    headers: Option<IndexMap<String, String>>,
    content_type: Option<String>,
    // What every node may have.
    retry: Option<RetryYaml>,
    timeout: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseYaml {
    when: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    default: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForEachYaml {
    items: Option<Spanned<String>>,
    max_parallel: Option<usize>,
    body: GraphYaml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryYaml {
    attempts: u32,
    backoff: Option<Spanned<String>>,
}

struct Reader {
    problems: Problems,
}

impl Reader {
    fn problem(&mut self, line: u64, node: Option<&str>, message: String) {
        self.problems.add(Some(line), node, || message);
    }

    fn graph(&mut self, yaml: GraphYaml, depth: usize) -> DraftGraph {
        let mut nodes: IndexMap<String, DraftNode> = IndexMap::with_capacity(yaml.nodes.0.len());
        let mut branches = Vec::new();
        for (id, node) in yaml.nodes.0 {
            let line = id.referenced.line();
            let node = self.node(&id.value, line, node, depth, &mut branches);
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

    fn node(
        &mut self,
        id: &str,
        line: u64,
        mut yaml: NodeYaml,
        depth: usize,
        branches: &mut Vec<Branch>,
    ) -> DraftNode {
        let after = yaml.after.take().unwrap_or_default();
        let edges = after
            .into_iter()
            .map(|name| self.edge(name, id, depth))
            .collect();
        let retry = yaml.retry.take().map(|retry| self.retry(&retry, id));
        let timeout = yaml
            .timeout
            .take()
            .and_then(|text| self.duration(&text, Some(id)));
        let operation = self.operation(id, line, yaml, depth, branches);
        DraftNode {
            line: Some(line),
            retry,
            timeout,
            ..DraftNode::new(id, operation, edges)
        }
    }

    fn edge(&mut self, name: Spanned<String>, node: &str, depth: usize) -> DraftEdge {
        let line = name.referenced.line();
        let from = match name.value.as_str() {
            "input" => DraftSource::Input(0),
            "item" => {
                if depth == 0 {
                    let text = "it comes after item, which stands for the item of a for_each, and \
                                it is in no body; write input, or a node";
                    self.problem(line, Some(node), text.to_owned());
                }
                DraftSource::Input(depth)
            }
            _ => DraftSource::Node(name.value),
        };
        DraftEdge::new(from, None, Some(line))
    }

    fn operation(
        &mut self,
        id: &str,
        line: u64,
        yaml: NodeYaml,
        depth: usize,
        branches: &mut Vec<Branch>,
    ) -> DraftOperation {
        let NodeYaml {
            apply,
            pass,
            switch,
            for_each,
            method,
            path,
            headers,
            content_type,
            ..
        } = yaml;
        let call = [
            method.is_some(),
            path.is_some(),
            headers.is_some(),
            content_type.is_some(),
        ];
        if apply.is_none() && call.contains(&true) {
            let text = "method, path, headers and content_type go with apply; take them out";
            self.problem(line, Some(id), text.to_owned());
        }
        match (apply, pass, switch, for_each) {
            (Some(function), None, None, None) => {
                let headers = headers.unwrap_or_default().into_iter();
                let headers = headers.map(|(name, text)| (name, DraftText::Literal(text)));
                DraftOperation::Apply(DraftApply {
                    function,
                    method,
                    path: path.map(DraftText::Literal),
                    headers: headers.collect(),
                    content_type,
                    ..DraftApply::default()
                })
            }
            (None, Some(jq), None, None) => DraftOperation::Pass(located(jq)),
            (None, None, Some(cases), None) => self.switch(id, cases, branches),
            (None, None, None, Some(each)) => DraftOperation::ForEach {
                items: each.items.map(located),
                body: self.graph(each.body, depth + 1),
                parallel_max: each.max_parallel,
                collect: false,
            },
            (None, None, None, None) => {
                let text = "it has no operation; write one of apply, pass, switch and for_each";
                self.problem(line, Some(id), text.to_owned());
                DraftOperation::Pass(".".into())
            }
            _ => {
                let text = "it has two operations; write one of apply, pass, switch and for_each, \
                            and a node for each other";
                self.problem(line, Some(id), text.to_owned());
                DraftOperation::Pass(".".into())
            }
        }
    }

    fn switch(
        &mut self,
        id: &str,
        cases: Vec<Spanned<CaseYaml>>,
        branches: &mut Vec<Branch>,
    ) -> DraftOperation {
        let mut conditions = Vec::with_capacity(cases.len());
        for (case, spanned) in cases.into_iter().enumerate() {
            let line = spanned.referenced.line();
            let (when, to) = match spanned.value {
                CaseYaml {
                    when: Some(when),
                    to: Some(to),
                    default: None,
                } => (Some(when), to),
                CaseYaml {
                    when: None,
                    to: None,
                    default: Some(to),
                } => (None, to),
                _ => {
                    let text = "a case of switch is of another shape; write \
                                { when: JQ, to: NODE } or { default: NODE }";
                    self.problem(line, Some(id), text.to_owned());
                    conditions.push(Some(DraftFormula::Jq(".".into())));
                    continue;
                }
            };
            conditions.push(when.map(|jq| DraftFormula::Jq(located(jq))));
            branches.push(Branch {
                from: id.to_owned(),
                case,
                to,
            });
        }
        DraftOperation::Switch {
            cases: conditions,
            all: false,
        }
    }

    fn retry(&mut self, yaml: &RetryYaml, id: &str) -> Retry {
        let Some(backoff) = &yaml.backoff else {
            let second = std::time::Duration::from_secs(1);
            return Retry::exponential(yaml.attempts, second / 10..second * 10);
        };
        let (from, to) = backoff
            .value
            .split_once("..")
            .unwrap_or((&backoff.value, &backoff.value));
        match (parse_duration(from), parse_duration(to)) {
            (Ok(from), Ok(to)) => Retry::exponential(yaml.attempts, from..to),
            (Err(text), _) | (_, Err(text)) => {
                self.problem(
                    backoff.referenced.line(),
                    Some(id),
                    format!("backoff: {text}"),
                );
                Retry::never()
            }
        }
    }

    fn duration(
        &mut self,
        text: &Spanned<String>,
        node: Option<&str>,
    ) -> Option<std::time::Duration> {
        let parsed = parse_duration(&text.value);
        parsed
            .map_err(|message| {
                self.problem(text.referenced.line(), node, format!("timeout: {message}"));
            })
            .ok()
    }
}

/// An edge that a switch declares.
struct Branch {
    from: String,
    case: usize,
    to: Spanned<String>,
}
