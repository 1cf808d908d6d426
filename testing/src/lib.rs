//! Servers of other people, as processes that tests start, kill and start again on what they left; and
//! programs of ours, as whoever runs them sees them. And a collector of traces, in the test's own process.
//!
//! Invariants: a server ends with its test, however that ends; it is started again where it was.
//! Absent: what is kept in these servers, which is the business of those who test them.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a failed step fails the test"
)]

mod clock;
mod collector;
mod nats;
mod old_nats;
mod program;
mod redis;
mod redis_cluster;
mod supervised;

pub use clock::WallClock;
pub use collector::{Behaviour, Collector, Link, Span};
pub use nats::Nats;
pub use old_nats::OldNats;
pub use program::{Answer, Program, free_port, until};
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
