//! Work that may take the processor: sync closures, joins, lists. It runs on the blocking pool.

use std::any::Any;

use turlough_sdk::{Cause, Expression, Inputs, StepError, Switch, Value, Variables};
use turlough_statestore::event::StepEnd;

use super::INLINE_WORK_BYTES_MAX;
use crate::abandoned::Abandoned;
use crate::evaluator::Evaluator;

/// Runs `work` off the reactor. A panic ends the attempt, not the process.
pub(super) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StepError> + Send + 'static,
) -> Result<T, StepError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(panicked(error.into_panic().as_ref())),
        Err(error) => Err(StepError::transient(error)),
    }
}

/// Runs a closure off the reactor. One whose attempt is given up meanwhile counts until it returns.
pub(super) async fn closure(
    abandoned: &Abandoned,
    work: impl FnOnce() -> Result<Value, StepError> + Send + 'static,
) -> Result<Value, StepError> {
    let (waiting, running) = abandoned.closure();
    let result = run(move || {
        if running.begin() {
            work()
        } else {
            Err(StepError::transient(
                "the attempt was given up before it began",
            ))
        }
    })
    .await;
    drop(waiting);
    result
}

/// The failure that a panic is.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> StepError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    StepError {
        message: format!("closure panicked: {text}"),
        cause: Cause::Panic,
    }
}

/// The inputs as one value. Putting many together takes the processor for a while.
pub(super) async fn joined(inputs: Inputs) -> Result<Value, StepError> {
    let join = |inputs: &Inputs| inputs.joined().map_err(StepError::permanent);
    let values = inputs.members.iter().flat_map(|(_, value)| value);
    let size: u64 = values.map(|value| value.envelope().len() as u64).sum();
    if inputs.members.len() < 2 || size <= INLINE_WORK_BYTES_MAX {
        return join(&inputs);
    }
    run(move || join(&inputs)).await
}

/// The first case of a switch that holds.
pub(super) async fn take_case(
    evaluator: &Evaluator,
    switch: &Switch,
    input: &Value,
    variables: &Variables,
) -> Result<StepEnd, StepError> {
    for (ix, case) in switch.cases.iter().enumerate() {
        let holds = match &case.when {
            Some(when) => evaluator.holds(when, input.clone(), variables).await?,
            None => true,
        };
        if holds {
            return Ok(StepEnd::Took {
                case: u32::try_from(ix).ok(),
            });
        }
    }
    Ok(StepEnd::Took { case: None })
}

/// The items of a `for_each`.
pub(super) async fn items(
    evaluator: &Evaluator,
    items: Option<&Expression>,
    input: Value,
    variables: &Variables,
) -> Result<Vec<Value>, StepError> {
    let list = match items {
        Some(expression) => evaluator.run(expression, input, variables).await?,
        None => input,
    };
    if list.envelope().len() as u64 <= INLINE_WORK_BYTES_MAX {
        return list.items().map_err(StepError::permanent);
    }
    run(move || list.items().map_err(StepError::permanent)).await
}
