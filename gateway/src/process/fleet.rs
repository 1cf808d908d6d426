//! The replicas of one function: as many as there ought to be, of what was deployed last.
//!
//! One task owns them. It follows the number that the function's own record holds, and what an update
//! puts in place of the process: those of before go once one of the new ones answers, so that an update
//! that cannot start takes nothing away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::log::FunctionLog;
use super::replica::{Replica, Report};
use super::{ProcessSpec, Shared, StartError, Started};
use crate::functions::Function;

/// Replicas that may wait to say that they answer.
const ANSWERS_MAX: usize = 8;

/// The wait before another takes the place of a replica whose task failed, lest it fails again and again.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A handle to the task. Dropped, it has its replicas stop.
#[derive(Debug)]
pub(crate) struct Fleet {
    process: watch::Sender<Arc<ProcessSpec>>,
    log: FunctionLog,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Owner {
    function: Arc<Function>,
    log: FunctionLog,
    shared: Arc<Shared>,
    stop: CancellationToken,
    process: watch::Receiver<Arc<ProcessSpec>>,
    members: Vec<Member>,
    tasks: JoinSet<()>,
    answering: mpsc::Sender<Arc<ProcessSpec>>,
}

#[derive(Debug)]
struct Member {
    process: Arc<ProcessSpec>,
    stop: CancellationToken,
    task: AbortHandle,
    /// Whether calls ever came to it.
    has_answered: Arc<AtomicBool>,
}

impl Fleet {
    /// Starts replicas; where `reports` are given, one for each of the first ones, a first start that
    /// fails is told and not tried again.
    pub(super) fn start(
        fleets: &TaskTracker,
        function: Arc<Function>,
        process: ProcessSpec,
        log: FunctionLog,
        shared: Arc<Shared>,
        stop: CancellationToken,
        reports: Vec<Report>,
    ) -> Self {
        let (process, follow) = watch::channel(Arc::new(process));
        let (answering, answers) = mpsc::channel(ANSWERS_MAX);
        let of_all = log.clone();
        let mut owner = Owner {
            function,
            log,
            shared,
            stop: stop.clone(),
            process: follow,
            members: Vec::new(),
            tasks: JoinSet::new(),
            answering,
        };
        for report in reports {
            owner.add(Some(report));
        }
        Self {
            process,
            log: of_all,
            stop,
            task: fleets.spawn(owner.run(answers)),
        }
    }

    /// Puts another process in the place of what runs; nothing happens where it is the same.
    pub(crate) fn replace(&self, process: ProcessSpec) {
        self.process.send_if_modified(|held| {
            let is_other = **held != process;
            if is_other {
                *held = Arc::new(process);
            }
            is_other
        });
    }

    /// What it is to run.
    pub(crate) fn process(&self) -> Arc<ProcessSpec> {
        Arc::clone(&self.process.borrow())
    }

    /// What its replicas write.
    pub(crate) fn log(&self) -> FunctionLog {
        self.log.clone()
    }

    /// Stops all replicas, each after its calls have ended, and waits for that.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            error!(%error, "function's task failed");
        }
    }
}

impl Owner {
    async fn run(mut self, mut answers: mpsc::Receiver<Arc<ProcessSpec>>) {
        let mut replicas = self.function.scaled();
        loop {
            let wanted = usize::try_from(*replicas.borrow_and_update()).unwrap_or(usize::MAX);
            self.settle(wanted);
            tokio::select! {
                () = self.stop.cancelled() => break,
                changed = replicas.changed() => if changed.is_err() { break },
                changed = self.process.changed() => if changed.is_err() { break },
                Some(process) = answers.recv() => self.superseded_by(&process),
                Some(ended) = self.tasks.join_next() => if let Err(error) = ended {
                    self.lost(&error).await;
                },
            }
        }
        // Nobody waits to tell of an answer any more.
        drop(answers);
        for member in &self.members {
            member.stop.cancel();
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                error!(function = %self.function.name(), %error, "replica's task failed");
            }
        }
    }

    /// Has as many of the present process as are wanted; those of before stay where any are.
    fn settle(&mut self, wanted: usize) {
        let process = Arc::clone(&self.process.borrow_and_update());
        if wanted == 0 {
            self.members
                .drain(..)
                .for_each(|member| member.stop.cancel());
        }
        self.give_up_those_that_never_answered(&process);
        let is_present = |member: &Member| Arc::ptr_eq(&member.process, &process);
        let mut present = self
            .members
            .iter()
            .filter(|member| is_present(member))
            .count();
        while present < wanted {
            self.add(None);
            present += 1;
        }
        while present > wanted {
            // The youngest has the least to lose.
            if let Some(place) = self.members.iter().rposition(is_present) {
                self.members.remove(place).stop.cancel();
            }
            present -= 1;
        }
    }

    /// One of a process answers: those of every other one go.
    fn superseded_by(&mut self, process: &Arc<ProcessSpec>) {
        if Arc::ptr_eq(process, &self.process.borrow()) {
            self.members.retain(|member| {
                let stays = Arc::ptr_eq(&member.process, process);
                if !stays {
                    member.stop.cancel();
                }
                stays
            });
        }
    }

    /// What was to take the place of those that answer has been replaced itself: nobody waits for it.
    fn give_up_those_that_never_answered(&mut self, present: &Arc<ProcessSpec>) {
        self.members.retain(|member| {
            let is_present = Arc::ptr_eq(&member.process, present);
            let stays = is_present || member.has_answered.load(Ordering::Relaxed);
            if !stays {
                member.stop.cancel();
            }
            stays
        });
    }

    /// Another is to take its place.
    async fn lost(&mut self, error: &JoinError) {
        error!(function = %self.function.name(), %error, "replica's task failed");
        self.members.retain(|member| member.task.id() != error.id());
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = sleep(AFTER_FAILURE) => {}
        }
    }

    fn add(&mut self, report: Option<Report>) {
        let process = Arc::clone(&self.process.borrow());
        let stop = self.stop.child_token();
        let has_answered = Arc::new(AtomicBool::new(false));
        let replica = Replica {
            function: Arc::clone(&self.function),
            process: Arc::clone(&process),
            log: self.log.clone(),
            shared: Arc::clone(&self.shared),
            shutdown: stop.clone(),
            has_answered: Arc::clone(&has_answered),
            answering: self.answering.clone(),
        };
        let task = self.tasks.spawn(replica.run(report));
        self.members.push(Member {
            process,
            stop,
            task,
            has_answered,
        });
    }
}

/// Waits for the reports of first starts; tells of the first.
pub(super) async fn all_started(
    function: &Function,
    reports: Vec<oneshot::Receiver<Result<Started, StartError>>>,
) -> Result<Started, StartError> {
    let stopped = || StartError::Stopped {
        function: function.name().clone(),
    };
    let mut first = None;
    for told in reports {
        let started = told.await.unwrap_or_else(|_| Err(stopped()))?;
        first.get_or_insert(started);
    }
    first.ok_or_else(stopped)
}
