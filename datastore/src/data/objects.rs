//! Values as objects: files in a folder, or objects of S3, for any number of processes.
//!
//! ```text
//! <tenant>/buckets/<request>                what is known of a bucket: epoch, life, end, dropped or not
//! <tenant>/values/<request>/<life>/<name>   its values; names as `name` writes them
//! ```
//! A life is drawn when a bucket is opened, and references name it: what an earlier life left, or a late
//! put adds to it, is never read in a later one. Values are written once, by creating them. What is known
//! of a bucket is changed by comparing and swapping, see [`ledger`].
//!
//! A put reads what is known and then writes its value: these are two steps, and a drop may come between
//! them. Then the value lies in a life that nobody reads any more, until the sweeper finds it.

mod connector;
mod failure;
mod folder;
mod ledger;
mod name;
mod s3;
mod sweeper;

use std::future::Future;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio_util::sync::DropGuard;
use turlough_sdk::{Digest, RequestId, ValueRef};

use self::failure::{failure, is_full, within};
use self::ledger::{Changed, Known, Ledger};
use self::sweeper::Sweeper;
use super::error::{BucketError, Failure, GetError, Newer, PutError};
use super::sweeping::every_part_of;
use super::{DataStore, Dropped, Options, Stored, key, lease_ms};

/// A tenant's values as objects.
#[derive(Debug)]
pub(super) struct InObjects {
    address: Arc<str>,
    place: Place,
    ledger: Arc<Ledger>,
    lease_ms: u64,
    _sweeping: DropGuard,
}

/// Where a tenant's objects are.
#[derive(Debug, Clone)]
struct Place {
    objects: Arc<dyn ObjectStore>,
    root: Path,
    /// The folder that the objects are in, where they are files.
    folder: Option<Arc<FilePath>>,
}

impl InObjects {
    pub(super) async fn open_folder(dir: &FilePath, options: &Options) -> Result<Self, Failure> {
        let address = format!("file:{}", dir.display());
        let opened = folder::open(dir, options.tenant.as_str());
        let (objects, dir) = opened.await.map_err(|reason| Failure::Denied {
            attempted: format!("opening the folder of values {}", dir.display()),
            reason,
        })?;
        let root = Path::from(options.tenant.as_str());
        Self::with(address, objects, root, Some(dir), options).await
    }

    pub(super) async fn open_bucket(
        address: String,
        bucket: &str,
        prefix: &str,
        options: &Options,
    ) -> Result<Self, Failure> {
        let objects = s3::open(bucket).map_err(|error| Failure::Denied {
            attempted: format!("opening the values in {address}"),
            reason: failure::told(&error),
        })?;
        let root = Path::from(prefix).join(options.tenant.as_str());
        Self::with(address, objects, root, None, options).await
    }

    async fn with(
        address: String,
        objects: Arc<dyn ObjectStore>,
        root: Path,
        folder: Option<Arc<FilePath>>,
        options: &Options,
    ) -> Result<Self, Failure> {
        let place = Place {
            objects,
            root,
            folder,
        };
        let ledger = Arc::new(Ledger::new(place.clone()));
        // Whether it can be read at all.
        let none = RequestId::from_uuid(uuid::Uuid::nil());
        let attempted = || format!("opening the values in {address}");
        within(0, ledger.read(none))
            .await
            .map_err(|error| failure(&error, attempted()))?;
        let sweeper = Arc::new(Sweeper::new(place.clone(), Arc::clone(&ledger)));
        Ok(Self {
            address: address.into(),
            place,
            ledger,
            lease_ms: lease_ms(options.lease),
            _sweeping: every_part_of(options.lease, sweeper),
        })
    }

    /// Opens a bucket for an epoch: its life, or why it takes nothing.
    async fn admit(&self, request: RequestId, epoch: u64) -> Result<Result<u64, Newer>, Error> {
        let changed = self.ledger.change(request, |known, now_ms| {
            let ends_ms = now_ms + self.lease_ms;
            match known {
                None => Ok(Some(Known::born(epoch, ends_ms))),
                Some(known) => {
                    known.refuses(epoch)?;
                    if known.is_dropped {
                        let ends_ms = known.ends_ms.max(ends_ms);
                        return Ok(Some(Known::born(epoch, ends_ms)));
                    }
                    Ok((epoch > known.epoch).then_some(Known { epoch, ..known }))
                }
            }
        });
        Ok(match changed.await? {
            Changed::Now(known) | Changed::Not(Some(known)) => Ok(known.life),
            // It went meanwhile.
            Changed::Not(None) => Err(Newer {
                epoch,
                is_dropped: true,
            }),
            Changed::Refused(newer) => Err(newer),
        })
    }

    /// Puts a value into a life: whether it is there now, and not another one.
    async fn create(&self, at: &Path, envelope: Bytes) -> Result<bool, Error> {
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(envelope.clone());
        match self.place.objects.put_opts(at, payload, options).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let found = self.place.objects.get(at).await?.bytes().await?;
                Ok(Digest::of(&found) == Digest::of(&envelope))
            }
            Err(error) => Err(error),
        }
    }

    async fn try_put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        name: &str,
        envelope: Bytes,
    ) -> Result<u64, PutError> {
        let size = envelope.len() as u64;
        let failed = |error: &Error| {
            if is_full(error) {
                return PutError::Full {
                    key: key.to_owned(),
                    size,
                    reason: format!(
                        "{}; drop requests, or make room where the values are",
                        failure::told(error)
                    ),
                };
            }
            failure(error, format!("putting {size} bytes under {key}")).into()
        };
        let admitted = self.admit(request, epoch).await;
        let life = match admitted.map_err(|error| failed(&error))? {
            Ok(life) => life,
            Err(newer) => {
                return Err(PutError::Stale {
                    key: key.to_owned(),
                    epoch,
                    newer,
                });
            }
        };
        let at = self.place.value(request, life, name);
        let created = self.create(&at, envelope).await;
        if !created.map_err(|error| failed(&error))? {
            return Err(PutError::Exists {
                key: key.to_owned(),
            });
        }
        Ok(life)
    }

    async fn try_get(&self, request: RequestId, at: Stored<'_>) -> Result<Bytes, GetError> {
        let name = key::name_of(request, at.key).ok_or_else(|| at.lost())?;
        let failed = |error: &Error| failure(error, format!("getting {}", at.key));
        let path = self.place.value(request, at.boot, name);
        let read = async { self.place.objects.get(&path).await?.bytes().await };
        match read.await {
            Ok(found) => at.checked(found),
            Err(error) if failure::is_absent(&error) => {
                // Or the whole folder is.
                let there = self.ledger.check().await;
                there.map_err(|error| failed(&error))?;
                Err(at.lost())
            }
            Err(error) => Err(failed(&error).into()),
        }
    }

    async fn try_drop(
        &self,
        request: RequestId,
        epoch: u64,
    ) -> Result<Result<Dropped, Newer>, Error> {
        let changed = self.ledger.change(request, |known, now_ms| {
            let known = known.unwrap_or_else(|| Known::born(epoch, now_ms + self.lease_ms));
            known.hears(epoch)?;
            Ok(Some(Known {
                epoch,
                is_dropped: true,
                ..known
            }))
        });
        Ok(match changed.await? {
            Changed::Now(known) => Ok(self
                .place
                .clear(&self.place.life(request, known.life))
                .await?),
            Changed::Not(_) => Ok(Dropped::default()),
            Changed::Refused(newer) => Err(newer),
        })
    }

    async fn try_lease(
        &self,
        request: RequestId,
        epoch: u64,
        lease: Duration,
    ) -> Result<Result<bool, Newer>, Error> {
        let changed = self.ledger.change(request, |known, now_ms| {
            let Some(known) = known else { return Ok(None) };
            known.hears(epoch)?;
            let ends_ms = now_ms + lease_ms(lease);
            let leased = Known {
                epoch,
                ends_ms,
                ..known
            };
            Ok((!known.is_dropped).then_some(leased))
        });
        Ok(match changed.await? {
            Changed::Now(_) => Ok(true),
            Changed::Not(_) => Ok(false),
            Changed::Refused(newer) => Err(newer),
        })
    }
}

#[async_trait]
impl DataStore for InObjects {
    fn address(&self) -> &str {
        &self.address
    }

    async fn put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        envelope: Bytes,
    ) -> Result<ValueRef, PutError> {
        let name = key::checked(request, key, envelope.len())?;
        let (size, digest) = (envelope.len() as u64, Digest::of(&envelope));
        let attempted = format!("putting {size} bytes under {key}");
        let putting = self.try_put(request, epoch, key, name, envelope);
        let life = in_time(size, attempted, putting).await?;
        Ok(ValueRef::Stored {
            store: Arc::clone(&self.address),
            boot: life,
            key: key.into(),
            size,
            digest,
        })
    }

    async fn get(&self, request: RequestId, at: Stored<'_>) -> Result<Bytes, GetError> {
        let attempted = format!("getting {}", at.key);
        in_time(at.size, attempted, self.try_get(request, at)).await
    }

    async fn drop_bucket(&self, request: RequestId, epoch: u64) -> Result<Dropped, BucketError> {
        let attempted = format!("dropping the bucket of request {request}");
        let dropping = within(0, self.try_drop(request, epoch)).await;
        told(dropping, epoch, attempted)
    }

    async fn lease(
        &self,
        request: RequestId,
        epoch: u64,
        lease: Duration,
    ) -> Result<bool, BucketError> {
        let attempted = format!("setting the lease of the bucket of request {request}");
        let leasing = within(0, self.try_lease(request, epoch, lease)).await;
        told(leasing, epoch, attempted)
    }
}

fn told<T>(
    done: Result<Result<T, Newer>, Error>,
    epoch: u64,
    attempted: String,
) -> Result<T, BucketError> {
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(newer)) => Err(BucketError::Stale {
            attempted,
            epoch,
            newer,
        }),
        Err(error) => Err(failure(&error, attempted).into()),
    }
}

/// What is done, within the time for so many bytes.
async fn in_time<T, E: From<Failure>>(
    bytes: u64,
    attempted: String,
    doing: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let limit = failure::limit(bytes);
    match tokio::time::timeout(limit, doing).await {
        Ok(done) => done,
        Err(_) => Err(Failure::Unavailable {
            attempted,
            reason: format!("no answer within {limit:?}"),
        }
        .into()),
    }
}

/// Hosts that share buckets have to agree on the time, to a small part of a lease.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl Place {
    fn buckets(&self) -> Path {
        self.root.clone().join("buckets")
    }

    fn values(&self) -> Path {
        self.root.clone().join("values")
    }

    fn bucket(&self, request: RequestId) -> Path {
        self.buckets().join(request.to_string())
    }

    fn lives(&self, request: RequestId) -> Path {
        self.values().join(request.to_string())
    }

    fn life(&self, request: RequestId, life: u64) -> Path {
        self.lives(request).join(format!("{life:016x}"))
    }

    fn value(&self, request: RequestId, life: u64, name: &str) -> Path {
        self.life(request, life).join(name::written(name))
    }
}
