//! Runs one attempt of a step: loads its inputs, does its operation, keeps what it made.

mod apply;
mod blocking;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use turlough_sdk::{
    Cause, Closure, Inputs, Operation, ReplicaId, RequestId, StepError, Value, Variables,
};
use turlough_statestore::event::{StepEnd, StepEnded};

use crate::clock::{now_us, until};
use crate::data::{Reading, RequestData};
use crate::machine::{Given, Run, Work};
use crate::shared::Shared;

/// Values up to this size are turned into JSON, joined or looked into on the spot: some 100 µs.
const INLINE_WORK_BYTES_MAX: u64 = 64 * 1024;
/// Longest error message that goes into the log, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Most items of one `for_each`.
const ITEMS_MAX: usize = 1_000_000;

/// What all attempts of a request share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) request: RequestId,
    pub(crate) generation: u32,
    pub(crate) epoch: u64,
    pub(crate) data: RequestData,
    pub(crate) shared: Arc<Shared>,
}

/// Runs an attempt to its end, which it always has: an error, a timeout and a panic are ends.
pub(crate) async fn run(context: Arc<Context>, run: Run) -> StepEnded {
    if run.not_before_us > 0 {
        tokio::time::sleep(until(run.not_before_us)).await;
    }
    let begin_us = now_us();
    // Without a timeout of its own a step may take what is left of the flow's; the driver sees to that.
    let limit = run.graph.nodes[run.node].timeout.unwrap_or(Duration::MAX);
    let attempt = AssertUnwindSafe(attempt(&context, &run)).catch_unwind();
    let end = match tokio::time::timeout(limit, attempt).await {
        Ok(Ok(Ok(end))) => end,
        Ok(Ok(Err(error))) => failed(&error),
        Ok(Err(panic)) => failed(&blocking::panicked(panic.as_ref())),
        Err(_) => failed(&StepError {
            message: format!("{} took longer than its timeout of {limit:?}", what(&run)),
            cause: Cause::Timeout,
        }),
    };
    let replica: ReplicaId = context.shared.replica;
    let (generation, epoch) = (context.generation, context.epoch);
    let (step, attempt) = (run.step, run.attempt);
    let end_us = now_us().max(begin_us);
    StepEnded {
        step,
        generation,
        attempt,
        epoch,
        replica,
        begin_us,
        end_us,
        end,
    }
}

/// The end of an attempt whose task was lost: a bug of ours, but not the request's death.
pub(crate) fn lost(
    context: &Context,
    step: turlough_sdk::StepPath,
    attempt: u32,
    why: &str,
) -> StepEnded {
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
    }
}

fn what(run: &Run) -> String {
    let vertex = &run.graph.nodes[run.node];
    match &vertex.operation {
        Operation::Apply(apply) => format!("call of function {}", apply.function),
        operation => format!("{} {}", operation.name(), vertex.id),
    }
}

fn failed(error: &StepError) -> StepEnd {
    let mut message = error.message.clone();
    if message.len() > MESSAGE_BYTES_MAX {
        let cut = (0..=MESSAGE_BYTES_MAX)
            .rev()
            .find(|at| message.is_char_boundary(*at));
        message.truncate(cut.unwrap_or(0));
        message.push('…');
    }
    StepEnd::Failed {
        message,
        cause: error.cause,
    }
}

async fn attempt(context: &Arc<Context>, run: &Run) -> Result<StepEnd, StepError> {
    let evaluator = &context.shared.evaluator;
    let output = match (&run.work, &run.graph.nodes[run.node].operation) {
        (Work::Gather(results), _) => gather(context, results).await?,
        (Work::Operation, Operation::Switch(switch)) => {
            let input = blocking::joined(inputs(context, run).await?).await?;
            let variables = variables(context, run);
            return blocking::take_case(evaluator, switch, &input, &variables).await;
        }
        (Work::Operation, Operation::ForEach(each)) => {
            let input = blocking::joined(inputs(context, run).await?).await?;
            let (items, variables) = (each.items.as_ref(), variables(context, run));
            let items = blocking::items(evaluator, items, input, &variables).await?;
            return split(context, run, &items).await;
        }
        (Work::Operation, operation) => {
            let inputs = inputs(context, run).await?;
            output(context, run, operation, inputs).await?
        }
    };
    let kept = context
        .data
        .keep(run.step.as_str(), run.attempt, &output)
        .await;
    Ok(StepEnd::Succeeded {
        value: kept.map_err(StepError::permanent)?,
    })
}

/// What an expression of a step may know beside its input.
fn variables(context: &Context, run: &Run) -> Variables {
    Variables {
        request: context.request.to_string(),
        node: run.step.as_str().to_owned(),
        attempt: run.attempt,
        ..Variables::default()
    }
}

/// What a step is given. Joining, and telling whether a text is JSON, may take the processor.
async fn inputs(context: &Arc<Context>, run: &Run) -> Result<Inputs, StepError> {
    // A function gets the bytes of its only input as they are.
    let operation = &run.graph.nodes[run.node].operation;
    let reading = match operation {
        Operation::Apply(_) if run.inputs.len() == 1 => Reading::Raw,
        _ => Reading::Typed,
    };
    let joined = |given: &Given| matches!(given, Given::Map(_));
    let heavy = run.inputs.iter().flat_map(|(_, given)| given).any(joined)
        || context
            .data
            .size(&run.inputs)
            .map_err(StepError::permanent)?
            > INLINE_WORK_BYTES_MAX;
    if !heavy {
        let inputs = context.data.inputs(&run.inputs, reading);
        return inputs.map_err(StepError::permanent);
    }
    let (context, members) = (Arc::clone(context), run.inputs.clone());
    blocking::run(move || {
        let inputs = context.data.inputs(&members, reading);
        inputs.map_err(StepError::permanent)
    })
    .await
}

/// Reads what the machine names, off the reactor where it has to be joined.
pub(crate) async fn resolve(context: &Arc<Context>, given: Given) -> Result<Value, StepError> {
    if !matches!(given, Given::Map(_)) {
        return context.data.resolve(&given).map_err(StepError::permanent);
    }
    let context = Arc::clone(context);
    blocking::run(move || context.data.resolve(&given).map_err(StepError::permanent)).await
}

async fn output(
    context: &Arc<Context>,
    run: &Run,
    operation: &Operation,
    inputs: Inputs,
) -> Result<Value, StepError> {
    match operation {
        Operation::Apply(apply) => apply::call(context, run, apply, &inputs).await,
        Operation::Map(map) => match &map.closure {
            Closure::Async(closure) => closure(&inputs).await,
            Closure::Sync(closure) => {
                let closure = Arc::clone(closure);
                let abandoned = &context.shared.abandoned;
                blocking::closure(abandoned, move || closure(&inputs)).await
            }
        },
        Operation::Pass(expression) => {
            let input = blocking::joined(inputs).await?;
            let (evaluator, variables) = (&context.shared.evaluator, variables(context, run));
            evaluator.run(expression, input, &variables).await
        }
        Operation::Switch(_) | Operation::ForEach(_) => Err(StepError::permanent(
            "the operation has no output of its own",
        )),
    }
}

/// One list of the results of a `for_each`, in the order of its items.
async fn gather(context: &Arc<Context>, results: &Arc<Vec<Given>>) -> Result<Value, StepError> {
    let (context, results) = (Arc::clone(context), Arc::clone(results));
    blocking::run(move || {
        let items = context
            .data
            .members(&results)
            .map_err(StepError::permanent)?;
        Value::list(&items).map_err(StepError::permanent)
    })
    .await
}

async fn split(context: &Context, run: &Run, items: &[Value]) -> Result<StepEnd, StepError> {
    if items.len() > ITEMS_MAX {
        let found = items.len();
        let text = format!("for_each over {found} items, limit {ITEMS_MAX}; split the list");
        return Err(StepError::permanent(text));
    }
    let manifest = context.data.keep_items(&run.step, run.attempt, items).await;
    let items = u32::try_from(items.len()).unwrap_or(u32::MAX);
    Ok(StepEnd::Split {
        items,
        manifest: manifest.map_err(StepError::permanent)?,
    })
}
