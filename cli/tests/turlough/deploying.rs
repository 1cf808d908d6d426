//! `turlough deploy`: folders and repositories, to a gateway that asks for a password.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::harness::{Dev, Ended, Running, ended, eventually, turlough};
use crate::login::guarded;

fn functions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions")
}

/// A folder with one function, `greet`, and a flow that calls it.
fn pipeline() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir_all(path.join("greet")).unwrap();
    std::fs::copy(
        functions().join("handler.py"),
        path.join("greet/handler.py"),
    )
    .unwrap();
    write(path, "stack.yaml", &stack(GREET));
    write(
        path,
        "flows/greeting.yaml",
        "flow: greeting\nnodes:\n  only: { apply: greet, path: /echo }\n",
    );
    folder
}

const GREET: &str = "  greet:
    handler: ./greet
    image: greet:${TAG:-1}
    environment: { from: deploy }
    annotations: { turlough.process: python3 handler.py }
";

fn stack(functions: &str) -> String {
    format!("version: 1.0\nprovider: {{ name: openfaas }}\nfunctions:\n{functions}")
}

fn write(folder: &Path, file: &str, text: &str) {
    let file = folder.join(file);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

struct Target {
    dev: Dev,
    _folder: tempfile::TempDir,
    password: PathBuf,
}

impl Target {
    fn start() -> Self {
        let (dev, folder, password) = guarded(&[]);
        Self {
            dev,
            _folder: folder,
            password,
        }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.dev.command(arguments);
        command.env("TURLOUGH_GATEWAY_PASSWORD_FILE", &self.password);
        ended(command)
    }

    fn deploy(&self, source: &str, more: &[&str]) -> Ended {
        self.run(&[&["deploy", source], more].concat())
    }

    /// Deploys, and gives what is told as JSON.
    fn deployed(&self, source: &str, more: &[&str]) -> Json {
        let done = self.deploy(source, &[&["--output", "json"], more].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
        done.json()
    }

    /// The functions that are there.
    async fn functions(&self) -> Vec<Json> {
        let client = reqwest::Client::new();
        let list = client.get(self.dev.url("/system/functions"));
        let answer = list
            .basic_auth("admin", Some("s3cret"))
            .send()
            .await
            .unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let functions = self.functions().await;
        functions
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn path_of(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().unwrap()
}

#[tokio::test]
async fn folder_becomes_a_pipeline_that_runs_and_may_be_deployed_again() {
    let target = Target::start();
    let folder = pipeline();
    let planned = target.deploy(path_of(&folder), &["--dry-run"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let expected = "create function greet: greet:1\nput flow greeting to function flows\n";
    assert_eq!(planned.text(), expected);
    assert!(!target.names().await.contains(&"greet".to_owned()));

    let first = target.deployed(path_of(&folder), &["--wait"]);
    assert_eq!(
        first["functions"],
        json!([{ "function": "greet", "image": "greet:1", "deploy": "created" }])
    );
    assert_eq!(first["flows"][0]["put"], "created");
    let ran = target.run(&["run", "greeting", "--data", "{\"n\": 1}", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let again = target.deploy(path_of(&folder), &["--wait"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let lines: Vec<_> = again.text().lines().collect();
    assert_eq!(lines[0], "function greet changed");
    assert!(
        lines[1].starts_with("flow greeting unchanged: version "),
        "{lines:?}"
    );
    let ran = target.run(&["run", "greeting", "--data", "{\"n\": 2}", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let functions = target.functions().await;
    let greet = functions.iter().find(|it| it["name"] == "greet").unwrap();
    assert_eq!(greet["envVars"], json!({ "from": "deploy" }));
}

/// Runs `turlough deploy` against a gateway that must not be asked.
fn refused_unasked(arguments: &[&str]) -> Ended {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let gateway = format!("http://{}", listener.local_addr().unwrap());
    let refused = ended(turlough(
        &[&["deploy", "--gateway", &gateway], arguments].concat(),
    ));
    assert!(
        listener.accept().is_err(),
        "the gateway was asked: {refused:?}"
    );
    assert_eq!((refused.code, refused.text()), (Some(2), ""), "{refused:?}");
    refused
}

#[test]
fn nothing_is_asked_of_a_gateway_where_a_file_is_wrong() {
    let check = |file: &str, text: &str, part: &str| {
        let folder = pipeline();
        write(folder.path(), file, text);
        let refused = refused_unasked(&[path_of(&folder)]);
        for part in [part, "nothing was deployed: 1 problem"] {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
    };
    let bad = "flow: bad\nnodes:\n  a: { pass: '}' }\n";
    check("flows/bad.yaml", bad, "flows/bad.yaml:3: ");
    let same = "flow: greeting\nnodes: { a: { pass: . } }\n";
    check("flows/same.yaml", same, "has a flow of that name too");
    for (entry, part) in [
        ("hander: ./greet", "stack.yaml:4: unknown field `hander`"),
        ("handler: ./none, image: a", "none` does not exist"),
        ("handler: ./greet", "names no image"),
        ("handler: ./greet, image: '${NOT_SET}'", "without quotes"),
    ] {
        check("stack.yaml", &stack(&format!("  a: {{ {entry} }}\n")), part);
    }
}

#[test]
fn nothing_is_asked_of_a_gateway_where_an_argument_is_wrong() {
    let folder = pipeline();
    let empty = tempfile::tempdir().unwrap();
    for (arguments, part) in [
        (
            &[path_of(&folder), "--only", "nobody"][..],
            "there is greet, greeting",
        ),
        (
            &[path_of(&folder), "--namespace", "No"],
            "is not a function or namespace name",
        ),
        (&["/nowhere/at/all"], "is no folder"),
        (&[path_of(&empty)], "no stack.yaml and no flow"),
    ] {
        let refused = refused_unasked(arguments);
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
}

#[tokio::test]
async fn nothing_is_changed_where_the_gateway_lacks_what_is_needed() {
    let target = Target::start();
    let before = target.names().await;
    let folder = pipeline();
    let check = |more: &[&str], code: i32, part: &str| {
        let refused = target.deploy(path_of(&folder), more);
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.stderr.contains(part), "{refused:?}");
    };
    check(&["-n", "team"], 2, "there is no namespace `team`");
    check(&["--function", "other"], 2, "no flow-function `other`");
    check(&["--username", "eve"], 1, "refuses user `eve`");
    check(
        &["--gateway", "http://127.0.0.1:1"],
        1,
        "cannot ask http://127.0.0.1:1/system/functions",
    );
    let secret = GREET.replace("    environment", "    secrets: [api-key]\n    environment");
    write(folder.path(), "stack.yaml", &stack(&secret));
    check(
        &[],
        2,
        "there is no secret api-key in namespace openfaas-fn",
    );
    assert_eq!(target.names().await, before);
}

#[tokio::test]
async fn what_came_to_pass_and_what_did_not_is_told_and_the_rest_is_done_by_the_same_command() {
    let target = Target::start();
    let folder = pipeline();
    let unknown = "  other: { handler: ./greet, image: nobody/knows }\n";
    write(
        folder.path(),
        "stack.yaml",
        &stack(&format!("{GREET}{unknown}")),
    );
    let failed = target.deploy(path_of(&folder), &[]);
    assert_eq!(
        (failed.code, failed.text()),
        (Some(2), "function greet created\n"),
        "{failed:?}"
    );
    for part in [
        "not deployed: function other, flow greeting",
        "the same command again is safe",
        "cannot deploy function other: ",
        "nobody/knows",
    ] {
        assert!(failed.stderr.contains(part), "{part}: {failed:?}");
    }
    let told = target
        .deploy(path_of(&folder), &["--output", "json"])
        .json();
    assert_eq!(told["functions"][0]["deploy"], "changed");
    assert_eq!(told["functions"][1]["deploy"], "not deployed");
    assert_eq!(told["flows"][0]["put"], "not put");
    assert!(
        told["error"].as_str().unwrap().contains("nobody/knows"),
        "{told}"
    );

    let named = unknown.replace(
        "image",
        "annotations: { turlough.process: python3 handler.py }, image",
    );
    write(
        folder.path(),
        "stack.yaml",
        &stack(&format!("{GREET}{named}")),
    );
    let done = target.deployed(path_of(&folder), &[]);
    assert_eq!(done["functions"][1]["deploy"], "created");
    assert_eq!(done["flows"][0]["put"], "created");
}

#[tokio::test]
async fn only_what_is_named_is_deployed() {
    let target = Target::start();
    let folder = pipeline();
    let only = target.deployed(path_of(&folder), &["--only", "greeting"]);
    assert_eq!(only["functions"], json!([]));
    assert_eq!(only["flows"][0]["flow"], "greeting");
    assert!(!target.names().await.contains(&"greet".to_owned()));
    let only = target.deployed(path_of(&folder), &["--only", "greet"]);
    assert_eq!(only["functions"][0]["deploy"], "created");
    assert_eq!(only["flows"], json!([]));
}

#[tokio::test]
async fn flow_is_put_to_the_replica_that_takes_the_place_of_another() {
    let target = Target::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(
        path,
        "orders/flows/order.yaml",
        "flow: order\nnodes: { a: { pass: . } }\n",
    );
    std::fs::copy(functions().join("flows.py"), path.join("orders/flows.py")).unwrap();
    let with = |late: &str| {
        let entry = format!(
            "  orders:\n    lang: yaml-flow\n    handler: ./orders\n    environment: {{ late: {late} }}\n    \
             labels: {{ turlough.flow-function: true }}\n    annotations: {{ turlough.process: python3 flows.py }}\n"
        );
        write(path, "stack.yaml", &stack(&entry));
    };
    let replica = async || target.dev.get("/function/orders/flows").await;
    with("0");
    let first = target.deployed(path_of(&folder), &[]);
    assert_eq!(first["flows"][0]["function"], "orders");
    let before = replica().await;
    assert_eq!(before["flows"][0]["name"], "order");
    with("1.5");
    target.deployed(path_of(&folder), &[]);
    let after = replica().await;
    assert_ne!(after["replica"], before["replica"]);
    assert_eq!(after["flows"][0]["name"], "order");
}

#[tokio::test]
async fn function_that_never_serves_is_waited_for_no_longer_than_was_said() {
    let target = Target::start();
    let folder = pipeline();
    let entry = GREET.replace("python3 handler.py", "sleep 1000");
    write(folder.path(), "stack.yaml", &stack(&entry));
    let waited = target.deploy(path_of(&folder), &["--wait", "--timeout", "1s"]);
    assert_eq!(waited.code, Some(4), "{waited:?}");
    let part = "function greet is not ready after 1s: it has no replica that answers";
    assert!(waited.stderr.contains(part), "{waited:?}");
    assert!(
        waited.stderr.contains("not deployed: flow greeting"),
        "{waited:?}"
    );
}

/// Runs git in a folder, as somebody who has no settings.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args([
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "init.defaultBranch=main",
    ]);
    let output = command
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn repository_is_deployed_at_a_branch_a_tag_or_a_commit() {
    let target = Target::start();
    let repository = tempfile::tempdir().unwrap();
    let path = repository.path();
    git(path, &["init", "--quiet"]);
    let commit = |text: &str| {
        write(
            path,
            "flows/said.yaml",
            &format!("flow: said\nnodes: {{ a: {{ pass: '\"{text}\"' }} }}\n"),
        );
        git(path, &["add", "."]);
        git(path, &["commit", "--quiet", "-m", text]);
        git(path, &["rev-parse", "HEAD"])
    };
    let first = commit("first");
    commit("second");
    git(path, &["tag", "v2"]);
    git(path, &["checkout", "--quiet", "-b", "topic"]);
    commit("third");
    git(path, &["checkout", "--quiet", "main"]);
    let url = format!("file://{}", path.display());
    for (reference, said) in [
        (format!("#{first}"), "\"first\""),
        ("#v2".to_owned(), "\"second\""),
        ("#topic".to_owned(), "\"third\""),
        (String::new(), "\"second\""),
    ] {
        target.deployed(&format!("{url}{reference}"), &[]);
        let ran = target.run(&["run", "said", "--data", "null", "--quiet"]);
        assert_eq!(ran.text(), said, "{reference}: {ran:?}");
    }
    let absent = target.deploy(&format!("{url}#nowhere"), &[]);
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert!(absent.stderr.contains("#nowhere: "), "{absent:?}");
    assert!(
        absent.stderr.contains("is `nowhere` a branch"),
        "{absent:?}"
    );
    let other = target.deploy("ext::sh -c true://x", &[]);
    assert_eq!(other.code, Some(2), "{other:?}");
}

#[tokio::test]
async fn what_was_fetched_is_gone_when_somebody_interrupts() {
    let target = Target::start();
    let repository = pipeline();
    let path = repository.path();
    let entry = GREET.replace("python3 handler.py", "sleep 1000");
    write(path, "stack.yaml", &stack(&entry));
    git(path, &["init", "--quiet"]);
    git(path, &["add", "."]);
    git(path, &["commit", "--quiet", "-m", "all"]);
    let temporary = tempfile::tempdir().unwrap();
    let url = format!("file://{}", path.display());
    let mut command = target.dev.command(&["deploy", &url, "--wait"]);
    command
        .env("TURLOUGH_GATEWAY_PASSWORD_FILE", &target.password)
        .env("TMPDIR", temporary.path());
    let running = Running::start(command);
    running.line("fetching file://");
    let deployed = async || target.names().await.contains(&"greet".to_owned());
    eventually("deployed", async || deployed().await.then_some(())).await;
    running.signal(Signal::INT);
    let (code, stderr) = running.wait();
    assert_eq!(code, Some(130), "{stderr}");
    let part = "interrupted; what was being sent just then may have been done";
    assert!(stderr.contains(part), "{stderr}");
    // Whether the function was is not always known by then.
    let left = stderr.lines().find(|it| it.starts_with("not deployed: "));
    assert!(
        left.is_some_and(|it| it.ends_with("flow greeting")),
        "{stderr}"
    );
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_mistake_by_itself_is_warned_of() {
    let target = Target::start();
    let folder = pipeline();
    let unlabelled = GREET.replace("    handler", "    lang: rust-flow\n    handler");
    write(folder.path(), "stack.yaml", &stack(&unlabelled));
    let nobody = "flow: later\nnodes: { a: { apply: nobody } }\n";
    write(folder.path(), "flows/later.yaml", nobody);
    let planned = target.deploy(path_of(&folder), &["--dry-run"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    for part in [
        "warning: function greet is a flow-function by its lang, and has no label",
        "flow later applies function `nobody`, which neither this deployment nor the gateway has",
    ] {
        assert!(planned.stderr.contains(part), "{part}: {planned:?}");
    }
    assert!(
        !planned.stderr.contains("applies function `greet`"),
        "{planned:?}"
    );
}
