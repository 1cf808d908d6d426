//! The task that owns one replica of a function and keeps it running.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::log::FunctionLog;
use super::running::Running;
use super::watchdog::Watchdog;
use super::{Mode, ProcessSpec, Shared, StartError, Started, program};
use crate::functions::{Endpoint, Function, FunctionName, Served};

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) function: Arc<Function>,
    pub(super) process: Arc<ProcessSpec>,
    pub(super) log: FunctionLog,
    pub(super) shared: Arc<Shared>,
    pub(super) shutdown: CancellationToken,
    pub(super) has_answered: Arc<AtomicBool>,
    /// Told whenever it answers.
    pub(super) answering: mpsc::Sender<Arc<ProcessSpec>>,
}

pub(super) type Report = oneshot::Sender<Result<Started, StartError>>;

/// What ended a wait on a starting process.
enum Wait {
    Healthy,
    Ended(std::io::Result<std::process::ExitStatus>),
    TooLong,
    Shutdown,
}

impl Replica {
    /// Runs until shutdown; or, where the first start is to be reported and fails, until then.
    pub(super) async fn run(self, mut report: Option<Report>) {
        if self.process.mode != Mode::Http {
            return self.stand_guard(report).await;
        }
        let mut backoff = Backoff::new();
        loop {
            let mut healthy_for = Duration::ZERO;
            let started = self.start().await;
            self.tell_of(started.as_ref().err()).await;
            match (started, report.take()) {
                (Ok((running, started)), report) => {
                    announce(report, started);
                    match self.serve(running).await {
                        Some(lasted) => healthy_for = lasted,
                        None => return,
                    }
                }
                (Err(error), Some(report)) => {
                    // Nobody listening means that the caller gave up the start.
                    let _ = report.send(Err(error));
                    return;
                }
                (Err(StartError::Stopped { .. }), None) => return,
                (Err(error), None) => warn!(%error, "cannot restart function"),
            }
            let wait = backoff.wait_after(healthy_for);
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// Serves what has no server of its own, until shutdown; or, where the first start is to be reported
    /// and fails, until then.
    async fn stand_guard(self, mut report: Option<Report>) {
        let mut backoff = Backoff::new();
        let watchdog = loop {
            let started = self.watchdog().await;
            self.tell_of(started.as_ref().err()).await;
            match (started, report.take()) {
                (Ok(watchdog), report) => {
                    announce(report, self.guarded(&watchdog));
                    break watchdog;
                }
                (Err(error), Some(report)) => {
                    // Nobody listening means that the caller gave up the start.
                    let _ = report.send(Err(error));
                    return;
                }
                (Err(error), None) => warn!(%error, "function is not served yet"),
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(backoff.wait_after(Duration::ZERO)) => {}
            }
        };
        let attached = self.attach(watchdog.address, Served::Watchdog);
        // Nobody listening means that all of them are being stopped.
        let _ = self.answering.send(Arc::clone(&self.process)).await;
        self.shutdown.cancelled().await;
        let endpoint = attached.endpoint.clone();
        drop(attached);
        self.drain(std::future::pending::<()>(), endpoint).await;
    }

    /// Whoever reads the function's log sees why there is nothing of it.
    async fn tell_of(&self, error: Option<&StartError>) {
        match error {
            None | Some(StartError::Stopped { .. }) => {}
            Some(error) => {
                // What follows are the function's own last lines, which stand there.
                let text = error.to_string();
                let why = text.lines().next().unwrap_or_default();
                self.log.say(&format!("cannot be started: {why}")).await;
            }
        }
    }

    /// Listens, once there is what answers.
    async fn watchdog(&self) -> Result<Watchdog, StartError> {
        if self.process.mode == Mode::Fork {
            program::check(&self.process).map_err(|source| self.cannot_run(source))?;
        }
        let started = Watchdog::start(&self.function, &self.process, &self.log, &self.shared).await;
        started.map_err(|source| StartError::Listen {
            function: self.name().clone(),
            source,
        })
    }

    fn guarded(&self, watchdog: &Watchdog) -> Started {
        Started {
            function: self.name().clone(),
            ready_after: Duration::ZERO,
            port: watchdog.address.port(),
            pid: std::process::id(),
        }
    }

    /// Starts a process and waits until it is healthy. On an error nothing is left of it.
    async fn start(&self) -> Result<(Running, Started), StartError> {
        let begun = Instant::now();
        let mut running =
            Running::start(&self.function, &self.process, &self.log, &self.shared).await?;
        let mut found = String::from("nothing");
        let error = match self.wait_healthy(&mut running, &mut found).await {
            Wait::Healthy => {
                let started = Started {
                    function: self.name().clone(),
                    ready_after: begun.elapsed(),
                    port: running.port.number,
                    pid: running.pid,
                };
                return Ok((running, started));
            }
            Wait::Shutdown => {
                running.stop(self.shared.config.stop_grace).await;
                return Err(StartError::Stopped {
                    function: self.name().clone(),
                });
            }
            Wait::Ended(Ok(status)) => {
                running.clear_away().await;
                self.exited(status)
            }
            Wait::Ended(Err(source)) => self.cannot_run(source),
            Wait::TooLong => {
                let port = running.port.number;
                running.stop(self.shared.config.stop_grace).await;
                self.never_healthy(port, found)
            }
        };
        Err(error)
    }

    async fn wait_healthy(&self, running: &mut Running, found: &mut String) -> Wait {
        let path = &self.process.health_path;
        let healthy = self.shared.prober.healthy(running.address(), path, found);
        tokio::select! {
            // In order: someone else may answer on the port of a process that has ended.
            biased;
            () = self.shutdown.cancelled() => Wait::Shutdown,
            ended = running.ended() => Wait::Ended(ended),
            healthy = timeout(self.shared.config.start_timeout, healthy) => match healthy {
                Ok(()) => Wait::Healthy,
                Err(_) => Wait::TooLong,
            },
        }
    }

    /// Lets calls come until the process ends: how long that was, or `None` at shutdown.
    async fn serve(&self, mut running: Running) -> Option<Duration> {
        let since = Instant::now();
        let attached = self.attach(running.address(), Served::Process(running.pid));
        // Nobody listening means that all of them are being stopped.
        let _ = self.answering.send(Arc::clone(&self.process)).await;
        tokio::select! {
            () = self.shutdown.cancelled() => {
                let endpoint = attached.endpoint.clone();
                drop(attached);
                self.drain(running.ended(), endpoint).await;
                running.stop(self.shared.config.stop_grace).await;
                None
            }
            ended = running.ended() => {
                drop(attached);
                match ended {
                    Ok(status) => warn!(function = %self.name(), %status, "function process ended; restarting it"),
                    Err(error) => warn!(function = %self.name(), %error, "lost the function's process; restarting it"),
                }
                running.clear_away().await;
                Some(since.elapsed())
            }
        }
    }

    /// Waits until the calls that it works on have ended, or it has, or nobody waits any longer.
    async fn drain<E>(&self, ended: impl Future<Output = E>, endpoint: Option<Arc<Endpoint>>) {
        let Some(endpoint) = endpoint else { return };
        tokio::select! {
            () = endpoint.idle() => {}
            // Told when it is cleared away.
            _ = ended => {}
            () = self.shared.ending.cancelled() => {}
            () = sleep(self.shared.config.call_timeout) => {
                warn!(function = %self.name(), limit = ?self.shared.config.call_timeout, "replica is stopped with calls in flight");
            }
        }
    }

    fn attach(&self, address: SocketAddr, served: Served) -> Attached<'_> {
        self.has_answered.store(true, Ordering::Relaxed);
        Attached::new(&self.function, address, served)
    }

    fn name(&self) -> &FunctionName {
        self.function.name()
    }

    fn exited(&self, status: std::process::ExitStatus) -> StartError {
        StartError::Exited {
            function: self.name().clone(),
            command: self.process.command_line(),
            status,
            last_lines: self.log.last_lines(),
        }
    }

    fn cannot_run(&self, source: std::io::Error) -> StartError {
        StartError::Spawn {
            function: self.name().clone(),
            command: self.process.command_line(),
            directory: self.process.directory.clone(),
            source,
        }
    }

    fn never_healthy(&self, port: u16, found: String) -> StartError {
        StartError::NeverHealthy {
            function: self.name().clone(),
            port,
            path: self.process.health_path.clone(),
            found,
            limit: self.shared.config.start_timeout,
            last_lines: self.log.last_lines(),
        }
    }
}

/// A replica's place in the registry, given up however the task ends.
struct Attached<'a> {
    function: &'a Function,
    endpoint: Option<Arc<Endpoint>>,
}

impl<'a> Attached<'a> {
    fn new(function: &'a Function, address: SocketAddr, served: Served) -> Self {
        let endpoint = Endpoint::local(address, served).map(Arc::new);
        if let Some(endpoint) = &endpoint {
            function.attach(Arc::clone(endpoint));
        }
        Self { function, endpoint }
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if let Some(endpoint) = &self.endpoint {
            self.function.detach(endpoint);
        }
    }
}

fn announce(report: Option<Report>, started: Started) {
    match report {
        // Nobody listening means that the caller gave up the start; the function runs on.
        Some(report) => drop(report.send(Ok(started))),
        None => {
            let Started {
                function,
                ready_after,
                ..
            } = started;
            info!(%function, ?ready_after, "replica of a function answers");
        }
    }
}
