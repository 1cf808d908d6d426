//! State in memory: gone with its process.

mod bus;
mod log;
mod queue;
mod table;

pub use bus::MemoryBus;
pub use log::MemoryLog;
pub use queue::MemoryQueue;
pub use table::MemoryTable;

use std::sync::Arc;

use crate::state::{Link, Options, State};

impl State {
    /// State that is gone with this process. Engines of one process may share a clone of it.
    #[must_use]
    pub fn in_memory(options: &Options) -> Self {
        Self {
            log: Arc::new(MemoryLog::new(options.bytes_max)),
            queue: Arc::new(MemoryQueue::new(options.visibility)),
            bus: Arc::new(MemoryBus::default()),
            flows: Arc::new(MemoryTable::default()),
            replicas: Arc::new(MemoryTable::lapsing(options.heartbeat)),
            is_shared: false,
            link: Link::of_process(),
        }
    }
}
