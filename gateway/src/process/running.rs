//! One process of a function, from its start to its end.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, warn};
use uuid::Uuid;

use super::child::Child;
use super::group::ProcessGroup;
use super::log::FunctionLog;
use super::port::Port;
use super::spawner::lay_secrets;
use super::{ProcessSpec, Shared, StartError, files, strays};
use crate::functions::{Function, FunctionName};
use crate::usage::{LastLook, Metered};

/// The variable by which OpenFaaS's own programs are told where their secrets lie.
const SECRETS: &str = "secret_mount_path";

/// For what a kill leaves to do: the kernel's work, and the last of the output.
/// Output that a process outside the group still holds open is not waited for.
const AFTER_KILL: Duration = Duration::from_secs(1);

/// Dropped, it kills its process group.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) port: Port,
    child: Child,
    group: ProcessGroup,
    mark: String,
    output: JoinHandle<()>,
    metered: Option<Metered>,
}

impl Running {
    /// Starts the process; it need not be healthy yet.
    pub(super) async fn start(
        function: &Function,
        process: &ProcessSpec,
        log: &FunctionLog,
        shared: &Shared,
    ) -> Result<Self, StartError> {
        let name = function.name();
        let port = shared.ports.pick().map_err(|source| StartError::Port {
            function: name.clone(),
            source,
        })?;
        let mark = mark();
        let mut command = command(name, process, shared, &mark);
        command
            .env("port", port.number.to_string())
            .env("PORT", port.number.to_string());
        let spawn_error = |source| StartError::Spawn {
            function: name.clone(),
            command: process.command_line(),
            directory: process.directory.clone(),
            source,
        };
        let mut child = shared.spawner.spawn(command).await.map_err(spawn_error)?;
        let ended = || spawn_error(std::io::Error::other("it has no process id"));
        let pid = child.id().ok_or_else(ended)?;
        let group = ProcessGroup::led_by(pid).ok_or_else(ended)?;
        let (stdout, stderr) = (child.output(), child.errors());
        let metered = shared
            .meter
            .begin(function.account(), pid, child.forked_bytes());
        Ok(Self {
            pid,
            port,
            child,
            group,
            mark,
            output: tokio::spawn(log.clone().follow(
                format!("{}-{pid}", name.name()),
                stdout,
                stderr,
            )),
            metered,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number))
    }

    /// Waits for the process to end by itself. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the group to end, kills it after the grace time, and waits for it.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.group.terminate();
        let ended = async {
            // An error means that there is nothing to wait for.
            let _ = self.child.wait().await;
            self.group.gone().await;
        };
        // What is left after the grace time is killed below.
        let _ = timeout(grace, ended).await;
        self.clear_away().await;
    }

    /// Kills what is left of the group, and waits for it and its output.
    pub(super) async fn clear_away(mut self) {
        let metered = self.metered.take();
        let rest = match &metered {
            Some(metered) => metered.last_look().await,
            None => LastLook::default(),
        };
        self.group.kill();
        if let Err(error) = self.child.wait().await {
            warn!(pid = self.pid, %error, "cannot wait for a function's process");
        }
        // What it cost is told of calls, not of replicas.
        let _ = metered.map(|metered| metered.ended(self.child.taken(), rest));
        if timeout(AFTER_KILL, self.group.gone()).await.is_err() {
            warn!(
                pid = self.pid,
                "killed processes of a function are still listed"
            );
        }
        let strays = HashSet::from([self.mark]);
        let strays = tokio::task::spawn_blocking(move || strays::kill(&strays)).await;
        if let Ok(strays @ 1..) = strays {
            warn!(
                pid = self.pid,
                strays, "killed processes that had left their function's group"
            );
        }
        match timeout(AFTER_KILL, &mut self.output).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "function output task failed"),
            Err(_) => self.output.abort(),
        }
    }
}

/// What a function's processes have in common.
pub(super) fn command(
    name: &FunctionName,
    process: &ProcessSpec,
    shared: &Shared,
    mark: &str,
) -> Command {
    // A program named by a path is meant from the function's folder, which
    // `current_dir` alone leaves unspecified.
    let mut command = if process.program.contains('/') {
        Command::new(process.directory.join(&process.program))
    } else {
        Command::new(&process.program)
    };
    command
        .args(&process.args)
        .current_dir(&process.directory)
        .envs(&process.environment)
        .env("TURLOUGH_FUNCTION", name.to_string())
        .env("TURLOUGH_GATEWAY_URL", &shared.config.gateway_url)
        .env(strays::MARK, mark)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    process.limits.lay(command.as_std_mut());
    files::put_back(command.as_std_mut());
    if let Some(secrets) = &process.secrets {
        command.env(SECRETS, secrets);
        lay_secrets(command.as_std_mut(), secrets);
    }
    command
}

/// What the processes of one replica, and those that they start, are known by.
pub(super) fn mark() -> String {
    Uuid::new_v4().to_string()
}
