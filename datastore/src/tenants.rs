//! The file of quotas: tenants with what they may hold. It is read anew when it changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tracing::{error, info};
use turlough_sdk::TenantId;

use crate::settings::quota_of;
use crate::store::{Quota, Store};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The largest, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// What a tenant may hold, in bytes. What is left out follows from the hard limit.
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

/// Sets the quotas that a file says.
///
/// # Errors
/// A file that cannot be read, or is none; then no quota changes.
pub(crate) fn apply(path: &Path, store: &Store, now_ms: u64) -> Result<usize, TenantsError> {
    let entries = read(path)?;
    for (tenant, entry) in &entries {
        let rest = quota_of(entry.hard);
        store.tenant(tenant.as_str(), now_ms).set_quota(Quota {
            hard: entry.hard,
            soft: entry.soft.unwrap_or(rest.soft),
            flight: entry.flight.unwrap_or(rest.flight),
        });
    }
    Ok(entries.len())
}

fn read(path: &Path) -> Result<BTreeMap<TenantId, Entry>, TenantsError> {
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
    serde_saphyr::from_str(&text).map_err(|error| no_file(error.to_string()))
}

/// Reads the file again each time that it changes, until the process ends.
pub(crate) fn follow(
    path: PathBuf,
    store: Arc<impl AsRef<Store> + Send + Sync + 'static>,
    now_ms: fn() -> u64,
) {
    let follow = move || {
        let mut seen = changed(&path);
        loop {
            std::thread::sleep(LOOK);
            let now = changed(&path);
            if now == seen {
                continue;
            }
            seen = now;
            match apply(&path, (*store).as_ref(), now_ms()) {
                Ok(tenants) => info!(path = %path.display(), tenants, "quotas were read anew"),
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
