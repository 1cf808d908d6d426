//! What is wrong is told with what to do, and with an exit code.

use std::net::TcpListener;

use crate::harness::{Dev, dev, ended, fizz_buzz, probe_folder, turlough};

const UNKNOWN_REQUEST: &str = "01a2b3c4-0000-7000-8000-0123456789ab";

#[tokio::test]
async fn unknown_flow_function_or_request_is_404_and_bad_input() {
    let dev = Dev::start(&fizz_buzz(), &[]);
    for (path, named) in [
        ("/function/flows/nope".to_owned(), "nope"),
        ("/function/nope".to_owned(), "nope"),
        (
            format!("/function/flows/requests/{UNKNOWN_REQUEST}"),
            UNKNOWN_REQUEST,
        ),
    ] {
        let client = reqwest::Client::new();
        let call = match path.contains("requests") {
            true => client.get(dev.url(&path)),
            false => client.post(dev.url(&path)).body("{}"),
        };
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert!(answer.text().await.unwrap().contains(named), "{path}");
    }
    for (arguments, told) in [
        (&["run", "nope"][..], "no flow `nope`"),
        (&["run", "nope/fizz-buzz"], "no flow-function `nope`"),
        (&["run", "Not/A/flow"], "is not allowed"),
        (&["graph", "nope"], "no flow `nope`"),
        (&["request", UNKNOWN_REQUEST], UNKNOWN_REQUEST),
        (&["request", UNKNOWN_REQUEST, "--result"], UNKNOWN_REQUEST),
        (&["cancel", UNKNOWN_REQUEST], UNKNOWN_REQUEST),
        (&["request", "seven"], "seven"),
        (
            &["run", "fizz-buzz", "--data", "{n: 1}"],
            "--data is not JSON",
        ),
        (
            &["run", "fizz-buzz", "--data", "@no-such-file"],
            "no-such-file",
        ),
    ] {
        let ran = dev.run(arguments);
        assert_eq!(
            (ran.code, ran.text()),
            (Some(2), ""),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(told), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn nobody_at_the_gateway_is_told_with_the_remedy() {
    // A port that was free a moment ago.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    for command in [
        &["run", "any"][..],
        &["requests"],
        &["flows"],
        &["cancel", UNKNOWN_REQUEST],
    ] {
        let mut asked = turlough(command);
        asked.args(["--gateway", &format!("http://{address}")]);
        let ran = ended(asked);
        assert_eq!(ran.code, Some(1), "{command:?}");
        let told = format!("cannot ask http://{address}/system/functions: ");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("is `turlough dev` running?"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn port_that_is_taken_is_named_with_the_setting_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, variable) in [
        ("--gateway-listen", "TURLOUGH_GATEWAY_LISTEN"),
        ("--metrics-listen", "TURLOUGH_METRICS_LISTEN"),
    ] {
        let mut command = turlough(&["dev", flag, &address, "-f"]);
        command.arg(fizz_buzz());
        if flag == "--metrics-listen" {
            command.args(["--gateway-listen", "127.0.0.1:0"]);
        }
        let ran = ended(command);
        assert_eq!((ran.code, ran.text()), (Some(1), ""), "{}", ran.stderr);
        for told in [&address, flag, variable, "already in use"] {
            assert!(ran.stderr.contains(told), "no {told} in {}", ran.stderr);
        }
    }
}

#[test]
fn every_problem_of_every_file_is_told_and_nothing_is_started() {
    let folder = probe_folder();
    let stack = folder.path().join("stack.yaml");
    std::fs::write(
        &stack,
        "provider: { name: openfaas }\nfunctions:\n  a:\n    handler: ./none\n",
    )
    .unwrap();
    let flows = folder.path().join("flows");
    let cyclic =
        "flow: cyclic\nnodes:\n  a: { after: [b], pass: . }\n  b: { after: [a], pass: . }\n";
    let wrong = "flow: wrong\nnodes:\n  a: { pass: '.[' }\n  b: { after: [zzz], pass: . }\n";
    std::fs::write(flows.join("cyclic.yaml"), cyclic).unwrap();
    std::fs::write(flows.join("wrong.yaml"), wrong).unwrap();

    let ran = ended(dev(&stack));
    assert_eq!((ran.code, ran.text()), (Some(2), ""), "{}", ran.stderr);
    let checked = ended(turlough(&["validate", folder.path().to_str().unwrap()]));
    assert_eq!(checked.code, Some(2));
    for told in [&ran.stderr, checked.text()] {
        for place in [
            "cyclic.yaml:",
            "wrong.yaml:3: flow wrong: node a",
            "wrong.yaml:4: flow wrong: node b",
            "stack.yaml:",
        ] {
            assert!(
                told.lines().any(|line| line.contains(place)),
                "no {place} in:\n{told}"
            );
        }
        assert!(
            told.contains("zzz") && told.contains("turlough.process"),
            "{told}"
        );
    }
    assert!(
        ran.stderr.contains("nothing was started: 4 problems"),
        "{}",
        ran.stderr
    );
    assert_eq!(checked.stderr, "7 flows, 1 stack: 4 problems\n");

    let mut as_json = turlough(&["validate", "--output", "json"]);
    as_json.arg(flows.join("wrong.yaml"));
    let told = ended(as_json).json();
    assert_eq!(told["problems"][0]["line"], 3, "{told}");
    assert_eq!(told["problems"][1]["node"], "b", "{told}");
}

#[test]
fn folder_with_nothing_in_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut started = turlough(&["dev"]);
    started.current_dir(folder.path());
    let ran = ended(started);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("name them with -f and --flows"),
        "{}",
        ran.stderr
    );
    let checked = ended(turlough(&["validate", folder.path().to_str().unwrap()]));
    assert_eq!(checked.code, Some(2));
    assert!(
        checked
            .text()
            .contains("there is no flow and no stack file here"),
        "{checked:?}"
    );
}

#[test]
fn function_that_does_not_start_is_told_with_its_last_lines() {
    let folder = probe_folder();
    let stack = folder.path().join("stack.yaml");
    let text = std::fs::read_to_string(&stack).unwrap();
    let broken = text.replace(
        "python3 handler.py",
        "python3 -c 'raise SystemExit(\"no database here\")'",
    );
    std::fs::write(&stack, broken).unwrap();
    let ran = ended(dev(&stack));
    assert_eq!((ran.code, ran.text()), (Some(1), ""), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("function `probe`") && ran.stderr.contains("\n  no database here"),
        "{}",
        ran.stderr
    );
}

#[test]
fn applied_function_that_is_not_there_is_told_at_once() {
    let folder = probe_folder();
    let flow =
        "flow: lost\nnodes:\n  a: { for_each: { body: { nodes: { b: { apply: nowhere } } } } }\n";
    std::fs::write(folder.path().join("flows/lost.yaml"), flow).unwrap();
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    dev.signal(rustix::process::Signal::TERM);
    let (_, told) = dev.wait();
    assert!(
        told.contains("flow lost applies function `nowhere`"),
        "{told}"
    );
}

#[tokio::test]
async fn result_that_was_too_large_to_keep_is_explained() {
    let folder = probe_folder();
    let dev = Dev::start(
        &folder.path().join("stack.yaml"),
        &[("TURLOUGH_DURABLE_BYTES_MAX", "1000")],
    );
    let ran = dev.run(&["run", "bytes"]);
    assert_eq!((ran.code, ran.text()), (Some(1), ""), "{}", ran.stderr);
    for told in [
        "TURLOUGH_DURABLE_BYTES_MAX",
        "too large to keep",
        &dev.url("/function/flows/bytes"),
    ] {
        assert!(ran.stderr.contains(told), "no {told} in {}", ran.stderr);
    }
    let told = dev.run(&["run", "bytes", "--output", "json"]);
    assert_eq!(
        (told.code, &told.json()["status"]),
        (Some(1), &"succeeded".into())
    );
}

#[tokio::test]
async fn requests_are_shown_only_with_the_token_where_there_is_one() {
    let folder = probe_folder();
    let secrets = folder.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("turlough-token"), "s3cret\n").unwrap();
    let settings = [("TURLOUGH_SECRETS", secrets.to_str().unwrap())];
    let dev = Dev::start(&folder.path().join("stack.yaml"), &settings);
    let id = dev.start_request("echo");

    let without = dev.run(&["request", &id]);
    assert_eq!(without.code, Some(1), "{without:?}");
    assert!(without.stderr.contains("--token"), "{}", without.stderr);
    assert_eq!(dev.run(&["requests", "--token", "wrong"]).code, Some(1));
    assert_eq!(
        dev.run(&["request", &id, "--token", "s3cret"]).code,
        Some(0)
    );
    let mut by_file = dev.command(&["run", "echo", "-d", "1"]);
    by_file.env("TURLOUGH_TOKEN_FILE", secrets.join("turlough-token"));
    let ran = ended(by_file);
    assert_eq!((ran.code, ran.text()), (Some(0), "1"), "{}", ran.stderr);
}
