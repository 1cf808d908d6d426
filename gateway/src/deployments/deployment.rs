//! What a client asks to be deployed: OpenFaaS's `FunctionDeployment`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DeployError;
use crate::functions::{DEFAULT_NAMESPACE, FunctionName, FunctionSpec, Resources};
use crate::images::{HEALTH_PATH_DEFAULT, Images};
use crate::namespaces::or_default;
use crate::process::{Limits, Mode, ProcessSpec};
use crate::stack::{HEALTH_PATH, MODE, PROCESS};

/// Where the command of the annotation `turlough.process` runs, where the image says no folder.
pub(crate) const DIRECTORY: &str = "turlough.directory";

/// The body of a request that deploys or changes a function, at any gateway of OpenFaaS. Fields that are
/// not known are not looked at, as OpenFaaS does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployment {
    service: String,
    image: String,
    namespace: String,
    env_process: String,
    #[serde(deserialize_with = "or_default")]
    env_vars: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    constraints: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    secrets: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Resources>,
    read_only_root_filesystem: bool,
}

impl Deployment {
    /// What a client asks for, to have this function.
    pub(crate) fn of(spec: &FunctionSpec) -> Self {
        let spec = spec.clone();
        Self {
            service: spec.name.name().to_owned(),
            // Which is the default is the gateway's affair.
            namespace: match spec.name.namespace() {
                DEFAULT_NAMESPACE => String::new(),
                namespace => namespace.to_owned(),
            },
            image: spec.image,
            env_process: spec.env_process,
            env_vars: spec.env_vars,
            constraints: spec.constraints,
            secrets: spec.secrets,
            labels: spec.labels,
            annotations: spec.annotations,
            limits: spec.limits,
            requests: spec.requests,
            read_only_root_filesystem: spec.read_only_root_filesystem,
        }
    }

    /// The function's name; a namespace in the query is meant where the body says none.
    pub(crate) fn name(&self, of_query: &str) -> Result<FunctionName, DeployError> {
        let namespace = [self.namespace.as_str(), of_query, DEFAULT_NAMESPACE];
        let namespace = namespace.into_iter().find(|text| !text.is_empty());
        Ok(FunctionName::new(
            &self.service,
            namespace.unwrap_or_default(),
        )?)
    }

    pub(super) fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// What it is and how it runs here; checked.
    pub(super) fn read(
        &self,
        name: FunctionName,
        images: &Images,
    ) -> Result<(FunctionSpec, ProcessSpec), DeployError> {
        let process = self.process(&name, images)?;
        let spec = FunctionSpec {
            name,
            image: self.image.clone(),
            env_process: self.env_process.clone(),
            env_vars: self.env_vars.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            constraints: self.constraints.clone(),
            secrets: self.secrets.clone(),
            limits: self.limits.clone(),
            requests: self.requests.clone(),
            read_only_root_filesystem: self.read_only_root_filesystem,
        };
        spec.scaling()?;
        spec.retry()?;
        Ok((spec, process))
    }

    fn process(&self, name: &FunctionName, images: &Images) -> Result<ProcessSpec, DeployError> {
        let image = images.find(&self.image);
        let mode = self.annotations.get(MODE).map(|mode| mode.parse());
        let mode = mode.transpose().map_err(|problem| DeployError::Mode {
            function: name.clone(),
            problem,
        })?;
        let process = match (self.annotations.get(PROCESS), image) {
            (None, Some(process)) => process,
            (None, None) => {
                return Err(DeployError::UnknownImage {
                    function: name.clone(),
                    image: self.image.clone(),
                });
            }
            (Some(line), image) => {
                let directory = match (self.annotations.get(DIRECTORY), &image) {
                    (Some(directory), _) => directory.into(),
                    (None, Some(image)) => image.directory.clone(),
                    (None, None) if mode == Some(Mode::Static) => {
                        return Err(DeployError::NoDirectory {
                            function: name.clone(),
                        });
                    }
                    (None, None) => std::env::temp_dir(),
                };
                if !directory.is_dir() {
                    return Err(DeployError::Directory {
                        function: name.clone(),
                        directory,
                    });
                }
                let of_image = image.map(|it| (it.health_path, it.environment, it.mode));
                let (health_path, environment, mode) = of_image.unwrap_or_else(|| {
                    (HEALTH_PATH_DEFAULT.to_owned(), BTreeMap::new(), Mode::Http)
                });
                let process = ProcessSpec::of_command(line, directory, health_path);
                let process = process.ok_or_else(|| DeployError::Command {
                    function: name.clone(),
                    command: line.clone(),
                })?;
                ProcessSpec {
                    // Who names a command means it, also in the place of files.
                    mode: if mode == Mode::Fork { mode } else { Mode::Http },
                    ..process.with_environment(environment)
                }
            }
        };
        let mut process = process.with_environment(self.env_vars.clone());
        process.limits = Limits::read(name, self.limits.as_ref())?;
        process.mode = mode.unwrap_or(process.mode);
        if let Some(path) = self.annotations.get(HEALTH_PATH) {
            if !path.starts_with('/') {
                return Err(DeployError::HealthPath {
                    function: name.clone(),
                    path: path.clone(),
                });
            }
            process.health_path.clone_from(path);
        }
        Ok(process)
    }
}
