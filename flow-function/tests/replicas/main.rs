//! Several replicas of a flow-function, as processes, on one state in a real server: what one leaves,
//! another takes on, however it left.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step fails the test"
)]

mod appends;
mod bad_state;
mod campaign;
mod cluster;
mod flows;
mod functions;
mod stores;
mod taking_over;
mod traced;
