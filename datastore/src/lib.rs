//! The ephemeral store: a request's values, in memory, under its id, dropped together. A store in the
//! process that uses it, and one as a process of its own, for all on its host, that speaks RESP.
//!
//! Invariants: a bound refuses, and never evicts; what is read back is what was put; a request's values
//! go at once; no tenant sees anything of another.
//! Absent for now: other backends.

mod blob;
mod credential;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod memory;
mod metrics;
mod peers;
mod pool;
mod process;
mod reference;
mod server;
mod settings;
mod spill;
mod store;
mod sync;
mod tenants;
mod tls;
mod wire;

pub use credential::{CredentialError, StepCredential};
pub use memory::{Dropped, GetError, MemoryStore, PutError};
pub use peers::{Backup, PeerList, PeerListError};
pub use pool::{Pool, PoolError};
pub use process::main_with;
pub use reference::{Reference, ReferenceError};
pub use server::{Config, Server, ServerError, SpillTo};
pub use settings::Settings;
pub use store::{Bounds, Holds, KEY_BYTES_MAX, KeyError, Quota, Refusal, Store, Tenant, Usage};
pub use tenants::TenantsError;
