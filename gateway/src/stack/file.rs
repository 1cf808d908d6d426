//! The text of a stack file, as serde sees it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::{Options, SnippetMode, Spanned};

use super::error::{StackError, StackProblem};
use crate::functions::Resources;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StackFile {
    #[serde(default)]
    version: Option<Spanned<String>>,
    #[serde(default)]
    provider: Option<Provider>,
    #[serde(default)]
    pub(super) functions: IndexMap<Spanned<String>, FunctionEntry>,
    #[serde(default, rename = "configuration")]
    _configuration: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    #[serde(default)]
    name: Option<Spanned<String>>,
    /// Where faas-cli would deploy to; this gateway is where it is.
    #[serde(default, rename = "gateway")]
    _gateway: Option<String>,
}

/// Plain numbers and booleans are taken as the text that they are written as.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionEntry {
    #[serde(default)]
    pub(super) lang: String,
    #[serde(default)]
    pub(super) handler: String,
    #[serde(default)]
    pub(super) image: String,
    #[serde(default)]
    pub(super) fprocess: String,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    /// Files whose variables go before those above; of two files the later one counts.
    #[serde(default)]
    pub(super) environment_file: Vec<String>,
    /// The image is somebody else's, so that there may be no handler.
    #[serde(default)]
    pub(super) skip_build: bool,
    #[serde(default)]
    pub(super) secrets: Vec<String>,
    #[serde(default)]
    pub(super) constraints: Vec<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) limits: Option<Resources>,
    #[serde(default)]
    pub(super) requests: Option<Resources>,
    #[serde(default)]
    pub(super) readonly_root_filesystem: bool,
    #[serde(default, rename = "build_args")]
    _build_args: Option<IgnoredAny>,
    #[serde(default, rename = "build_options")]
    _build_options: Option<IgnoredAny>,
    #[serde(default, rename = "build_secrets")]
    _build_secrets: Option<IgnoredAny>,
    #[serde(default, rename = "platforms")]
    _platforms: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) namespace: Option<String>,
}

impl FunctionEntry {
    /// Adds the variables of its files, which are relative to the stack file's folder.
    pub(super) fn read_environment_files(&mut self, folder: &Path) -> Result<(), StackProblem> {
        for file in &self.environment_file {
            self.environment
                .extend(environment_file(&folder.join(file))?);
        }
        Ok(())
    }
}

impl StackFile {
    pub(super) fn parse(
        path: &Path,
        text: &str,
        variables: HashMap<String, String>,
    ) -> Result<Self, StackError> {
        let options = Options::default().with_properties(variables);
        let file: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| yaml_error(path, &error))?;
        file.check()
            .map_err(|(line, problem)| StackError::new(path, line, problem))?;
        Ok(file)
    }

    fn check(&self) -> Result<(), (Option<u64>, StackProblem)> {
        if let Some(version) = &self.version
            && !matches!(version.value.as_str(), "1.0" | "1")
        {
            let found = version.value.clone();
            return Err((line(version), StackProblem::Version { found }));
        }
        if let Some(name) = self.provider.as_ref().and_then(|p| p.name.as_ref())
            && name.value != "openfaas"
        {
            let found = name.value.clone();
            return Err((line(name), StackProblem::Provider { found }));
        }
        if self.functions.is_empty() {
            return Err((None, StackProblem::NoFunctions));
        }
        Ok(())
    }
}

/// The variables of a file that `environment_file` names, as they are written there.
fn environment_file(path: &Path) -> Result<BTreeMap<String, String>, StackProblem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct EnvironmentFile {
        #[serde(default)]
        environment: BTreeMap<String, String>,
    }
    let failed = |message| StackProblem::EnvironmentFile {
        file: path.to_owned(),
        message,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("cannot read it: {error}")))?;
    let file: EnvironmentFile = serde_saphyr::from_str_with_options(&text, Options::default())
        .map_err(|error| failed(plain(&error)))?;
    Ok(file.environment)
}

/// The line that a value is written on, from 1.
pub(super) fn line<T>(value: &Spanned<T>) -> Option<u64> {
    Some(value.referenced.line()).filter(|&line| line > 0)
}

fn yaml_error(path: &Path, error: &serde_saphyr::Error) -> StackError {
    let line = error.location().map(|location| location.line());
    let message = plain(error);
    StackError::new(path, line, StackProblem::Yaml { message })
}

fn plain(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error.without_snippet()
    {
        return format!("key `{key}` is written twice; rename one, or take it out");
    }
    error.render_with_options(serde_saphyr::render_options! { snippets: SnippetMode::Off })
}
