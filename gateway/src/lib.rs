//! OpenFaaS's gateway API on one machine; functions run as local processes.
//!
//! Two halves that meet only in the [`Registry`]: what *proxies* (`server`,
//! `proxy`, `rest`) reads it, and what *starts functions* (`process`, fed by a
//! [`Stack`]) writes it. Another provider can take the second half's place.
//!
//! Invariants: bodies are streamed and never held, but for those of asynchronous
//! calls, which are bounded; whatever a function or a caller can make grow has a
//! bound; no function process outlives its gateway.
//!
//! Deliberately absent, so far: asynchronous calls that outlive the gateway,
//! scaling, secrets, deployment over REST, authentication. Flows are unknown here.

mod config;
mod gateway;

mod server;

mod asynchronous;
mod proxy;
mod rest;

mod functions;
mod process;
mod stack;

mod metrics;

pub use config::{AsyncConfig, GatewayConfig};
pub use functions::{
    DEFAULT_NAMESPACE, FunctionName, FunctionSpec, NameError, Registry, RegistryError, Resources,
};
pub use gateway::{Gateway, GatewayError};
pub use process::{ProcessSpec, StartError, Started};
pub use stack::{Stack, StackError, StackFunction, StackProblem};
