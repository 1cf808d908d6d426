//! The event log of a request: what stands in it, and where it is kept.
//!
//! Invariants: a request's state is the fold of its log; an append names the sequence that it
//! follows, and of two appenders at one sequence exactly one wins; sequences are opaque, increasing,
//! with gaps.
//! Absent for now: the durable backends and the work queue.

mod append;
pub mod event;
mod memory;

pub use append::{APPEND_BYTES_MAX, Append, AppendError, AppendId, Envelope, Kind, Record, Seq};
pub use event::Event;
pub use memory::MemoryLog;
