//! The log of a process, as whoever collects it reads it.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::process::Command;

use serde_json::Value as Json;
use turlough_telemetry::LogFormat;

#[test]
#[ignore = "a process of the tests here, which start it"]
fn says_something() {
    let format = match std::env::var("FORMAT").as_deref() {
        Ok("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    format.install("info,quiet=off");
    tracing::warn!(request = %"r-1", attempt = 2, "function call\nfailed");
    tracing::error!(target: "quiet", "not to be heard");
}

fn said(format: &str, filter: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["says_something", "--ignored", "--exact"])
        .env("FORMAT", format)
        .env_remove("RUST_LOG");
    if let Some(filter) = filter {
        command.env("RUST_LOG", filter);
    }
    let output = command.output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn json_has_a_line_for_each_event_and_a_member_for_each_field() {
    let said = said("json", None);
    let [line] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    let line: Json = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "function call\nfailed");
    assert_eq!(line["request"], "r-1");
    assert_eq!(line["attempt"], 2);
    assert_eq!(line["target"], "log");
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn text_that_no_terminal_shows_has_no_colours() {
    let said = said("text", None);
    assert!(said.contains(" WARN log: function call"), "{said}");
    assert!(said.contains("request=r-1 attempt=2"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert!(!said.contains("not to be heard"), "{said}");
}

#[test]
fn rust_log_says_what_is_heard() {
    assert_eq!(said("text", Some("off")), "");
}
