//! The thread that forks.
//!
//! Linux sends the parent-death signal when the *thread* that forked ends, not
//! its process. Threads of a runtime come and go, so all functions are started
//! by one thread that lives as long as the supervisor.

mod death;
mod mounts;

use std::io;
use std::thread;

use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

pub(super) use mounts::lay_secrets;

use super::child::Child;
use crate::usage::resident_bytes_of_this;

/// Starts that wait their turn; a fork takes a millisecond. Those past it wait for room: there are as many
/// as calls that replicas take on.
const WAITING_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Spawner {
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Job {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING_MAX);
        let thread = thread::Builder::new()
            .name("function-spawner".into())
            .spawn(move || {
                while let Some(mut job) = waiting.blocking_recv() {
                    let _runtime = job.runtime.enter();
                    // A caller that has gone drops the child, which kills it.
                    let forked_bytes = resident_bytes_of_this();
                    let child = job.command.spawn();
                    let child = child.map(|child| Child::new(child, forked_bytes));
                    let _ = job.reply.send(child);
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Starts a command in a process group of its own, to be killed with the gateway.
    pub(super) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.process_group(0).kill_on_drop(true);
        death::kill_with_parent(&mut command);
        let (reply, child) = oneshot::channel();
        let job = Job {
            command,
            runtime: Handle::current(),
            reply,
        };
        let ended = || io::Error::other("the thread that starts functions has ended");
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(job).await.map_err(|_| ended())?;
        child.await.map_err(io::Error::other)?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that starts functions panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_starts_than_may_wait_are_all_made() {
        let spawner = Spawner::start().unwrap();
        let starts = (0..3 * WAITING_MAX).map(|_| spawner.spawn(Command::new("true")));
        for started in futures_util::future::join_all(starts).await {
            started.unwrap();
        }
    }
}
