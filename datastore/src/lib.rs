//! The ephemeral store: a request's values, under its id, dropped together. [`data`] is the contract, for
//! one tenant, with its backends: this process, a store as a process of its own, Redis, a folder, S3. The
//! rest is that process, for all on its host, which speaks RESP.
//!
//! Invariants: a bound refuses, and never evicts; what is read back is what was put; a request's values
//! go at once; no tenant sees anything of another.

mod blob;
mod credential;
pub mod data;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
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
pub use data::{DataStore, DataUrl, DataUrlError};
pub use peers::{Backup, PeerList, PeerListError};
pub use pool::{Pool, PoolError};
pub use process::{StoreProcess, main_with};
pub use reference::{Reference, ReferenceError};
pub use server::{Config, Server, ServerError, SpillTo};
pub use settings::Settings;
pub use store::{Bounds, Holds, KEY_BYTES_MAX, KeyError, Quota, Refusal, Store, Tenant, Usage};
pub use tenants::TenantsError;
