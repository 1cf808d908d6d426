//! What functions write down of their calls: a line when one begins and one when it ends, in files that
//! survive their processes.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::now_us;

/// A call of a function, as its process wrote it down.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at_us: u64,
    pub(crate) ends: bool,
    /// What it was asked for.
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) request: String,
    pub(crate) step: String,
}

/// The file of one process.
#[derive(Debug)]
pub(crate) struct Counter(File);

impl Counter {
    pub(crate) fn open(folder: &Path) -> Self {
        let path = calls(folder).join(format!("{}-{}", now_us(), std::process::id()));
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self(file.unwrap())
    }

    /// One write for each line: a process that is killed leaves no half of one.
    pub(crate) fn write(&self, line: &Line) {
        let what = if line.ends { "end" } else { "begin" };
        let text = format!(
            "{what} {} {} {} {} {}\n",
            line.at_us, line.path, line.key, line.request, line.step
        );
        (&self.0).write_all(text.as_bytes()).unwrap();
    }
}

/// Where the files lie.
pub(crate) fn calls(folder: &Path) -> PathBuf {
    folder.join("calls")
}

/// All lines of all processes, in the order of their times.
pub(crate) fn read(folder: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    for file in std::fs::read_dir(calls(folder)).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        lines.extend(text.lines().map(parse));
    }
    lines.sort_by_key(|line| line.at_us);
    lines
}

fn parse(line: &str) -> Line {
    let words: Vec<_> = line.split(' ').collect();
    let [what, at_us, path, key, request, step] = words[..] else {
        panic!("{line:?} is no line of a counter");
    };
    Line {
        at_us: at_us.parse().unwrap(),
        ends: what == "end",
        path: path.to_owned(),
        key: key.to_owned(),
        request: request.to_owned(),
        step: step.to_owned(),
    }
}
