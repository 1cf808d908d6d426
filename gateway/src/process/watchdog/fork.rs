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
use http::{HeaderMap, StatusCode, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::WHOLE_BYTES_MAX;
use crate::functions::{Function, FunctionName, duration};
use crate::process::child::Child;
use crate::process::group::ProcessGroup;
use crate::process::log::FunctionLog;
use crate::process::running::{command, mark};
use crate::process::strays::Strays;
use crate::process::{ProcessSpec, Shared};
use crate::timeout::timeout_of;
use crate::usage::{Cost, LastLook, Metered};

/// Read at once of what a process writes.
const READ_BYTES: usize = 16 << 10;

/// The longest `exec_timeout` that is heeded: a year, which clocks can still count.
const EXEC_TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug)]
pub(super) struct Forker {
    pub(super) function: Arc<Function>,
    pub(super) process: Arc<ProcessSpec>,
    pub(super) log: FunctionLog,
    pub(super) shared: Arc<Shared>,
    pub(super) room: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

/// The process of a request, killed with its group and whatever it started when it is dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    group: Option<ProcessGroup>,
    metered: Option<Metered>,
    mark: String,
    strays: Arc<Strays>,
    room: Option<OwnedSemaphorePermit>,
}

/// What ends a process before it ends by itself.
#[derive(Debug)]
struct Limits {
    until: Instant,
    stop: CancellationToken,
    /// A body that broke off comes with the process's input, which stays open as long as it lives.
    broken: oneshot::Receiver<(ChildStdin, axum::Error)>,
}

/// An answer on its way. Dropped, it has its process killed.
#[derive(Debug)]
struct Work {
    name: FunctionName,
    output: ChildStdout,
    /// Cancelled once all output is read.
    is_read: CancellationToken,
    end: oneshot::Receiver<End>,
    /// Known once the process has ended.
    cost: Option<Cost>,
}

/// How a process ended, and what it cost where that is known.
#[derive(Debug)]
struct End {
    status: Result<ExitStatus, Failure>,
    cost: Option<Cost>,
}

/// What a process wrote, as far as it is held.
#[derive(Debug)]
enum Held {
    All(Bytes),
    /// There is more.
    Begin(Bytes),
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
    #[error("the request's body broke off: {0}")]
    Request(axum::Error),
    #[error("the process's output cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Forker {
    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Response {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response();
        };
        let wants_cost = Cost::is_wanted(request.headers());
        let work = match self.begin(request, room).await {
            Ok(work) => work,
            Err(error) => {
                warn!(function = %self.function.name(), %error, "cannot start a process for a request");
                let text = format!("cannot run `{}`: {error}\n", self.process.command_line());
                return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
            }
        };
        let kind = self.process.environment.get("content_type").cloned();
        let (answer, cost) = work.answer(kind).await;
        let mut response = match answer {
            Ok(response) => response,
            Err(failure) => {
                warn!(function = %self.function.name(), error = %failure, "function's process failed");
                let status = match failure {
                    Failure::TooLong => StatusCode::GATEWAY_TIMEOUT,
                    Failure::Request(_) => StatusCode::BAD_REQUEST,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, format!("{failure}\n")).into_response()
            }
        };
        if let Some(cost) = cost.filter(|_| wants_cost) {
            cost.put_on(response.headers_mut());
        }
        response
    }

    async fn begin(&self, request: Request, room: OwnedSemaphorePermit) -> io::Result<Work> {
        let (head, body) = request.into_parts();
        let mark = mark();
        let name = self.function.name();
        let mut command = command(name, &self.process, &self.shared, &mark);
        command.stdin(Stdio::piped());
        for (name, value) in of_request(&head) {
            command.env(name, value);
        }
        let mut child = self.shared.spawner.spawn(command).await?;
        let pid = child.id().unwrap_or_default();
        let group = ProcessGroup::led_by(pid);
        let none = || io::Error::other("it has no output");
        let (input, output) = (child.input(), child.output().ok_or_else(none)?);
        let said = self
            .log
            .clone()
            .follow(format!("{}-{pid}", name.name()), None, child.errors());
        tokio::spawn(said);
        let meter = &self.shared.meter;
        let metered = meter.begin(self.function.account(), pid, child.forked_bytes());
        let process = Process {
            child,
            group,
            metered,
            mark,
            strays: Arc::clone(&self.shared.strays),
            room: Some(room),
        };
        let (breaks, broken) = oneshot::channel();
        let limits = Limits {
            until: Instant::now() + self.time(&head.headers),
            stop: self.stop.clone(),
            broken,
        };
        // It ends with the body, or its connection.
        tokio::spawn(feed(input, body, breaks));
        let is_read = CancellationToken::new();
        let (tell, end) = oneshot::channel();
        tokio::spawn(process.guard(limits, is_read.clone(), tell));
        Ok(Work {
            name: name.clone(),
            output,
            is_read,
            end,
            cost: None,
        })
    }

    /// How long a process may take: as long as a call, unless the function says otherwise, and no longer
    /// than its caller waits.
    fn time(&self, headers: &HeaderMap) -> Duration {
        let waits = timeout_of(headers).ok().flatten();
        let said = self.process.environment.get("exec_timeout");
        let said = said.and_then(|text| duration(text));
        said.filter(|limit| !limit.is_zero())
            .unwrap_or(self.shared.config.call_timeout)
            .min(waits.unwrap_or(EXEC_TIMEOUT_MAX))
            .min(EXEC_TIMEOUT_MAX)
    }
}

impl Process {
    /// Sees to its end, whoever reads its answer, and tells how it ended.
    async fn guard(
        mut self,
        mut limits: Limits,
        is_read: CancellationToken,
        mut tell: oneshot::Sender<End>,
    ) {
        let ended = async {
            // What it started may write on after it has ended.
            is_read.cancelled().await;
            self.child.wait().await
        };
        let (input, status) = tokio::select! {
            ended = ended => (None, ended.map_err(Failure::Io)),
            (input, failure) = limits.reached() => (input, Err(failure)),
            () = tell.closed() => (None, Err(Failure::Stopped)),
        };
        if status.is_ok() {
            let cost = self.account(LastLook::default());
            drop(self);
            // Nobody listening means that the caller has gone.
            let _ = tell.send(End { status, cost });
            return;
        }
        let rest = match &self.metered {
            Some(metered) => metered.last_look().await,
            None => LastLook::default(),
        };
        // Before its input, also where that still waits among the limits: its end would pass for the body's.
        self.kill();
        drop(input);
        drop(self.room.take());
        // As above. What it cost is not awaited.
        let _ = tell.send(End { status, cost: None });
        // An error means that there is nothing to wait for.
        drop(self.child.wait().await);
        self.account(rest);
    }

    /// Counts what it took for its function.
    fn account(&mut self, rest: LastLook) -> Option<Cost> {
        let metered = self.metered.take()?;
        metered.ended(self.child.taken(), rest)
    }

    fn kill(&mut self) {
        self.group = None;
        self.child.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.strays.note(std::mem::take(&mut self.mark));
    }
}

impl Limits {
    async fn reached(&mut self) -> (Option<ChildStdin>, Failure) {
        tokio::select! {
            () = self.stop.cancelled() => (None, Failure::Stopped),
            () = sleep_until(self.until) => (None, Failure::TooLong),
            Ok((input, error)) = &mut self.broken => (Some(input), Failure::Request(error)),
        }
    }
}

impl Work {
    /// Its answer, and what it cost where that is known before the answer is sent.
    async fn answer(mut self, kind: Option<String>) -> (Result<Response, Failure>, Option<Cost>) {
        let (body, cost) = match self.hold().await {
            Ok(Held::All(bytes)) => (Body::from(bytes), self.cost),
            Ok(Held::Begin(bytes)) => {
                let first = stream::once(async move { Ok(bytes) });
                let rest = stream::unfold(Some(self), Self::rest);
                (Body::from_stream(first.chain(rest)), None)
            }
            Err(failure) => return (Err(failure), self.cost),
        };
        let mut response = Response::new(body);
        if let Some(kind) = kind.and_then(|kind| kind.parse().ok()) {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        (Ok(response), cost)
    }

    async fn hold(&mut self) -> Result<Held, Failure> {
        let mut whole = BytesMut::new();
        while whole.len() < WHOLE_BYTES_MAX {
            match self.next().await? {
                Some(bytes) => whole.extend_from_slice(&bytes),
                None => {
                    self.ended().await?;
                    return Ok(Held::All(whole.freeze()));
                }
            }
        }
        Ok(Held::Begin(whole.freeze()))
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
        let read = tokio::select! {
            read = self.output.read_buf(&mut bytes) => read?,
            end = &mut self.end => return Err(self.failed(end)),
        };
        Ok((read > 0).then(|| bytes.freeze()))
    }

    async fn ended(&mut self) -> Result<(), Failure> {
        self.is_read.cancel();
        let end = (&mut self.end).await;
        match end {
            Ok(End {
                status: Ok(status),
                cost,
            }) if status.success() => {
                self.cost = cost;
                Ok(())
            }
            end => Err(self.failed(end)),
        }
    }

    fn failed(&mut self, end: Result<End, oneshot::error::RecvError>) -> Failure {
        let Ok(end) = end else {
            return Failure::Stopped;
        };
        self.cost = end.cost;
        end.status.map_or_else(|failure| failure, Failure::Ended)
    }
}

/// Gives a process the body, as far as it reads it.
async fn feed(
    input: Option<ChildStdin>,
    body: Body,
    breaks: oneshot::Sender<(ChildStdin, axum::Error)>,
) {
    let Some(mut input) = input else { return };
    let mut parts = body.into_data_stream();
    let mut is_read = true;
    while let Some(part) = parts.next().await {
        match part {
            // A process need not read all of its input, but a caller may have to send all of it before
            // it hears the answer.
            Ok(part) => is_read = is_read && input.write_all(&part).await.is_ok(),
            Err(error) => {
                // Nobody listening means that the process has ended.
                let _ = breaks.send((input, error));
                return;
            }
        }
    }
}

/// The request, as the classic watchdog tells of it: each header, as `Http_X_Call_Id`, by its first
/// value, and `Http_Method`, `Http_Path` and `Http_Query`, which come last, so that no header is one.
fn of_request(head: &request::Parts) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for name in head.headers.keys() {
        // Programs take HTTP_PROXY for the proxy that they are to use.
        let value = head.headers.get(name).filter(|_| name != "proxy");
        if let Some(value) = value.and_then(|value| value.to_str().ok()) {
            variables.push((format!("Http_{}", of_header(name)), value.to_owned()));
        }
    }
    let query = head.uri.query().unwrap_or_default();
    variables.extend([
        ("Http_Method".to_owned(), head.method.to_string()),
        ("Http_Path".to_owned(), head.uri.path().to_owned()),
        ("Http_Query".to_owned(), query.to_owned()),
    ]);
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
