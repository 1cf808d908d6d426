//! Runs one attempt of a step: takes its inputs, does its operation, keeps what it made.
//!
//! Invariants: an attempt always comes to an end, by an error, a timeout and a panic too; what a
//! failure says is whether the call was made, as far as anybody can know; what a secret holds stands
//! in no error.
//! Absent: when an attempt starts, and whether it is tried again; the driver and the machine know.

mod blocking;
mod body;
mod call;
mod input;
mod lent;
mod operation;
mod scope;
mod text;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use turlough_datastore::data::PutError;
use turlough_sdk::{Cause, Flow, Operation, RequestId, StepError, StepPath, Value, ValueRef, Wait};
use turlough_statestore::Event;
use turlough_statestore::event::{Accepted, StepEnd, StepEnded, TraceParent};

use crate::clock::now_us;
use crate::data::{DataError, RequestData};
use crate::fault::{Fault, planted};
use crate::machine::{Given, Run, Work};
use crate::shared::Shared;
use crate::spread::Here;
use crate::trace::{Current, RequestTrace, within};
pub(crate) use text::with_query;

use scope::Scope;

/// Values up to this size are turned into JSON, joined or looked into on the spot: some 100 µs.
const INLINE_WORK_BYTES_MAX: u64 = 64 * 1024;
/// Longest error message that goes into the log, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;
/// How long somebody may take to say that he takes a step on.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(30);

/// What all attempts of a request share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) request: RequestId,
    pub(crate) generation: u32,
    pub(crate) epoch: u64,
    pub(crate) data: RequestData,
    pub(crate) shared: Arc<Shared>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) accepted: Arc<Accepted>,
    /// None where nothing is traced.
    pub(crate) trace: Option<RequestTrace>,
}

impl Context {
    /// The span of an attempt that makes its call, where it is told.
    fn current(&self, run: &Run) -> Option<Current> {
        let trace = self.trace.as_ref().filter(|it| it.identity.is_sampled)?;
        Some(Current {
            identity: trace.identity,
            span: self.span_of(trace, run),
            exporter: trace.exporter.clone(),
        })
    }

    /// What whoever is called is told of the trace: where nothing is traced here, what the caller said.
    fn traceparent(&self, run: &Run) -> Option<TraceParent> {
        match &self.trace {
            Some(trace) => Some(trace.identity.parent_of_call(self.span_of(trace, run))),
            None => self.accepted.trace,
        }
    }

    fn span_of(&self, trace: &RequestTrace, run: &Run) -> u64 {
        let which = (&run.step, run.attempt, self.epoch);
        trace.identity.attempt_span(self.generation, which, "")
    }
}

/// What came of an attempt.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all of them end, and each is moved a few times"
)]
pub(crate) enum Attempted {
    /// It ended. The parts stand in the log before the end that names them.
    Ended { parts: Vec<Event>, ended: StepEnded },
    /// Somebody else took it on, and completes it by a callback or as another request.
    Called {
        step: StepPath,
        attempt: u32,
        at_us: u64,
        /// The connection on which its sub-flow was seen to stand in the log, where it is one.
        child: Option<u64>,
    },
    /// Its call did not begin within its time; its start is to be recorded once more.
    Late { step: StepPath, attempt: u32 },
    /// Its store takes nothing under its claim, since it has heard of this newer one. What must not be
    /// repeated was not called.
    Behind {
        step: StepPath,
        attempt: u32,
        epoch: u64,
    },
}

/// How an attempt ended that was not handed over.
#[derive(Debug)]
struct Ending {
    end: StepEnd,
    set: Vec<(String, ValueRef)>,
    parts: Vec<Event>,
}

/// Why an attempt came to nothing.
#[derive(Debug)]
enum Failure {
    Step(StepError),
    /// Whoever was called does not want to be called again so soon.
    Busy(StepError, Duration),
    /// A value that it needs is gone.
    Lost(ValueRef),
    /// The time is over within which its call could begin.
    Late,
    /// A store has heard of a newer claim.
    Behind(u64),
    /// Another replica runs it.
    Away,
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Lost { at, .. } => Self::Lost(*at),
            DataError::Put(PutError::Stale { newer, .. }) => Self::Behind(newer.epoch),
            error => Self::Step(StepError::permanent(error)),
        }
    }
}

/// Runs an attempt to its end, which it always has: an error, a timeout and a panic are ends.
/// Its call begins before `call_by`, on the clock of this machine, or not at all. With a turn it begins
/// in that, and never ends where another replica runs it.
pub(crate) async fn run(
    context: Arc<Context>,
    run: Arc<Run>,
    call_by: Option<Duration>,
    turn: Option<Here>,
) -> Attempted {
    let begin_us = now_us();
    let era = context.shared.state.link.borrow().era;
    let scope = Scope::new(context, run, call_by, turn);
    let limit = limit(scope.run());
    let current = scope.context().current(scope.run());
    let attempt = within(current, attempt(&scope));
    let attempt = AssertUnwindSafe(attempt).catch_unwind();
    // On the heap: an attempt holds what is on its way to a function.
    let attempted = tokio::time::timeout(limit, Box::pin(attempt)).await;
    let (run, context) = (scope.run(), scope.context());
    let mut again_us = None;
    let ending = match attempted {
        Ok(Ok(Ok(Some(ending)))) => ending,
        Ok(Ok(Ok(None))) => {
            let is_child = matches!(run.node().operation, Operation::Flow(_));
            return Attempted::Called {
                step: run.step.clone(),
                attempt: run.attempt,
                at_us: now_us(),
                child: is_child.then_some(era),
            };
        }
        Ok(Ok(Err(Failure::Step(error)))) => failed(&error).into(),
        Ok(Ok(Err(Failure::Busy(error, wait)))) => {
            let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
            again_us = Some(now_us().saturating_add(wait_us));
            failed(&error).into()
        }
        Ok(Ok(Err(Failure::Late))) => {
            let (step, attempt) = (run.step.clone(), run.attempt);
            return Attempted::Late { step, attempt };
        }
        Ok(Ok(Err(Failure::Behind(epoch)))) => {
            let (step, attempt) = (run.step.clone(), run.attempt);
            return Attempted::Behind {
                step,
                attempt,
                epoch,
            };
        }
        Ok(Ok(Err(Failure::Away))) => return std::future::pending().await,
        Ok(Ok(Err(Failure::Lost(value)))) => StepEnd::Lost { value }.into(),
        Ok(Err(panic)) => failed(&blocking::panicked(panic.as_ref())).into(),
        Err(_) => failed(&StepError {
            message: format!("{} took longer than its timeout of {limit:?}", what(run)),
            cause: Cause::Timeout,
        })
        .into(),
    };
    let ended = StepEnded {
        step: run.step.clone(),
        generation: context.generation,
        attempt: run.attempt,
        epoch: context.epoch,
        replica: context.shared.replica,
        begin_us,
        end_us: now_us().max(begin_us),
        end: ending.end,
        set: ending.set,
        again_us,
    };
    let parts = ending.parts;
    Attempted::Ended { parts, ended }
}

/// The end of an attempt whose task was lost: a bug of ours, but not the request's death.
pub(crate) fn lost(context: &Context, step: StepPath, attempt: u32, why: &str) -> StepEnded {
    let now = now_us();
    let error = StepError {
        message: format!("attempt was lost: {why}"),
        cause: Cause::Panic,
    };
    StepEnded {
        step,
        generation: context.generation,
        attempt,
        epoch: context.epoch,
        replica: context.shared.replica,
        begin_us: now,
        end_us: now,
        end: failed(&error),
        set: Vec::new(),
        again_us: None,
    }
}

/// Why there is no output.
#[derive(Debug)]
pub(crate) enum NoOutput {
    /// A value that it is made of is gone.
    Lost(ValueRef),
    Failed(StepError),
}

impl From<DataError> for NoOutput {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Lost { at, .. } if !planted(Fault::OutputNotMadeAgain) => Self::Lost(*at),
            error => Self::Failed(StepError::permanent(error)),
        }
    }
}

impl From<StepError> for NoOutput {
    fn from(error: StepError) -> Self {
        Self::Failed(error)
    }
}

/// Reads what the flow returns, off the reactor where it has to be joined. A store that is away is waited
/// for.
pub(crate) async fn output(context: &Context, given: &Given) -> Result<Value, NoOutput> {
    let found = context.data.read(given).await?;
    if !found.is_joined() {
        return Ok(found.value()?);
    }
    blocking::run(move || Ok(found.value()?)).await
}

/// How long the attempt may take. Without a timeout of its own a step may take what is left of the
/// flow's; the driver sees to that.
fn limit(run: &Run) -> Duration {
    let own = run.vertex().timeout.unwrap_or(Duration::MAX);
    match run.work {
        // It is begun by ourselves, as soon as the state takes it.
        Work::Operation if matches!(run.node().operation, Operation::Flow(_)) => own,
        // Its own timeout bounds how long the other one may take.
        Work::Operation if run.node().operation.is_remote() => own.min(HAND_OVER_TIMEOUT),
        _ => own,
    }
}

fn what(run: &Run) -> String {
    let operation = &run.vertex().operation;
    match (&run.work, operation) {
        (Work::When, _) => format!("when of {}", run.node().id),
        (_, Operation::Apply(apply)) => format!("call of function {}", apply.function),
        _ => format!("{} {}", operation.name(), run.node().id),
    }
}

fn failed(error: &StepError) -> StepEnd {
    let mut message = error.message.clone();
    if message.len() > MESSAGE_BYTES_MAX {
        cut(&mut message, MESSAGE_BYTES_MAX);
        message.push('…');
    }
    StepEnd::Failed {
        message,
        cause: error.cause,
    }
}

/// Shortens a text to at most so many bytes.
fn cut(text: &mut String, bytes_max: usize) {
    let bytes_max = bytes_max.min(text.len());
    let at = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(at.unwrap_or(0));
}

impl From<StepEnd> for Ending {
    fn from(end: StepEnd) -> Self {
        Self {
            end,
            set: Vec::new(),
            parts: Vec::new(),
        }
    }
}

/// None where somebody else took the attempt on.
async fn attempt(scope: &Scope) -> Result<Option<Ending>, Failure> {
    let run = scope.run();
    let ending = match &run.work {
        Work::When => body::ask_when(scope).await,
        Work::Ask(state) => body::ask_again(scope, state.as_ref()).await,
        Work::Gather(results) => body::gather(scope, results).await,
        Work::Operation => match &run.node().operation {
            Operation::Switch(switch) => body::choose(scope, switch).await,
            Operation::ForEach(each) => body::split(scope, each).await,
            Operation::Expand(expand) => body::expand(scope, expand).await,
            Operation::Wait(Wait::Until(until)) => body::wait_until(scope, until).await,
            remote if remote.is_remote() => {
                operation::hand_over(scope, remote).await?;
                return Ok(None);
            }
            _ => operation::run(scope).await,
        },
        Work::Fallback => operation::run(scope).await,
        Work::Compensate(output) => operation::compensate(scope, output.as_ref()).await,
    };
    ending.map(Some)
}

#[cfg(test)]
mod tests;
