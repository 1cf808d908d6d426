//! The ephemeral store: a request's values, under its id, dropped together. [`data`] is the contract, for
//! one tenant, with its backends: this process, a store as a process of its own, Redis, a folder, S3. The
//! rest is that process, for all on its host, which speaks RESP, and a store in the process that uses it.
//!
//! Invariants: a bound refuses, and never evicts; what is read back is what was put; a request's values
//! go at once; no tenant sees anything of another.
//! Absent for now: backup, spill, reads by reference from other hosts.

mod blob;
pub mod data;
mod http;
mod memory;
mod metrics;
mod pool;
mod process;
mod server;
mod settings;
mod store;
mod tenants;
mod tls;
mod wire;

pub use data::{DataStore, DataUrl, DataUrlError};
pub use memory::{Dropped, GetError, MemoryStore, PutError};
pub use pool::{Pool, PoolError};
pub use process::main_with;
pub use server::{Config, Server, ServerError};
pub use settings::Settings;
pub use store::{Bounds, Holds, KEY_BYTES_MAX, KeyError, Quota, Refusal, Store, Tenant, Usage};
pub use tenants::TenantsError;
