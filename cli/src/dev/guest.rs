//! A command that runs against the platform, and with whose end the platform ends: a demo, a test.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::local::Local;
use crate::credentials::{PASSWORD, PASSWORD_FILE, PASSWORD_FROM, USER};
use crate::exit::{Exit, Failure};

/// How long the command may go on after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the command to its end. Its input and output are this process's own; where the platform is
/// stopped, or breaks, first, the command is asked to end, and killed if it does not.
pub(super) async fn run(
    command: &[OsString],
    local: &mut Local,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(Exit::Ok);
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("TURLOUGH_GATEWAY_URL", &local.gateway_url);
    // What is known of another gateway is not for this one.
    for name in [USER, PASSWORD, PASSWORD_FROM] {
        command.env_remove(name);
    }
    if let Some((folder, credentials)) = &local.login {
        command
            .env(USER, credentials.user())
            .env(PASSWORD_FROM, folder.join(PASSWORD_FILE));
    }
    let mut child = command
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))
        .map_err(Failure::input)?;
    tokio::select! {
        ended = child.wait() => {
            let ended = ended.context("cannot wait for the command").map_err(Failure::platform)?;
            // As shells have it: 128 and the signal's number.
            let code = ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or(0));
            Ok(Exit::Guest(u8::try_from(code).unwrap_or(u8::MAX)))
        }
        () = stop.cancelled() => {
            end(&mut child).await;
            Ok(Exit::Interrupted)
        }
        failure = local.broken() => {
            end(&mut child).await;
            Err(failure)
        }
    }
}

async fn end(child: &mut Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Where it has just ended by itself there is nothing left to ask.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        drop(child.kill().await);
    }
}
