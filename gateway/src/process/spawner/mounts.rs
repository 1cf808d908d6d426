//! A function's secrets where OpenFaaS's functions look for them: `/var/openfaas/secrets`, in a mount
//! namespace of the process's own. Only root may do so; for others there is `secret_mount_path`.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::geteuid;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tracing::info;

/// Where functions expect their secrets.
const SECRETS: &str = "/var/openfaas/secrets";

/// Lays a folder over the place of secrets, for this command and what it starts, where that may be done.
pub(in crate::process) fn lay_secrets(command: &mut Command, folder: &Path) {
    if may_mount()
        && let Ok(folder) = CString::new(folder.as_os_str().as_bytes())
        && let Ok(place) = CString::new(SECRETS)
    {
        lay(command, folder, place);
    }
}

/// Whether this process may; found out once, by doing it.
fn may_mount() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let made = geteuid().is_root() && std::fs::create_dir_all(SECRETS).is_ok();
        let place = CString::new(SECRETS);
        let tried = place.ok().filter(|_| made).map(|place| {
            let mut command = Command::new("true");
            lay(&mut command, place.clone(), place);
            command.status()
        });
        let may = matches!(tried, Some(Ok(status)) if status.success());
        if !may {
            info!("secrets are not at {SECRETS}, which takes root; functions find them by secret_mount_path");
        }
        may
    })
}

fn lay(command: &mut Command, folder: CString, place: CString) {
    #[allow(
        unsafe_code,
        reason = "the child itself must leave its parent's mounts, before it becomes the function"
    )]
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes three
    // system calls through rustix on strings that were made before, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || mount(&folder, &place));
    }
}

fn mount(folder: &CString, place: &CString) -> io::Result<()> {
    #[allow(
        unsafe_code,
        reason = "a process of one thread, which no code shares mounts with"
    )]
    // SAFETY: the child of a fork has one thread; nothing in it holds on to what mounts show.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(c"/", private)?;
    mount_bind(folder.as_c_str(), place.as_c_str())?;
    Ok(())
}
