//! Where the gateway keeps what outlives it: small records, each replaced as a whole.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A folder, or none: then nothing outlives the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Folder(Option<PathBuf>);

/// A record that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot read the gateway's record `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the gateway's record `{}` is not what it wrote; restore it, or take it away", path.display()
    )]
    Malformed {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write the gateway's record `{}`; it needs a folder with room", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Folder {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// The record of a name, or its default where there is none yet.
    pub(crate) fn read<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, FolderError> {
        let Some(folder) = &self.0 else {
            return Ok(T::default());
        };
        let path = folder.join(name);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(source) => return Err(FolderError::Read { path, source }),
        };
        serde_json::from_slice(&text).map_err(|source| FolderError::Malformed { path, source })
    }

    /// Replaces a record; afterwards it is on disk.
    pub(crate) fn write<T: Serialize>(&self, name: &str, record: &T) -> Result<(), FolderError> {
        let Some(folder) = &self.0 else {
            return Ok(());
        };
        let path = folder.join(name);
        let written = serde_json::to_vec_pretty(record)
            .map_err(io::Error::other)
            .and_then(|text| replace(&path, &text));
        written.map_err(|source| FolderError::Write { path, source })
    }
}

/// Puts a file in its place as a whole, readable by its owner alone.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // No record's name, and no secret's, begins so.
    let next = folder.join(format!(".{}.next", uuid::Uuid::new_v4().simple()));
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&next, path));
    if written.is_err() {
        // What is left would be in nobody's way.
        let _ = std::fs::remove_file(&next);
    }
    written?;
    File::open(folder)?.sync_all()
}
