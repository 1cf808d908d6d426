//! Runs flows as an OpenFaaS function: the machine, the driver, the step runners, HTTP.
//!
//! An author depends on this crate alone; what a flow is written with comes along from the sdk. An
//! author's `main` is one call:
//! ```no_run
//! use turlough_flow_function::{Flow, FlowError, StepError, serve};
//!
//! async fn greet(name: String) -> Result<String, StepError> {
//!     Ok(format!("good day, {name}"))
//! }
//!
//! fn greeting() -> Result<Flow, FlowError> {
//!     let flow = Flow::builder("greeting");
//!     let name = flow.input::<String>();
//!     let greeting = flow.map("greet", &name, greet);
//!     flow.output(&greeting).build()
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     serve(greeting())
//! }
//! ```
//! Invariants: requests share nothing mutable; what a caller is told was committed before.
//! Absent for now: what `docs/architecture.md` lists as later.

mod abandoned;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod clock;
mod data;
mod desk;
#[cfg(test)]
mod dice;
mod driver;
mod engine;
mod evaluator;
mod fault;
mod gateway;
mod http;
mod lists;
mod machine;
mod metrics;
mod outside;
mod published;
mod registry;
mod runner;
mod server;
mod settings;
mod shared;
#[cfg(test)]
mod simulation;
mod spread;
pub mod testing;
mod tokens;
mod trace;
mod view;

pub use engine::Engine;
pub use evaluator::run_evaluator_if_asked;
pub use registry::RegisterError;
pub use server::{ServeError, Server, load_folder, main_with, serve};
pub use settings::Settings;
pub use trace::{Ratio, SamplerName, TraceSettings};
pub use turlough_sdk::{
    self as sdk, Body, ContentType, Flow, FlowBuilder, FlowError, Node, RequestId, Retry, StepError,
};
