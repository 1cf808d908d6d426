//! What is wrong with a flow, for the person who wrote it.

use std::fmt;

/// One thing that is wrong with a flow: where, what, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, where the flow came from one.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u64>,
    /// The flow.
    pub flow: String,
    /// The node, where one is to blame.
    pub node: Option<String>,
    /// What is wrong, and what to write.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        if !self.flow.is_empty() {
            write!(f, "flow {}: ", self.flow)?;
        }
        if let Some(node) = &self.node {
            write!(f, "node {node}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Why a flow was refused: every problem that was found, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct FlowError {
    problems: Vec<Problem>,
}

impl FlowError {
    /// The problems, in the order of the text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// Most problems that are told at once: a person mends a few and tries again.
const PROBLEMS_MAX: usize = 50;

/// Collects the problems of one flow.
#[derive(Debug)]
pub(crate) struct Problems {
    file: Option<String>,
    flow: String,
    list: Vec<Problem>,
    untold: usize,
}

impl Problems {
    pub(crate) fn new(file: Option<String>, flow: &str) -> Self {
        Self {
            file,
            flow: flow.to_owned(),
            list: Vec::new(),
            untold: 0,
        }
    }

    /// Adds a problem; `message` is made only where it will be told.
    pub(crate) fn add(
        &mut self,
        line: Option<u64>,
        node: Option<&str>,
        message: impl FnOnce() -> String,
    ) {
        if self.is_full() {
            self.untold += 1;
            return;
        }
        self.list.push(Problem {
            file: self.file.clone(),
            line,
            flow: self.flow.chars().take(80).collect(),
            node: node.map(|node| node.chars().take(80).collect()),
            message: message(),
        });
    }

    /// Whether further problems are only counted.
    pub(crate) const fn is_full(&self) -> bool {
        self.list.len() == PROBLEMS_MAX
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn into_error(mut self) -> FlowError {
        if self.untold > 0 {
            self.list.push(Problem {
                file: self.file,
                line: None,
                flow: self.flow,
                node: None,
                message: format!("{} more problems", self.untold),
            });
        }
        FlowError {
            problems: self.list,
        }
    }
}

/// The first few of `names` in order, for a person to choose from.
pub(crate) fn choice<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let mut first: Vec<&str> = Vec::with_capacity(SHOWN + 1);
    let mut more = false;
    for name in names {
        let at = first.partition_point(|earlier| *earlier < name);
        first.insert(at, name);
        more |= first.len() > SHOWN;
        first.truncate(SHOWN);
    }
    first.join(", ") + if more { ", …" } else { "" }
}
