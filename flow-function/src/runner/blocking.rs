//! Work that may take the processor: sync closures, jq, lists. It runs on the blocking pool.

use std::any::Any;

use turlough_sdk::{Cause, Graph, Inputs, Operation, StepError, Value, Variables};
use turlough_statestore::event::StepEnd;

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

/// The first case of a switch that holds.
pub(super) fn take_case(graph: &Graph, node: usize, inputs: &Inputs) -> Result<StepEnd, StepError> {
    let Operation::Switch(switch) = &graph.nodes[node].operation else {
        return Err(StepError::permanent("not a switch"));
    };
    let input = inputs.joined().map_err(StepError::permanent)?;
    for (ix, case) in switch.cases.iter().enumerate() {
        let holds = match &case.when {
            Some(when) => when
                .holds(&input, &Variables::default())
                .map_err(StepError::permanent)?,
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
pub(super) fn items(graph: &Graph, node: usize, inputs: &Inputs) -> Result<Vec<Value>, StepError> {
    let Operation::ForEach(each) = &graph.nodes[node].operation else {
        return Err(StepError::permanent("not a for_each"));
    };
    let input = inputs.joined().map_err(StepError::permanent)?;
    let list = match &each.items {
        Some(expression) => expression
            .run(&input, &Variables::default())
            .map_err(StepError::permanent)?,
        None => input,
    };
    list.items().map_err(StepError::permanent)
}
