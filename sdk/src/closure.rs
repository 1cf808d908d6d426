//! A Rust closure as the platform sees it: inputs in, a value out, types erased.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::context::Context;
use crate::value::Value;

/// Why a step failed, and so whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The step said so, and it may pass: a busy sink, a 5xx, a dropped connection.
    Transient,
    /// The step said so, and it will not pass: bad data, a 4xx.
    Permanent,
    /// It took longer than its timeout.
    Timeout,
    /// A closure panicked.
    Panic,
    /// A call was sent, and the connection was lost before its answer.
    Unanswered,
    /// A call that must not be repeated was started, and nobody can say how it ended.
    Unknown,
}

impl Cause {
    /// Its name, as events and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Unanswered => "unanswered",
            Self::Unknown => "unknown",
        }
    }

    /// Whether `retry` applies.
    #[must_use]
    pub const fn may_retry(self) -> bool {
        !matches!(self, Self::Permanent | Self::Unknown)
    }

    /// Whether what failed surely did not happen: otherwise it is compensated like a success.
    #[must_use]
    pub const fn is_known(self) -> bool {
        matches!(self, Self::Permanent | Self::Transient)
    }
}

/// A failed attempt: what happened, as text for a person, and its cause.
///
/// Any error turns into one by `?`, with its chain of sources, as a failure that trying again may
/// mend; for that it is, like `anyhow::Error`, no `std::error::Error` itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    /// What was attempted, on what, and what was found.
    pub message: String,
    /// Whether trying again may help.
    pub cause: Cause,
}

impl StepError {
    /// A failure that trying again may mend.
    #[must_use]
    pub fn transient(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            cause: Cause::Transient,
        }
    }

    /// A failure that trying again will not mend.
    #[must_use]
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            cause: Cause::Permanent,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for StepError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self {
            message,
            cause: Cause::Transient,
        }
    }
}

/// What a step is given: one member per data edge, in the order of its edges.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The request that the step belongs to, as the closure may see it.
    pub context: Context,
    /// (predecessor, its value); nothing where the edge is dead.
    pub members: Vec<(Arc<str>, Option<Value>)>,
}

impl Inputs {
    /// The inputs as one value: a single one as it is, several as a map without the dead. Two cases
    /// of one switch are one input, since at most one of them is taken.
    ///
    /// # Errors
    /// A member whose body is not what its content type says.
    pub fn joined(&self) -> Result<Value, crate::value::ValueError> {
        let live = self
            .members
            .iter()
            .filter_map(|(name, value)| Some((&**name, value.as_ref()?)));
        let mut names = self.members.iter().map(|(name, _)| name);
        let first = names.next();
        if names.all(|name| Some(name) == first) {
            let only = live.map(|(_, value)| value.clone()).next();
            return Ok(only.unwrap_or_else(Value::empty));
        }
        Value::map(&live.collect::<Vec<_>>())
    }
}

/// The future of an async closure.
pub type ClosureFuture = Pin<Box<dyn Future<Output = Result<Value, StepError>> + Send>>;

type SyncFn = dyn Fn(&Inputs) -> Result<Value, StepError> + Send + Sync;
type AsyncFn = dyn Fn(&Inputs) -> ClosureFuture + Send + Sync;

/// How a closure is called.
#[derive(Clone)]
pub enum Closure {
    /// On the blocking pool.
    Sync(Arc<SyncFn>),
    /// On the async runtime.
    Async(Arc<AsyncFn>),
}

impl fmt::Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync(_) => "Closure::Sync",
            Self::Async(_) => "Closure::Async",
        })
    }
}
