//! Calls by reference: a function is told where its input lies, and says where it put its output. Nothing
//! of either passes through here, but for an input that lies in no store yet, and an output that must
//! outlive the store or that variables are set from.

use std::time::Duration;

use turlough_sdk::{Apply, StepError, Value, ValueRef};
use turlough_statestore::event::StepEnd;

use super::call::Outgoing;
use super::input;
use super::scope::Scope;
use super::{Ending, Failure, operation};
use crate::clock::until;
use crate::data::DataError;

/// How much longer a function may use the store than it may take for its answer: clocks of hosts differ.
const GRACE: Duration = Duration::from_secs(10);

/// Calls a function by reference.
pub(super) async fn run(scope: &Scope, apply: &Apply) -> Result<Ending, Failure> {
    let (run, context) = (scope.run(), scope.context());
    let input = place(scope).await?;
    let left = until(run.until_us);
    let time = run
        .vertex()
        .timeout
        .map_or(left, |timeout| timeout.min(left));
    let step = (run.step.as_str(), run.attempt);
    let lent = context.data.lend(step, input.as_ref(), time + GRACE);
    let lent = lent.await?;
    let call = Outgoing::apply(scope, apply, &Value::empty()).await?;
    let digest = input.as_ref().map(ValueRef::digest);
    let (said, answer) = call.answer_by_reference(scope, &lent, digest).await?;
    let Some(said) = said else {
        return operation::succeed(scope, &answer).await;
    };
    let kept = async {
        let at = match context.data.given_back(&lent, &said).await {
            // It is no value that somebody made: nobody can make it again.
            Err(DataError::Lost { source, .. }) => {
                let text = format!(
                    "function {} answered by reference: {source}",
                    apply.function
                );
                return Err(StepError::transient(text).into());
            }
            given => given?,
        };
        let is_repeatable = run.node().idempotent && run.vertex().idempotent;
        if !is_repeatable || !run.node().set.is_empty() {
            let limit = context.shared.settings.body_bytes_max;
            if at.size() > limit as u64 {
                let text = format!(
                    "function {} put {} bytes, limit {limit} for what is read from there: where a step must not be repeated, or sets variables; raise TURLOUGH_BODY_BYTES_MAX",
                    apply.function,
                    at.size()
                );
                return Err(StepError::permanent(text).into());
            }
            let output = context.data.load(&at).await?;
            if !is_repeatable {
                return operation::succeed(scope, &output).await;
            }
            return end(scope, at, Some(&output)).await;
        }
        end(scope, at, None).await
    };
    kept.await.map_err(|failure| scope.afterwards(failure))
}

async fn end(scope: &Scope, value: ValueRef, output: Option<&Value>) -> Result<Ending, Failure> {
    Ok(Ending {
        end: StepEnd::Succeeded { value },
        set: scope.sets(output).await?,
        parts: Vec::new(),
    })
}

/// Where the input lies; it is put where it lies in no store, or is made of several values.
async fn place(scope: &Scope) -> Result<Option<ValueRef>, Failure> {
    let (run, data) = (scope.run(), &scope.context().data);
    let node = run.node();
    let is_made =
        node.aggregate.is_some() || node.edges.iter().any(|edge| edge.transform.is_some());
    // Inputs of several names are a map, however many of them there are.
    let mut names = run.inputs.iter().map(|(name, _)| name);
    let first = names.next();
    let is_bare = !is_made && names.all(|name| Some(name) == first);
    let mut given = run.inputs.iter().flat_map(|(_, given)| given);
    if let (Some(only), None, true) = (given.next(), given.next(), is_bare)
        && let Some(at) = data.place(only).await?
    {
        return Ok(Some(at));
    }
    let value = input::take(scope).await?.joined().await?;
    if value.is_empty() {
        return Ok(None);
    }
    let kept = data.keep_to_lend(run.step.as_str(), run.attempt, &value);
    Ok(Some(kept.await?))
}

/// What a function answers by reference may not be more than a line.
pub(super) fn said(text: &[u8]) -> Result<String, StepError> {
    String::from_utf8(text.to_vec())
        .map_err(|_| StepError::permanent("the reference that it answered with is no text"))
}
