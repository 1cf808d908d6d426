//! The contract of the ephemeral store, for one tenant, and the backends that keep it: values of
//! requests, in buckets that go together.
//!
//! Invariants: what is read back is what was put, by its digest; a key is written once; a bucket takes
//! nothing of an older claim than the newest that it heard of, and goes by itself when its lease ends.
//! Absent: what must outlive a store.

mod error;
mod key;
mod line;
mod memory;
mod objects;
mod redis;
mod store;
mod sweeping;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use turlough_sdk::{Digest, RequestId, TenantId, ValueRef};

pub use error::{BucketError, Failure, GetError, Newer, PutError};
pub use url::{DataUrl, DataUrlError, StoreUrl};

use crate::credential::StepCredential;

/// The largest value, in bytes: what one argument of RESP may be. A store may have a lower limit.
pub const VALUE_BYTES_MAX: usize = 512 << 20;
/// The longest lease. A longer one counts as this; whoever sleeps for longer renews it.
pub const LEASE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a bucket held when it was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Values.
    pub keys: u64,
    /// Their sizes, in bytes.
    pub bytes: u64,
}

/// What a store in this process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of values, over all requests.
    pub bytes: u64,
    /// Puts that were refused for want of room, since the start.
    pub refusals: u64,
}

/// A tenant's values, in buckets that belong to requests.
///
/// An epoch is the number of the claim that somebody acts under. A bucket is born by its first put, with
/// the lease that the store is set to. After a drop it takes nothing of that epoch and below until its
/// lease would have ended, and a higher epoch opens it anew.
#[async_trait]
pub trait DataStore: fmt::Debug + Send + Sync {
    /// Where the store is, as references to its values say it.
    fn address(&self) -> &str;

    /// Puts an envelope under a key, given whole: `{<request>}name`. The same bytes under the same key
    /// succeed again.
    ///
    /// # Errors
    /// No room, another value under the key, a newer claim, a key or a size that cannot be, a store that
    /// is away or refuses.
    async fn put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        envelope: Bytes,
    ) -> Result<ValueRef, PutError>;

    /// Reads what lies at a reference.
    ///
    /// # Errors
    /// A value that is gone or is not what was put, a store that is away or refuses.
    async fn get(&self, request: RequestId, at: Stored<'_>) -> Result<Bytes, GetError>;

    /// Drops all of a request's values; what it held, which is nothing where it was dropped before: also by
    /// this very call, where an answer was lost and it was asked again.
    ///
    /// # Errors
    /// A newer claim, whose bucket then stays as it is; a store that is away or refuses.
    async fn drop_bucket(&self, request: RequestId, epoch: u64) -> Result<Dropped, BucketError>;

    /// Has a bucket last for so long from now, longer or shorter than before; whether there is one.
    ///
    /// # Errors
    /// A newer claim, whose bucket then stays as it is; a store that is away or refuses.
    async fn lease(
        &self,
        request: RequestId,
        epoch: u64,
        lease: Duration,
    ) -> Result<bool, BucketError>;

    /// Drops what a request has in another store, which this one knows and speaks to. Nothing where no store
    /// knows another.
    ///
    /// # Errors
    /// Those of [`drop_bucket`](Self::drop_bucket); a store that this one does not know, or that does not
    /// answer it.
    async fn drop_at(&self, _: &str, _: RequestId, _: u64) -> Result<(), BucketError> {
        Ok(())
    }

    /// The same for its lease.
    ///
    /// # Errors
    /// Those of [`drop_at`](Self::drop_at).
    async fn lease_at(
        &self,
        _: &str,
        _: RequestId,
        _: u64,
        _: Duration,
    ) -> Result<(), BucketError> {
        Ok(())
    }

    /// Whether what a reference says lies there, without reading it where that can be told.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    async fn check(&self, request: RequestId, at: Stored<'_>) -> Result<(), GetError> {
        self.get(request, at).await.map(drop)
    }

    /// The beginning of what lies at a reference, up to so many bytes; nobody vouches for its digest.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    async fn head(
        &self,
        request: RequestId,
        at: Stored<'_>,
        bytes: usize,
    ) -> Result<Bytes, GetError> {
        self.get(request, at)
            .await
            .map(|whole| beginning(&whole, bytes))
    }

    /// Lets somebody else do something here for one step: what he says after `AUTH`, tenant and
    /// credential. Nothing where nobody needs a password.
    ///
    /// # Errors
    /// A store that is not reached by others.
    async fn lend(&self, _: &StepCredential) -> Result<Option<String>, Failure> {
        Err(Failure::Denied {
            attempted: "lending a value to a function".to_owned(),
            reason: format!(
                "it lies at {}, which is no turlough-datastore; set TURLOUGH_DATA to one",
                self.address()
            ),
        })
    }

    /// What it holds, where that is in this process.
    fn held(&self) -> Option<Held> {
        None
    }

    /// What the tenant holds, and past how much nothing new is to begin. None where there is no such limit.
    ///
    /// # Errors
    /// A store that is away or refuses.
    async fn usage(&self) -> Result<Option<Usage>, Failure> {
        Ok(None)
    }
}

/// What a tenant holds in a store, beside its soft limit; both in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Held now.
    pub bytes: u64,
    /// Past it nothing new is to begin; puts go on up to the hard limit.
    pub soft: u64,
}

impl Usage {
    /// Whether nothing new is to begin.
    #[must_use]
    pub const fn is_past_soft(&self) -> bool {
        self.bytes > self.soft
    }
}

fn beginning(whole: &Bytes, bytes: usize) -> Bytes {
    whole.slice(..bytes.min(whole.len()))
}

/// Where a value lies in a store: the fields of [`ValueRef::Stored`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Address of the store.
    pub store: &'a str,
    /// Drawn by the store: another one means that it, or the bucket, came back empty.
    pub boot: u64,
    /// The key, whole.
    pub key: &'a str,
    /// Size of the envelope in bytes.
    pub size: u64,
    /// Digest of the envelope.
    pub digest: Digest,
}

impl<'a> Stored<'a> {
    /// Where a value lies, if that is in a store.
    #[must_use]
    pub fn of(at: &'a ValueRef) -> Option<Self> {
        match at {
            ValueRef::Stored {
                store,
                boot,
                key,
                size,
                digest,
            } => Some(Self {
                store,
                boot: *boot,
                key,
                size: *size,
                digest: *digest,
            }),
            ValueRef::Inline(_) | ValueRef::Parts { .. } => None,
        }
    }

    /// What was read there, if it is what was put.
    fn checked(&self, found: Bytes) -> Result<Bytes, GetError> {
        if found.len() as u64 == self.size && Digest::of(&found) == self.digest {
            return Ok(found);
        }
        Err(GetError::Corrupt {
            key: self.key.to_owned(),
            digest: self.digest,
        })
    }

    /// That it is gone.
    #[must_use]
    pub fn lost(&self) -> GetError {
        GetError::Lost {
            key: self.key.to_owned(),
            store: self.store.to_owned(),
        }
    }
}

/// How the store is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose values they are.
    pub tenant: TenantId,
    /// How long a bucket stays of which nobody says it. A `turlough-datastore` has its own setting, which has
    /// to be as long.
    pub lease: Duration,
    /// What `memory:` holds at most, in bytes.
    pub bytes_max: u64,
    /// The folder with the password of a tenant for a `turlough-datastore`: `turlough-store-<tenant>`.
    pub secrets: PathBuf,
    /// Root certificates, as PEM, for a `turlough-datastore` or a Redis behind TLS; those of this machine
    /// where none are named.
    pub authorities: Option<PathBuf>,
}

impl Options {
    /// What holds where nobody says otherwise.
    #[must_use]
    pub fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            lease: Duration::from_secs(600),
            bytes_max: 1 << 30,
            secrets: "/var/openfaas/secrets".into(),
            authorities: None,
        }
    }
}

/// A store in this process. It needs a runtime of tokio, then and as long as it is used.
#[must_use]
pub fn in_memory(options: &Options) -> Arc<dyn DataStore> {
    Arc::new(memory::InMemory::new(options))
}

/// Opens a tenant's store. It needs a runtime of tokio, then and as long as it is used.
///
/// # Errors
/// A store that is away, or refuses this tenant, or cannot be used as it is set.
pub async fn open(url: &DataUrl, options: &Options) -> Result<Arc<dyn DataStore>, Failure> {
    Ok(match url {
        DataUrl::Memory => in_memory(options),
        DataUrl::Store(url) => Arc::new(store::StoreClient::open(url, options).await?),
        DataUrl::Socket(path) => Arc::new(store::StoreClient::open_socket(path, options).await?),
        DataUrl::Redis(url) => Arc::new(redis::InRedis::open(url, options).await?),
        DataUrl::Cluster(url) => Arc::new(redis::InRedis::open_cluster(url, options).await?),
        DataUrl::Folder(path) => Arc::new(objects::InObjects::open_folder(path, options).await?),
        DataUrl::Bucket { bucket, prefix } => Arc::new(
            objects::InObjects::open_bucket(url.to_string(), bucket, prefix, options).await?,
        ),
    })
}

/// Whole milliseconds, not less than what is meant, up to the longest lease.
fn lease_ms(lease: Duration) -> u64 {
    let millis = lease.min(LEASE_MAX).as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX)
}
