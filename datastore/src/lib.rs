//! The ephemeral store: a request's values, in memory, under its id, dropped together.
//!
//! Invariants: a value is written once; what is read back is what was put, by its digest; a bound
//! refuses, and never evicts.
//! Absent for now: the store process, leases, backup and spill.

mod memory;

pub use memory::{Dropped, GetError, MemoryStore, PutError};
