//! A function's output: its last lines in memory, more of them in files that are bounded and turned
//! over, and all of it to tracing. Lines and their number are bounded, whatever a function writes.

mod file;
mod line;
mod lines;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{Mutex as AsyncMutex, broadcast, mpsc};
use tracing::{info, warn};

use super::StartError;
use crate::functions::FunctionName;
use file::LogFile;
pub(crate) use line::LogLine;
use lines::Lines;

/// Lines kept per function: with lines at their longest, 8 MiB.
const KEPT_LINES_MAX: usize = 1000;

/// Lines quoted in an error: a stack trace's useful end.
const QUOTED_LINES: usize = 20;

/// Read at once; a pipe holds 64 KiB.
const READ_BYTES: usize = 16 * 1024;

/// Lines that a reader who follows may be behind; those past it are counted, not kept.
const BEHIND_MAX: usize = 1024;

/// A cheap handle; the replicas of a function share it.
#[derive(Clone, Debug)]
pub(crate) struct FunctionLog {
    function: FunctionName,
    kept: Arc<Mutex<VecDeque<Arc<LogLine>>>>,
    /// Held while lines are written, kept and told of, so that a reader misses none and has none twice.
    file: Arc<AsyncMutex<Option<LogFile>>>,
    new: broadcast::Sender<Arc<LogLine>>,
}

/// Lines that are read at once, and that wait for one reader.
const BATCH_LINES: usize = 64;

/// Which lines a reader wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Of one replica alone.
    pub(crate) instance: Option<String>,
    pub(crate) since: Option<Timestamp>,
    /// No more than the last so many; all without it.
    pub(crate) tail: Option<usize>,
}

impl FunctionLog {
    /// Opens `<directory>/<function>.log` for appending, making the directory.
    pub(super) async fn open(
        function: &FunctionName,
        directory: Option<&Path>,
    ) -> Result<Self, StartError> {
        let file = match directory {
            None => None,
            Some(directory) => {
                let path = directory.join(format!("{function}.log"));
                let opened = LogFile::open(&path).await;
                Some(opened.map_err(|source| StartError::LogFile {
                    function: function.clone(),
                    path,
                    source,
                })?)
            }
        };
        Ok(Self {
            function: function.clone(),
            kept: Arc::default(),
            file: Arc::new(AsyncMutex::new(file)),
            new: broadcast::Sender::new(BEHIND_MAX),
        })
    }

    /// Follows both streams of a process to their ends.
    pub(super) async fn follow(
        self,
        instance: String,
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
    ) {
        let instance = Arc::from(instance);
        tokio::join!(
            self.follow_one(&instance, stdout),
            self.follow_one(&instance, stderr)
        );
    }

    /// A line of the gateway itself, for whoever looks for the function's reasons there.
    pub(super) async fn say(&self, text: &str) {
        let lines = text.lines().map(str::to_owned).collect();
        self.keep(&Arc::from("gateway"), lines).await;
    }

    pub(super) fn last_lines(&self) -> Vec<String> {
        let kept = self.kept();
        let skipped = kept.len().saturating_sub(QUOTED_LINES);
        let last = kept.iter().skip(skipped);
        last.map(|line| line.text.clone()).collect()
    }

    /// The lines that there are, in order, and those that come, where that is wanted; until the receiver
    /// is dropped.
    pub(crate) async fn read(&self, wanted: Wanted, follows: bool) -> mpsc::Receiver<Arc<LogLine>> {
        let (sender, receiver) = mpsc::channel(BATCH_LINES);
        let file = self.file.lock().await;
        // From here to the end of the lock nothing is added.
        let new = follows.then(|| self.new.subscribe());
        let old = match &*file {
            Some(file) => file.snapshot().await,
            None => Err(std::io::Error::other("none")),
        };
        let kept: Vec<_> = match &old {
            Ok(_) => Vec::new(),
            Err(_) => self.kept().iter().map(Arc::clone).collect(),
        };
        drop(file);
        tokio::spawn(async move {
            let told = match old {
                Ok(old) => tell(old.lines(), &wanted, &sender).await,
                Err(_) => tell(kept.into_iter(), &wanted, &sender).await,
            };
            if let (true, Some(new)) = (told, new) {
                tell_new(new, &wanted, &sender).await;
            }
        });
        receiver
    }

    async fn follow_one(&self, instance: &Arc<str>, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let mut lines = Lines::default();
        loop {
            buffer.clear();
            let read = stream.read_buf(&mut buffer).await;
            let batch = match read {
                Ok(0) | Err(_) => lines.finish().into_iter().collect(),
                Ok(_) => lines.push(&buffer),
            };
            self.keep(instance, batch).await;
            if matches!(read, Ok(0) | Err(_)) {
                return;
            }
        }
    }

    async fn keep(&self, instance: &Arc<str>, batch: Vec<String>) {
        if batch.is_empty() {
            return;
        }
        let at = Timestamp::now();
        let batch: Vec<_> = batch
            .into_iter()
            .map(|text| {
                info!(function = %self.function, line = %text, "function output");
                let instance = Arc::clone(instance);
                Arc::new(LogLine { at, instance, text })
            })
            .collect();
        let mut file = self.file.lock().await;
        if let Some(file) = &mut *file
            && let Err(error) = file.append(&batch).await
        {
            warn!(function = %self.function, %error, "cannot write the function's log file");
        }
        let mut kept = self.kept();
        for line in &batch {
            // Nobody listening is nobody who follows.
            let _ = self.new.send(Arc::clone(line));
        }
        kept.extend(batch);
        let excess = kept.len().saturating_sub(KEPT_LINES_MAX);
        kept.drain(..excess);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<LogLine>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    fn has(&self, line: &LogLine) -> bool {
        self.instance
            .as_deref()
            .is_none_or(|it| *it == *line.instance)
            && self.since.is_none_or(|since| line.at >= since)
    }
}

/// Tells of old lines, read in batches, so that a slow reader keeps no thread; false once nobody listens.
async fn tell(
    lines: impl Iterator<Item = Arc<LogLine>> + Send + 'static,
    wanted: &Wanted,
    to: &mpsc::Sender<Arc<LogLine>>,
) -> bool {
    let (wants, tail) = (wanted.clone(), wanted.tail);
    let mut lines: Box<dyn Iterator<Item = Arc<LogLine>> + Send> =
        Box::new(lines.filter(move |line| wants.has(line)));
    if let Some(tail) = tail {
        let last = tokio::task::spawn_blocking(move || {
            let mut last = VecDeque::new();
            for line in lines {
                last.push_back(line);
                if last.len() > tail {
                    last.pop_front();
                }
            }
            last
        });
        let Ok(last) = last.await else { return false };
        lines = Box::new(last.into_iter());
    }
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let batch: Vec<_> = lines.by_ref().take(BATCH_LINES).collect();
            (lines, batch)
        });
        let Ok((rest, batch)) = read.await else {
            return false;
        };
        lines = rest;
        if batch.is_empty() {
            return true;
        }
        for line in batch {
            if to.send(line).await.is_err() {
                return false;
            }
        }
    }
}

async fn tell_new(
    mut new: broadcast::Receiver<Arc<LogLine>>,
    wanted: &Wanted,
    to: &mpsc::Sender<Arc<LogLine>>,
) {
    loop {
        let line = tokio::select! {
            () = to.closed() => return,
            line = new.recv() => line,
        };
        let line = match line {
            Ok(line) => line,
            Err(broadcast::error::RecvError::Closed) => return,
            Err(broadcast::error::RecvError::Lagged(lines)) => Arc::new(LogLine {
                at: Timestamp::now(),
                instance: Arc::from(wanted.instance.as_deref().unwrap_or_default()),
                text: format!("… {lines} lines came faster than they were read"),
            }),
        };
        if wanted.has(&line) && to.send(line).await.is_err() {
            return;
        }
    }
}
