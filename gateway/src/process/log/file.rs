//! A function's log file, turned over when it is full: `NAME.log`, then `NAME.log.1` to `NAME.log.3`.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

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
    /// Its last line lacks its end: what is written next begins with that.
    is_torn: bool,
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
        let (file, bytes) = open(path).await?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            is_torn: bytes > 0 && !ends_a_line(path).await?,
        })
    }

    pub(super) async fn append(&mut self, lines: &[Arc<LogLine>]) -> io::Result<()> {
        if self.bytes >= FILE_BYTES_MAX {
            self.turn().await?;
        }
        let mut text = String::from(if self.is_torn { "\n" } else { "" });
        lines.iter().for_each(|line| line.write(&mut text));
        self.is_torn = true;
        self.file.write_all(text.as_bytes()).await?;
        // tokio buffers: without a flush an error would be lost with the next line.
        self.file.flush().await?;
        self.is_torn = false;
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
        // First: where no file can be opened, none of those that there are goes.
        let mut next = self.path.clone().into_os_string();
        next.push(".next");
        let (file, bytes) = open(Path::new(&next)).await?;
        for number in (0..TURNED_MAX).rev() {
            let moved = tokio::fs::rename(self.numbered(number), self.numbered(number + 1)).await;
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        tokio::fs::rename(&next, &self.path).await?;
        (self.file, self.bytes, self.is_torn) = (file, bytes, false);
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
        let lines = files.flat_map(|(file, bytes)| {
            let lines = BufReader::new(file.take(bytes)).lines();
            // After any other error it would be the same again and again.
            lines.take_while(|line| match line {
                Ok(_) => true,
                Err(error) => error.kind() == io::ErrorKind::InvalidData,
            })
        });
        lines
            .filter_map(|line| LogLine::read(&line.ok()?))
            .map(Arc::new)
    }
}

/// A file that is appended to, and its length.
async fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(path).await?;
    let bytes = file.metadata().await?.len();
    Ok((file, bytes))
}

/// Whether a file, which is not empty, was written up to the end of a line.
async fn ends_a_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path).await?;
    file.seek(io::SeekFrom::End(-1)).await?;
    Ok(file.read_u8().await? == b'\n')
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

    fn line(text: &str) -> Arc<LogLine> {
        Arc::new(LogLine {
            at: "2026-11-23T07:00:00Z".parse().unwrap(),
            instance: Arc::from("it-1"),
            text: text.to_owned(),
        })
    }

    async fn texts(file: &LogFile) -> Vec<String> {
        let snapshot = file.snapshot().await.unwrap();
        let read = std::thread::spawn(|| snapshot.lines().map(|it| it.text.clone()).collect());
        read.join().unwrap()
    }

    #[tokio::test]
    async fn line_after_one_that_was_torn_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.log");
        std::fs::write(&path, "2026-11-23T07:00:00.000Z it-1 whole\n2026-11-2").unwrap();
        let mut file = LogFile::open(&path).await.unwrap();
        for text in ["next", "last"] {
            file.append(&[line(text)]).await.unwrap();
        }
        assert_eq!(texts(&file).await, ["whole", "next", "last"]);
    }

    #[tokio::test]
    async fn file_that_cannot_be_read_ends_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.log");
        // It can be opened.
        std::fs::create_dir(folder.path().join("it.log.1")).unwrap();
        let mut file = LogFile::open(&path).await.unwrap();
        file.append(&[line("there")]).await.unwrap();
        assert_eq!(texts(&file).await, ["there"]);
    }

    #[tokio::test]
    async fn nothing_goes_where_no_file_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.log");
        let mut file = LogFile::open(&path).await.unwrap();
        file.append(&[line("kept")]).await.unwrap();
        file.bytes = FILE_BYTES_MAX;
        let in_the_way = folder.path().join("it.log.next");
        std::fs::create_dir(&in_the_way).unwrap();
        for _ in 0..5 {
            file.append(&[line("lost")]).await.unwrap_err();
        }
        std::fs::remove_dir(&in_the_way).unwrap();
        file.append(&[line("next")]).await.unwrap();
        assert_eq!(texts(&file).await, ["kept", "next"]);
        assert!(folder.path().join("it.log.1").exists() && !in_the_way.exists());
    }
}
