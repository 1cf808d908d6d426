//! Processes as the machine lists them: the gateway's children, and signals to whatever runs.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A function's process, which a gateway started.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) id: u32,
    pub(crate) function: String,
    pub(crate) port: u16,
}

/// The functions' processes of a gateway, the oldest first.
pub(crate) fn children(gateway: u32) -> Vec<Child> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // It may end while it is looked at.
        if parent(id) == Some(gateway)
            && let Some(child) = child(id)
        {
            found.push(child);
        }
    }
    found.sort_by_key(|child| child.id);
    found
}

/// The parent of a process that has not ended.
fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let is_dead = matches!(words.next()?, "Z" | "X");
    words.next()?.parse().ok().filter(|_| !is_dead)
}

fn child(id: u32) -> Option<Child> {
    let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
    let environment = String::from_utf8_lossy(&environment);
    let value = |name: &str| {
        let mut settings = environment.split('\0');
        settings.find_map(|setting| setting.strip_prefix(name)?.strip_prefix('='))
    };
    Some(Child {
        id,
        function: value("TURLOUGH_FUNCTION")?.to_owned(),
        port: value("port")?.parse().ok()?,
    })
}

/// Signals a process, where there is still one.
pub(crate) fn send(id: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}
