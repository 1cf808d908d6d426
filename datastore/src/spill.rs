//! Values on disk, while memory is short: sealed with a key that this process alone has, and that it
//! takes with it.
//!
//! Files have no name from the moment that they are made, so that nothing of them is left however the
//! process ends. Absent: which values go there, which is the store's to say; and any way to read them
//! in another life of the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{FallocateFlags, fallocate};
use turlough_sdk::Digest;

use crate::blob::{Blob, Buffer};
use crate::pool::Pool;

/// A value is sealed in pieces of this, in bytes.
const PIECE: usize = 256 << 10;
/// What sealing adds to a piece, in bytes.
const TAG: usize = 16;
/// A file takes this, or one value that is larger; what is free in it goes back to the disk at once.
const FILE_BYTES: u64 = 1 << 30;
/// Values begin at borders of the disk's blocks, so that each can be given back by itself.
const BLOCK: u64 = 4 << 10;

/// A folder for values.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    key: LessSafeKey,
    /// Values that were ever sealed: no two have one number.
    sealed: AtomicU64,
    filling: Mutex<Filling>,
    bytes: AtomicU64,
    bytes_max: u64,
}

/// The file that is being filled.
#[derive(Debug)]
struct Filling {
    file: Arc<File>,
    end: u64,
}

/// A value on disk. Its room is given back with it.
#[derive(Debug)]
pub(crate) struct Spilled {
    disk: Arc<Disk>,
    file: Arc<File>,
    at: u64,
    number: u64,
    len: usize,
    digest: Digest,
}

impl Disk {
    /// A folder that can be written.
    ///
    /// # Errors
    /// A folder that is not there, read-only or full.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        let mut key = [0; 32];
        let failed = |_| io::Error::other("no random numbers for a key");
        SystemRandom::new().fill(&mut key).map_err(failed)?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(failed)?;
        let file = tempfile::tempfile_in(folder)?;
        // A disk that is full is found now.
        file.write_all_at(&[0; TAG], 0)?;
        Ok(Self {
            folder: folder.to_owned(),
            key: LessSafeKey::new(key),
            sealed: AtomicU64::new(0),
            filling: Mutex::new(Filling {
                file: Arc::new(file),
                end: 0,
            }),
            bytes: AtomicU64::new(0),
            bytes_max,
        })
    }

    /// What values take of the disk, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Writes a value.
    pub(crate) fn write(self: &Arc<Self>, blob: &Blob) -> io::Result<Spilled> {
        let bytes = sealed_bytes(blob.len());
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let place = if held + bytes > self.bytes_max {
            let (limit, folder) = (self.bytes_max, self.folder.display());
            Err(io::Error::other(format!(
                "{folder} holds {held} of {limit} bytes; raise TURLOUGH_STORE_SPILL_BYTES_MAX"
            )))
        } else {
            self.place(bytes)
        };
        let (file, at) = place.inspect_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        })?;
        // From here on its room goes back with it.
        let spilled = Spilled {
            disk: Arc::clone(self),
            file,
            at,
            number: self.sealed.fetch_add(1, Ordering::Relaxed),
            len: blob.len(),
            digest: blob.digest(),
        };
        let mut piece = Vec::with_capacity(PIECE + TAG);
        for (n, start) in (0..blob.len()).step_by(PIECE).enumerate() {
            piece.clear();
            for slice in blob.slices(start..blob.len().min(start + PIECE)) {
                piece.extend_from_slice(slice);
            }
            let nonce = nonce(spilled.number, n);
            let sealed = self
                .key
                .seal_in_place_append_tag(nonce, Aad::empty(), &mut piece);
            sealed.map_err(|_| io::Error::other("value cannot be sealed"))?;
            spilled.file.write_all_at(&piece, spilled.place_of(n))?;
        }
        Ok(spilled)
    }

    /// Room for so many bytes.
    fn place(&self, bytes: u64) -> io::Result<(Arc<File>, u64)> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if filling.end > 0 && filling.end + bytes > FILE_BYTES {
            *filling = Filling {
                file: Arc::new(tempfile::tempfile_in(&self.folder)?),
                end: 0,
            };
        }
        let at = filling.end;
        filling.end += bytes;
        Ok((Arc::clone(&filling.file), at))
    }
}

impl Spilled {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn digest(&self) -> Digest {
        self.digest
    }

    /// Reads the value.
    ///
    /// # Errors
    /// A disk that fails, what lies there and is not what was written, and a kernel that gives no
    /// memory.
    pub(crate) fn read(&self, pool: &Arc<Pool>) -> io::Result<Blob> {
        let mut buffer = Buffer::new(pool, self.len);
        let mut piece = Vec::with_capacity(PIECE + TAG);
        for (n, start) in (0..self.len).step_by(PIECE).enumerate() {
            piece.resize((self.len - start).min(PIECE) + TAG, 0);
            self.file.read_exact_at(&mut piece, self.place_of(n))?;
            let nonce = nonce(self.number, n);
            let opened = self.disk.key.open_in_place(nonce, Aad::empty(), &mut piece);
            let opened = opened.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            buffer.fill(opened).map_err(io::Error::other)?;
        }
        Ok(buffer.finish_with(self.digest))
    }

    const fn place_of(&self, piece: usize) -> u64 {
        self.at + (piece * (PIECE + TAG)) as u64
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        let bytes = sealed_bytes(self.len);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Where a disk knows no holes, the room goes back with its file.
        fallocate(&*self.file, hole, self.at, bytes).ok();
        self.disk.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a value takes on disk.
const fn sealed_bytes(len: usize) -> u64 {
    let tags = len.div_ceil(PIECE) * TAG;
    ((len + tags) as u64).next_multiple_of(BLOCK)
}

fn nonce(number: u64, piece: usize) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    // A value has fewer pieces than that.
    bytes[8..].copy_from_slice(&u32::try_from(piece).unwrap_or(u32::MAX).to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(pool: &Arc<Pool>, len: usize) -> Blob {
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let mut buffer = Buffer::new(pool, len);
        buffer.fill(&bytes).unwrap();
        buffer.finish()
    }

    #[test]
    fn what_is_written_is_read_and_lies_there_sealed() {
        let (folder, pool) = (tempfile::tempdir().unwrap(), Arc::new(Pool::default()));
        let disk = Arc::new(Disk::open(folder.path(), u64::MAX).unwrap());
        let mut all = Vec::new();
        for len in [1, 100_000, PIECE, PIECE + 1, 3 * PIECE - 1] {
            let whole = blob(&pool, len);
            let spilled = disk.write(&whole).unwrap();
            assert_eq!((spilled.len(), spilled.digest()), (len, whole.digest()));
            let mut there = vec![0; len];
            spilled.file.read_exact_at(&mut there, spilled.at).unwrap();
            let plain: Vec<u8> = whole.slices(0..len).flatten().copied().collect();
            assert_ne!(there, plain);
            all.push((spilled, plain));
        }
        for (spilled, plain) in &all {
            let read = spilled.read(&pool).unwrap();
            let read: Vec<u8> = read.slices(0..read.len()).flatten().copied().collect();
            assert!(read == *plain);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(all);
        assert_eq!(disk.bytes(), 0);
    }

    #[test]
    fn what_was_changed_on_disk_is_not_read() {
        let (folder, pool) = (tempfile::tempdir().unwrap(), Arc::new(Pool::default()));
        let disk = Arc::new(Disk::open(folder.path(), u64::MAX).unwrap());
        let spilled = disk.write(&blob(&pool, 300_000)).unwrap();
        spilled
            .file
            .write_all_at(b"x", spilled.at + 270_000)
            .unwrap();
        assert_eq!(
            spilled.read(&pool).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_and_takes_nothing() {
        let (folder, pool) = (tempfile::tempdir().unwrap(), Arc::new(Pool::default()));
        let disk = Arc::new(Disk::open(folder.path(), 1_000_000).unwrap());
        let first = disk.write(&blob(&pool, 900_000)).unwrap();
        let error = disk.write(&blob(&pool, 200_000)).unwrap_err();
        assert!(error.to_string().contains("of 1000000 bytes"), "{error}");
        drop(first);
        disk.write(&blob(&pool, 200_000)).unwrap();
        assert!(Disk::open(&folder.path().join("none"), 0).is_err());
    }
}
