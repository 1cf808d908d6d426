//! A process for one request.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{StatusCode, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::WHOLE_BYTES_MAX;
use crate::functions::{FunctionName, duration};
use crate::process::group::ProcessGroup;
use crate::process::log::FunctionLog;
use crate::process::running::{command, mark};
use crate::process::strays::Strays;
use crate::process::{ProcessSpec, Shared};

/// Read at once of what a process writes.
const READ_BYTES: usize = 16 << 10;

/// How long a process may take that says nothing of it by `exec_timeout`; far more than a call may.
const EXEC_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Forker {
    pub(super) name: FunctionName,
    pub(super) process: Arc<ProcessSpec>,
    pub(super) log: FunctionLog,
    pub(super) shared: Arc<Shared>,
    pub(super) room: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

/// A process, killed with its group and whatever it started when it is dropped.
#[derive(Debug)]
struct Work {
    name: FunctionName,
    child: Child,
    _group: Option<ProcessGroup>,
    mark: String,
    strays: Arc<Strays>,
    output: ChildStdout,
    until: Instant,
    stop: CancellationToken,
    _room: OwnedSemaphorePermit,
}

/// Why a process gave no whole answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the process ended with {0}")]
    Ended(ExitStatus),
    #[error("the process took longer than exec_timeout and was killed")]
    TooLong,
    #[error("the function is being stopped")]
    Stopped,
    #[error("the process's output cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Forker {
    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Response {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response();
        };
        let work = match self.begin(request, room).await {
            Ok(work) => work,
            Err(error) => {
                warn!(function = %self.name, %error, "cannot start a process for a request");
                let text = format!("cannot run `{}`: {error}\n", self.process.command_line());
                return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
            }
        };
        let kind = self.process.environment.get("content_type").cloned();
        match work.answer(kind).await {
            Ok(response) => response,
            Err(failure) => {
                warn!(function = %self.name, error = %failure, "function's process failed");
                let status = match failure {
                    Failure::TooLong => StatusCode::GATEWAY_TIMEOUT,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, format!("{failure}\n")).into_response()
            }
        }
    }

    async fn begin(&self, request: Request, room: OwnedSemaphorePermit) -> io::Result<Work> {
        let (head, body) = request.into_parts();
        let mark = mark();
        let mut command = command(&self.name, &self.process, &self.shared, &mark);
        command.stdin(Stdio::piped());
        for (name, value) in of_request(&head) {
            command.env(name, value);
        }
        let limit = self.process.environment.get("exec_timeout");
        let limit = limit.and_then(|text| duration(text));
        let mut child = self.shared.spawner.spawn(command).await?;
        let pid = child.id().unwrap_or_default();
        let group = ProcessGroup::led_by(pid);
        let none = || io::Error::other("it has no output");
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or_else(none)?);
        let said = self.log.clone().follow(
            format!("{}-{pid}", self.name.name()),
            None,
            child.stderr.take(),
        );
        tokio::spawn(said);
        // It ends with the body, or its connection.
        tokio::spawn(feed(input, body));
        Ok(Work {
            name: self.name.clone(),
            child,
            _group: group,
            mark,
            strays: Arc::clone(&self.shared.strays),
            output,
            until: Instant::now()
                + limit
                    .filter(|limit| !limit.is_zero())
                    .unwrap_or(EXEC_TIMEOUT),
            stop: self.stop.clone(),
            _room: room,
        })
    }
}

impl Work {
    async fn answer(mut self, kind: Option<String>) -> Result<Response, Failure> {
        let mut whole = BytesMut::new();
        let mut is_over = false;
        while !is_over && whole.len() < WHOLE_BYTES_MAX {
            match self.next().await? {
                Some(bytes) => whole.extend_from_slice(&bytes),
                None => is_over = true,
            }
        }
        let body = if is_over {
            self.ended().await?;
            Body::from(whole.freeze())
        } else {
            let first = stream::once(async move { Ok(whole.freeze()) });
            Body::from_stream(first.chain(stream::unfold(Some(self), Self::rest)))
        };
        let mut response = Response::new(body);
        if let Some(kind) = kind.and_then(|kind| kind.parse().ok()) {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        Ok(response)
    }

    /// What comes after the answer has begun; an error breaks it off.
    async fn rest(work: Option<Self>) -> Option<(Result<Bytes, Failure>, Option<Self>)> {
        let mut work = work?;
        let failed = match work.next().await {
            Ok(Some(bytes)) => return Some((Ok(bytes), Some(work))),
            Ok(None) => work.ended().await.err()?,
            Err(failure) => failure,
        };
        warn!(function = %work.name, error = %failed, "function's process failed, its answer is broken off");
        Some((Err(failed), None))
    }

    /// What it writes next; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        let read = timeout_at(self.until, self.output.read_buf(&mut bytes));
        let read = tokio::select! {
            read = read => read,
            () = self.stop.cancelled() => return Err(Failure::Stopped),
        };
        let read = read.map_err(|_| Failure::TooLong)??;
        Ok((read > 0).then(|| bytes.freeze()))
    }

    async fn ended(&mut self) -> Result<(), Failure> {
        let status = timeout_at(self.until, self.child.wait()).await;
        let status = status.map_err(|_| Failure::TooLong)??;
        if status.success() {
            return Ok(());
        }
        Err(Failure::Ended(status))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.strays.note(std::mem::take(&mut self.mark));
    }
}

/// Gives a process the body, as far as it reads it.
async fn feed(input: Option<ChildStdin>, body: Body) {
    let Some(mut input) = input else { return };
    let mut parts = body.into_data_stream();
    let mut is_read = true;
    while let Some(Ok(part)) = parts.next().await {
        // A process need not read all of its input, but a caller may have to send all of it before it
        // hears the answer.
        is_read = is_read && input.write_all(&part).await.is_ok();
    }
}

/// The request, as the classic watchdog tells of it: `Http_Method`, `Http_Path`, `Http_Query`, and each
/// header, as `Http_X_Call_Id`.
fn of_request(head: &request::Parts) -> Vec<(String, String)> {
    let mut variables = vec![
        ("Http_Method".to_owned(), head.method.to_string()),
        ("Http_Path".to_owned(), head.uri.path().to_owned()),
        (
            "Http_Query".to_owned(),
            head.uri.query().unwrap_or_default().to_owned(),
        ),
    ];
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            variables.push((format!("Http_{}", of_header(name)), value.to_owned()));
        }
    }
    variables
}

/// `x-call-id` as `X_Call_Id`.
fn of_header(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect::<Vec<_>>().join("_")
}
