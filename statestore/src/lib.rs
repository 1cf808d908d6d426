//! The state of requests: the log of each, and beside it a work queue, words between processes and
//! small tables. The contract, and the backends that keep it.
//!
//! Invariants: a request's state is the fold of its log; an append names the sequence that it
//! follows, and of two appenders at one sequence exactly one wins; sequences are opaque, increasing,
//! with gaps.

mod append;
mod bus;
mod error;
pub mod event;
mod file;
mod lanes;
mod log;
mod memory;
mod nats;
mod opening;
mod queue;
mod redis;
mod state;
mod steady;
mod table;
mod url;
mod wall;
mod word;

pub use append::{APPEND_BYTES_MAX, Append, AppendId, Envelope, Kind, Record, Seq, Standing};
pub use bus::{Bus, Channel, Listener};
pub use error::StateError;
pub use event::Event;
pub use log::{Follow, Followed, Log, Usage};
pub use memory::{MemoryBus, MemoryLog, MemoryQueue, MemoryTable};
pub use opening::Use;
pub use queue::{Queue, Taken};
pub use state::{Link, Options, State, Storage, Sync};
pub use steady::Steady;
pub use table::Table;
pub use url::{StateUrl, StateUrlError};
pub use wall::watch_wall_clock;
pub use word::{ASKED_MAX, Beat, Hint, Why, Word};
