//! The folder of one state, for one process at a time.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::StateError;

/// How long a folder that another has is asked for again: a process that was told to end, or a state
/// that was dropped a moment ago, lets go of it within this time.
const PATIENCE: Duration = Duration::from_secs(2);
const LOCK: &str = "lock";

/// A folder that is locked until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and locks it. Blocks.
    pub(super) fn take(path: &Path) -> Result<Self, StateError> {
        let attempted = || format!("opening the state in folder {}", path.display());
        let refused = |error: io::Error| StateError::Refused {
            attempted: attempted(),
            reason: error.to_string(),
        };
        // The process may change its working folder; this state stays where it is.
        let path = std::path::absolute(path).map_err(refused)?;
        std::fs::create_dir_all(&path).map_err(refused)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(path.join(LOCK)).map_err(refused)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = (&lock).take(20).read_to_string(&mut holder);
                    return Err(StateError::Refused {
                        attempted: attempted(),
                        reason: format!(
                            "another process has it (process {}); stop that one, or give each a folder \
                             of its own",
                            if holder.is_empty() {
                                "unknown"
                            } else {
                                holder.trim()
                            }
                        ),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(refused(error)),
            }
        }
        // For the text above alone.
        let written = lock.set_len(0);
        let written = written.and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(refused)?;
        Ok(Self { path, lock })
    }

    /// Why the folder is not ours any more: somebody moved or removed it, and what is written to it
    /// would be found by nobody.
    pub(super) fn loss(&self) -> Option<String> {
        let path = self.path.join(LOCK);
        let same = || -> io::Result<bool> {
            let (ours, there) = (self.lock.metadata()?, std::fs::metadata(&path)?);
            Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        match same() {
            Ok(true) => None,
            Ok(false) => Some(format!(
                "folder {} was replaced by another; start again",
                self.path.display()
            )),
            Err(error) => Some(format!(
                "folder {} was taken away ({}: {error}); start again",
                self.path.display(),
                path.display()
            )),
        }
    }
}
