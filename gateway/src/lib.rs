//! OpenFaaS's gateway API on one machine; functions run as local processes.
//!
//! Two halves that meet only in the [`Registry`]: what *proxies* (`server`,
//! `proxy`) reads it, and what *starts functions* (`process`, which `deployments`
//! tells what is to run, on the word of a [`Stack`] or of `rest`) writes it.
//!
//! Invariants: bodies are streamed and never held, but for those of asynchronous
//! calls, which are bounded; whatever a function or a caller can make grow has a
//! bound; no function process outlives its gateway.
//!
//! Deliberately absent: flows are unknown here.

mod config;
mod gateway;
mod program;
mod settings;

mod server;

mod asynchronous;
mod proxy;
mod rest;

mod deployments;
mod folder;
mod functions;
mod images;
mod namespaces;
mod process;
mod secrets;
mod stack;

mod metrics;
mod timeout;
mod usage;

pub use asynchronous::RetryConfig;
pub use config::{AsyncConfig, GatewayConfig};
pub use deployments::Deployment;
pub use folder::FolderError;
pub use functions::{
    DEFAULT_NAMESPACE, FunctionName, FunctionSpec, NameError, Registry, RegistryError, Resources,
    SettingError,
};
pub use gateway::{Gateway, GatewayError};
pub use images::ImagesError;
pub use process::{Limits, LimitsError, Mode, ModeError, ProcessSpec, StartError, Started};
pub use program::main_with;
pub use rest::BasicAuthError;
pub use settings::{Deploying, Queueing, Settings};
pub use stack::{
    DeployableFunction, DeployableStack, Stack, StackError, StackFunction, StackProblem,
};
