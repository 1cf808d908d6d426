//! Secrets: a file each, which its owner alone reads, and for each function a folder of those that it
//! may have.

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
/// `<function>.<namespace>/<name>` under it: a link to the value.
const GIVEN: &str = "secrets-of-functions";

#[derive(Debug)]
pub(crate) struct Secrets {
    root: PathBuf,
    /// Gone with the gateway, where nothing is to outlive it.
    _temporary: Option<TempDir>,
}

/// Why a secret was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
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
        match std::fs::remove_dir_all(self.root.join(VALUES).join(namespace)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
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

    /// A folder with these secrets and no others, which follows their values.
    pub(crate) fn give(
        &self,
        function: &FunctionName,
        names: &[String],
    ) -> Result<PathBuf, SecretError> {
        let folder = self.root.join(GIVEN).join(function.qualified());
        let of_all = || names.join(", ");
        let failed = |source| SecretError::Io {
            name: of_all(),
            source,
        };
        make_private(&folder).map_err(failed)?;
        // It stays the same folder: processes may look at it.
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !names.iter().any(|name| *entry.file_name() == **name) {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
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

    pub(crate) fn take_back(&self, function: &FunctionName) -> io::Result<()> {
        match std::fs::remove_dir_all(self.root.join(GIVEN).join(function.qualified())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
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
        if !is_name(name) {
            return Err(SecretError::Name {
                name: name.to_owned(),
            });
        }
        Ok(self.root.join(VALUES).join(namespace).join(name))
    }
}

fn io_error(name: &str) -> impl Fn(io::Error) -> SecretError {
    |source| SecretError::Io {
        name: name.to_owned(),
        source,
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
