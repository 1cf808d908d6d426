//! Processes that left their group: found by the mark in the environment that every process of a
//! replica is born with.

use std::collections::HashSet;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tracing::warn;

/// The variable that holds a replica's mark.
pub(super) const MARK: &str = "TURLOUGH_PROCESS_MARK";

/// How often what has ended is looked for; a look reads the environment of every process of this user.
const LOOK: Duration = Duration::from_secs(1);

/// Marks of processes of single requests that have ended: what they left is looked for together.
#[derive(Debug, Default)]
pub(super) struct Strays {
    ended: Mutex<HashSet<String>>,
}

impl Strays {
    /// Nothing that bears this mark is to go on.
    pub(super) fn note(&self, mark: String) {
        self.ended().insert(mark);
    }

    /// Kills what is left of what has ended, again and again.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.kill_ended().await;
        }
    }

    pub(super) async fn kill_ended(&self) {
        let ended = std::mem::take(&mut *self.ended());
        if ended.is_empty() {
            return;
        }
        let killed = tokio::task::spawn_blocking(move || kill(&ended)).await;
        if let Ok(strays @ 1..) = killed {
            warn!(
                strays,
                "killed processes that outlived the requests they were started for"
            );
        }
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills whatever bears one of these marks; how many that were. Blocks.
pub(super) fn kill(marks: &HashSet<String>) -> usize {
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let marked = pids.filter(|pid| is_marked(*pid, marks));
    let killed = marked.filter_map(Pid::from_raw).filter(|pid| {
        // An error means that it has ended meanwhile.
        kill_process(*pid, Signal::KILL).is_ok()
    });
    killed.count()
}

fn is_marked(pid: i32, marks: &HashSet<String>) -> bool {
    // Those of others cannot be read, and are none of ours.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let variables = environment.split(|&byte| byte == 0);
    let mut values = variables.filter_map(|variable| {
        let variable = std::str::from_utf8(variable).ok()?;
        variable.strip_prefix(MARK)?.strip_prefix('=')
    });
    values.any(|mark| marks.contains(mark))
}
