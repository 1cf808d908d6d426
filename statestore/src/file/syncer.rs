//! Forces what was written to the disk: before it is answered, or at an interval by a thread of its
//! own, so that nobody waits for the disk then.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::segment::Segment;
use crate::state::Sync;

/// Forces one segment after another to the disk.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    progress: Mutex<Progress>,
    closed: Condvar,
}

#[derive(Debug)]
struct Progress {
    segment: Arc<Segment>,
    written: u64,
    synced: u64,
    /// After one failure nothing is known of what the disk holds: the system may have dropped what it
    /// could not write, and says so once.
    failed: Option<String>,
    is_closed: bool,
}

impl Syncer {
    /// Begins with a segment of which so much is on the disk.
    pub(super) fn start(sync: Sync, segment: Arc<Segment>, synced: u64) -> io::Result<Self> {
        let progress = Progress {
            segment,
            written: synced,
            synced,
            failed: None,
            is_closed: false,
        };
        let shared = Arc::new(Shared {
            progress: Mutex::new(progress),
            closed: Condvar::new(),
        });
        let thread = match sync {
            Sync::Always => None,
            Sync::Every(interval) => {
                let shared = Arc::clone(&shared);
                let thread = std::thread::Builder::new().name("state-sync".to_owned());
                Some(thread.spawn(move || sync_until_closed(&shared, interval))?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// How far the segment is on the disk, or why that is not known.
    pub(super) fn synced(&self) -> Result<u64, String> {
        let progress = self.shared.progress();
        match &progress.failed {
            Some(reason) => Err(reason.clone()),
            None => Ok(progress.synced),
        }
    }

    /// So much is written. Without an interval it is forced to the disk now.
    pub(super) fn wrote(&self, written: u64) -> Result<(), String> {
        self.shared.progress().written = written;
        if self.thread.is_none() {
            return self.shared.sync();
        }
        Ok(())
    }

    /// Forces all that was written to the disk now.
    pub(super) fn sync(&self) -> Result<(), String> {
        self.shared.sync()
    }

    /// Goes on with another segment; what stands in the one before is on the disk.
    pub(super) fn turn_to(&self, segment: Arc<Segment>, synced: u64) {
        let mut progress = self.shared.progress();
        progress.segment = segment;
        (progress.written, progress.synced) = (synced, synced);
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.progress().is_closed = true;
        self.shared.closed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that forces the state to the disk panicked");
        }
    }
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self) -> Result<(), String> {
        let (segment, written) = {
            let progress = self.progress();
            if let Some(reason) = &progress.failed {
                return Err(reason.clone());
            }
            if progress.written == progress.synced {
                return Ok(());
            }
            (Arc::clone(&progress.segment), progress.written)
        };
        let done = segment.file.sync_data();
        let mut progress = self.progress();
        match done {
            Ok(()) if Arc::ptr_eq(&progress.segment, &segment) => {
                progress.synced = progress.synced.max(written);
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) => {
                let path = segment.path.display();
                let reason = format!(
                    "{path} could not be forced to the disk: {error}; what was written last may be lost; \
                     see to the disk, then start again"
                );
                tracing::error!(%reason, "the state is not written any more");
                progress.failed = Some(reason.clone());
                Err(reason)
            }
        }
    }
}

fn sync_until_closed(shared: &Shared, interval: Duration) {
    loop {
        let progress = shared.progress();
        let waited = shared
            .closed
            .wait_timeout_while(progress, interval, |progress| !progress.is_closed);
        let (progress, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_closed = progress.is_closed;
        drop(progress);
        // Once it failed, whoever writes next is told.
        if shared.sync().is_err() || is_closed {
            return;
        }
    }
}
