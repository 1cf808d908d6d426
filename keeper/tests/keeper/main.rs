//! A keeper on a real state in memory, with requests written as drivers write them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod duties;
mod lists;
mod load;
mod recovery;
mod sweep;
mod two;
mod world;
