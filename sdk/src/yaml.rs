//! The YAML notation of a flow: the same model, no compiler needed.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::draft::{
    DraftApply, DraftEdge, DraftFlow, DraftGraph, DraftNode, DraftOperation, DraftSource,
};
use crate::duration::parse_duration;
use crate::error::{FlowError, Problem};
use crate::graph::Flow;
use crate::retry::Retry;
use crate::validate::validate;

/// Reads and validates one flow.
///
/// # Errors
/// Every problem that was found, each with its line.
pub fn read_yaml(text: &str) -> Result<Flow, FlowError> {
    read(None, text)
}

/// Reads and validates one flow whose text came from `file`, which its problems then name.
///
/// # Errors
/// As for [`read_yaml`].
pub fn read_yaml_file_text(file: &str, text: &str) -> Result<Flow, FlowError> {
    read(Some(file.to_owned()), text)
}

fn read(file: Option<String>, text: &str) -> Result<Flow, FlowError> {
    let yaml: FlowYaml = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let message = error.without_snippet().to_string();
        FlowError::new(vec![Problem {
            file: file.clone(),
            line,
            flow: String::new(),
            node: None,
            message,
        }])
    })?;
    let mut reader = Reader {
        file: file.clone(),
        flow: yaml.flow.clone(),
        problems: Vec::new(),
    };
    let timeout = yaml
        .timeout
        .as_ref()
        .and_then(|text| reader.duration(text, None));
    let graph = GraphYaml {
        nodes: yaml.nodes,
        output: yaml.output,
    };
    let graph = reader.graph(graph, 0);
    let (flow, _) = validate(DraftFlow {
        file,
        name: yaml.flow,
        timeout,
        graph,
    });
    match flow {
        Ok(flow) if reader.problems.is_empty() => Ok(flow),
        Ok(_) => Err(FlowError::new(reader.problems)),
        Err(error) => {
            reader.problems.extend(error.problems().iter().cloned());
            Err(FlowError::new(reader.problems))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowYaml {
    flow: String,
    timeout: Option<Spanned<String>>,
    nodes: IndexMap<String, Spanned<NodeYaml>>,
    output: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphYaml {
    nodes: IndexMap<String, Spanned<NodeYaml>>,
    output: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeYaml {
    after: Option<Vec<String>>,
    // The operation: exactly one.
    apply: Option<String>,
    pass: Option<String>,
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
    when: Option<String>,
    to: Option<String>,
    default: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForEachYaml {
    items: Option<String>,
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
    file: Option<String>,
    flow: String,
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, line: u64, node: Option<&str>, message: String) {
        let (file, flow) = (self.file.clone(), self.flow.clone());
        let node = node.map(str::to_owned);
        self.problems.push(Problem {
            file,
            line: Some(line),
            flow,
            node,
            message,
        });
    }

    fn graph(&mut self, yaml: GraphYaml, depth: usize) -> DraftGraph {
        let mut nodes: IndexMap<String, DraftNode> = IndexMap::new();
        let mut branches = Vec::new();
        for (id, spanned) in yaml.nodes {
            let line = spanned.referenced.line();
            let node = self.node(&id, line, spanned.value, depth, &mut branches);
            nodes.insert(id, node);
        }
        for branch in branches {
            let Some(target) = nodes.get_mut(&branch.to) else {
                let text = format!("case goes to {:?}, which is no node here", branch.to);
                self.problem(branch.line, Some(&branch.from), text);
                continue;
            };
            let from = DraftSource::Node(branch.from);
            target.edges.push(DraftEdge {
                from,
                case: Some(branch.case),
            });
        }
        DraftGraph {
            nodes: nodes.into_values().collect(),
            output: yaml.output,
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
        let edges = after.into_iter().map(|name| DraftEdge {
            from: source(name, depth),
            case: None,
        });
        let edges = edges.collect();
        let retry = yaml.retry.take().map(|retry| self.retry(&retry, id));
        let timeout = yaml
            .timeout
            .take()
            .and_then(|text| self.duration(&text, Some(id)));
        let operation = self.operation(id, line, yaml, depth, branches);
        DraftNode {
            id: id.to_owned(),
            line: Some(line),
            operation,
            edges,
            retry,
            timeout,
        }
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
                let headers = headers.unwrap_or_default().into_iter().collect();
                DraftOperation::Apply(DraftApply {
                    function,
                    method,
                    path,
                    headers,
                    content_type,
                })
            }
            (None, Some(expression), None, None) => DraftOperation::Pass(expression),
            (None, None, Some(cases), None) => self.switch(id, cases, branches),
            (None, None, None, Some(each)) => DraftOperation::ForEach {
                items: each.items,
                body: self.graph(each.body, depth + 1),
                parallel_max: each.max_parallel,
            },
            _ => {
                let text = "a node has exactly one of apply, pass, switch and for_each";
                self.problem(line, Some(id), text.to_owned());
                DraftOperation::Pass(".".to_owned())
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
                    let text = "a case is { when: JQ, to: NODE } or { default: NODE }".to_owned();
                    self.problem(line, Some(id), text);
                    continue;
                }
            };
            conditions.push(when);
            branches.push(Branch {
                from: id.to_owned(),
                case,
                to,
                line,
            });
        }
        DraftOperation::Switch(conditions)
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
    to: String,
    line: u64,
}

fn source(name: String, depth: usize) -> DraftSource {
    match name.as_str() {
        "input" => DraftSource::Input(0),
        "item" => DraftSource::Input(depth),
        _ => DraftSource::Node(name),
    }
}
