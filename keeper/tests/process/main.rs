//! The program itself.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod bad_state;
mod clock;
mod place;

use std::process::Command;

fn keeper(arguments: &[&str]) -> (bool, String) {
    let program = env!("CARGO_BIN_EXE_turlough-keeper");
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn state_of_one_process_is_refused_with_what_to_do() {
    for state in ["memory:", "file:/tmp/state"] {
        let (is_success, text) = keeper(&["--state", state, "--port", "0"]);
        assert!(!is_success && text.contains("flow-function"), "{text}");
        assert!(text.contains(state) && text.contains("nats://"), "{text}");
    }
}

#[test]
fn help_shows_examples_and_every_setting_has_its_variable() {
    let (is_success, text) = keeper(&["--help"]);
    assert!(is_success && text.contains("Examples:"), "{text}");
    for name in [
        "TURLOUGH_STATE",
        "TURLOUGH_KEEPER_INDEX",
        "TURLOUGH_TENANT",
        "7710",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
}
