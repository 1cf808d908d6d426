//! The file of quotas: tenants with what they may hold. It is read anew when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tracing::{error, info};
use turlough_sdk::TenantId;

use crate::store::{Quota, Store};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The largest, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// What a tenant may hold, in bytes. What is left out follows from the hard limit. What other tenants may
/// hold is what the store's settings say, or who administers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    hard: u64,
    soft: Option<u64>,
    flight: Option<u64>,
}

/// Why a file of quotas is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TenantsError {
    /// It cannot be read.
    #[error("cannot read the quotas in {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no file of quotas.
    #[error("{} holds no quotas: {why}; write lines like `acme: {{ hard: 1073741824 }}`", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A file of quotas, and whom it named when it was read.
#[derive(Debug)]
pub(crate) struct TenantsFile {
    path: PathBuf,
    named: BTreeSet<TenantId>,
}

impl TenantsFile {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            named: BTreeSet::new(),
        }
    }

    /// Sets the quotas that the file says; whom it names no longer has again what holds for those that
    /// nobody named. How many it names.
    ///
    /// # Errors
    /// A file that cannot be read, or is none; then no quota changes.
    pub(crate) fn apply(&mut self, store: &Store, now_ms: u64) -> Result<usize, TenantsError> {
        let quotas = read(&self.path)?;
        for tenant in &self.named {
            if !quotas.contains_key(tenant) {
                store
                    .tenant(tenant.as_str(), now_ms)
                    .set_quota(store.quota());
            }
        }
        for (tenant, quota) in &quotas {
            store.tenant(tenant.as_str(), now_ms).set_quota(*quota);
        }
        self.named = quotas.into_keys().collect();
        Ok(self.named.len())
    }
}

fn read(path: &Path) -> Result<BTreeMap<TenantId, Quota>, TenantsError> {
    let failed = |source| TenantsError::Read {
        path: path.to_owned(),
        source,
    };
    let no_file = |why: String| TenantsError::Parse {
        path: path.to_owned(),
        why,
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > BYTES_MAX {
        return Err(no_file(format!("it is {bytes} bytes, limit {BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let entries: BTreeMap<TenantId, Entry> =
        serde_saphyr::from_str(&text).map_err(|error| no_file(error.to_string()))?;
    let quotas = entries.into_iter().map(|(tenant, entry)| {
        let quota = Quota::said(entry.hard, entry.soft, entry.flight);
        let quota = quota.map_err(|error| no_file(format!("tenant {tenant}: {error}")))?;
        Ok((tenant, quota))
    });
    quotas.collect()
}

/// Reads the file again each time that it changes, until the process ends.
pub(crate) fn follow(
    mut file: TenantsFile,
    store: Arc<impl AsRef<Store> + Send + Sync + 'static>,
    now_ms: fn() -> u64,
) {
    let follow = move || {
        let mut seen = changed(&file.path);
        loop {
            std::thread::sleep(LOOK);
            let now = changed(&file.path);
            if now == seen {
                continue;
            }
            seen = now;
            match file.apply((*store).as_ref(), now_ms()) {
                Ok(tenants) => {
                    info!(path = %file.path.display(), tenants, "quotas were read anew");
                }
                Err(error) => error!(%error, "quotas stay as they were"),
            }
        }
    };
    drop(
        std::thread::Builder::new()
            .name("quotas".into())
            .spawn(follow),
    );
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
