//! Pause, resume, restart, signal and cancel, from the command line.

use serde_json::{Value as Json, json};

use crate::harness::{Dev, Ended, folder_with, put_file};

const ASK: &str = "nodes: { ask: { wait: { signal: go } }, then: { after: [ask], pass: . } }";
/// `/fail` always fails; what is before it is done once.
const BREAKS: &str = "nodes:
  before: { apply: probe, path: /echo }
  call: { after: [before], apply: probe, path: /fail }";
const MENDED: &str = "nodes:
  before: { apply: probe, path: /echo }
  call: { after: [before], apply: probe, path: /echo }";

fn step<'a>(request: &'a Json, path: &str) -> &'a Json {
    let steps = request["steps"].as_array().unwrap();
    let found = steps.iter().find(|step| step["step"] == path);
    found.unwrap_or_else(|| panic!("no step {path} in {request}"))
}

fn refused(ended: &Ended, why: &str) {
    assert_eq!((ended.code, ended.text()), (Some(2), ""), "{ended:?}");
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

fn done(ended: &Ended) {
    assert_eq!((ended.code, ended.text()), (Some(0), ""), "{ended:?}");
}

#[tokio::test]
async fn signal_is_given_to_who_waits_for_it() {
    let folder = folder_with(&[("asks", ASK)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_request("asks");
    dev.until_status(&id, "sleeping").await;
    let sleeping = dev
        .run(&["requests", "--status", "sleeping", "--output", "json"])
        .json();
    assert_eq!(sleeping["requests"][0]["id"], *id);
    let shown = dev.run(&["request", &id]);
    assert!(
        shown.text().contains("waits     ask for signal go\n"),
        "{}",
        shown.text()
    );

    let signalled = dev.run(&["signal", &id, "go", "--data", "{\"by\": \"ann\"}"]);
    done(&signalled);
    assert_eq!(
        signalled.stderr,
        format!("request {id} has the signal go\n")
    );
    let followed = dev.run(&["follow", &id]);
    assert_eq!(
        (followed.code, followed.text()),
        (Some(0), "{\"by\":\"ann\"}"),
        "{followed:?}"
    );
    refused(&dev.run(&["signal", &id, "go"]), "has ended");
    refused(&dev.run(&["signal", &id, "no such name"]), "no such name");
}

#[tokio::test]
async fn signal_is_taken_from_stdin_and_once_under_one_key() {
    let folder = folder_with(&[(
        "twice",
        "nodes:
  first: { wait: { signal: go } }
  second: { after: [{ node: first, data: false }], wait: { signal: go } }
  both: { after: [first, second], pass: . }",
    )]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_request("twice");
    let file = folder.path().join("payload");
    std::fs::write(&file, "[1]").unwrap();
    for _ in 0..3 {
        let mut command = dev.command(&["signal", &id, "go", "--data", "@-", "--key", "one"]);
        command.stdin(std::fs::File::open(&file).unwrap());
        done(&crate::harness::ended(command));
    }
    let told = dev.run(&[
        "signal", &id, "go", "-d", "2", "--key", "two", "--output", "json",
    ]);
    assert_eq!(told.json(), json!({ "request_id": id, "signal": "asked" }));
    let followed = dev.run(&["follow", &id, "--output", "json"]).json();
    assert_eq!(
        followed["result"],
        json!({ "first": [1], "second": 2 }),
        "{followed}"
    );
}

#[tokio::test]
async fn paused_request_starts_nothing_before_it_is_resumed() {
    let folder = folder_with(&[("asks", ASK)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_request("asks");
    refused(&dev.run(&["resume", &id]), "is not paused");
    done(&dev.run(&["pause", &id]));
    done(&dev.run(&["pause", &id]));
    dev.until_status(&id, "paused").await;
    let paused = dev
        .run(&["requests", "--status", "paused", "--output", "json"])
        .json();
    assert_eq!(paused["requests"][0]["id"], *id);
    done(&dev.run(&["signal", &id, "go", "-d", "5"]));
    let request = dev.request(&id);
    assert_eq!(request["status"], "paused");
    assert_eq!(step(&request, "ask")["status"], "succeeded", "{request}");
    assert_eq!(step(&request, "then")["status"], "held", "{request}");
    assert_eq!(dev.run(&["follow", &id, "--timeout", "50ms"]).code, Some(4));
    done(&dev.run(&["resume", &id]));
    assert_eq!(dev.run(&["follow", &id]).text(), "5");
    refused(&dev.run(&["cancel", &id]), "has ended");
}

#[tokio::test]
async fn failed_request_is_restarted_from_what_failed_or_from_a_step() {
    let folder = folder_with(&[("breaks", BREAKS)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let ran = dev.run(&["run", "breaks", "-d", "7"]);
    assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
    let id = ran
        .stderr
        .lines()
        .next()
        .unwrap()
        .strip_prefix("request ")
        .unwrap()
        .to_owned();
    assert!(
        ran.stderr.contains(&format!("turlough restart {id}")),
        "{}",
        ran.stderr
    );
    let failed = dev.request(&id);
    assert_eq!(failed["settled"], false, "it is kept: {failed}");

    done(&dev.run(&["restart", &id]));
    let again = dev.run(&["follow", &id]);
    assert_eq!(again.code, Some(3), "{again:?}");
    let request = dev.request(&id);
    assert_eq!(request["generation"], 1);
    assert_eq!(
        step(&request, "before")["attempt"],
        1,
        "it ran once: {request}"
    );
    let about = dev.run(&["request", &id]);
    assert!(about.text().contains("restarts  1\n"), "{}", about.text());
    assert!(
        about.text().contains("restart   until "),
        "{}",
        about.text()
    );

    refused(&dev.run(&["restart", &id, "--from", "nowhere"]), "nowhere");
    done(&dev.run(&["restart", &id, "--from", "before"]));
    assert_eq!(dev.run(&["follow", &id]).code, Some(3));
    let request = dev.request(&id);
    assert_eq!(step(&request, "before")["attempt"], 2, "{request}");

    let mended = put_file(&folder, "breaks", MENDED);
    assert_eq!(dev.run(&["put", mended.to_str().unwrap()]).code, Some(0));
    done(&dev.run(&["restart", &id, "--current"]));
    let ended = dev.run(&["follow", &id]);
    assert_eq!((ended.code, ended.text()), (Some(0), "7"), "{ended:?}");
    refused(&dev.run(&["restart", &id]), "restarted");
}

#[tokio::test]
async fn asked_again_under_one_key_nothing_more_happens() {
    let folder = folder_with(&[("asks", ASK), ("breaks", BREAKS)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_with("asks", &["-d", "1", "--key", "order-7"]);
    assert_eq!(dev.start_with("asks", &["-d", "1", "--key", "order-7"]), id);
    assert_ne!(dev.start_with("asks", &["-d", "1", "--key", "order-8"]), id);
    let other = dev.run(&["run", "asks", "-d", "2", "--key", "order-7", "--async"]);
    refused(&other, "same Idempotency-Key and another input");

    let broken = dev.start_request("breaks");
    dev.until_status(&broken, "failed").await;
    for _ in 0..2 {
        done(&dev.run(&["restart", &broken, "--key", "once"]));
        dev.until_status(&broken, "failed").await;
    }
    assert_eq!(dev.run(&["follow", &broken]).code, Some(3));
    assert_eq!(dev.request(&broken)["generation"], 1);
}

#[tokio::test]
async fn cancelled_request_undoes_what_it_did() {
    let nodes = "nodes:
  book: { apply: probe, path: /echo, compensate: { apply: probe, path: /echo } }
  ask: { after: [book], wait: { signal: go } }
finally: { nodes: { note: { pass: .status } } }";
    let folder = folder_with(&[("books", nodes)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_with("books", &["-d", "{\"room\": 7}"]);
    dev.until_status(&id, "sleeping").await;
    done(&dev.run(&["cancel", &id]));
    let followed = dev.run(&["follow", &id]);
    assert_eq!(
        (followed.code, followed.text()),
        (Some(4), ""),
        "{followed:?}"
    );
    let told = |line: &str| followed.stderr.lines().any(|found| found.starts_with(line));
    assert!(told("book/~compensate succeeded"), "{}", followed.stderr);
    assert!(told("~finally/note succeeded"), "{}", followed.stderr);
    assert!(
        told(&format!("request {id} cancelled: ")),
        "{}",
        followed.stderr
    );
}
