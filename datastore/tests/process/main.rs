//! The store as a process, as clients see it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by it, and says what it left out"
)]

mod abuse;
mod alike;
mod attack;
mod bad_input;
mod buckets;
mod client;
mod losses;
mod outsiders;
mod peers;
mod program;
mod quotas;
mod replies;
mod sequences;
mod shared;
mod spill;
mod strangers;
mod tls;
