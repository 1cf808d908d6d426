//! What can be wrong with a stack file, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::functions::{NameError, SettingError};
use crate::process::{LimitsError, ModeError};
use crate::secrets::SecretError;

/// A problem, and where it is.
#[derive(Debug)]
pub struct StackError {
    file: PathBuf,
    line: Option<u64>,
    problem: Box<StackProblem>,
}

#[derive(Debug, thiserror::Error)]
pub enum StackProblem {
    #[error("cannot read the stack file: {source}")]
    Read { source: std::io::Error },
    #[error("{message}")]
    Yaml { message: String },
    #[error("version `{found}` is not supported; write version: 1.0")]
    Version { found: String },
    #[error("provider `{found}` is not supported; write provider: {{name: openfaas}}")]
    Provider { found: String },
    #[error("there are no functions; add at least one under functions:")]
    NoFunctions,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("function `{function}`: {problem}")]
    Secret {
        function: String,
        problem: SecretError,
    },
    #[error(
        "function `{function}`: handler directory `{}` does not exist; write handler: with a folder relative to this file",
        directory.display()
    )]
    NoHandler {
        function: String,
        directory: PathBuf,
    },
    #[error(
        "function `{function}` names no image; write image:, or for a Turlough gateway the annotation turlough.process"
    )]
    NoImage { function: String },
    #[error(
        "function `{function}`: image `{image}` is quoted, so that its variables stay as they are; write it without quotes"
    )]
    QuotedImage { function: String, image: String },
    #[error("environment file `{}`: {message}; write environment: with names and values, and the file relative to this one", file.display())]
    EnvironmentFile { file: PathBuf, message: String },
    #[error(
        "function `{function}` does not say how to run it as a local process; add the annotation `turlough.process`, for example turlough.process: python3 handler.py"
    )]
    NoCommand { function: String },
    #[error(
        "function `{function}`: turlough.process `{command}` is not a command; write a program and its arguments, with quotes that are closed"
    )]
    BadCommand { function: String, command: String },
    #[error("function `{function}`: turlough.mode {problem}")]
    Mode {
        function: String,
        problem: ModeError,
    },
    #[error(transparent)]
    Limits(#[from] LimitsError),
    #[error("function `{function}`: health path `{path}` must begin with `/`")]
    HealthPath { function: String, path: String },
}

impl StackError {
    pub(super) fn new(file: &Path, line: Option<u64>, problem: StackProblem) -> Self {
        Self {
            file: file.to_owned(),
            line,
            problem: Box::new(problem),
        }
    }

    /// The line that the problem is on, from 1, where it is known.
    #[must_use]
    pub fn line(&self) -> Option<u64> {
        self.line
    }

    #[must_use]
    pub fn problem(&self) -> &StackProblem {
        &self.problem
    }
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem)
    }
}

/// The problem's own message holds its cause already.
impl std::error::Error for StackError {}
