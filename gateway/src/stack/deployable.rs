//! A stack as a client of a gateway reads it: what to deploy, and where its files lie.
//!
//! How functions run is the gateway's affair, so no command is asked for; what would be refused by any
//! gateway is refused here, before one is asked. Building images is absent: faas-cli and docker do that.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::error::{StackError, StackProblem};
use super::file::{self, FunctionEntry, StackFile};
use super::{PROCESS, function_name, handler_directory, read, spec};
use crate::deployments::{DIRECTORY, Deployment};
use crate::functions::FunctionSpec;

/// The functions of one stack file, in its order.
#[derive(Clone, Debug)]
pub struct DeployableStack {
    functions: Vec<DeployableFunction>,
}

/// One function: what to tell a gateway of it.
#[derive(Clone, Debug)]
pub struct DeployableFunction {
    pub spec: FunctionSpec,
    /// The template that it is built with; empty where the file names none.
    pub lang: String,
    /// The folder of its handler, absolute; none where its image is somebody else's (`skip_build`).
    pub handler: Option<PathBuf>,
}

impl DeployableStack {
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
    /// As [`DeployableStack::load`].
    pub fn parse(
        path: &Path,
        text: &str,
        variables: HashMap<String, String>,
    ) -> Result<Self, StackError> {
        let file = StackFile::parse(path, text, variables)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let functions = file.functions.into_iter().map(|(name, entry)| {
            let line = file::line(&name);
            function(folder, &name.value, entry)
                .map_err(|problem| StackError::new(path, line, problem))
        });
        Ok(Self {
            functions: functions.collect::<Result<_, _>>()?,
        })
    }

    /// In the order of the file.
    #[must_use]
    pub fn functions(&self) -> &[DeployableFunction] {
        &self.functions
    }

    /// The same, for whoever deploys them.
    #[must_use]
    pub fn into_functions(self) -> Vec<DeployableFunction> {
        self.functions
    }
}

impl DeployableFunction {
    /// The body of a request that deploys it.
    #[must_use]
    pub fn deployment(&self) -> Deployment {
        Deployment::of(&self.spec)
    }

    /// Tells a gateway of this machine, which runs commands and no images, where the handler lies; unless
    /// the stack says so itself.
    pub fn run_here(&mut self) {
        let annotations = &mut self.spec.annotations;
        if let Some(folder) = &self.handler
            && annotations.contains_key(PROCESS)
        {
            annotations
                .entry(DIRECTORY.to_owned())
                .or_insert_with(|| folder.display().to_string());
        }
    }
}

fn function(
    folder: &Path,
    name: &str,
    mut entry: FunctionEntry,
) -> Result<DeployableFunction, StackProblem> {
    let name = function_name(name, &entry)?;
    entry.read_environment_files(folder)?;
    if entry.image.is_empty() && !entry.annotations.contains_key(PROCESS) {
        return Err(StackProblem::NoImage {
            function: name.to_string(),
        });
    }
    if entry.image.contains("${") {
        return Err(StackProblem::QuotedImage {
            function: name.to_string(),
            image: entry.image,
        });
    }
    let handler = match entry.skip_build {
        true => None,
        false => Some(handler_directory(folder, &name, &entry.handler)?),
    };
    let lang = std::mem::take(&mut entry.lang);
    let process = std::mem::take(&mut entry.fprocess);
    Ok(DeployableFunction {
        spec: spec(name, process, entry)?,
        lang,
        handler,
    })
}
