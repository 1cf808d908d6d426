//! How many files the gateway may have open: as many as its clients need, where the system lets it.
//!
//! Functions' processes have the limit of before. Those that wait with `select` cannot count further.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// The limit of this process before it was raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process's limit as far as it may, for so many clients: each has a connection, and its call
/// another one to the function.
pub(crate) fn allow_files(connections_max: usize) {
    /// What else is open: listeners, logs, the output of processes.
    const OTHERS: u64 = 1024;
    let limit = getrlimit(Resource::Nofile);
    let connections = u64::try_from(connections_max).unwrap_or(u64::MAX);
    let wanted = connections.saturating_mul(2).saturating_add(OTHERS);
    let most = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_some_and(|current| current < most) {
        BEFORE.get_or_init(|| limit);
        let raised = Rlimit {
            current: Some(most),
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            warn!(%error, "limit of open files cannot be raised");
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    if files < wanted {
        info!(
            connections_max,
            files,
            "this process may open fewer files than its clients need; raise its limit of open files"
        );
    }
}

/// Gives a command the limit that this process had.
pub(super) fn put_back(command: &mut Command) {
    let Some(before) = BEFORE.get() else {
        return;
    };
    #[allow(
        unsafe_code,
        reason = "the child itself must set its limit, before it becomes the function"
    )]
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes one
    // system call through rustix, allocates nothing and takes no lock; it captures two numbers.
    unsafe {
        command.pre_exec(move || Ok(setrlimit(Resource::Nofile, *before)?));
    }
}
