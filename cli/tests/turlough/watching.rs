//! What `run` and `follow` tell of requests that sleep, loop, grow, fail and are undone.

use serde_json::Value as Json;

use crate::harness::{Dev, Running, folder_with};

fn told(stderr: &str) -> Vec<String> {
    let lines = stderr.lines().skip(1);
    lines
        .map(|line| line.split(" in ").next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn sleep_and_signal_are_told_as_they_come() {
    let nodes = "nodes: { ask: { wait: { signal: go } }, then: { after: [ask], pass: . } }";
    let folder = folder_with(&[("asks", nodes)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let waiting = Running::start(dev.command(&["run", "asks"]));
    let line = waiting.line("request ");
    let id = line.strip_prefix("request ").unwrap();
    waiting.line("sleeping: ask waits for signal go");
    assert_eq!(dev.run(&["pause", id]).code, Some(0));
    waiting.line("paused: no step starts");
    assert_eq!(dev.run(&["resume", id]).code, Some(0));
    waiting.line("resumed");
    assert_eq!(dev.run(&["signal", id, "go", "-d", "1"]).code, Some(0));
    waiting.line("signal go came");
    waiting.line("then succeeded");
    assert_eq!(waiting.wait().0, Some(0));
}

#[tokio::test]
async fn loops_and_graphs_made_at_run_time_are_told_as_one_step() {
    let nodes = r#"nodes:
  grow: { loop: { while: ". < 100", max_iterations: 8, body: { nodes: { double: { pass: ". * 2" } } } } }
  build: { after: [grow], expand: { pass: '{nodes: {a: {pass: "."}, b: {after: ["a"], pass: "."}}}' } }
  last: { after: [build], pass: . }"#;
    let folder = folder_with(&[("inner", nodes)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let ran = dev.run(&["run", "inner", "-d", "30"]);
    assert_eq!((ran.code, ran.text()), (Some(0), "120"), "{ran:?}");
    let told = told(&ran.stderr);
    assert_eq!(told[0], "grow succeeded after 2 iterations", "{told:?}");
    assert!(told[1].starts_with("build: a graph of "), "{told:?}");
    assert_eq!(told.last().unwrap(), "last succeeded");
    assert!(
        !told
            .iter()
            .any(|line| line.contains('#') || line.contains('/')),
        "{told:?}"
    );
}

#[tokio::test]
async fn what_is_undone_and_handlers_are_told_before_the_failure() {
    let nodes = "nodes:
  a: { apply: probe, path: /echo, compensate: { apply: probe, path: /echo } }
  b: { after: [a], apply: probe, path: /echo, compensate: { apply: probe, path: /fail } }
  c: { after: [b], apply: probe, path: /fail }
on_failure: { nodes: { tell: { pass: .error.step } } }
finally: { nodes: { note: { pass: .status } } }";
    let folder = folder_with(&[("saga", nodes)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let ran = dev.run(&["run", "saga", "-d", "1"]);
    assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
    let told = told(&ran.stderr);
    let begins = [
        "a succeeded",
        "b succeeded",
        "c failed, attempt 1: ",
        "b/~compensate failed, attempt 1: ",
        "a/~compensate succeeded",
        "~on_failure/tell succeeded",
        "~finally/note succeeded",
        "request ",
        "and step b/~compensate: ",
        "see its steps: ",
        "restart it: ",
    ];
    assert_eq!(told.len(), begins.len(), "{told:?}");
    for (line, begin) in told.iter().zip(begins) {
        assert!(line.starts_with(begin), "{begin:?} in {told:?}");
    }
    let report = dev
        .run(&["run", "saga", "-d", "1", "--output", "json"])
        .json();
    assert_eq!(report["trouble"][0]["step"], "b/~compensate", "{report}");
}

#[tokio::test]
async fn events_have_places_at_which_a_request_can_be_looked_at() {
    let nodes =
        "nodes: { a: { apply: probe, path: /echo }, b: { after: [a], apply: probe, path: /fail } }";
    let folder = folder_with(&[("two", nodes)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_with("two", &["-d", "1"]);
    let printed = dev.run(&["events", &id, "--output", "json"]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let events = printed
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).unwrap());
    let events: Vec<_> = events.collect();
    assert_eq!(events[0]["event"], "accepted");
    assert!(
        events.iter().any(|event| event["event"] == "ended"),
        "{events:?}"
    );
    let ended = |step: &str| {
        let at = events
            .iter()
            .position(|event| event["event"] == "step_ended" && event["step"] == step);
        let mut from = events[at.unwrap()..].iter();
        from.find_map(|event| event["seq"].as_u64())
            .unwrap()
            .to_string()
    };
    let at = |seq: &str| {
        dev.run(&["request", &id, "--at", seq, "--output", "json"])
            .json()
    };
    assert_eq!(at(&ended("a"))["status"], "running");
    assert_eq!(at(&ended("b"))["status"], "failed");
    let lines = dev.run(&["events", &id]);
    let ends = |line: &&str| line.contains("step_ended     a  succeeded");
    assert!(
        lines.text().lines().find(ends).is_some(),
        "{}",
        lines.text()
    );
    assert_eq!(dev.run(&["request", &id, "--at", "x"]).code, Some(2));
}

#[tokio::test]
async fn sub_flows_are_found_by_their_parent() {
    let folder = folder_with(&[
        (
            "outer",
            "nodes: { inner: { flow: inner }, then: { after: [inner], pass: '. + 1' } }",
        ),
        ("inner", "nodes: { ask: { wait: { signal: go } } }"),
    ]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_with("outer", &["-d", "1"]);
    dev.until_status(&id, "sleeping").await;
    let children = dev
        .run(&["requests", "--parent", &id, "--output", "json"])
        .json();
    let [child] = &children["requests"].as_array().unwrap()[..] else {
        panic!("{children}");
    };
    assert_eq!(
        (&child["flow"], &child["parent"]),
        (&"inner".into(), &(*id).into())
    );
    let child = child["id"].as_str().unwrap();
    let shown = dev.run(&["request", &id]);
    assert!(
        shown.text().contains(&format!("sub-flow  {child} inner ")),
        "{}",
        shown.text()
    );
    let shown = dev.run(&["request", child]);
    assert!(
        shown.text().contains(&format!("parent    {id}\n")),
        "{}",
        shown.text()
    );
    assert_eq!(dev.run(&["signal", child, "go", "-d", "41"]).code, Some(0));
    assert_eq!(dev.run(&["follow", &id]).text(), "42");
}
