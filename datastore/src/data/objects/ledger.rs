//! What is known of each bucket, changed by comparing and swapping, so that no epoch is forgotten and no
//! two buckets are opened for one request.
//!
//! An object store compares by the tag of what was read (`If-Match`, `If-None-Match`). Files have no such
//! thing: there a lock on one file stands in for it, which the kernel gives to one process at a time and
//! takes back when that dies. That file also tells a folder from the place where it was mounted.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use object_store::{Error, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use turlough_sdk::RequestId;
use uuid::Uuid;

use super::failure::{from_io, is_absent};
use super::folder::lock_path;
use super::{Place, now_ms};
use crate::data::error::Newer;

/// Whoever is overtaken reads again and tries again, so often: a bucket has few who change it.
const TRIES: u32 = 8;

/// What is known of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The newest that was heard of.
    pub(super) epoch: u64,
    /// Drawn when it was opened.
    pub(super) life: u64,
    /// When its lease ends, in ms since 1970.
    pub(super) ends_ms: u64,
    /// Whether it takes no more of its epoch.
    #[serde(default)]
    pub(super) is_dropped: bool,
}

/// What became of a change.
#[derive(Debug)]
pub(super) enum Changed {
    /// It was made.
    Now(Known),
    /// None was wanted.
    Not(Option<Known>),
    /// It is not to be, for this reason.
    Refused(Newer),
}

/// What is known of all buckets of a tenant.
#[derive(Debug)]
pub(super) struct Ledger {
    place: Place,
    lock: Option<Lock>,
}

/// The lock of a folder.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    /// One of this process waits for it at a time: a wait takes a thread, and whoever holds it needs some.
    turn: Semaphore,
}

/// As long as it is there, nobody else changes anything in a folder.
struct Held<'a> {
    _file: File,
    _turn: SemaphorePermit<'a>,
}

impl Known {
    pub(super) fn born(epoch: u64, ends_ms: u64) -> Self {
        Self {
            epoch,
            life: Uuid::new_v4().as_u64_pair().1,
            ends_ms,
            is_dropped: false,
        }
    }

    /// Why it is not for an epoch to change it.
    pub(super) const fn hears(&self, epoch: u64) -> Result<(), Newer> {
        if epoch < self.epoch {
            return Err(self.newer());
        }
        Ok(())
    }

    /// Why it takes no value at an epoch.
    pub(super) const fn refuses(&self, epoch: u64) -> Result<(), Newer> {
        if self.is_dropped && epoch == self.epoch {
            return Err(self.newer());
        }
        self.hears(epoch)
    }

    const fn newer(&self) -> Newer {
        Newer {
            epoch: self.epoch,
            is_dropped: self.is_dropped,
        }
    }
}

impl Ledger {
    pub(super) fn new(place: Place) -> Self {
        let lock = place.folder.as_ref().map(|folder| Lock {
            path: lock_path(folder, place.root.as_ref()),
            turn: Semaphore::new(1),
        });
        Self { place, lock }
    }

    /// What is known of a bucket, over or not, and by what it is to be compared.
    pub(super) async fn read(
        &self,
        request: RequestId,
    ) -> Result<Option<(Known, UpdateVersion)>, Error> {
        let at = self.place.bucket(request);
        let found = match self.place.objects.get(&at).await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let version = UpdateVersion {
            e_tag: found.meta.e_tag.clone(),
            version: found.meta.version.clone(),
        };
        let known = serde_json::from_slice(&found.bytes().await?);
        let known = known.map_err(|error| Error::Generic {
            store: "ledger",
            source: format!("{at} holds nothing that is known of a bucket: {error}").into(),
        })?;
        Ok(Some((known, version)))
    }

    /// Changes what is known of a bucket, or not, as `change` says, which is asked again where somebody
    /// else was faster. A bucket whose lease is over is not known.
    pub(super) async fn change(
        &self,
        request: RequestId,
        change: impl Fn(Option<Known>, u64) -> Result<Option<Known>, Newer>,
    ) -> Result<Changed, Error> {
        // Most often nothing changes, and that is found out without the lock.
        let (mut read, mut held) = (self.read(request).await?, None);
        for _ in 0..TRIES {
            let now_ms = now_ms();
            let known = read.as_ref().map(|(known, _)| *known);
            let known = known.filter(|known| known.ends_ms > now_ms);
            let wanted = match change(known, now_ms) {
                Ok(Some(wanted)) => wanted,
                Ok(None) => return Ok(Changed::Not(known)),
                Err(newer) => return Ok(Changed::Refused(newer)),
            };
            if let (Some(lock), None) = (&self.lock, &held) {
                held = Some(lock.hold().await?);
                read = self.read(request).await?;
                continue;
            }
            let version = read.as_ref().map(|(_, version)| version.clone());
            match self.write(request, &wanted, version).await {
                Ok(()) => return Ok(Changed::Now(wanted)),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
            read = self.read(request).await?;
        }
        Err(Error::Generic {
            store: "ledger",
            source: format!("others changed the bucket of request {request} {TRIES} times").into(),
        })
    }

    async fn write(
        &self,
        request: RequestId,
        known: &Known,
        version: Option<UpdateVersion>,
    ) -> Result<(), Error> {
        let mode = match version {
            _ if self.lock.is_some() => PutMode::Overwrite,
            Some(version) => PutMode::Update(version),
            None => PutMode::Create,
        };
        let text = serde_json::to_vec(known).map_err(|error| Error::Generic {
            store: "ledger",
            source: error.into(),
        })?;
        let at = self.place.bucket(request);
        let (payload, options) = (PutPayload::from(text), PutOptions::from(mode));
        let put = self.place.objects.put_opts(&at, payload, options).await;
        put.map(drop)
    }

    /// Forgets a bucket whose lease is over, after `clear` took away what is left of it; whether it was.
    pub(super) async fn forget(
        &self,
        request: RequestId,
        clear: impl AsyncFnOnce() -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let _held = match &self.lock {
            Some(lock) => Some(lock.hold().await?),
            None => None,
        };
        match self.read(request).await? {
            Some((known, _)) if known.ends_ms > now_ms() => return Ok(false),
            None | Some(_) => {}
        }
        clear().await?;
        self.place.delete(&self.place.bucket(request)).await?;
        Ok(true)
    }

    /// That the folder is there, where it is one.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let Some(lock) = &self.lock else {
            return Ok(());
        };
        let there = tokio::fs::metadata(&lock.path).await;
        there.map(drop).map_err(|error| lock.missing(error))
    }
}

impl Lock {
    async fn hold(&self) -> Result<Held<'_>, Error> {
        let closed = |_| from_io(io::ErrorKind::Other.into());
        let turn = self.turn.acquire().await.map_err(closed)?;
        let path = self.path.clone();
        let locking = tokio::task::spawn_blocking(move || {
            // Not made here: where it is not, the folder is not.
            let file = File::options().write(true).open(path)?;
            file.lock()?;
            Ok(file)
        });
        let locked = locking
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        Ok(Held {
            _file: locked.map_err(|error| self.missing(error))?,
            _turn: turn,
        })
    }

    fn missing(&self, error: io::Error) -> Error {
        from_io(io::Error::new(
            error.kind(),
            format!("{}: {error}; is the folder mounted", self.path.display()),
        ))
    }
}
