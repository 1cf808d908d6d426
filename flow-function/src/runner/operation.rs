//! Operations that give a value, and those that somebody else completes.

use turlough_sdk::{Inputs, Operation, StepError, Value};
use turlough_statestore::event::{Parent, StepEnd};

use super::call::Outgoing;
use super::input::{self, joined, single};
use super::scope::Scope;
use super::{Ending, Failure, blocking, lent};
use crate::data::typed;
use crate::machine::{Given, Work};
use crate::tokens::Waiting;

/// Runs the operation of the node, or of what stands in for it, on the node's input.
pub(super) async fn run(scope: &Scope) -> Result<Ending, Failure> {
    let operation = &scope.run().vertex().operation;
    if let Operation::Apply(apply) = operation
        && apply.by_reference
    {
        return Box::pin(lent::run(scope, apply)).await;
    }
    let taken = input::take(scope).await?;
    let output = produce(scope, operation, &taken.inputs).await?;
    succeed(scope, &output).await
}

/// Runs what undoes the node, on its input and, where that is known, its output.
pub(super) async fn compensate(scope: &Scope, output: Option<&Given>) -> Result<Ending, Failure> {
    let given = typed(input::take(scope).await?.joined().await?);
    let output = match output {
        None => None,
        Some(output) => match input::read(scope, output).await {
            // What is gone is not known any more.
            Err(Failure::Lost(_)) => None,
            read => Some(typed(read?)),
        },
    };
    let whole = blocking::run(move || {
        let members = [("input", Some(&given)), ("output", output.as_ref())];
        let known = members
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Value::map(&known.collect::<Vec<_>>()).map_err(StepError::permanent)
    })
    .await?;
    let operation = &scope.run().vertex().operation;
    let output = produce(scope, operation, &single(whole)).await?;
    succeed(scope, &output).await
}

/// What an operation makes of its inputs.
pub(super) async fn produce(
    scope: &Scope,
    operation: &Operation,
    inputs: &Inputs,
) -> Result<Value, Failure> {
    match operation {
        Operation::Apply(apply) => {
            let input = joined(inputs).await?;
            Outgoing::apply(scope, apply, &input)
                .await?
                .answer(scope, &input)
                .await
        }
        Operation::Http(http) => {
            let input = joined(inputs).await?;
            Outgoing::http(scope, http, &input)
                .await?
                .answer(scope, &input)
                .await
        }
        Operation::Map(map) => scope.call(map, inputs.clone()).await,
        Operation::Pass(expression) => scope.jq(expression, &joined(inputs).await?).await,
        operation => {
            let text = format!("a {} has no output of its own", operation.name());
            Err(StepError::permanent(text).into())
        }
    }
}

/// Keeps what the operation gave, where it outlives what it must.
pub(super) async fn succeed(scope: &Scope, output: &Value) -> Result<Ending, Failure> {
    let (run, context) = (scope.run(), scope.context());
    let kept = async {
        let set = scope.sets(Some(output)).await?;
        let (step, attempt) = (run.step.as_str(), run.attempt);
        let is_undoing = matches!(run.work, Work::Compensate(_));
        let is_repeatable = run.node().idempotent && run.vertex().idempotent;
        let (value, parts) = if !is_undoing && !is_repeatable {
            let limit = context.shared.settings.durable_bytes_max;
            context
                .data
                .keep_durable(step, attempt, output, limit)
                .await?
        } else {
            (context.data.keep(step, attempt, output).await?, Vec::new())
        };
        let end = StepEnd::Succeeded { value };
        Ok(Ending { end, set, parts })
    };
    kept.await.map_err(|failure| scope.afterwards(failure))
}

/// Hands the attempt to somebody who completes it later.
pub(super) async fn hand_over(scope: &Scope, operation: &Operation) -> Result<(), Failure> {
    let input = input::take(scope).await?.joined().await?;
    let (run, context) = (scope.run(), scope.context());
    match operation {
        Operation::Apply(apply) => {
            let call = Outgoing::apply(scope, apply, &input).await?;
            call.hand_over(scope, &input, &callback_url(scope)).await
        }
        Operation::Http(http) => {
            let call = Outgoing::http(scope, http, &input).await?;
            call.hand_over(scope, &input, &callback_url(scope)).await
        }
        Operation::Flow(flow) => {
            let above = context
                .accepted
                .parent
                .as_ref()
                .map_or(0, |parent| parent.depth);
            let parent = Parent {
                request: context.request,
                generation: context.generation,
                step: run.step.clone(),
                attempt: run.attempt,
                depth: above + 1,
            };
            let trace = context.traceparent(run);
            Ok(context
                .shared
                .start_child(flow, input, (parent, trace))
                .await?)
        }
        operation => {
            let text = format!("a {} is not completed by anybody else", operation.name());
            Err(StepError::permanent(text).into())
        }
    }
}

/// Where this attempt, and no other, is completed.
fn callback_url(scope: &Scope) -> String {
    let (run, context) = (scope.run(), scope.context());
    let token = context.shared.tokens.sign(&Waiting {
        request: context.request,
        generation: context.generation,
        step: run.step.clone(),
        attempt: run.attempt,
    });
    format!("{}/callbacks/{token}", context.shared.callback_base())
}
