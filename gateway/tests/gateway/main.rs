//! The gateway over the wire: real sockets on port 0, real processes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy sees a test only in a function marked as one"
)]

mod harness;
mod log;
mod scripted;

mod proxy;
mod streaming;

mod asynchronous;
mod backlog;
mod callback;
mod callback_tls;
mod queue;

mod process;
mod program;
mod stop;

mod metrics;
mod rest;
mod timeout;
mod usage;

mod deploying;
mod faas_cli;
mod faults;
mod logs;
mod modes;
mod namespaces;
mod scaling;
mod secrets;
