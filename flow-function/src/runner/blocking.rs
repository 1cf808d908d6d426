//! Work that may take the processor: sync closures, joins, lists. It runs on the blocking pool.

use std::any::Any;

use turlough_sdk::{Cause, StepError, Value};

use super::Failure;
use crate::abandoned::Abandoned;

/// Runs `work` off the reactor. A panic ends the attempt, not the process.
pub(super) async fn run<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StepError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(panicked(error.into_panic().as_ref()).into()),
        Err(error) => Err(StepError::transient(error).into()),
    }
}

/// Runs a closure off the reactor. One whose attempt is given up meanwhile counts until it returns.
pub(super) async fn closure(
    abandoned: &Abandoned,
    work: impl FnOnce() -> Result<Value, Failure> + Send + 'static,
) -> Result<Value, Failure> {
    let (waiting, running) = abandoned.closure();
    let result = run(move || {
        if running.begin() {
            work()
        } else {
            let text = "the attempt was given up before it began";
            Err(StepError::transient(text).into())
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
