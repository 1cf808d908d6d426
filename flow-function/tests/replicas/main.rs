//! Several replicas of a flow-function, as processes, on one state in a real nats-server: what one
//! leaves, another takes on, however it left.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod campaign;
mod cluster;
mod functions;
#[path = "../../../statestore/tests/conformance/nats/process.rs"]
#[allow(dead_code, reason = "the conformance suite uses more of it")]
mod nats;
mod taking_over;
