//! The keeper: it follows the logs of a tenant, keeps an index of requests, and sees to it that every
//! request that needs a driver gets one. The queue hints; the log decides; the keeper guarantees.
//!
//! It reads envelopes and events, and needs no definition of a flow. It runs as a process of its own
//! where several processes use the state, and inside a flow-function where the state is of one process.
//!
//! Invariants: all that it says is a hint that may be lost, come late or twice; the index is a
//! projection, and is rebuilt from the logs where it is lost; no list and no duty reads more of the
//! index than it shows or does.

mod clock;
mod duties;
mod follower;
mod gateway;
mod http;
mod index;
mod keeper;
mod lease;
mod metrics;
mod options;
mod process;
mod replicas;
mod row;
mod settings;
mod summary;
mod sweep;

pub use clock::Clock;
pub use index::{Counts, IndexError};
pub use keeper::{Behind, DeleteError, Keeper, KeeperError};
pub use options::{IndexPlace, Options, Retention};
pub use process::{main_with, run_until};
pub use settings::{Settings, StateSettings};
pub use summary::{Claimant, Ended, Filter, STATUSES, Status, Summary, summary_json};
