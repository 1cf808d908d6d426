//! A wall clock that is set while a program runs, for that program alone: libfaketime stands between
//! it and the machine.

use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian's package puts it, below the folder of an architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of one program. Clocks that only go forward stay the machine's.
#[derive(Debug)]
pub struct WallClock {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl WallClock {
    /// One that shows the machine's time.
    #[must_use]
    pub fn new() -> Self {
        let folders = fs::read_dir("/usr/lib").unwrap().flatten();
        let mut libraries = folders.map(|folder| folder.path().join(LIBRARY));
        let library = libraries.find(|library| library.exists());
        let clock = Self {
            folder: tempfile::tempdir().unwrap(),
            library: library.expect("libfaketime is missing; run testing/install-debian.sh"),
        };
        clock.set(0);
        clock
    }

    /// What a program needs in its environment to go by it.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ]
    }

    /// Sets it so many seconds ahead of the machine's, or behind it. It is seen within a second.
    pub fn set(&self, ahead_s: i64) {
        // Renamed into place, so that nobody reads a part of it.
        let next = self.folder.path().join("next");
        fs::write(&next, format!("{ahead_s:+}\n")).unwrap();
        fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead")
    }
}

/// Programs that are killed leave what the library shares with their children.
impl Drop for WallClock {
    fn drop(&mut self) {
        let shared = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        for entry in shared {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let id = ["faketime_shm_", "sem.faketime_sem_"];
            let id = id.iter().find_map(|kind| name.strip_prefix(kind));
            if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}
