//! Secrets: a file each, which its owner alone reads, and for each function a folder of those that it
//! may have.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::folder::{Folder, replace};
use crate::functions::FunctionName;

/// As Kubernetes has it for a secret's name.
const NAME_CHARS_MAX: usize = 253;
/// As Kubernetes has it for a secret's value.
pub(crate) const SECRET_BYTES_MAX: usize = 1 << 20;

/// `<namespace>/<name>` under a folder.
const VALUES: &str = "secrets";
/// `<function>.<namespace>/<id>/<name>` under it: a link to the value. Each set of names that a function
/// was given has its own id, so that processes of before keep theirs until they have ended.
const GIVEN: &str = "secrets-of-functions";

#[derive(Debug)]
pub(crate) struct Secrets {
    root: PathBuf,
    /// Gone with the gateway, where nothing is to outlive it.
    _temporary: Option<TempDir>,
}

/// Why a secret was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(
        "`{name}` is not the name of a secret; write 1 to 253 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
    )]
    Name { name: String },
    #[error("secret `{name}` exists in namespace `{namespace}`; change it with PUT")]
    Exists { name: String, namespace: String },
    #[error("secret `{name}` is not in namespace `{namespace}`; create it first")]
    Unknown { name: String, namespace: String },
    #[error("secret `{name}` has {bytes} bytes, limit {SECRET_BYTES_MAX}")]
    TooLarge { name: String, bytes: usize },
    #[error("cannot keep secret `{name}`")]
    Io { name: String, source: io::Error },
}

impl Secrets {
    pub(crate) fn open(folder: &Folder) -> io::Result<Self> {
        let (root, temporary) = match folder.path() {
            Some(path) => (std::path::absolute(path)?, None),
            None => {
                // Made with mode 0700.
                let folder = TempDir::with_prefix("turlough-gateway-")?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        // No process is left of a gateway that used them.
        clear_away(&root.join(GIVEN))?;
        Ok(Self {
            root,
            _temporary: temporary,
        })
    }

    /// Names of a namespace's secrets, in order.
    pub(crate) fn list(&self, namespace: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root.join(VALUES).join(namespace)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            names.extend(
                name.to_str()
                    .filter(|name| is_name(name))
                    .map(str::to_owned),
            );
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn create(
        &self,
        namespace: &str,
        name: &str,
        value: &[u8],
    ) -> Result<(), SecretError> {
        if self.path(namespace, name)?.exists() {
            return Err(SecretError::Exists {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
            });
        }
        self.put(namespace, name, value)
    }

    pub(crate) fn update(
        &self,
        namespace: &str,
        name: &str,
        value: &[u8],
    ) -> Result<(), SecretError> {
        self.check(namespace, name)?;
        self.put(namespace, name, value)
    }

    pub(crate) fn remove(&self, namespace: &str, name: &str) -> Result<(), SecretError> {
        let path = self.check(namespace, name)?;
        std::fs::remove_file(path).map_err(io_error(name))
    }

    /// With the namespace go its secrets.
    pub(crate) fn remove_all(&self, namespace: &str) -> io::Result<()> {
        clear_away(&self.root.join(VALUES).join(namespace))
    }

    /// Where a secret lies that exists.
    pub(crate) fn check(&self, namespace: &str, name: &str) -> Result<PathBuf, SecretError> {
        let path = self.path(namespace, name)?;
        if path.exists() {
            return Ok(path);
        }
        Err(SecretError::Unknown {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
    }

    /// A folder with these secrets and no others, which follows their values; `held` where that is one.
    pub(crate) fn give(
        &self,
        function: &FunctionName,
        names: &[String],
        held: Option<&Path>,
    ) -> Result<PathBuf, SecretError> {
        if let Some(held) = held.filter(|held| holds(held, names)) {
            return Ok(held.to_owned());
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let folder = self.of_function(function).join(id);
        make_private(&folder).map_err(io_error(&names.join(", ")))?;
        for name in names {
            let value = self.path(function.namespace(), name)?;
            match std::os::unix::fs::symlink(value, folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(io_error(name)(error));
                }
                _ => {}
            }
        }
        Ok(folder)
    }

    /// The folders that a function was given.
    pub(crate) fn given(&self, function: &FunctionName) -> io::Result<Vec<PathBuf>> {
        match std::fs::read_dir(self.of_function(function)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.path())).collect(),
        }
    }

    /// Nothing runs any more that reads in these folders.
    pub(crate) fn take_back(folders: &[PathBuf]) -> io::Result<()> {
        folders.iter().try_for_each(|folder| clear_away(folder))
    }

    fn of_function(&self, function: &FunctionName) -> PathBuf {
        self.root.join(GIVEN).join(function.qualified())
    }

    fn put(&self, namespace: &str, name: &str, value: &[u8]) -> Result<(), SecretError> {
        let path = self.path(namespace, name)?;
        if value.len() > SECRET_BYTES_MAX {
            return Err(SecretError::TooLarge {
                name: name.to_owned(),
                bytes: value.len(),
            });
        }
        make_private(&self.root.join(VALUES).join(namespace))
            .and_then(|()| replace(&path, value))
            .map_err(io_error(name))
    }

    /// The namespace is one that exists, so that its name is safe.
    fn path(&self, namespace: &str, name: &str) -> Result<PathBuf, SecretError> {
        check_secret_name(name)?;
        Ok(self.root.join(VALUES).join(namespace).join(name))
    }
}

/// Whether it can be the name of a secret, of which nobody need know yet.
pub(crate) fn check_secret_name(name: &str) -> Result<(), SecretError> {
    if is_name(name) {
        return Ok(());
    }
    Err(SecretError::Name {
        name: name.to_owned(),
    })
}

fn io_error(name: &str) -> impl Fn(io::Error) -> SecretError {
    |source| SecretError::Io {
        name: name.to_owned(),
        source,
    }
}

fn holds(folder: &Path, names: &[String]) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    let held: BTreeSet<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    held == names.iter().map(OsString::from).collect()
}

fn clear_away(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Kubernetes' name of an object: no path in it, and none that is hidden.
fn is_name(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(&first), Some(&last)) = (text.as_bytes().first(), text.as_bytes().last()) else {
        return false;
    };
    text.len() <= NAME_CHARS_MAX
        && edge(first)
        && edge(last)
        && text
            .bytes()
            .all(|byte| edge(byte) || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_path_in_them() {
        for good in ["a", "api-key", "tls.crt", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "", "..", "../a", "a/b", ".a", "a.", "A", "a_b", "a b", "é", "a\0",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(!is_name(&"a".repeat(254)));
    }
}
