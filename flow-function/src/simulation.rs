//! A cluster in one thread and in simulated time: replicas and keepers as they are, on a state that
//! delays, loses and repeats what goes over the wire, forgets the tail of its logs, and is away.
//!
//! Every host has a runtime of its own with a clock of its own, so that it can be killed between any two
//! awaits, stopped, and cut off; the server and the functions have one that is never killed, so that
//! what a host sent goes on without it. A seed says all that happens:
//! `TURLOUGH_SEED=… cargo test -p turlough-flow-function one_cluster -- --ignored`.
//!
//! Absent: HTTP, and functions behind it. The campaign of kills in `tests/replicas` has those.

mod campaign;
mod check;
mod flows;
mod functions;
mod harm;
mod host;
mod interleavings;
mod server;
mod time;
mod trap;
mod wire;
mod world;

pub(crate) use time::{boot, wall_us};
