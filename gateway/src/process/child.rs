//! A process that was started here, which tells at its end what it took.
//!
//! The kernel tells that until a process is reaped, so that its end is awaited before it is waited for.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use crate::usage::{Ended, taken_by};

/// Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Child {
    child: tokio::process::Child,
    /// Readable once it has ended; `None` where that was seen, or the kernel has no such.
    end: Option<AsyncFd<OwnedFd>>,
    taken: Option<Ended>,
    forked_bytes: u64,
}

impl Child {
    /// One that has just been started; `forked_bytes` is what this process held then.
    pub(super) fn new(child: tokio::process::Child, forked_bytes: u64) -> Self {
        let end = || {
            let pid = Pid::from_raw(i32::try_from(child.id()?).ok()?)?;
            let end = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            watch(end).ok()
        };
        Self {
            end: end(),
            child,
            taken: None,
            forked_bytes,
        }
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) fn forked_bytes(&self) -> u64 {
        self.forked_bytes
    }

    pub(super) fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(super) fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(super) fn errors(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    pub(super) fn kill(&mut self) {
        // An error means that it has ended.
        drop(self.child.start_kill());
    }

    /// Waits for its end, and reaps it. May be dropped and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(end) = &self.end {
            // An error means that its end cannot be seen so; it is waited for all the same.
            drop(end.readable().await);
            self.taken = self.child.id().and_then(taken_by);
            self.end = None;
        }
        self.child.wait().await
    }

    /// What it took; `None` before it was waited for, or where the kernel did not tell.
    pub(super) fn taken(&self) -> Option<Ended> {
        self.taken
    }
}

#[allow(
    unsafe_code,
    reason = "tokio asks for a promise that it cannot read off a type of its caller's choice"
)]
fn watch(end: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same for as long as it lives, and the `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(end, Interest::READABLE) }.map_err(io::Error::from)
}
