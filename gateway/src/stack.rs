//! OpenFaaS's `stack.yaml`: which functions there are, and how to run them here ([`Stack`]), or what to
//! tell a gateway that runs them elsewhere ([`DeployableStack`]).
//!
//! What this module returns is checked: names are names, folders exist, each
//! function has a command, or an image where it runs elsewhere. `${NAME}` and `${NAME:-default}` in values are taken
//! from the environment; one that is unset and has no default is an error,
//! where faas-cli would silently leave nothing.
//!
//! Images, build arguments and `configuration` are read and not used: nothing is
//! built here.

mod deployable;
mod error;
mod file;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::functions::{DEFAULT_NAMESPACE, FunctionName, FunctionSpec};
use crate::images::HEALTH_PATH_DEFAULT;
use crate::process::{Limits, Mode, ProcessSpec};
use crate::secrets::check_secret_name;
pub use deployable::{DeployableFunction, DeployableStack};
pub use error::{StackError, StackProblem};
use file::{FunctionEntry, StackFile};

/// The annotation that holds the command line of a function's process.
pub(crate) const PROCESS: &str = "turlough.process";

/// The annotation that says how it serves requests: `http`, `fork` or `static`.
pub(crate) const MODE: &str = "turlough.mode";

pub(crate) const HEALTH_PATH: &str = "com.openfaas.health.http.path";

/// The functions of one stack file, in its order.
#[derive(Clone, Debug)]
pub struct Stack {
    functions: Vec<StackFunction>,
}

/// One function: what it is, and how it runs.
#[derive(Clone, Debug)]
pub struct StackFunction {
    pub spec: FunctionSpec,
    pub process: ProcessSpec,
}

impl Stack {
    /// Reads a file, with variables from the process's environment.
    ///
    /// # Errors
    /// [`StackError`] with the file, the line where there is one, and the remedy.
    pub fn load(path: &Path) -> Result<Self, StackError> {
        let (text, variables) = read(path)?;
        Self::parse(path, &text, variables)
    }

    /// Reads a text as if it stood in `path`, whose folder handlers are relative to.
    ///
    /// # Errors
    /// As [`Stack::load`].
    pub fn parse(
        path: &Path,
        text: &str,
        variables: HashMap<String, String>,
    ) -> Result<Self, StackError> {
        let file = StackFile::parse(path, text, variables)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let functions = file
            .functions
            .into_iter()
            .map(|(name, entry)| {
                let line = file::line(&name);
                function(folder, &name.value, entry)
                    .map_err(|problem| StackError::new(path, line, problem))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { functions })
    }

    /// In the order of the file.
    #[must_use]
    pub fn functions(&self) -> &[StackFunction] {
        &self.functions
    }

    /// To add what only the one who starts them knows, such as an environment variable.
    pub fn functions_mut(&mut self) -> &mut [StackFunction] {
        &mut self.functions
    }
}

/// A stack file's text, and the variables of this process, which may stand in it.
fn read(path: &Path) -> Result<(String, HashMap<String, String>), StackError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| StackError::new(path, None, StackProblem::Read { source }))?;
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Ok((text, variables))
}

fn function(
    folder: &Path,
    name: &str,
    mut entry: FunctionEntry,
) -> Result<StackFunction, StackProblem> {
    let name = function_name(name, &entry)?;
    entry.read_environment_files(folder)?;
    let process = process(folder, &name, &entry)?;
    let spec = spec(name, process.command_line(), entry)?;
    Ok(StackFunction { spec, process })
}

fn function_name(name: &str, entry: &FunctionEntry) -> Result<FunctionName, StackProblem> {
    let namespace = entry.namespace.as_deref().filter(|text| !text.is_empty());
    Ok(FunctionName::new(
        name,
        namespace.unwrap_or(DEFAULT_NAMESPACE),
    )?)
}

/// What a function is, whoever runs it.
fn spec(
    name: FunctionName,
    env_process: String,
    entry: FunctionEntry,
) -> Result<FunctionSpec, StackProblem> {
    let spec = FunctionSpec {
        name,
        image: entry.image,
        env_process,
        env_vars: entry.environment,
        labels: entry.labels,
        annotations: entry.annotations,
        constraints: entry.constraints,
        secrets: entry.secrets,
        limits: entry.limits,
        requests: entry.requests,
        read_only_root_filesystem: entry.readonly_root_filesystem,
    };
    spec.scaling()?;
    spec.retry()?;
    for secret in &spec.secrets {
        check_secret_name(secret).map_err(|problem| StackProblem::Secret {
            function: spec.name.to_string(),
            problem,
        })?;
    }
    Ok(spec)
}

fn process(
    folder: &Path,
    name: &FunctionName,
    entry: &FunctionEntry,
) -> Result<ProcessSpec, StackProblem> {
    let function = || name.to_string();
    let mode = entry
        .annotations
        .get(MODE)
        .map_or(Ok(Mode::Http), |mode| mode.parse());
    let mode = mode.map_err(|problem| StackProblem::Mode {
        function: function(),
        problem,
    })?;
    let limits = Limits::read(name, entry.limits.as_ref())?;
    if mode == Mode::Static {
        let directory = handler_directory(folder, name, &entry.handler)?;
        return Ok(ProcessSpec::of_folder(directory));
    }
    let Some(line) = entry.annotations.get(PROCESS) else {
        return Err(StackProblem::NoCommand {
            function: function(),
        });
    };
    let bad_command = || StackProblem::BadCommand {
        function: function(),
        command: line.clone(),
    };
    let health_path = match entry.annotations.get(HEALTH_PATH) {
        Some(path) if !path.starts_with('/') => {
            return Err(StackProblem::HealthPath {
                function: function(),
                path: path.clone(),
            });
        }
        Some(path) => path.clone(),
        None => HEALTH_PATH_DEFAULT.to_owned(),
    };
    let directory = handler_directory(folder, name, &entry.handler)?;
    let process = ProcessSpec::of_command(line, directory, health_path).ok_or_else(bad_command)?;
    Ok(ProcessSpec {
        mode,
        limits,
        ..process.with_environment(entry.environment.clone())
    })
}

fn handler_directory(
    folder: &Path,
    name: &FunctionName,
    handler: &str,
) -> Result<PathBuf, StackProblem> {
    let directory = folder.join(handler);
    if handler.is_empty() || !directory.is_dir() {
        return Err(StackProblem::NoHandler {
            function: name.to_string(),
            directory,
        });
    }
    // Absolute, since a process is started in it and its program may be named from it.
    std::path::absolute(&directory).map_err(|source| StackProblem::Read { source })
}

#[cfg(test)]
mod tests;
