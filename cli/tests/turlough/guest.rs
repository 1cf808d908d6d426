//! `turlough dev -- COMMAND`: a command against a platform of its own.

use rustix::process::Signal;

use crate::harness::{Ended, Running, ended, fizz_buzz, turlough};

const TURLOUGH: &str = env!("CARGO_BIN_EXE_turlough");

fn dev(guest: &[&str]) -> std::process::Command {
    let stack = fizz_buzz();
    let free = "127.0.0.1:0";
    let mut command = turlough(&[
        "dev",
        "--quiet",
        "--gateway-listen",
        free,
        "--metrics-listen",
        free,
    ]);
    command.arg("-f").arg(stack).arg("--").args(guest);
    command
}

#[test]
fn command_runs_against_the_platform_and_its_code_is_passed_on() {
    let script = r#"set -e; "$0" run fizz-buzz --data '{"n": 9}'; exit 7"#;
    let Ended {
        code,
        stdout,
        stderr,
    } = ended(dev(&["sh", "-c", script, TURLOUGH]));
    assert_eq!(code, Some(7), "{stderr}");
    assert_eq!(
        String::from_utf8(stdout).unwrap().trim(),
        r#"{"answer":"Fizz"}"#
    );
}

#[test]
fn command_that_cannot_be_run_is_named() {
    let Ended { code, stderr, .. } = ended(dev(&["no-such-command-here"]));
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("cannot run no-such-command-here"),
        "{stderr}"
    );
}

#[test]
fn command_is_asked_to_end_when_the_platform_is() {
    let script =
        "trap 'echo asked >&2; exit 0' TERM; echo waiting >&2; while :; do sleep 0.01; done";
    let running = Running::start(dev(&["sh", "-c", script]));
    running.line("waiting");
    running.signal(Signal::TERM);
    running.line("asked");
    assert_eq!(running.wait().0, Some(130));
}
