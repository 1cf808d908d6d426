//! Flows and stacks as files: finding them, reading them, and telling what is wrong with them.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Serialize;
use turlough_gateway::{DeployableStack, Stack, StackError};
use turlough_sdk::{Flow, read_yaml_file_text};

use crate::exit::Failure;

/// Where flows lie beside a stack file.
pub(crate) const FLOWS_FOLDER: &str = "flows";

/// What a stack file is named, the first that is there.
pub(crate) const STACK_FILES: [&str; 2] = ["stack.yaml", "stack.yml"];

/// What a file is, by its top-level keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Flow,
    Stack,
    /// Some other YAML.
    Other,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Flaw {
    pub(crate) file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    pub(crate) message: String,
}

impl Kind {
    /// By the keys that begin a line, so that a file with errors is recognised too.
    pub(crate) fn of(text: &str) -> Self {
        let has = |keys: &[&str]| {
            text.lines().any(|line| {
                let key = line.split_once(':').map(|(key, _)| key.trim_end());
                key.is_some_and(|key| keys.contains(&key))
            })
        };
        if has(&["functions", "provider"]) {
            Self::Stack
        } else if has(&["flow", "nodes"]) {
            Self::Flow
        } else {
            Self::Other
        }
    }
}

impl Flaw {
    pub(crate) fn new(file: &Path, message: String) -> Self {
        Self {
            file: file.display().to_string(),
            line: None,
            flow: None,
            node: None,
            message,
        }
    }

    fn of_stack(file: &Path, error: &StackError) -> Self {
        Self {
            line: error.line(),
            ..Self::new(file, error.problem().to_string())
        }
    }

    fn of_flow(file: &Path, problem: &turlough_sdk::Problem) -> Self {
        Self {
            line: problem.line,
            flow: Some(problem.flow.clone()).filter(|flow| !flow.is_empty()),
            node: problem.node.clone(),
            ..Self::new(file, problem.message.clone())
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        f.write_str(" ")?;
        if let Some(flow) = &self.flow {
            write!(f, "flow {flow}: ")?;
        }
        if let Some(node) = &self.node {
            write!(f, "node {node}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads a file that must be a valid flow.
pub(crate) fn read_flow(file: &Path) -> Result<Flow, Failure> {
    let text = read_text(file).map_err(|flaw| Failure::input(anyhow!("{flaw}")))?;
    parse_flow(file, &text).map_err(|flaws| {
        let lines: Vec<_> = flaws.iter().map(ToString::to_string).collect();
        Failure::input(anyhow!("the flow is not valid:\n{}", lines.join("\n")))
    })
}

pub(crate) fn read_text(file: &Path) -> Result<String, Flaw> {
    std::fs::read_to_string(file)
        .map_err(|error| Flaw::new(file, format!("cannot read the file: {error}")))
}

pub(crate) fn parse_flow(file: &Path, text: &str) -> Result<Flow, Vec<Flaw>> {
    read_yaml_file_text(&file.display().to_string(), text).map_err(|error| {
        let problems = error.problems().iter();
        problems
            .map(|problem| Flaw::of_flow(file, problem))
            .collect()
    })
}

pub(crate) fn read_stack(file: &Path) -> Result<Stack, Flaw> {
    Stack::load(file).map_err(|error| Flaw::of_stack(file, &error))
}

/// The same for a gateway elsewhere.
pub(crate) fn read_deployable_stack(file: &Path) -> Result<DeployableStack, Flaw> {
    DeployableStack::load(file).map_err(|error| Flaw::of_stack(file, &error))
}

/// The `*.yaml` and `*.yml` of a folder, by name.
pub(crate) fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let context = || format!("cannot read the folder `{}`", folder.display());
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(context);
    for entry in entries.map_err(Failure::input)? {
        let path = entry.with_context(context).map_err(Failure::input)?.path();
        let ending = path.extension();
        if ending.is_some_and(|ending| ending == "yaml" || ending == "yml") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_recognised_by_their_top_level_keys() {
        let kinds = [
            "version: 1.0\nfunctions:\n  flow: {}\n",
            "provider:\n  name: openfaas\n",
            "# a flow\nflow: a\nnodes: {",
            "nodes:\n",
            "name: chart\nvalues:\n  flow: x\n",
            "",
        ];
        let found = kinds.map(Kind::of);
        let (flow, stack, other) = (Kind::Flow, Kind::Stack, Kind::Other);
        assert_eq!(found, [stack, stack, flow, flow, other, other]);
    }
}
