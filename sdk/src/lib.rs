//! What an author of a Turlough pipeline writes with: ids, the flow model, a typed builder, the
//! YAML reader, and validation.
//!
//! Invariants: no IO, no async runtime, no HTTP; a [`Flow`] that exists is valid.
//! Absent: running a flow (that is `turlough-flow-function`).
#![deny(missing_docs)]

pub mod builder;
mod closure;
mod context;
mod draft;
mod duration;
mod error;
mod expression;
mod graph;
mod ids;
mod msgpack;
pub mod picture;
mod reference;
mod report;
mod retry;
pub mod schema;
pub mod signature;
mod validate;
pub mod value;
mod yaml;

pub use builder::{FlowBuilder, Node};
pub use closure::{Cause, Closure, ClosureFuture, Inputs, StepError};
pub use context::{Attempt, Context};
pub use duration::{format_duration, parse_duration};
pub use error::{FlowError, Problem};
pub use expression::{Bound, Expression, ExpressionError, Uses, Variables};
pub use graph::{
    Apply, Case, Edge, Expand, Fallback, Flow, FlowVersion, ForEach, Formula, Graph, Http, Loop,
    Map, NodeIx, Operation, Output, Source, Switch, Text, Vertex, Wait,
};
pub use ids::{
    FlowName, FunctionName, IdError, NodeId, Place, ReplicaId, RequestId, SignalName, StepPath,
    TenantId,
};
pub use reference::{Digest, ValueRef};
pub use report::{Collected, CollectedMap, Compensation, ItemError, Report, Status, StepFailure};
pub use retry::Retry;
pub use validate::Limits;
pub use value::{Body, ContentType, Producer, Value, ValueError};
pub use yaml::{read_graph, read_yaml, read_yaml_file_text};
