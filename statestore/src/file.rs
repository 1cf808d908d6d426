//! State in a folder of this machine, for one process at a time: it survives that process, however it
//! ends, and the machine as far as [`Sync`](crate::Sync) says.
//!
//! ```text
//! <dir>/<function>/lock      held while a process has it
//!                 /log/      segments of records: appends, and logs that were deleted
//!                 /queue/    segments of records: items, and their acknowledgements
//!                 /flows/    a file for each definition
//! ```
//! Heartbeats and words are in memory: there is nobody else to see them.

mod failure;
mod folder;
mod frame;
mod inbox;
mod journal;
mod log;
mod queue;
mod reading;
mod segment;
mod syncer;
mod table;

use std::path::Path;
use std::sync::Arc;

use self::failure::Failure;
use self::folder::Folder;
use self::log::FileLog;
use self::queue::FileQueue;
use self::table::FileTable;
use crate::error::StateError;
use crate::memory::{MemoryBus, MemoryTable};
use crate::state::{Link, Options, State};

impl State {
    /// State in a folder of this machine, a folder in it for each function. It stays open until this
    /// state and all that was made of it are dropped.
    ///
    /// # Errors
    /// A folder that another process uses, or that holds what cannot be read: the text names it.
    pub(crate) async fn in_folder(dir: &Path, options: &Options) -> Result<Self, StateError> {
        let path = dir.join(options.function.as_str());
        let attempted = format!("opening the state in folder {}", path.display());
        let options = options.clone();
        let opened = tokio::task::spawn_blocking(move || open(&path, &options)).await;
        opened.unwrap_or_else(|error| {
            Err(StateError::Unavailable {
                attempted,
                reason: error.to_string(),
            })
        })
    }
}

fn open(path: &Path, options: &Options) -> Result<State, StateError> {
    let folder = Arc::new(Folder::take(path)?);
    let opened = || -> Result<_, Failure> {
        let log = FileLog::open(&folder, options)?;
        let queue = FileQueue::open(&folder, options)?;
        Ok((log, queue, FileTable::open(&folder)?))
    };
    let (log, queue, flows) = opened().map_err(|failure| {
        let attempted = format!("opening the state in folder {}", path.display());
        match failure {
            Failure::Full(_) => failure.of_attempt(attempted),
            Failure::Unavailable(reason) | Failure::Unanswered(reason) => {
                StateError::Refused { attempted, reason }
            }
        }
    })?;
    Ok(State {
        log: Arc::new(log),
        queue: Arc::new(queue),
        bus: Arc::new(MemoryBus::default()),
        flows: Arc::new(flows),
        replicas: Arc::new(MemoryTable::lapsing(options.heartbeat)),
        is_shared: false,
        link: Link::of_process(),
    })
}
