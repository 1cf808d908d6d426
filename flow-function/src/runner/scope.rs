//! What the formulas and closures of one attempt may know, and what they set.
//!
//! Invariants: every expression goes to the evaluator, and so cannot take the replica with it; what is
//! not mentioned is not read.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value as Json;
use turlough_sdk::{
    Attempt, Cause, Closure, Expression, Formula, Inputs, Map, StepError, StepFailure, Uses, Value,
    ValueRef, Variables,
};

use super::input::single;
use super::{Context, Failure, INLINE_WORK_BYTES_MAX, blocking};
use crate::clock::boot;
use crate::data::typed;
use crate::machine::{Run, Work};
use crate::spread::Here;

/// Largest value of a variable, in bytes: what travels inside an event.
const VARIABLE_BYTES_MAX: usize = 4096;
/// Most bytes of all variables that one attempt sets: with its value they fit into an append.
const SET_BYTES_MAX: usize = 256 * 1024;

fn in_time(call_by: Option<Duration>) -> Result<(), Failure> {
    match call_by {
        Some(call_by) if boot() > call_by => Err(Failure::Late),
        _ => Ok(()),
    }
}

/// One attempt, and what it may know.
#[derive(Debug)]
pub(super) struct Scope {
    context: Arc<Context>,
    run: Arc<Run>,
    /// Until when the call may begin, on the clock of this machine; none where it may at any time.
    call_by: Option<Duration>,
    /// Whether its closure begins here, where another replica may run it.
    turn: Option<Here>,
    /// What closures see, made when the first of them runs.
    closures: OnceLock<turlough_sdk::Context>,
}

impl Scope {
    pub(super) const fn new(
        context: Arc<Context>,
        run: Arc<Run>,
        call_by: Option<Duration>,
        turn: Option<Here>,
    ) -> Self {
        let closures = OnceLock::new();
        Self {
            context,
            run,
            call_by,
            turn,
            closures,
        }
    }

    /// Whether the call may still begin: later than that, another driver may think that it never will.
    pub(super) fn in_time(&self) -> Result<(), Failure> {
        in_time(self.call_by)
    }

    pub(super) const fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    /// What closures see of the request. Its input and variables outlive the store: what is lost of them
    /// nobody makes again.
    async fn known(&self) -> Result<&turlough_sdk::Context, StepError> {
        if let Some(known) = self.closures.get() {
            return Ok(known);
        }
        let (context, run) = (&self.context, &self.run);
        let accepted = &context.accepted;
        let load = async |what: &str, at: &ValueRef| {
            let value = context.data.load(at).await;
            let lost = |error| StepError::permanent(format!("{what} cannot be read: {error}"));
            value.map_err(lost)
        };
        let input = load("the request's input", &accepted.input).await?;
        let input = Some(as_data(&input).await?);
        let pairs = |pairs: &[(String, String)]| Arc::new(pairs.iter().cloned().collect());
        let mut variables = BTreeMap::new();
        for (name, at) in run.variables.iter() {
            let value = load(&format!("variable {name}"), at).await?;
            variables.insert(name.clone(), value);
        }
        let error = run.error.as_ref().map(|error| StepFailure {
            step: Some(error.step.clone()),
            message: error.message.clone(),
            cause: Some(error.cause),
        });
        let known = turlough_sdk::Context::from(Attempt {
            request: context.request,
            flow: context.flow.name().clone(),
            node: run.step.clone(),
            attempt: run.attempt,
            query: pairs(&accepted.query),
            headers: pairs(&accepted.headers),
            input,
            variables: Arc::new(variables),
            error,
        });
        Ok(self.closures.get_or_init(|| known))
    }

    /// What a condition, a transform or an aggregate makes of a value.
    pub(super) async fn formula(&self, formula: &Formula, input: Value) -> Result<Value, Failure> {
        match formula {
            Formula::Jq(expression) => self.jq(expression, &input).await,
            Formula::Closure(map) => self.closure(map, single(typed(input)), (None, None)).await,
        }
    }

    /// Whether a condition holds on a value.
    pub(super) async fn holds(&self, formula: &Formula, input: &Value) -> Result<bool, Failure> {
        let Formula::Jq(expression) = formula else {
            return Ok(is_true(&self.formula(formula, input.clone()).await?));
        };
        let variables = self.variables(expression.uses()).await?;
        let (input, evaluator) = (as_data(input).await?, &self.context.shared.evaluator);
        Ok(evaluator.holds(expression, input, &variables).await?)
    }

    /// What an expression makes of a value.
    pub(super) async fn jq(
        &self,
        expression: &Expression,
        input: &Value,
    ) -> Result<Value, Failure> {
        let variables = self.variables(expression.uses()).await?;
        let (input, evaluator) = (as_data(input).await?, &self.context.shared.evaluator);
        Ok(evaluator.run(expression, input, &variables).await?)
    }

    /// What the closure of a node makes of its inputs: its call, which may have to begin in time.
    pub(super) async fn call(&self, map: &Map, inputs: Inputs) -> Result<Value, Failure> {
        let turn = (self.call_by, self.turn.as_ref());
        self.closure(map, inputs, turn).await
    }

    async fn closure(
        &self,
        map: &Map,
        mut inputs: Inputs,
        (call_by, turn): (Option<Duration>, Option<&Here>),
    ) -> Result<Value, Failure> {
        inputs.context = self.known().await?.clone();
        let output = match &map.closure {
            Closure::Async(closure) => {
                in_time(call_by)?;
                if turn.is_some_and(|turn| !turn.begin()) {
                    return Err(Failure::Away);
                }
                closure(&inputs).await?
            }
            Closure::Sync(closure) => {
                let slot = match turn {
                    Some(turn) => Some(turn.begin_in_turn().await.ok_or(Failure::Away)?),
                    None => None,
                };
                let closure = Arc::clone(closure);
                let abandoned = &self.context.shared.abandoned;
                let work = move || {
                    in_time(call_by)?;
                    Ok(closure(&inputs)?)
                };
                let output = blocking::closure(abandoned, work).await;
                drop(slot);
                output?
            }
        };
        Ok(output)
    }

    async fn variables(&self, uses: Uses) -> Result<Variables, Failure> {
        let (context, run) = (&self.context, &self.run);
        let accepted = &context.accepted;
        let text = |used: bool, text: &dyn ToString| match used {
            true => text.to_string(),
            false => String::new(),
        };
        let pairs = |used: bool, pairs: &[(String, String)]| match used {
            true => pairs
                .iter()
                .map(|(name, value)| (name.clone(), Json::from(value.as_str())))
                .collect(),
            false => Json::Null,
        };
        let mut vars = Json::Null;
        if uses.vars {
            let mut read = serde_json::Map::new();
            for (name, at) in run.variables.iter() {
                read.insert(name.clone(), json(&context.data.load(at).await?));
            }
            vars = read.into();
        }
        let mut input = None;
        if uses.input {
            input = Some(as_data(&context.data.load(&accepted.input).await?).await?);
        }
        let error = run.error.as_deref().filter(|_| uses.error);
        Ok(Variables {
            request: text(uses.request, &context.request),
            flow: text(uses.flow, context.flow.name()),
            node: text(uses.node, &run.step),
            attempt: run.attempt,
            query: pairs(uses.query, &accepted.query),
            headers: pairs(uses.headers, &accepted.headers),
            input,
            vars,
            error: serde_json::to_value(error).map_err(StepError::permanent)?,
        })
    }

    /// Takes out what closures have set, and adds what the node sets from its output, if it has one.
    pub(super) async fn sets(
        &self,
        output: Option<&Value>,
    ) -> Result<Vec<(String, ValueRef)>, Failure> {
        let closures = self.closures.get();
        let taken = closures.map(turlough_sdk::Context::take_sets);
        let mut set: BTreeMap<String, Value> = taken.unwrap_or_default().into_iter().collect();
        let own = match (&self.run.work, output) {
            (Work::Compensate(_), _) | (_, None) => &[][..],
            _ => &self.run.node().set,
        };
        for ((name, expression), output) in own.iter().zip(std::iter::repeat(output).flatten()) {
            let value = self.jq(expression, output).await?;
            let found = value.body().len();
            if found > VARIABLE_BYTES_MAX {
                let text = format!(
                    "variable {name} is {found} bytes, limit {VARIABLE_BYTES_MAX}; pass it along \
                     an edge"
                );
                return Err(StepError::permanent(text).into());
            }
            set.insert(name.clone(), value);
        }
        let size: usize = set.values().map(|value| value.envelope().len()).sum();
        if size > SET_BYTES_MAX {
            let text = format!(
                "variables that the step sets are {size} bytes together, limit {SET_BYTES_MAX}; \
                 pass them along an edge"
            );
            return Err(StepError::permanent(text).into());
        }
        let inline = |(name, value): (String, Value)| {
            let copy = bytes::Bytes::copy_from_slice(value.envelope());
            (name, ValueRef::Inline(copy))
        };
        Ok(set.into_iter().map(inline).collect())
    }

    /// What a failure is that comes after the operation was done: where that must be undone or not be
    /// repeated, it must not look as though it had not happened.
    pub(super) fn afterwards(&self, failure: Failure) -> Failure {
        let (run, vertex) = (&self.run, self.run.vertex());
        let undone = matches!(run.work, Work::Operation) && vertex.compensate.is_some();
        if vertex.idempotent && !undone {
            return failure;
        }
        let (message, cause) = match failure {
            Failure::Step(error) | Failure::Busy(error, _) => (error.message, error.cause),
            Failure::Lost(_) | Failure::Behind(_) if vertex.idempotent => return failure,
            Failure::Behind(_) => ("what it gave could not be kept".to_owned(), Cause::Unknown),
            Failure::Lost(_) => ("a value is gone".to_owned(), Cause::Unknown),
            Failure::Late | Failure::Away => ("its time was over".to_owned(), Cause::Unknown),
        };
        let message = format!("it was done, but: {message}");
        let cause = match cause {
            Cause::Permanent => Cause::Unknown,
            Cause::Transient if vertex.idempotent => Cause::Unanswered,
            Cause::Transient => Cause::Unknown,
            cause => cause,
        };
        StepError { message, cause }.into()
    }
}

/// A value as expressions see it. Telling whether a long text is JSON takes the processor.
async fn as_data(value: &Value) -> Result<Value, StepError> {
    let value = value.clone();
    if value.envelope().len() as u64 <= INLINE_WORK_BYTES_MAX {
        return Ok(typed(value));
    }
    blocking::run(move || Ok(typed(value))).await
}

/// Whether a condition's value says yes: anything but false, null and nothing.
fn is_true(value: &Value) -> bool {
    let body = value.body();
    let says_no: &[&[u8]] = if value.content_type().is_msgpack() {
        &[b"", b"\xc0", b"\xc2"]
    } else if value.content_type().is_json() {
        &[b"", b"null", b"false"]
    } else {
        &[b""]
    };
    !says_no.contains(&body.trim_ascii())
}

/// A variable as JSON; what is neither JSON nor MessagePack is a text.
fn json(value: &Value) -> Json {
    value
        .decode()
        .unwrap_or_else(|_| String::from_utf8_lossy(&value.body()).into())
}

#[cfg(test)]
mod tests {
    use turlough_sdk::{ContentType, Producer};

    use super::*;

    #[test]
    fn only_false_null_and_nothing_say_no() {
        let json = |text: &str| Value::new(ContentType::JSON, Producer::Closure, text.as_bytes());
        for no in [
            Value::empty(),
            json("null"),
            json(" false\n"),
            Value::encode(&false).unwrap(),
            Value::encode(&()).unwrap(),
        ] {
            assert!(!is_true(&no), "{:?}", no.body());
        }
        for yes in [
            json("0"),
            json("\"\""),
            json("[]"),
            Value::encode(&true).unwrap(),
            Value::encode(&0).unwrap(),
            Value::encode("").unwrap(),
            Value::new(ContentType::BYTES, Producer::Closure, b"null"),
        ] {
            assert!(is_true(&yes), "{:?}", yes.body());
        }
    }
}
