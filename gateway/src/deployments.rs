//! What is to run: functions of stacks, and those that are deployed, changed, scaled and removed over
//! REST. Those of REST outlive the gateway; those of stacks come from their file again.
//!
//! One change at a time. None waits for a process: what a change asks for is recorded and begun, and the
//! function's `Fleet` sees to it.

mod deployment;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::{error, info};

pub(crate) use deployment::DIRECTORY;
pub use deployment::Deployment;

use crate::folder::{Folder, FolderError};
use crate::functions::{
    DEFAULT_NAMESPACE, FunctionName, FunctionSpec, NameError, Registry, RegistryError, SettingError,
};
use crate::images::Images;
use crate::namespaces::{NamespaceError, Namespaces};
use crate::process::{
    Fleet, FunctionLog, LimitsError, ModeError, ProcessSpec, StartError, Started, Supervisor,
};
use crate::secrets::{SecretError, Secrets};
use crate::stack::StackFunction;
use crate::usage::Meter;

const RECORD: &str = "functions.json";

/// How often functions are looked at that nobody calls.
const IDLE_LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Deployments {
    pub(crate) registry: Registry,
    pub(crate) images: Images,
    pub(crate) namespaces: Namespaces,
    pub(crate) secrets: Secrets,
    folder: Folder,
    supervisor: Supervisor,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    fleets: HashMap<FunctionName, Fleet>,
    /// By `name.namespace`: what was deployed over REST, also before this gateway began.
    deployed: BTreeMap<String, Deployment>,
    is_restored: bool,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeployError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("function `{0}` is deployed already; change it with PUT")]
    Exists(FunctionName),
    #[error("function `{}` is not deployed in namespace `{}`", .0.name(), .0.namespace())]
    Unknown(FunctionName),
    #[error("function `{0}` is run by someone else, who registered it; it cannot be changed here")]
    Foreign(FunctionName),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(
        "function `{function}`: nothing is known to run for image `{image}`; this gateway pulls no images, name its command in the file of images (TURLOUGH_IMAGES) or in the annotation turlough.process"
    )]
    UnknownImage {
        function: FunctionName,
        image: String,
    },
    #[error(
        "function `{function}`: turlough.process `{command}` is not a command; write a program and its arguments, with quotes that are closed"
    )]
    Command {
        function: FunctionName,
        command: String,
    },
    #[error("function `{function}`: folder `{}` does not exist; write turlough.directory with a folder of the gateway's machine", directory.display())]
    Directory {
        function: FunctionName,
        directory: PathBuf,
    },
    #[error(
        "function `{function}`: mode static serves a folder; write turlough.directory with the one that is meant"
    )]
    NoDirectory { function: FunctionName },
    #[error("function `{function}`: turlough.mode {problem}")]
    Mode {
        function: FunctionName,
        problem: ModeError,
    },
    #[error(transparent)]
    Limits(#[from] LimitsError),
    #[error("function `{function}`: health path `{path}` must begin with `/`")]
    HealthPath {
        function: FunctionName,
        path: String,
    },
    #[error(
        "function `{function}` cannot have {replicas} replicas, limit {max}; raise its label com.openfaas.scale.max, up to 32"
    )]
    Replicas {
        function: FunctionName,
        replicas: u32,
        max: u32,
    },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Deployments {
    /// Knows what was deployed before the gateway ended, and starts none of it yet.
    pub(crate) fn open(
        registry: Registry,
        images: Images,
        namespaces: Namespaces,
        secrets: Secrets,
        folder: Folder,
        supervisor: Supervisor,
    ) -> Result<Self, FolderError> {
        let running = Running {
            deployed: folder.read(RECORD)?,
            ..Running::default()
        };
        Ok(Self {
            registry,
            images,
            namespaces,
            secrets,
            folder,
            supervisor,
            running: Mutex::new(running),
        })
    }

    /// Starts what was deployed before, once, but for what a stack, or somebody over REST, has registered
    /// meanwhile. What cannot be started is said, and stays recorded.
    pub(crate) async fn restore(&self) {
        let mut running = self.running.lock().await;
        if std::mem::replace(&mut running.is_restored, true) {
            return;
        }
        for (name, deployment) in &running.deployed.clone() {
            if self.registry.find(name).is_some() {
                info!(
                    function = name,
                    "function is there already; what was deployed before is not started"
                );
                continue;
            }
            let restored = match deployment.name(DEFAULT_NAMESPACE) {
                Ok(name) => self.begin(&mut running, name, deployment).await,
                Err(error) => Err(error),
            };
            match restored {
                Ok(()) => info!(
                    function = name,
                    "function was deployed before, and is started"
                ),
                Err(error) => {
                    error!(function = name, %error, "cannot start what was deployed before")
                }
            }
        }
    }

    /// Deploys a function that is not there yet; as a whole, also where the caller goes away meanwhile.
    pub(crate) async fn deploy(
        self: Arc<Self>,
        of_query: String,
        deployment: Deployment,
    ) -> Result<(), DeployError> {
        let whole = async move { self.deploy_whole(&of_query, deployment).await };
        match tokio::spawn(whole).await {
            Ok(deployed) => deployed,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    async fn deploy_whole(
        &self,
        of_query: &str,
        deployment: Deployment,
    ) -> Result<(), DeployError> {
        let name = deployment.name(of_query)?;
        let mut running = self.running.lock().await;
        self.namespaces.check(name.namespace())?;
        if self.registry.find(name.qualified()).is_some() {
            return Err(DeployError::Exists(name));
        }
        // All that can be wrong is found before anything is changed.
        deployment.read(name.clone(), &self.images)?;
        self.check_secrets(&name, deployment.secrets())?;
        let qualified = name.qualified().to_owned();
        let before = running.deployed.get(&qualified).cloned();
        self.record(&mut running, |deployed| {
            deployed.insert(qualified.clone(), deployment.clone());
        })?;
        let begun = self.begin(&mut running, name, &deployment).await;
        if begun.is_err() {
            self.record(&mut running, |deployed| match before {
                Some(before) => _ = deployed.insert(qualified, before),
                None => _ = deployed.remove(&qualified),
            })?;
        }
        begun
    }

    /// Puts something else in the place of a function; it answers until the other does.
    pub(crate) async fn update(
        &self,
        of_query: &str,
        deployment: Deployment,
    ) -> Result<(), DeployError> {
        let name = deployment.name(of_query)?;
        let mut running = self.running.lock().await;
        let Some(function) = self.registry.find(name.qualified()) else {
            return Err(DeployError::Unknown(name));
        };
        let (spec, process) = deployment.read(name.clone(), &self.images)?;
        self.check_secrets(&name, &spec.secrets)?;
        let Some(fleet) = running.fleets.get(&name) else {
            return Err(DeployError::Foreign(name));
        };
        let held = fleet.process();
        let process = self.with_secrets(&spec, process, held.secrets.as_deref())?;
        self.record(&mut running, |deployed| {
            deployed.insert(name.qualified().to_owned(), deployment);
        })?;
        let scaling = spec.scaling()?;
        function.redeploy(spec)?;
        if let Some(fleet) = running.fleets.get(&name) {
            fleet.replace(process);
        }
        let replicas = function.replicas();
        if replicas > 0 {
            function.scale(replicas.clamp(scaling.min, scaling.max));
        }
        Ok(())
    }

    /// Takes a function away; calls in flight end undisturbed.
    pub(crate) async fn remove(&self, name: &FunctionName) -> Result<(), DeployError> {
        let mut running = self.running.lock().await;
        self.remove_one(&mut running, name)
    }

    /// A namespace goes, with the functions and secrets in it. It goes last: what fails can be tried again.
    pub(crate) async fn remove_namespace(&self, namespace: &str) -> Result<(), DeployError> {
        let mut running = self.running.lock().await;
        self.namespaces.check_removable(namespace)?;
        let functions = self.registry.list(namespace);
        let mut names: BTreeSet<_> = functions.iter().map(|it| it.name().clone()).collect();
        if let Some(foreign) = names.iter().find(|it| !running.fleets.contains_key(it)) {
            return Err(DeployError::Foreign(foreign.clone()));
        }
        // Also what could not be started.
        let deployed = running.deployed.values();
        let deployed = deployed.filter_map(|it| it.name(DEFAULT_NAMESPACE).ok());
        names.extend(deployed.filter(|it| it.namespace() == namespace));
        for name in &names {
            self.remove_one(&mut running, name)?;
        }
        let removed = self.secrets.remove_all(namespace);
        removed.map_err(|source| {
            let name = format!("all of {namespace}");
            SecretError::Io { name, source }
        })?;
        Ok(self.namespaces.remove(namespace)?)
    }

    /// Changes secrets of a namespace, which stays there meanwhile.
    pub(crate) async fn change_secrets(
        &self,
        namespace: &str,
        change: impl FnOnce(&Secrets) -> Result<(), SecretError>,
    ) -> Result<(), DeployError> {
        let _running = self.running.lock().await;
        self.namespaces.check(namespace)?;
        Ok(change(&self.secrets)?)
    }

    /// Sets how many replicas a function is to have, from none to its bound.
    pub(crate) async fn scale(
        &self,
        name: &FunctionName,
        replicas: u32,
    ) -> Result<(), DeployError> {
        let running = self.running.lock().await;
        let unknown = || DeployError::Unknown(name.clone());
        let function = self.registry.find(name.qualified()).ok_or_else(unknown)?;
        if !running.fleets.contains_key(name) {
            return Err(DeployError::Foreign(name.clone()));
        }
        let max = function.deployed().scaling.max;
        if replicas > max {
            let function = name.clone();
            return Err(DeployError::Replicas {
                function,
                replicas,
                max,
            });
        }
        function.scale(replicas);
        Ok(())
    }

    /// Starts one function of a stack, which is registered, and waits until it is healthy.
    pub(crate) async fn start(&self, function: &StackFunction) -> Result<Started, StartError> {
        let name = &function.spec.name;
        let stopped = || StartError::Stopped {
            function: name.clone(),
        };
        let registered = self.registry.find(name.qualified()).ok_or_else(stopped)?;
        let process = self.of_stack(function);
        match self.supervisor.start(&registered, process).await {
            Ok((fleet, started)) => {
                self.running.lock().await.fleets.insert(name.clone(), fleet);
                Ok(started)
            }
            Err(error) => {
                self.registry.remove(name);
                Err(error)
            }
        }
    }

    /// Who looks at what functions take.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        self.supervisor.meter()
    }

    /// What is to be done again and again, until it is dropped.
    pub(crate) async fn keep(&self) {
        tokio::join!(
            self.put_to_sleep(),
            self.supervisor.watch_strays(),
            self.meter().watch()
        );
    }

    /// Takes away the replicas of functions that nobody has called for as long as they allow.
    async fn put_to_sleep(&self) {
        loop {
            tokio::time::sleep(IDLE_LOOK).await;
            for function in self.registry.all() {
                let deployed = function.deployed();
                let unused = function.unused_for();
                if let (Some(limit), Some(unused)) = (deployed.scaling.zero_after, unused)
                    && unused >= limit
                    && function.replicas() > 0
                    && function.replicas_available() > 0
                {
                    info!(function = %function.name(), ?unused, "function has no replica until it is called");
                    function.scale(0);
                }
            }
        }
    }

    /// What the replicas of a function write.
    pub(crate) async fn log(&self, name: &FunctionName) -> Option<FunctionLog> {
        self.running.lock().await.fleets.get(name).map(Fleet::log)
    }

    /// Stops every process, and waits for it.
    pub(crate) async fn stop(&self) {
        self.supervisor.stop().await;
    }

    async fn begin(
        &self,
        running: &mut Running,
        name: FunctionName,
        deployment: &Deployment,
    ) -> Result<(), DeployError> {
        let (spec, process) = deployment.read(name.clone(), &self.images)?;
        let process = self.with_secrets(&spec, process, None)?;
        let replicas = spec.scaling()?.min;
        let function = self.registry.add(spec, replicas)?;
        let fleet = self.supervisor.deploy(&function, process).await;
        match fleet {
            Ok(fleet) => {
                running.fleets.insert(name, fleet);
                Ok(())
            }
            Err(error) => {
                self.registry.remove(&name);
                Err(error.into())
            }
        }
    }

    /// Also what is recorded and could not be started.
    fn remove_one(&self, running: &mut Running, name: &FunctionName) -> Result<(), DeployError> {
        let is_registered = self.registry.find(name.qualified()).is_some();
        if !is_registered && !running.deployed.contains_key(name.qualified()) {
            return Err(DeployError::Unknown(name.clone()));
        }
        if is_registered && !running.fleets.contains_key(name) {
            return Err(DeployError::Foreign(name.clone()));
        }
        self.record(running, |deployed| {
            deployed.remove(name.qualified());
        })?;
        self.registry.remove(name);
        if let Some(fleet) = running.fleets.remove(name) {
            let given = self.secrets.given(name);
            // It waits for calls in flight, which may read secrets.
            tokio::spawn(stop(name.clone(), fleet, given));
        }
        Ok(())
    }

    fn check_secrets(&self, name: &FunctionName, secrets: &[String]) -> Result<(), SecretError> {
        let check = |secret: &String| self.secrets.check(name.namespace(), secret).map(drop);
        secrets.iter().try_for_each(check)
    }

    fn with_secrets(
        &self,
        spec: &FunctionSpec,
        process: ProcessSpec,
        held: Option<&Path>,
    ) -> Result<ProcessSpec, SecretError> {
        if spec.secrets.is_empty() {
            return Ok(process);
        }
        let folder = self.secrets.give(&spec.name, &spec.secrets, held)?;
        Ok(ProcessSpec {
            secrets: Some(folder),
            ..process
        })
    }

    /// Secrets that a stack names may come later; without them a function starts all the same.
    fn of_stack(&self, function: &StackFunction) -> ProcessSpec {
        let name = &function.spec.name;
        self.images
            .add(&function.spec.image, function.process.clone());
        if let Err(error) = self.namespaces.ensure(name.namespace()) {
            error!(function = %name, %error, "cannot make the namespace of a function");
        }
        if let Err(error) = self.check_secrets(name, &function.spec.secrets) {
            tracing::warn!(function = %name, %error, "a secret is missing");
        }
        let process = function.process.clone();
        self.with_secrets(&function.spec, process, None)
            .unwrap_or_else(|error| {
                error!(function = %name, %error, "cannot give a function its secrets");
                function.process.clone()
            })
    }

    fn record(
        &self,
        running: &mut Running,
        change: impl FnOnce(&mut BTreeMap<String, Deployment>),
    ) -> Result<(), FolderError> {
        let mut changed = running.deployed.clone();
        change(&mut changed);
        self.folder.write(RECORD, &changed)?;
        running.deployed = changed;
        Ok(())
    }
}

async fn stop(name: FunctionName, fleet: Fleet, given: io::Result<Vec<PathBuf>>) {
    fleet.stop().await;
    if let Err(error) = given.and_then(|given| Secrets::take_back(&given)) {
        error!(function = %name, %error, "cannot take away the folder of a function's secrets");
    }
}
