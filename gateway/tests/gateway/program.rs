//! The gateway as a process of its own.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::*;

/// Killed when it is dropped.
struct Program {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Program {
    /// Starts it from a shell that was told something before, with a stack of functions: each with its
    /// mode and command.
    fn start(before: &str, functions: &[(&str, &str, &str)]) -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let functions = functions.iter().map(|(name, mode, command)| {
            let annotations = json!({ "turlough.mode": mode, "turlough.process": command });
            (
                (*name).to_owned(),
                json!({ "handler": ".", "annotations": annotations }),
            )
        });
        let functions: serde_json::Map<_, _> = functions.collect();
        // JSON is YAML.
        let stack = folder.path().join("stack.yaml");
        std::fs::write(&stack, json!({ "functions": functions }).to_string()).unwrap();
        let script = format!("{before} exec {}", env!("CARGO_BIN_EXE_turlough-gateway"));
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .env("TURLOUGH_GATEWAY_LISTEN", "127.0.0.1:0")
            .env("TURLOUGH_METRICS_LISTEN", "127.0.0.1:0")
            .env("TURLOUGH_STACK", &stack)
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        (Self { child, log }, folder)
    }

    /// Where it listens; its functions answer.
    fn address(&mut self) -> SocketAddr {
        let mut address = None;
        for line in self.log.by_ref() {
            let line = line.unwrap();
            if let Some((_, rest)) = line.split_once("address=http://") {
                address = rest.split(' ').next().unwrap().parse().ok();
            }
            if line.contains("function is ready") {
                return address.unwrap();
            }
        }
        panic!("it ended before its function was ready");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn gateway_may_open_as_many_files_as_the_system_lets_it_and_its_functions_as_before() {
    let tells = "sh -c 'ulimit -Sn; grep open /proc/$PPID/limits'";
    let (mut program, _folder) = Program::start("ulimit -Sn 256;", &[("it", "fork", tells)]);
    let address = program.address();
    let answer = get(address, "/function/it").await;
    let mut words = answer.text().split_whitespace();
    assert_eq!(words.next(), Some("256"), "{}", answer.text());
    // Max open files SOFT HARD files
    let soft: u64 = words.nth(3).unwrap().parse().unwrap();
    assert!(soft > 256, "{}", answer.text());
}

#[tokio::test]
async fn stack_that_cannot_start_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let path = pid.display();
    let leaves =
        format!("sh -c 'setsid sh -c \"echo \\$\\$ > {path}; exec sleep 600\" & exec sleep 600'");
    let fails = format!("sh -c 'until [ -s {path} ]; do sleep 0.05; done; exit 3'");
    let functions = [("leaves", "http", &*leaves), ("fails", "http", &*fails)];
    let (mut program, _folder) = Program::start("", &functions);
    let said: Vec<_> = program.log.by_ref().map(Result::unwrap).collect();
    assert!(!program.child.wait().unwrap().success());
    let last = said.join("\n");
    assert!(
        last.contains("error: ") && last.contains("exit status: 3"),
        "{last}"
    );
    let left = read(&pid);
    eventually(|| async { (!runs(left)).then_some(()) }).await;
}

fn read(pid: &Path) -> u64 {
    std::fs::read_to_string(pid)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}
