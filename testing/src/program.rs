//! A program of ours as a process: what it logs, what it answers, how it ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;

/// How long something may take that a test waits for: machines may be slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer may take that must not hang.
const ANSWER: Duration = Duration::from_secs(20);
/// How long an answer may take that comes with the end of a request.
const END: Duration = Duration::from_secs(90);

/// A process that listens on a port of its own, and does not outlive its test.
#[derive(Debug)]
pub struct Program {
    child: Child,
    url: String,
    log: Arc<Mutex<String>>,
    http: reqwest::Client,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body, where it is JSON; otherwise null.
    pub json: Json,
    /// What it is, and after how many seconds to come again, as the headers say.
    pub media: String,
    /// After how many seconds to come again.
    pub retry_after: Option<u64>,
    /// The request that it is about, as the headers say.
    pub request: String,
}

impl Program {
    /// Starts a command that listens on the port that its variable `port` says.
    #[must_use]
    pub fn start(command: &mut Command, port: u16) -> Self {
        let command = command.env("port", port.to_string()).env("NO_COLOR", "1");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                kept.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            log,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it wrote a line that holds all of these.
    pub async fn logged(&self, parts: &[&str]) {
        until(&format!("a line of the log says {parts:?}"), async || {
            let log = self.log();
            let mut lines = log.lines();
            let is_there = lines.any(|line| parts.iter().all(|part| line.contains(part)));
            is_there.then_some(())
        })
        .await;
    }

    /// Asks it for a path.
    pub async fn get(&self, path: &str) -> Option<Answer> {
        let call = self.http.get(format!("{}{path}", self.url));
        answer(call.timeout(ANSWER)).await
    }

    /// Posts to a path. It answers soon, whatever it answers.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        let call = self
            .http
            .post(format!("{}{path}", self.url))
            .body(body.to_owned());
        let answered = answer(call.timeout(ANSWER)).await;
        answered.unwrap_or_else(|| panic!("no answer to {path}: {}", self.log()))
    }

    /// Begins a request of a flow, and does not wait for its end; its id.
    pub async fn begin(&self, flow: &str, body: &str) -> String {
        let call = self.http.post(format!("{}/{flow}", self.url));
        let call = call.header("prefer", "respond-async").body(body.to_owned());
        let answered = answer(call.timeout(ANSWER)).await.unwrap();
        assert_eq!(answered.status, 202, "{answered:?}");
        answered.request
    }

    /// Begins a request of a flow; its answer comes when it comes.
    pub fn call(&self, flow: &str, body: &str) -> tokio::task::JoinHandle<Answer> {
        let call = self
            .http
            .post(format!("{}/{flow}", self.url))
            .body(body.to_owned());
        tokio::spawn(async move { answer(call.timeout(END)).await.unwrap() })
    }

    /// Waits until it is not ready for a reason that holds all of these, which it says as a problem,
    /// while it is healthy.
    pub async fn not_ready(&self, parts: &[&str]) {
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                last = self.get("/_/ready").await;
                let holds = |it: &Answer| parts.iter().all(|part| it.detail().contains(part));
                if last
                    .as_ref()
                    .is_some_and(|it| it.status == 503 && holds(it))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let is_found = found.await.is_ok();
        assert!(is_found, "{parts:?}: {last:?}\n{}", self.log());
        last.unwrap().assert_is_a_wait();
        let health = self.get("/_/health").await.unwrap();
        assert_eq!(health.status, 200, "{health:?}");
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                last = self.get("/_/ready").await;
                if last.as_ref().is_some_and(|it| it.status == 200) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let is_found = found.await.is_ok();
        assert!(is_found, "{last:?}\n{}", self.log());
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Signals it: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// How it ended, once it did by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        until("it ended", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Answer {
    /// What a problem document says.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.json["detail"].as_str().unwrap_or_default()
    }

    /// That it is a problem which is over some time: whoever asked is told when to come again.
    pub fn assert_is_a_wait(&self) {
        assert_eq!(self.status, 503, "{self:?}");
        assert_eq!(self.media, "application/problem+json", "{self:?}");
        assert!(self.retry_after.is_some(), "{self:?}");
    }
}

async fn answer(call: reqwest::RequestBuilder) -> Option<Answer> {
    let answer = call.send().await.ok()?;
    let header = |name: &str| {
        let value = answer.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let media = header("content-type").unwrap_or_default();
    let retry_after = header("retry-after").map(|text| text.parse().unwrap());
    let request = header("x-turlough-request-id").unwrap_or_default();
    let status = answer.status().as_u16();
    let text = answer.text().await.ok()?;
    Some(Answer {
        status,
        json: serde_json::from_str(&text).unwrap_or_default(),
        media,
        retry_after,
        request,
    })
}

/// Asks again until it is so.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let ask = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, ask).await;
    found.unwrap_or_else(|_| panic!("not within a minute: {what}"))
}

/// A port that nothing listens on.
#[must_use]
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
