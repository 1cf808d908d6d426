//! A folder: what files need beside objects.

use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _};

use super::Place;
use super::failure::{from_io, is_absent};
use crate::data::Dropped;

/// A late put may add a file to a folder that is being removed: then it is removed again, so often.
const REMOVALS: u32 = 4;

/// The file that is locked by whoever changes what is known of a tenant's buckets.
pub(super) fn lock_path(folder: &FilePath, tenant: &str) -> PathBuf {
    folder.join(tenant).join("lock")
}

/// Makes a folder where there is none, and opens it.
pub(super) async fn open(
    dir: &FilePath,
    tenant: &str,
) -> Result<(Arc<dyn ObjectStore>, Arc<FilePath>), String> {
    let (dir, tenant) = (dir.to_owned(), tenant.to_owned());
    let opening = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(dir.join(&tenant))?;
        let dir = dir.canonicalize()?;
        let lock = lock_path(&dir, &tenant);
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(lock)?;
        let objects = LocalFileSystem::new_with_prefix(&dir).map_err(io::Error::other)?;
        Ok((Arc::new(objects) as Arc<dyn ObjectStore>, Arc::from(dir)))
    });
    let opened = opening
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    opened.map_err(|error| error.to_string())
}

impl Place {
    /// Takes away all that is under a path; what that was.
    pub(super) async fn clear(&self, under: &Path) -> Result<Dropped, Error> {
        let mut dropped = Dropped::default();
        let mut found = self.objects.list(Some(under));
        while let Some(object) = found.next().await {
            let object = match object {
                Err(error) if is_absent(&error) => continue,
                object => object?,
            };
            dropped.keys += 1;
            dropped.bytes += object.size;
        }
        match &self.folder {
            Some(folder) => remove(folder.join(under.as_ref())).await?,
            None if dropped.keys > 0 => self.delete_all(under).await?,
            None => {}
        }
        Ok(dropped)
    }

    async fn delete_all(&self, under: &Path) -> Result<(), Error> {
        let found = self.objects.list(Some(under));
        let found = found.map(|object| object.map(|object| object.location));
        let mut gone = self.objects.delete_stream(found.boxed());
        while let Some(gone) = gone.next().await {
            match gone {
                Err(error) if !is_absent(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes away one object.
    pub(super) async fn delete(&self, at: &Path) -> Result<(), Error> {
        match self.objects.delete(at).await {
            Err(error) if !is_absent(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Removes a folder, with what a process that was killed left there half written.
async fn remove(folder: PathBuf) -> Result<(), Error> {
    let removing = tokio::task::spawn_blocking(move || {
        let mut removed = Ok(());
        for _ in 0..REMOVALS {
            removed = fs::remove_dir_all(&folder);
            match &removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                _ => return removed,
            }
        }
        removed
    });
    let removed = removing
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    removed.map_err(from_io)
}
