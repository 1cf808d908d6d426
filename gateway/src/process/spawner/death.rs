//! The parent-death signal.

use std::io;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::Command;

/// Has the kernel kill the command when the thread that spawns it ends, which
/// is when its process ends, however that happens.
pub(super) fn kill_with_parent(command: &mut Command) {
    let parent = getpid();
    #[allow(
        unsafe_code,
        reason = "the signal must be asked for by the child itself, before it becomes the function"
    )]
    // SAFETY: between fork and exec only async-signal-safe calls are allowed.
    // The closure makes two system calls through rustix, allocates nothing and
    // takes no lock; it captures a number.
    unsafe {
        command.pre_exec(move || die_with(parent));
    }
}

fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that died before the call above will send no signal.
    if getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}
