//! A running `turlough dev`, commands against it, and a folder with a stack of the test function.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value as Json;

/// Longer than anything takes on a busy machine; a test that waits for it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(10);

/// What a developer's shell may have set, and tests must not see.
const SETTINGS: [&str; 21] = [
    "TURLOUGH_GATEWAY_URL",
    "TURLOUGH_GATEWAY_USER",
    "TURLOUGH_GATEWAY_PASSWORD",
    "TURLOUGH_GATEWAY_PASSWORD_FILE",
    "TURLOUGH_BASIC_AUTH",
    "TURLOUGH_ANYBODY_DEPLOYS",
    "TURLOUGH_GATEWAY_LISTEN",
    "TURLOUGH_METRICS_LISTEN",
    "TURLOUGH_TOKEN",
    "TURLOUGH_TOKEN_FILE",
    "TURLOUGH_LISTEN",
    "TURLOUGH_LOG_DIR",
    "TURLOUGH_DRAIN",
    "TURLOUGH_SECRETS",
    "TURLOUGH_DATA",
    "TURLOUGH_HTTP_ALLOW",
    "TURLOUGH_KEEP_FAILED",
    "TURLOUGH_SYNC_WAIT",
    "OPENFAAS_URL",
    "RUST_LOG",
    "port",
];

pub(crate) struct Dev {
    child: Child,
    ready: Json,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    stderr: Receiver<String>,
}

pub(crate) fn turlough(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turlough"));
    for setting in SETTINGS {
        command.env_remove(setting);
    }
    // Nobody is logged in there.
    command.env("OPENFAAS_CONFIG", env!("CARGO_MANIFEST_DIR"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub(crate) fn ended(mut command: Command) -> Ended {
    let mut child = command.spawn().unwrap();
    let stdout = all(child.stdout.take().unwrap());
    let stderr = all(child.stderr.take().unwrap());
    Ended {
        code: wait(&mut child).code(),
        stdout: stdout.join().unwrap(),
        stderr: text(stderr),
    }
}

pub(crate) fn fizz_buzz() -> PathBuf {
    example("fizz-buzz")
}

/// The stack file of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etl-examples");
    examples.join(name).join("stack.yaml")
}

/// The probe folder, with these flows besides.
pub(crate) fn folder_with(flows: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = probe_folder();
    for (name, nodes) in flows {
        put_file(&folder, name, nodes);
    }
    folder
}

/// Writes a flow of this name into a folder's flows.
pub(crate) fn put_file(folder: &tempfile::TempDir, name: &str, nodes: &str) -> PathBuf {
    let file = folder.path().join("flows").join(format!("{name}.yaml"));
    std::fs::write(&file, format!("flow: {name}\ntimeout: 60s\n{nodes}\n")).unwrap();
    file
}

/// A folder with a stack of one function `probe`, whose paths are those of `handler.py`, and a flow
/// for each of them.
pub(crate) fn probe_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stack.yaml"), stack(&[("probe", "")])).unwrap();
    let flows = folder.path().join("flows");
    std::fs::create_dir(&flows).unwrap();
    for path in ["echo", "bytes", "hang", "fail"] {
        let flow = format!(
            "flow: {path}\ntimeout: 60s\nnodes:\n  only: {{ apply: probe, path: /{path} }}\n"
        );
        std::fs::write(flows.join(format!("{path}.yaml")), flow).unwrap();
    }
    let short = "flow: short\ntimeout: 200ms\nnodes:\n  only: { apply: probe, path: /hang }\n";
    std::fs::write(flows.join("short.yaml"), short).unwrap();
    folder
}

/// A stack file of the test function under several names, each with more lines of YAML.
pub(crate) fn stack(functions: &[(&str, &str)]) -> String {
    let handler = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions");
    let mut text = "version: 1.0\nprovider: { name: openfaas }\nfunctions:\n".to_owned();
    for (name, more) in functions {
        text.push_str(&format!(
            "  {name}:\n    handler: {}\n    annotations:\n      turlough.process: python3 handler.py\n{more}",
            handler.display()
        ));
    }
    text
}

impl Dev {
    /// Starts `turlough dev` on free ports, and waits until it is ready.
    pub(crate) fn start(stack: &Path, settings: &[(&str, &str)]) -> Self {
        Self::with(stack, settings, &[])
    }

    pub(crate) fn with(stack: &Path, settings: &[(&str, &str)], more: &[&str]) -> Self {
        let mut command = dev(stack);
        command.args(more).args(["--output", "json"]);
        command.envs(settings.iter().copied());
        let mut child = command.spawn().unwrap();
        let stderr = all(child.stderr.take().unwrap());
        let lines = lines(child.stdout.take().unwrap());
        let Ok(ready) = lines.recv_timeout(LONG) else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("dev was never ready:\n{}", text(stderr));
        };
        Self {
            child,
            ready: serde_json::from_str(&ready).unwrap(),
            stderr: Some(stderr),
        }
    }

    /// What it said when it was ready.
    pub(crate) fn ready(&self) -> &Json {
        &self.ready
    }

    pub(crate) fn gateway(&self) -> &str {
        self.ready["gateway"].as_str().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway())
    }

    pub(crate) fn function_pids(&self) -> Vec<i64> {
        let functions = self.ready["functions"].as_array().unwrap();
        functions
            .iter()
            .map(|f| f["pid"].as_i64().unwrap())
            .collect()
    }

    /// A command against this platform.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = turlough(arguments);
        command.env("TURLOUGH_GATEWAY_URL", self.gateway());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments))
    }

    /// Starts a request and gives its id.
    pub(crate) fn start_request(&self, flow: &str) -> String {
        self.start_with(flow, &[])
    }

    pub(crate) fn start_with(&self, flow: &str, more: &[&str]) -> String {
        let started = self.run(&[&["run", flow, "--async", "--quiet"], more].concat());
        assert_eq!(started.code, Some(0), "{started:?}");
        started.text().trim().to_owned()
    }

    /// What `turlough request` tells of a request.
    pub(crate) fn request(&self, id: &str) -> Json {
        self.run(&["request", id, "--output", "json"]).json()
    }

    /// Waits until a request stands so, and gives what is told of it.
    pub(crate) async fn until_status(&self, id: &str, status: &str) -> Json {
        let mut last = Json::Null;
        let begun = Instant::now();
        while begun.elapsed() < LONG {
            last = self.request(id);
            if last["status"] == status {
                return last;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("request {id} was never {status}: {last}")
    }

    /// A POST to a function, by its path.
    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let client = reqwest::Client::new();
        let call = client.post(self.url(path)).body(body.to_owned());
        let answer = call
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A GET of JSON, by its path.
    pub(crate) async fn get(&self, path: &str) -> Json {
        let answer = reqwest::get(self.url(path)).await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Json::String(text))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Waits for its end; gives its status and what it wrote to stderr.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child);
        (status, text(self.stderr.take().unwrap()))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // The kernel ends the functions with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// The next line on stderr that begins so.
    pub(crate) fn line(&self, beginning: &str) -> String {
        loop {
            let line = self.stderr.recv_timeout(LONG);
            let line = line.unwrap_or_else(|_| panic!("no line begins with {beginning:?}"));
            if line.starts_with(beginning) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let code = wait(&mut self.child).code();
        (code, self.stderr.iter().collect::<Vec<_>>().join("\n"))
    }
}

pub(crate) fn dev(stack: &Path) -> Command {
    let mut command = turlough(&["dev", "--gateway-listen", "127.0.0.1:0"]);
    command
        .args(["--metrics-listen", "127.0.0.1:0", "-f"])
        .arg(stack);
    command
}

pub(crate) fn exists(pid: i64) -> bool {
    test_kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()).is_ok()
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < LONG, "never happened: {what}");
        tokio::time::sleep(POLL).await;
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > LONG {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("did not end in {LONG:?}");
        }
        std::thread::sleep(POLL);
    }
}

/// Reads to the end beside what else goes on, so that nobody waits for a full pipe.
fn all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn text(read: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8(read.join().unwrap()).unwrap()
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    // More lines than a test makes wait in the pipe.
    let (to, lines) = mpsc::sync_channel(1000);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            if line.is_err() || to.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}
