//! The supervisor: starts functions as local processes, keeps them running, and
//! leaves none behind.
//!
//! One task per process owns it; a fleet holds those of one function. It tells the
//! registry when a replica answers and when it does not, and proxies nothing.
//! The process group is the unit of stopping, so that children of a function go
//! with it. If the gateway is killed the kernel kills each function, but not
//! the processes which that function had started.

mod backoff;
mod child;
mod files;
mod fleet;
mod group;
mod health;
mod limits;
mod log;
mod port;
mod program;
mod replica;
mod running;
mod spawner;
mod strays;
mod watchdog;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::functions::{Function, FunctionName};
use crate::usage::Meter;
pub(crate) use files::allow_files;
pub(crate) use fleet::Fleet;
use health::Prober;
pub use limits::{Limits, LimitsError};
pub(crate) use log::{FunctionLog, LogLine, Wanted};
use port::Ports;
use spawner::Spawner;
use strays::Strays;

/// How a function runs as a local process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The program, looked for in `PATH`, or relative to `directory` if it holds a slash.
    pub program: String,
    pub args: Vec<String>,
    /// The working directory.
    pub directory: PathBuf,
    /// Added to the gateway's own environment. `port`, `PORT`, `TURLOUGH_FUNCTION`
    /// and `TURLOUGH_GATEWAY_URL` are the gateway's to set.
    pub environment: BTreeMap<String, String>,
    /// The path that answers 200 when the function is healthy.
    pub health_path: String,
    /// The folder with its secrets, a file each.
    pub secrets: Option<PathBuf>,
    /// How it serves requests.
    pub mode: Mode,
    /// What each of its processes may take.
    pub limits: Limits,
}

/// How a function serves requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A process listens on the port in the variable `port`.
    #[default]
    Http,
    /// A process is started for each request: the body on its input, the answer on its output.
    Fork,
    /// The files of its folder are served; there is no process.
    Static,
}

impl std::str::FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        match text.trim() {
            "http" => Ok(Self::Http),
            "fork" => Ok(Self::Fork),
            "static" => Ok(Self::Static),
            _ => Err(ModeError(text.to_owned())),
        }
    }
}

/// A mode that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mode; write http, fork or static")]
pub struct ModeError(String);

/// A function that became healthy for the first time.
#[derive(Clone, Debug)]
pub struct Started {
    pub function: FunctionName,
    /// From the start of the process to its first healthy answer.
    pub ready_after: Duration,
    /// On 127.0.0.1.
    pub port: u16,
    pub pid: u32,
}

/// Why a function did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Register(#[from] crate::functions::RegistryError),
    #[error(
        "cannot open the log file `{}` of function `{function}`; check the log directory", path.display()
    )]
    LogFile {
        function: FunctionName,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot listen for function `{function}`")]
    Listen {
        function: FunctionName,
        source: std::io::Error,
    },
    #[error("cannot find a free port for function `{function}`")]
    Port {
        function: FunctionName,
        source: std::io::Error,
    },
    #[error(
        "cannot run `{command}` in `{}` for function `{function}`: {source}; correct the annotation turlough.process",
        directory.display()
    )]
    Spawn {
        function: FunctionName,
        command: String,
        directory: PathBuf,
        source: std::io::Error,
    },
    #[error("function `{function}`: `{command}` ended ({status}) before it was healthy{}", quote(.last_lines))]
    Exited {
        function: FunctionName,
        command: String,
        status: ExitStatus,
        last_lines: Vec<String>,
    },
    #[error(
        "function `{function}` listened on port {port} for no healthy answer: GET {path} gave {found}, not 200, for {limit:?}; it must serve on the port in the variable `port`{}", quote(.last_lines)
    )]
    NeverHealthy {
        function: FunctionName,
        port: u16,
        path: String,
        found: String,
        limit: Duration,
        last_lines: Vec<String>,
    },
    #[error("function `{function}` was stopped before it was healthy")]
    Stopped { function: FunctionName },
}

/// What all functions of a gateway share.
#[derive(Clone, Debug)]
pub(crate) struct SupervisorConfig {
    /// What functions are told to call, `http://127.0.0.1:<port>`.
    pub(crate) gateway_url: String,
    pub(crate) log_dir: Option<PathBuf>,
    pub(crate) start_timeout: Duration,
    /// How long a call may take: also the process of one, and the calls of a replica that is to go.
    pub(crate) call_timeout: Duration,
    pub(crate) stop_grace: Duration,
}

/// Starts functions, each as a [`Fleet`].
#[derive(Debug)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    fleets: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    config: SupervisorConfig,
    ports: Ports,
    prober: Prober,
    spawner: Spawner,
    strays: Arc<Strays>,
    meter: Arc<Meter>,
    /// Everything ends: nothing is waited for but the processes.
    ending: CancellationToken,
}

impl Supervisor {
    pub(crate) fn new(
        config: SupervisorConfig,
        shutdown: CancellationToken,
    ) -> std::io::Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                ports: Ports::default(),
                prober: Prober::new(),
                spawner: Spawner::start()?,
                strays: Arc::default(),
                meter: Arc::default(),
                ending: shutdown,
            }),
            fleets: TaskTracker::new(),
        })
    }

    /// Starts the replicas of a function and waits until all are healthy; it tells of the first. From
    /// then on each is kept running until it is stopped; one that never was healthy is not tried again.
    pub(crate) async fn start(
        &self,
        function: &Arc<Function>,
        process: ProcessSpec,
    ) -> Result<(Fleet, Started), StartError> {
        let log = self.log(function).await?;
        let wanted = 0..function.replicas().max(1);
        let (reports, told) = wanted.map(|_| oneshot::channel()).unzip();
        let fleet = self.fleet(function, process, log, reports);
        let started = fleet::all_started(function, told).await?;
        Ok((fleet, started))
    }

    /// Starts the replicas of a function, and waits for none; what fails is tried again.
    pub(crate) async fn deploy(
        &self,
        function: &Arc<Function>,
        process: ProcessSpec,
    ) -> Result<Fleet, StartError> {
        let log = self.log(function).await?;
        Ok(self.fleet(function, process, log, Vec::new()))
    }

    /// Ends what requests' processes left behind, again and again.
    pub(crate) async fn watch_strays(&self) {
        self.shared.strays.watch().await;
    }

    /// Who looks at what the functions' processes take.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.shared.meter
    }

    /// Stops every process and waits for it.
    pub(crate) async fn stop(&self) {
        self.shared.ending.cancel();
        self.fleets.close();
        self.fleets.wait().await;
        self.shared.strays.kill_ended().await;
    }

    async fn log(&self, function: &Function) -> Result<FunctionLog, StartError> {
        FunctionLog::open(function.name(), self.shared.config.log_dir.as_deref()).await
    }

    fn fleet(
        &self,
        function: &Arc<Function>,
        process: ProcessSpec,
        log: FunctionLog,
        reports: Vec<replica::Report>,
    ) -> Fleet {
        let shared = Arc::clone(&self.shared);
        let stop = shared.ending.child_token();
        Fleet::start(
            &self.fleets,
            Arc::clone(function),
            process,
            log,
            shared,
            stop,
            reports,
        )
    }
}

impl ProcessSpec {
    /// Reads a command line as a shell would; `None` where it is none.
    pub(crate) fn of_command(line: &str, directory: PathBuf, health_path: String) -> Option<Self> {
        let mut words = shlex::split(line)?.into_iter();
        Some(Self {
            program: words.next()?,
            args: words.collect(),
            directory,
            environment: BTreeMap::new(),
            health_path,
            secrets: None,
            mode: Mode::Http,
            limits: Limits::default(),
        })
    }

    /// What serves the files of a folder.
    pub(crate) fn of_folder(directory: PathBuf) -> Self {
        Self {
            program: String::new(),
            args: Vec::new(),
            directory,
            environment: BTreeMap::new(),
            health_path: String::new(),
            secrets: None,
            mode: Mode::Static,
            limits: Limits::default(),
        }
    }

    /// With these variables besides, or instead.
    pub(crate) fn with_environment(mut self, variables: BTreeMap<String, String>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// As the user would write it in a shell.
    pub(crate) fn command_line(&self) -> String {
        if self.mode == Mode::Static {
            return String::new();
        }
        let words = std::iter::once(&self.program).chain(&self.args);
        let joined = shlex::try_join(words.map(String::as_str));
        joined.unwrap_or_else(|_| self.program.clone())
    }
}

fn quote(lines: &[String]) -> String {
    if lines.is_empty() {
        return "; it wrote nothing".into();
    }
    let mut text = String::from("; its last lines were:");
    for line in lines {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}
