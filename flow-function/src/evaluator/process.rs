//! A helper process as its parent sees it. Dropping one kills it.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use turlough_sdk::Value;

use super::helper::{ARGUMENT, ASKED};
use super::message::{self, Answer, MAGIC};

/// How long a program may take until it says that it is an evaluator.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a process that has closed its output may take to end.
const END: Duration = Duration::from_secs(1);
/// How much of what a dead helper said is told.
const QUOTE_BYTES_MAX: u64 = 300;
/// What of the environment an evaluation may depend on: time zones, and how the program is loaded.
const KEPT_VARIABLES: [&str; 3] = ["TZ", "TZDIR", "LD_LIBRARY_PATH"];

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    questions: ChildStdin,
    answers: ChildStdout,
}

/// Why a helper was not there.
#[derive(Debug)]
pub(super) enum StartError {
    /// The system gave no process.
    Spawn(io::Error),
    /// The program is none that evaluates.
    NoEvaluator(String),
}

/// How a helper ended when it should have answered.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) status: Option<ExitStatus>,
    pub(super) said: String,
}

impl Process {
    pub(super) async fn start(program: &Path, bytes_max: u64) -> Result<Self, StartError> {
        let mut command = Command::new(program);
        command
            .arg(ARGUMENT)
            .env_clear()
            .env(ASKED, bytes_max.to_string())
            .envs(
                KEPT_VARIABLES
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What a terminal sends to its foreground is not for the helpers: requests drain first.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(StartError::Spawn)?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(questions), Some(answers)) = pipes else {
            return Err(StartError::Spawn(io::ErrorKind::BrokenPipe.into()));
        };
        let mut process = Self {
            child,
            questions,
            answers,
        };
        match timeout(HANDSHAKE, process.handshake()).await {
            Ok(Ok(())) => Ok(process),
            Ok(Err(why)) => Err(StartError::NoEvaluator(why)),
            Err(_) => Err(StartError::NoEvaluator(format!(
                "said nothing within {HANDSHAKE:?}"
            ))),
        }
    }

    async fn handshake(&mut self) -> Result<(), String> {
        let mut magic = [0; MAGIC.len()];
        if self.answers.read_exact(&mut magic).await.is_err() {
            let death = self.death().await;
            let status = death
                .status
                .map_or_else(String::new, |status| format!(" ({status})"));
            let said = death.said.lines().next().unwrap_or_default();
            return Err(format!("ended at once{status}: {said:?}"));
        }
        if &magic == MAGIC {
            return Ok(());
        }
        Err(format!("began with {:?}", String::from_utf8_lossy(&magic)))
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it still runs, as far as one can tell.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a question with its values, and reads the answer with its output.
    pub(super) async fn ask(
        &mut self,
        head: &[u8],
        values: &[&Value],
        output_bytes_max: usize,
    ) -> io::Result<(Answer, Option<Value>)> {
        self.questions.write_all(head).await?;
        for value in values {
            self.questions.write_all(value.envelope()).await?;
        }
        self.questions.flush().await?;
        let mut length = [0; 4];
        self.answers.read_exact(&mut length).await?;
        let bytes = message::head_bytes(length).ok_or(io::ErrorKind::InvalidData)?;
        let mut head = vec![0; bytes];
        self.answers.read_exact(&mut head).await?;
        let answer = rmp_serde::from_slice(&head).map_err(io::Error::other)?;
        let Answer::Output { bytes } = answer else {
            return Ok((answer, None));
        };
        if bytes > output_bytes_max {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut envelope = vec![0; bytes];
        self.answers.read_exact(&mut envelope).await?;
        let value = message::value(envelope).map_err(io::Error::other)?;
        Ok((answer, Some(value)))
    }

    /// How it ended: killed, unless it has ended by itself.
    pub(super) async fn death(&mut self) -> Death {
        let ended = timeout(END, self.child.wait()).await;
        let status = ended.ok().and_then(Result::ok);
        self.kill().await;
        let mut said = Vec::new();
        if let Some(errors) = self.child.stderr.take() {
            drop(timeout(END, errors.take(QUOTE_BYTES_MAX).read_to_end(&mut said)).await);
        }
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Death { status, said }
    }

    /// Kills it, and waits until its memory is free.
    pub(super) async fn kill(&mut self) {
        drop(timeout(END, self.child.kill()).await);
    }
}
