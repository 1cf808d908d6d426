//! A small table in files, one for each key, replaced whole: a value is the old or the new one,
//! whatever happens. All values are in memory too; definitions of flows are few.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::failure::Failure;
use super::folder::Folder;
use crate::error::StateError;
use crate::table::Table;

/// What a file begins with: the format, then a check of the value, then the value.
const MAGIC: [u8; 8] = *b"tlValue1";
const HEAD_BYTES: usize = 16;
/// Names of files are 255 bytes at most, and one that is being written has four more.
const KEY_BYTES_MAX: usize = 250;

/// A small table in files.
#[derive(Debug, Clone)]
pub(super) struct FileTable(Arc<Files>);

#[derive(Debug)]
struct Files {
    folder: Arc<Folder>,
    dir: PathBuf,
    values: RwLock<BTreeMap<String, Bytes>>,
    /// Held while a file is written, on a thread that may wait.
    writing: Mutex<()>,
}

impl FileTable {
    /// Reads what is in the folder. Blocks.
    pub(super) fn open(folder: &Arc<Folder>) -> Result<Self, Failure> {
        let dir = folder.path.join("flows");
        let in_dir = |error: io::Error| Failure::of(&error, format!("opening {}", dir.display()));
        std::fs::create_dir_all(&dir).map_err(in_dir)?;
        let mut values = BTreeMap::new();
        for entry in std::fs::read_dir(&dir).map_err(in_dir)? {
            let entry = entry.map_err(in_dir)?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy().into_owned();
            if let Some(new) = name.strip_prefix('.') {
                // A value that was not written whole: the one before it stands.
                debug_assert!(new.starts_with("new"));
                std::fs::remove_file(&path).map_err(in_dir)?;
                continue;
            }
            let value = std::fs::read(&path).map_err(in_dir)?;
            let value = value_of(value).ok_or_else(|| {
                Failure::Unavailable(format!(
                    "{} is damaged, or of a newer version, or no value of ours; restore it from a copy, \
                     or remove it",
                    path.display()
                ))
            })?;
            values.insert(name, value);
        }
        Ok(Self(Arc::new(Files {
            folder: Arc::clone(folder),
            dir,
            values: RwLock::new(values),
            writing: Mutex::new(()),
        })))
    }

    /// Writes or removes the file of a key, then says so in memory.
    async fn set(&self, key: &str, value: Option<Bytes>) -> Result<(), StateError> {
        let attempted = match value {
            Some(_) => format!("putting key {key}"),
            None => format!("removing key {key}"),
        };
        if !is_key(key) {
            return Err(StateError::Refused {
                attempted,
                reason: format!(
                    "a key is segments of letters, digits, - and _, joined by ., at most {KEY_BYTES_MAX} \
                     bytes"
                ),
            });
        }
        let (files, key) = (Arc::clone(&self.0), key.to_owned());
        let set = tokio::task::spawn_blocking(move || files.set(key, value)).await;
        let ended = |error| Failure::Unanswered(format!("the task that writes it ended: {error}"));
        set.map_err(ended)
            .flatten()
            .map_err(|failure| failure.of_attempt(attempted))
    }
}

impl Files {
    fn set(&self, key: String, value: Option<Bytes>) -> Result<(), Failure> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = self.folder.loss() {
            return Err(Failure::Unavailable(reason));
        }
        let path = self.dir.join(&key);
        match &value {
            Some(value) => write(&self.dir, &path, value),
            None => std::fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        }
        .map_err(|error| Failure::of(&error, format!("writing {}", path.display())))?;
        // Whether the folder knows of it on the disk is not known where this fails; the old or the new
        // value is there in either case.
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => values.insert(key, value),
            None => values.remove(&key),
        };
        drop(values);
        let at = format!("forcing {} to the disk", self.dir.display());
        synced.map_err(|error| Failure::Unanswered(format!("{at}: {error}")))
    }
}

#[async_trait]
impl Table for FileTable {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StateError> {
        let values = self.0.values.read();
        let values = values.unwrap_or_else(PoisonError::into_inner);
        Ok(values.get(key).cloned())
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), StateError> {
        self.set(key, Some(value)).await
    }

    async fn remove(&self, key: &str) -> Result<(), StateError> {
        self.set(key, None).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StateError> {
        let values = self.0.values.read();
        let values = values.unwrap_or_else(PoisonError::into_inner);
        let found = values.range(prefix.to_owned()..);
        let found = found.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

/// Whether a key is one, and so the name of a file that lies in the folder.
fn is_key(key: &str) -> bool {
    let is_segment = |segment: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !segment.is_empty() && segment.bytes().all(known)
    };
    key.len() <= KEY_BYTES_MAX && key.split('.').all(is_segment)
}

fn write(dir: &Path, path: &Path, value: &Bytes) -> io::Result<()> {
    let new = dir.join(".new");
    let mut file = File::create(&new)?;
    file.write_all(&MAGIC)?;
    file.write_all(&xxh3_64(value).to_le_bytes())?;
    file.write_all(value)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

fn value_of(bytes: Vec<u8>) -> Option<Bytes> {
    let (head, value) = bytes.split_at_checked(HEAD_BYTES)?;
    let check = xxh3_64(value).to_le_bytes();
    (head[..8] == MAGIC && head[8..] == check).then(|| Bytes::from(bytes).slice(HEAD_BYTES..))
}
