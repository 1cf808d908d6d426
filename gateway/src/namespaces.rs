//! Namespaces: the default one, which always is, and those that were made.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::folder::{Folder, FolderError};
use crate::functions::{DEFAULT_NAMESPACE, NameError, check_name};

const RECORD: &str = "namespaces.json";

/// As `/system/namespace/…` takes and gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Namespace {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// Go writes an empty map as `null`.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug)]
pub(crate) struct Namespaces {
    folder: Folder,
    all: Mutex<BTreeMap<String, Namespace>>,
}

/// Why a namespace was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("namespace `{name}` exists; change it with PUT")]
    Exists { name: String },
    #[error("namespace `{name}` does not exist; create it first")]
    Unknown { name: String },
    #[error(
        "namespace `{DEFAULT_NAMESPACE}` cannot be deleted: it is where functions are without one"
    )]
    Default,
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl Namespaces {
    pub(crate) fn open(folder: Folder) -> Result<Self, FolderError> {
        let mut all: BTreeMap<String, Namespace> = folder.read(RECORD)?;
        all.entry(DEFAULT_NAMESPACE.to_owned())
            .or_insert_with(|| Namespace {
                name: DEFAULT_NAMESPACE.to_owned(),
                ..Namespace::default()
            });
        Ok(Self {
            folder,
            all: Mutex::new(all),
        })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Namespace> {
        self.all().get(name).cloned()
    }

    /// # Errors
    /// [`NamespaceError::Unknown`] where there is none of that name.
    pub(crate) fn check(&self, name: &str) -> Result<(), NamespaceError> {
        let unknown = || NamespaceError::Unknown {
            name: name.to_owned(),
        };
        self.find(name).map(drop).ok_or_else(unknown)
    }

    /// Whoever starts functions in it without asking: a stack.
    pub(crate) fn ensure(&self, name: &str) -> Result<(), NamespaceError> {
        let made = Namespace {
            name: name.to_owned(),
            ..Namespace::default()
        };
        match self.create(made) {
            Err(NamespaceError::Exists { .. }) => Ok(()),
            made => made,
        }
    }

    pub(crate) fn create(&self, namespace: Namespace) -> Result<(), NamespaceError> {
        check_name(&namespace.name)?;
        self.change(|all| {
            let name = namespace.name.clone();
            if all.contains_key(&name) {
                return Err(NamespaceError::Exists { name });
            }
            all.insert(name, namespace);
            Ok(())
        })
    }

    pub(crate) fn update(&self, namespace: Namespace) -> Result<(), NamespaceError> {
        self.change(|all| match all.get_mut(&namespace.name) {
            Some(held) => {
                *held = namespace;
                Ok(())
            }
            None => Err(NamespaceError::Unknown {
                name: namespace.name,
            }),
        })
    }

    /// # Errors
    /// [`NamespaceError::Default`], and [`NamespaceError::Unknown`] where there is none of that name.
    pub(crate) fn check_removable(&self, name: &str) -> Result<(), NamespaceError> {
        if name == DEFAULT_NAMESPACE {
            return Err(NamespaceError::Default);
        }
        self.check(name)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), NamespaceError> {
        self.check_removable(name)?;
        let unknown = || NamespaceError::Unknown {
            name: name.to_owned(),
        };
        self.change(|all| all.remove(name).map(drop).ok_or_else(unknown))
    }

    /// All of a change, or nothing of it.
    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Namespace>) -> Result<(), NamespaceError>,
    ) -> Result<(), NamespaceError> {
        let mut held = self.all();
        let mut changed = held.clone();
        change(&mut changed)?;
        self.folder.write(RECORD, &changed)?;
        *held = changed;
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Namespace>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
