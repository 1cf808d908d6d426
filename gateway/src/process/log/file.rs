//! A function's log file, turned over when it is full: `NAME.log`, then `NAME.log.1` to `NAME.log.3`.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use super::line::LogLine;

/// A file that is longer is turned over.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Files that are kept beside the one that is written.
const TURNED_MAX: u32 = 3;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// The files as they were at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Oldest first, each with its length.
    files: Vec<(std::fs::File, u64)>,
}

impl LogFile {
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await?;
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path).await?;
        let bytes = file.metadata().await?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
        })
    }

    pub(super) async fn append(&mut self, lines: &[Arc<LogLine>]) -> io::Result<()> {
        if self.bytes >= FILE_BYTES_MAX {
            self.turn().await?;
        }
        let mut text = String::new();
        lines.iter().for_each(|line| line.write(&mut text));
        self.file.write_all(text.as_bytes()).await?;
        // tokio buffers: without a flush an error would be lost with the next line.
        self.file.flush().await?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    pub(super) async fn snapshot(&self) -> io::Result<Snapshot> {
        let mut files = Vec::new();
        for number in (0..=TURNED_MAX).rev() {
            match File::open(self.numbered(number)).await {
                Ok(file) => {
                    let bytes = file.metadata().await?.len();
                    files.push((file.into_std().await, bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Snapshot { files })
    }

    async fn turn(&mut self) -> io::Result<()> {
        for number in (0..TURNED_MAX).rev() {
            let moved = tokio::fs::rename(self.numbered(number), self.numbered(number + 1)).await;
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *self = Self::open(&self.path).await?;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        match number {
            0 => self.path.clone(),
            number => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                name.into()
            }
        }
    }
}

impl Snapshot {
    /// Every line that can be read, oldest first. Blocks.
    pub(super) fn lines(self) -> impl Iterator<Item = Arc<LogLine>> {
        let files = self.files.into_iter();
        let lines = files.flat_map(|(file, bytes)| BufReader::new(file.take(bytes)).lines());
        lines
            .filter_map(|line| LogLine::read(&line.ok()?))
            .map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn full_file_is_turned_over_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.log");
        let line = |n: usize| {
            Arc::new(LogLine {
                at: "2026-11-23T07:00:00Z".parse().unwrap(),
                instance: Arc::from("it-1"),
                text: format!("{n} {}", "x".repeat(1 << 20)),
            })
        };
        let mut file = LogFile::open(&path).await.unwrap();
        for n in 0..50 {
            file.append(&[line(n)]).await.unwrap();
        }
        let held: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(held < 40 << 20, "{held}");
        let read = |snapshot: Snapshot| -> Vec<usize> {
            let number = |line: Arc<LogLine>| line.text.split(' ').next().unwrap().parse().unwrap();
            snapshot.lines().map(number).collect()
        };
        let numbers = read(file.snapshot().await.unwrap());
        assert_eq!(*numbers.last().unwrap(), 49);
        assert!(numbers.len() >= 24 && numbers.is_sorted(), "{numbers:?}");
        // A snapshot is not changed by what comes.
        let snapshot = file.snapshot().await.unwrap();
        for n in 50..60 {
            file.append(&[line(n)]).await.unwrap();
        }
        assert_eq!(read(snapshot), numbers);
    }
}
