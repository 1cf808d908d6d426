//! Runs flows as an OpenFaaS function: the machine, the driver, the step runners, HTTP.
//!
//! An author's `main` is one call:
//! ```no_run
//! # fn flights() -> Result<turlough_sdk::Flow, turlough_sdk::FlowError> { unimplemented!() }
//! fn main() -> std::process::ExitCode {
//!     turlough_flow_function::serve(flights())
//! }
//! ```
//! Invariants: requests share nothing mutable; what a caller is told was committed before.
//! Absent for now: several replicas, the keeper, and what `docs/architecture.md` lists as later.

mod clock;
mod data;
mod driver;
mod engine;
mod http;
mod index;
mod machine;
mod metrics;
mod runner;
mod server;
mod settings;
mod view;

pub use engine::{Engine, RegisterError};
pub use server::{ServeError, Server, load_folder, main_with, serve};
pub use settings::Settings;
