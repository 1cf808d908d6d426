//! Which processes belong to one that was started here: its group, and whatever descends from it.

use std::collections::HashMap;
use std::fs;

use super::process::Process;

/// Processes of one family that are looked at for a call; more would cost the call more than it is worth.
const CALL_MAX: usize = 64;

/// How far up a process's parents are followed; no function nests processes so deep.
const DEPTH_MAX: usize = 64;

/// Every process of this machine, as it was a moment ago. Blocks while it is read.
#[derive(Debug)]
pub(super) struct Table(HashMap<i32, Process>);

impl Table {
    pub(super) fn read() -> Self {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Self(HashMap::new());
        };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let found = pids.filter_map(|pid| Some((pid, Process::read(pid)?)));
        Self(found.collect())
    }

    /// The families of these leaders. A process in the family of one that is itself in another's belongs
    /// to the nearer.
    pub(super) fn families(&self, is_leader: impl Fn(i32) -> bool) -> HashMap<i32, Vec<Process>> {
        let mut families: HashMap<i32, Vec<Process>> = HashMap::new();
        for process in self.0.values() {
            if let Some(leader) = self.leader_of(process, &is_leader) {
                families.entry(leader).or_default().push(*process);
            }
        }
        families
    }

    fn leader_of(&self, process: &Process, is_leader: impl Fn(i32) -> bool) -> Option<i32> {
        let mut above = *process;
        for _ in 0..DEPTH_MAX {
            for found in [above.pid, above.group] {
                if is_leader(found) {
                    return Some(found);
                }
            }
            above = *self.0.get(&above.parent)?;
        }
        None
    }
}

/// A process and its descendants, by few system calls; `None` where it has ended, or they are too many.
pub(super) fn descendants(leader: i32) -> Option<Vec<Process>> {
    let mut found = vec![Process::read(leader)?];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        for child in children(process.pid) {
            // One that has ended meanwhile has its time with its parent.
            found.extend(Process::read(child));
        }
        if found.len() > CALL_MAX {
            return None;
        }
        next += 1;
    }
    Some(found)
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let lists = tasks.filter_map(|task| of_task(task.ok()?));
    let pids = |list: String| -> Vec<i32> {
        let words = list.split_ascii_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    };
    lists.flat_map(pids).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn family_is_the_group_and_what_descends_from_its_leader() {
        let script = "sleep 600 & (setsid sleep 600 & wait) & echo up; wait";
        let mut leader = Command::new("sh")
            .args(["-c", script])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = String::new();
        let mut output = BufReader::new(leader.stdout.take().unwrap());
        output.read_line(&mut up).unwrap();
        let pid = i32::try_from(leader.id()).unwrap();
        let by_table = || {
            let families = Table::read().families(|found| found == pid);
            families.get(&pid).map_or(0, Vec::len)
        };
        // The shell, its two children, and the sleep in a session of its own; forks take their time.
        let begun = std::time::Instant::now();
        while by_table() != 4 || descendants(pid).map_or(0, |found| found.len()) != 4 {
            assert!(begun.elapsed().as_secs() < 60, "{} of it", by_table());
        }
        for process in descendants(pid).unwrap() {
            let pid = rustix::process::Pid::from_raw(process.pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        leader.wait().unwrap();
        assert!(descendants(pid).is_none());
    }
}
