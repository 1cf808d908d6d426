//! Requests that do not end: given up, cancelled, timed out. Each is told apart by its exit code.

use rustix::process::Signal;

use crate::harness::{Dev, Running, probe_folder};

fn probe() -> (tempfile::TempDir, Dev) {
    let folder = probe_folder();
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    (folder, dev)
}

fn status(dev: &Dev, id: &str) -> String {
    let shown = dev.run(&["request", id, "--output", "json"]).json();
    shown["status"].as_str().unwrap().to_owned()
}

/// The id in the first line of progress.
fn id(line: &str) -> &str {
    line.strip_prefix("request ").unwrap()
}

#[tokio::test]
async fn wait_that_is_too_long_ends_and_the_request_goes_on() {
    let (_folder, dev) = probe();
    let ran = dev.run(&["run", "hang", "--timeout", "50ms"]);
    assert_eq!((ran.code, ran.text()), (Some(4), ""), "{}", ran.stderr);
    let id = id(ran.stderr.lines().next().unwrap());
    assert!(
        ran.stderr.contains(&format!("turlough cancel {id}")),
        "{}",
        ran.stderr
    );
    assert_eq!(status(&dev, id), "running");
    assert_eq!(dev.run(&["request", id, "--result"]).code, Some(4));
}

#[tokio::test]
async fn interrupted_wait_says_how_to_go_on() {
    let (_folder, dev) = probe();
    let waiting = Running::start(dev.command(&["run", "hang"]));
    let line = waiting.line("request ");
    waiting.signal(Signal::INT);
    let (code, told) = waiting.wait();
    assert_eq!(code, Some(130), "{told}");
    for part in ["goes on", "turlough request", "turlough cancel"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(status(&dev, id(&line)), "running");
}

#[tokio::test]
async fn cancelled_request_ends_its_waiter() {
    let (_folder, dev) = probe();
    let waiting = Running::start(dev.command(&["run", "hang"]));
    let line = waiting.line("request ");
    let cancelled = dev.run(&["cancel", id(&line)]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    let (code, told) = waiting.wait();
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("cancelled"), "{told}");
    assert_eq!(status(&dev, id(&line)), "cancelled");
    let again = dev.run(&["cancel", id(&line)]);
    assert_eq!(again.code, Some(2));
    assert!(
        again
            .stderr
            .contains("the request has ended (it is cancelled)"),
        "{}",
        again.stderr
    );
}

#[tokio::test]
async fn request_over_its_flows_timeout_and_one_that_fails_differ_in_code() {
    let (_folder, dev) = probe();
    let late = dev.run(&["run", "short", "--output", "json"]);
    assert_eq!(
        (late.code, &late.json()["status"]),
        (Some(4), &"timed_out".into())
    );
    let failed = dev.run(&["run", "fail"]);
    assert_eq!((failed.code, failed.text()), (Some(3), ""));
    assert!(failed.stderr.contains("no such luck"), "{}", failed.stderr);
}
