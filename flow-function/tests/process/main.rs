//! The binary as a process: what it prints, how it ends.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod https;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const GOOD: &str = "flow: good\nnodes: { a: { pass: '. + 1' } }\n";
const SLOW: &str = "flow: slow\nnodes: { a: { apply: never }, b: { after: [a], pass: . } }\n";

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn command(flows: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turlough-flow-function"));
    command
        .env_clear()
        .env("TURLOUGH_LISTEN", "127.0.0.1")
        .env("TURLOUGH_SECRETS", flows.join("none"))
        .env("port", "0")
        .arg("--flows")
        .arg(flows)
        .stderr(Stdio::piped());
    command
}

/// Starts it and reads from its log where it listens.
fn start(flows: &Path, change: impl FnOnce(&mut Command)) -> (Running, String) {
    let mut command = command(flows);
    change(&mut command);
    let mut child = Running(command.spawn().unwrap());
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("address") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended at once");
    }
    let plain: String = line
        .split('\u{1b}')
        .map(|part| part.split_once('m').map_or(part, |(_, rest)| rest))
        .collect();
    let at = plain.split("address=").nth(1).unwrap();
    let address = at.split_whitespace().next().unwrap().to_owned();
    // Its log is read on, so that it never waits for a reader.
    std::thread::spawn(move || drop(log.read_to_end(&mut Vec::new())));
    (child, format!("http://{address}"))
}

fn terminate(child: &Running) {
    let id = child.0.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
}

fn wait(child: &mut Running) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            return status;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_folder_is_served_until_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no flow").unwrap();
    let (mut child, url) = start(folder.path(), |_| {});
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.post(format!("{url}/good")).body("41").send().await;
    assert_eq!(answer.unwrap().text().await.unwrap(), "42");
    terminate(&child);
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[tokio::test]
async fn sigterm_with_requests_in_flight_ends_in_time_and_tells_them() {
    let never = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = format!("http://{}", never.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("slow.yml"), SLOW).unwrap();
    let (mut child, url) = start(folder.path(), |command| {
        command
            .env("TURLOUGH_GATEWAY_URL", gateway)
            .env("TURLOUGH_DRAIN", "300ms");
    });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = tokio::spawn(http.post(format!("{url}/slow")).body("1").send());
    // The call has come as far as the gateway.
    let accepted = tokio::task::spawn_blocking(move || never.accept().unwrap());
    let _held = accepted.await.unwrap();
    terminate(&child);
    assert_eq!(call.await.unwrap().unwrap().status(), 503);
    assert_eq!(wait(&mut child).code(), Some(0));
}

fn refused(mut command: Command) -> (Option<i32>, String) {
    let mut child = Running(command.spawn().unwrap());
    let status = wait(&mut child);
    let mut text = String::new();
    let mut log = child.0.stderr.take().unwrap();
    log.read_to_string(&mut text).unwrap();
    (status.code(), text)
}

#[test]
fn every_problem_of_every_flow_is_told_at_once_whatever_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let bad = "flow: one\nnodes: { a: { pass: '.[' }, b: { after: [nobody], pass: . } }\n";
    std::fs::write(folder.path().join("1.yaml"), bad).unwrap();
    std::fs::write(folder.path().join("2.yaml"), GOOD).unwrap();
    std::fs::write(folder.path().join("3.yaml"), bad.replace("one", "three")).unwrap();
    let mut command = command(folder.path());
    command.env("RUST_LOG", "off");
    let (code, text) = refused(command);
    assert_eq!(code, Some(1), "{text}");
    for told in [
        "1.yaml:2: flow one: node a",
        "node b",
        "3.yaml:2: flow three: node a",
        "nobody",
    ] {
        assert!(text.contains(told), "{told} is missing in {text}");
    }
}

#[test]
fn what_cannot_be_had_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    let mut busy = command(folder.path());
    busy.env("port", address.port().to_string());
    let (code, text) = refused(busy);
    assert_eq!(code, Some(1));
    assert!(
        text.contains(&format!("cannot listen on {address}; set")),
        "{text}"
    );
    let (code, text) = refused(command(&folder.path().join("gone")));
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot read flows from"), "{text}");
    let mut wide = command(folder.path());
    wide.env("TURLOUGH_INLINE_BYTES_MAX", "600000");
    let (code, text) = refused(wide);
    assert_eq!(code, Some(2));
    assert!(text.contains("write up to 131072"), "{text}");
}
