//! `turlough replay` of what real requests left in their logs.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::Value as Json;

use crate::harness::{Dev, Ended, ended, folder_with, turlough};

const NODES: &str = r#"nodes:
  list: { pass: "[.n, 2, 3]" }
  route: { after: [list], switch: [{ when: "length > 2", to: each }, { default: none }] }
  none: { pass: "[]" }
  each: { for_each: { body: { nodes: { turn: { apply: probe, path: /echo } } } } }
  never: { after: [list], when: "length > 9", pass: . }
  first: { after: [each], pass: ".[0]" }
  grow: { after: [first], loop: { while: ". < 20", max_iterations: 8, body: { nodes: { double: { pass: ". * 2" } } } } }
  made: { after: [grow], expand: { pass: '{nodes: {a: {pass: "."}, b: {after: ["a"], pass: "."}}}' } }
  ask: { after: [made], wait: { signal: go } }
  book: { after: [ask], apply: probe, path: /echo, compensate: { pass: . } }
  last: { after: [book], apply: probe, path: { jq: 'if . then "/echo" else "/fail" end' }, retry: { attempts: 2, backoff: 1ms..1ms } }
finally: { nodes: { note: { pass: .status } } }"#;

fn replayed(log: &std::path::Path, arguments: &[&str]) -> Ended {
    let mut command = turlough(&["replay"]);
    command.arg(log).args(arguments);
    ended(command)
}

fn documents(ended: &Ended) -> Vec<Json> {
    let lines = ended.text().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Steps by their paths, with how they stand.
fn steps(of: &Json) -> BTreeMap<&str, &str> {
    let steps = of["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            (
                step["step"].as_str().unwrap(),
                step["status"].as_str().unwrap(),
            )
        })
        .collect()
}

/// Where the fold of a request's log ends is where the server says that the request stands.
async fn check(dev: &Dev, folder: &std::path::Path, data: &str, status: &str) {
    let id = dev.start_with("all", &["-d", data]);
    dev.until_status(&id, "sleeping").await;
    let payload = if status == "succeeded" {
        "true"
    } else {
        "false"
    };
    assert_eq!(dev.run(&["signal", &id, "go", "-d", payload]).code, Some(0));
    let printed = dev.run(&["events", &id, "--output", "json"]);
    let log = folder.join(format!("{status}.jsonl"));
    std::fs::write(&log, &printed.stdout).unwrap();
    let replay = replayed(&log, &["--output", "json"]);
    assert_eq!(replay.code, Some(0), "{replay:?}");
    let told = documents(&replay);
    let end = &told.last().unwrap()["state"];
    let view = dev.run(&["request", &id, "--output", "json"]).json();
    assert_eq!(
        (&end["status"], &view["status"]),
        (&status.into(), &status.into())
    );
    let (mut folded, mut seen) = (steps(end), steps(&view));
    // Of these there is no event.
    seen.retain(|step, status| {
        *status != "not_reached" && (*status != "skipped" || folded.contains_key(step))
    });
    for steps in [&mut folded, &mut seen] {
        steps.remove("ask");
    }
    assert_eq!(folded, seen, "{view}");
    assert!(folded.len() >= 12, "{folded:?}");
    assert!(
        told.iter().all(|event| event["counts"] != false),
        "{replay:?}"
    );
}

#[tokio::test]
async fn the_end_of_a_replay_is_what_the_server_says() {
    let folder = folder_with(&[("all", NODES)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    check(&dev, folder.path(), r#"{"n": 1}"#, "succeeded").await;
    check(&dev, folder.path(), r#"{"n": 1}"#, "failed").await;
}

#[tokio::test]
async fn a_replay_can_be_looked_at_at_any_place_and_read_from_stdin() {
    let folder = folder_with(&[(
        "two",
        "nodes: { a: { pass: . }, b: { after: [a], pass: . } }",
    )]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_with("two", &["-d", "1"]);
    let printed = dev.run(&["events", &id, "--output", "json"]);
    let log = folder.path().join("log.jsonl");
    std::fs::write(&log, &printed.stdout).unwrap();
    let whole = replayed(&log, &[]);
    let lines: Vec<_> = whole.text().lines().collect();
    assert!(
        lines[0].contains("a request of flow two (version "),
        "{whole:?}"
    );
    assert!(whole.text().contains("it ended: succeeded"), "{whole:?}");
    assert_eq!(
        lines.last().unwrap().split_whitespace().collect::<Vec<_>>()[..2],
        ["b", "succeeded"]
    );
    let first = documents(&printed)
        .iter()
        .find_map(|event| event["seq"].as_u64())
        .unwrap();
    let at = |seq: u64| replayed(&log, &["--at", &seq.to_string(), "--output", "json"]);
    let early = at(first).json();
    assert_eq!(
        (&early["seq"], &early["state"]["status"]),
        (&first.into(), &"running".into())
    );
    let server = dev.run(&[
        "request",
        &id,
        "--at",
        &first.to_string(),
        "--output",
        "json",
    ]);
    assert_eq!(server.json()["status"], "running");
    for (seq, why) in [
        (0, "is before its first event"),
        (1 << 40, "is after its last event"),
    ] {
        let refused = at(seq);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
    let mut piped = turlough(&["replay", "-"]);
    piped.stdin(Stdio::from(std::fs::File::open(&log).unwrap()));
    assert_eq!(ended(piped).stdout, whole.stdout);
    let gone = replayed(&folder.path().join("nothing"), &[]);
    assert_eq!(gone.code, Some(2), "{gone:?}");
    assert!(gone.stderr.contains("cannot open the log"), "{gone:?}");
    // A line is missing in the middle, or the file is another.
    std::fs::write(&log, "hello\n").unwrap();
    let other = replayed(&log, &[]);
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(
        other.stderr.contains("line 1: it is not JSON: "),
        "{other:?}"
    );
}
