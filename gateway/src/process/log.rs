//! A function's output: its last lines in memory, all of it to a file and to
//! tracing. Lines and their number are bounded, whatever a function writes.

mod lines;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::Mutex as AsyncMutex;
use tracing::{info, warn};

use super::StartError;
use crate::functions::FunctionName;
use lines::Lines;

/// Lines kept per function: with lines at their longest, 8 MiB.
const KEPT_LINES_MAX: usize = 1000;

/// Lines quoted in an error: a stack trace's useful end.
const QUOTED_LINES: usize = 20;

/// Read at once; a pipe holds 64 KiB.
const READ_BYTES: usize = 16 * 1024;

/// A cheap handle; the replicas of a function share it.
#[derive(Clone, Debug)]
pub(super) struct FunctionLog {
    function: FunctionName,
    kept: Arc<Mutex<VecDeque<String>>>,
    /// Held while a batch of lines is written, so that batches do not mix.
    file: Option<Arc<AsyncMutex<File>>>,
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
                let file = open_file(directory, &path).await;
                let file = file.map_err(|source| StartError::LogFile {
                    function: function.clone(),
                    path,
                    source,
                })?;
                Some(Arc::new(AsyncMutex::new(file)))
            }
        };
        Ok(Self {
            function: function.clone(),
            kept: Arc::default(),
            file,
        })
    }

    /// Follows both streams of a process to their ends.
    pub(super) async fn follow(self, stdout: Option<ChildStdout>, stderr: Option<ChildStderr>) {
        tokio::join!(self.follow_one(stdout), self.follow_one(stderr));
    }

    pub(super) fn last_lines(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = kept.len().saturating_sub(QUOTED_LINES);
        kept.iter().skip(skipped).cloned().collect()
    }

    async fn follow_one(&self, stream: Option<impl AsyncRead + Unpin>) {
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
            self.keep(batch).await;
            if matches!(read, Ok(0) | Err(_)) {
                return;
            }
        }
    }

    async fn keep(&self, batch: Vec<String>) {
        if batch.is_empty() {
            return;
        }
        for line in &batch {
            info!(function = %self.function, %line, "function output");
        }
        if let Some(file) = &self.file {
            let mut text = batch.join("\n");
            text.push('\n');
            let mut file = file.lock().await;
            let written = file.write_all(text.as_bytes()).await;
            // tokio buffers: without a flush an error would be lost with the next line.
            if let Err(error) = written.and(file.flush().await) {
                warn!(function = %self.function, %error, "cannot write the function's log file");
            }
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(batch);
        let excess = kept.len().saturating_sub(KEPT_LINES_MAX);
        kept.drain(..excess);
    }
}

async fn open_file(directory: &Path, path: &Path) -> std::io::Result<File> {
    tokio::fs::create_dir_all(directory).await?;
    let mut options = OpenOptions::new();
    options.create(true).append(true).open(path).await
}
