//! A function's process group, which is killed when it is dropped.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tracing::warn;

/// How often a group is looked at while it ends; nothing tells of its end.
const POLL: Duration = Duration::from_millis(10);

/// The group led by a process that was started as a leader.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    leader: Pid,
}

impl ProcessGroup {
    pub(super) fn led_by(pid: u32) -> Option<Self> {
        let leader = Pid::from_raw(i32::try_from(pid).ok()?)?;
        Some(Self { leader })
    }

    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Returns once no process of the group is left. The caller bounds the wait:
    /// a dead process that its parent never reaps counts as left.
    pub(super) async fn gone(&self) {
        while test_kill_process_group(self.leader).is_ok() {
            tokio::time::sleep(POLL).await;
        }
    }

    fn signal(&self, signal: Signal) {
        match kill_process_group(self.leader, signal) {
            // No such group: everything in it has ended.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => warn!(%error, leader = ?self.leader, ?signal, "cannot signal processes"),
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}
