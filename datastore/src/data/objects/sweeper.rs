//! Takes away buckets whose leases are over, and values of buckets that nobody knows. It lists buckets
//! and requests, never the values of one that lives, and reads again only what was changed.
//!
//! Every process sweeps; what one took away the others do not find.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectStore as _};
use turlough_sdk::RequestId;

use super::failure::told;
use super::ledger::Ledger;
use super::{Place, now_ms};
use crate::data::sweeping::Sweep;

/// A sweep takes a listing for every thousand buckets, and what is over.
const SWEEP_MAX: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Sweeper {
    place: Place,
    ledger: Arc<Ledger>,
    /// When the buckets that were there at the last sweep end, as of the version that was read.
    seen: Mutex<HashMap<RequestId, Seen>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    version: String,
    ends_ms: u64,
}

impl Sweeper {
    pub(super) fn new(place: Place, ledger: Arc<Ledger>) -> Self {
        Self {
            place,
            ledger,
            seen: Mutex::default(),
        }
    }

    async fn try_sweep(&self) -> Result<(), Error> {
        self.ledger.check().await?;
        let before = std::mem::take(&mut *self.lock());
        let mut seen = HashMap::new();
        let buckets = self.place.buckets();
        let mut listed = self.place.objects.list(Some(&buckets));
        while let Some(object) = listed.next().await {
            let object = object?;
            let Some(request) = request_of(&object.location) else {
                continue;
            };
            let version = object
                .e_tag
                .unwrap_or_else(|| object.last_modified.to_string());
            let known = before.get(&request).filter(|it| it.version == version);
            let ends_ms = match known {
                Some(known) => known.ends_ms,
                None => match self.ledger.read(request).await? {
                    Some((known, _)) => known.ends_ms,
                    None => continue,
                },
            };
            if ends_ms > now_ms() || !self.forget(request).await? {
                seen.insert(request, Seen { version, ends_ms });
            }
        }
        self.sweep_unknown(&seen).await?;
        *self.lock() = seen;
        Ok(())
    }

    /// Values of requests that no bucket is known of: left by a process that was late, or killed while it
    /// took them away.
    async fn sweep_unknown(&self, seen: &HashMap<RequestId, Seen>) -> Result<(), Error> {
        let values = self.place.values();
        let listed = self
            .place
            .objects
            .list_with_delimiter(Some(&values))
            .await?;
        for lives in listed.common_prefixes {
            let Some(request) = request_of(&lives) else {
                continue;
            };
            if seen.contains_key(&request) {
                continue;
            }
            // It may have been opened since the buckets were listed.
            if self.ledger.read(request).await?.is_none() {
                self.forget(request).await?;
            }
        }
        Ok(())
    }

    async fn forget(&self, request: RequestId) -> Result<bool, Error> {
        let lives = self.place.lives(request);
        let clear = async || self.place.clear(&lives).await.map(drop);
        self.ledger.forget(request, clear).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sweep for Sweeper {
    async fn sweep(&self) {
        // One that hangs would be the last.
        let swept = tokio::time::timeout(SWEEP_MAX, self.try_sweep()).await;
        let reason = match swept {
            Ok(Ok(())) => return,
            Ok(Err(error)) => told(&error),
            Err(_) => format!("not done within {SWEEP_MAX:?}"),
        };
        tracing::warn!(
            reason,
            "buckets whose leases are over were not all taken away; it is tried again"
        );
    }
}

fn request_of(at: &Path) -> Option<RequestId> {
    at.filename()?.parse().ok()
}
