//! The supervisor: starts functions as local processes, keeps them running, and
//! leaves none behind.
//!
//! One task per process owns it; the supervisor holds those tasks. It tells the
//! registry when a replica answers and when it does not, and proxies nothing.
//! The process group is the unit of stopping, so that children of a function go
//! with it. If the gateway is killed the kernel kills each function, but not
//! the processes which that function had started.

mod backoff;
mod group;
mod health;
mod log;
mod port;
mod replica;
mod running;
mod spawner;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::functions::{Function, FunctionName};
use health::Prober;
use log::FunctionLog;
use port::Ports;
use replica::Replica;
use spawner::Spawner;

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
}

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
    pub(crate) stop_grace: Duration,
}

#[derive(Debug)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    replicas: Mutex<JoinSet<()>>,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    config: SupervisorConfig,
    ports: Ports,
    prober: Prober,
    spawner: Spawner,
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
            }),
            replicas: Mutex::new(JoinSet::new()),
            shutdown,
        })
    }

    /// Starts the replicas of a function and waits until all are healthy; it tells of the first. From
    /// then on each is kept running until the supervisor stops; one that never was healthy is not
    /// tried again.
    pub(crate) async fn start(
        &self,
        function: Arc<Function>,
        process: ProcessSpec,
    ) -> Result<Started, StartError> {
        let name = function.spec().name.clone();
        let log = FunctionLog::open(&name, self.shared.config.log_dir.as_deref()).await?;
        let mut reports = Vec::new();
        for _ in 0..function.replicas().max(1) {
            let (report, told) = oneshot::channel();
            let replica = Replica {
                function: Arc::clone(&function),
                process: process.clone(),
                log: log.clone(),
                shared: Arc::clone(&self.shared),
                shutdown: self.shutdown.child_token(),
            };
            self.replicas().spawn(replica.run(report));
            reports.push(told);
        }
        let mut first = None;
        for told in reports {
            let stopped = |_| {
                let function = name.clone();
                Err(StartError::Stopped { function })
            };
            let started = told.await.unwrap_or_else(stopped)?;
            first.get_or_insert(started);
        }
        first.ok_or(StartError::Stopped { function: name })
    }

    /// Stops every process and waits for it.
    pub(crate) async fn stop(&self) {
        self.shutdown.cancel();
        let mut replicas = std::mem::take(&mut *self.replicas());
        while let Some(ended) = replicas.join_next().await {
            if let Err(error) = ended {
                error!(%error, "function process task failed");
            }
        }
    }

    fn replicas(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProcessSpec {
    /// As the user would write it in a shell.
    pub(crate) fn command_line(&self) -> String {
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
