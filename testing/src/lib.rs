//! Servers of other people, as processes that tests start, kill and start again on what they left.
//!
//! Invariants: a server ends with its test, however that ends; it is started again where it was.
//! Absent: connections to these servers, which are the business of those who test them.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a failed step fails the test"
)]

mod nats;
mod redis;
mod supervised;

pub use nats::Nats;
pub use redis::Redis;
