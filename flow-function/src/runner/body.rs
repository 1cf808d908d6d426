//! Attempts that decide what runs next: whether a node runs at all, which cases, items, iterations
//! and graphs, and until when it waits; and the putting together of what items gave.

use std::sync::Arc;

use turlough_sdk::{
    ContentType, Expand, Expression, ForEach, ItemError, Limits, Operation, Producer, StepError,
    Switch, Value, ValueRef, read_graph,
};
use turlough_statestore::event::{StepEnd, Trouble};

use super::input;
use super::scope::Scope;
use super::{Ending, Failure, blocking, operation};
use crate::clock::now_us;
use crate::data::{Found, Split, typed};
use crate::machine::{Given, Results};

/// Most items of one `for_each`.
const ITEMS_MAX: usize = 1_000_000;
/// Largest graph made at run time together with the variables that its maker sets, in bytes: both
/// stand in one append.
const EXPANDED_BYTES_MAX: u64 = 448 * 1024;
/// Longest wait until a point in time: the log and its data are kept for it.
const WAIT_US_MAX: u64 = 366 * 24 * 60 * 60 * 1_000_000;

/// Whether the node runs.
pub(super) async fn ask_when(scope: &Scope) -> Result<Ending, Failure> {
    let Some(when) = &scope.run().node().when else {
        return Ok(StepEnd::Went.into());
    };
    let value = input::take(scope).await?.joined().await?;
    let went = scope.holds(when, &value).await?;
    end(
        scope,
        if went {
            StepEnd::Went
        } else {
            StepEnd::Skipped
        },
        None,
    )
    .await
}

/// Whether a loop goes on from its state; from the node's input where it has none yet.
pub(super) async fn ask_again(scope: &Scope, state: Option<&Given>) -> Result<Ending, Failure> {
    let Operation::Loop(looped) = &scope.run().node().operation else {
        return Err(StepError::permanent("only a loop is asked whether it goes on").into());
    };
    let (value, input) = match state {
        Some(state) => (input::read(scope, state).await?, None),
        None => made_input(scope).await?,
    };
    let again = scope.holds(&looped.again, &value).await?;
    // Its last state is its output.
    let output = (!again).then_some(&value);
    end(scope, StepEnd::Asked { again, input }, output).await
}

/// Which cases of a switch are taken.
pub(super) async fn choose(scope: &Scope, switch: &Switch) -> Result<Ending, Failure> {
    let (value, input) = made_input(scope).await?;
    let mut cases = Vec::new();
    let mut default = None;
    for (ix, case) in switch.cases.iter().enumerate() {
        let ix = u32::try_from(ix).unwrap_or(u32::MAX);
        match &case.when {
            None => default = Some(ix),
            Some(when) if scope.holds(when, &value).await? => cases.push(ix),
            Some(_) => continue,
        }
        if !switch.all && !cases.is_empty() {
            break;
        }
    }
    if cases.is_empty() {
        cases.extend(default);
    }
    end(scope, StepEnd::Took { cases, input }, Some(&value)).await
}

/// The items of a `for_each`, each a value of its own.
pub(super) async fn split(scope: &Scope, each: &ForEach) -> Result<Ending, Failure> {
    let mut list = input::take(scope).await?.joined().await?;
    if let Some(items) = &each.items {
        list = scope.jq(items, &list).await?;
    }
    let split = blocking::run(move || Split::of(&list).map_err(StepError::permanent)).await?;
    let found = split.items.len();
    if found > ITEMS_MAX {
        let text = format!("for_each over {found} items, limit {ITEMS_MAX}; split the list");
        return Err(StepError::permanent(text).into());
    }
    let (run, data) = (scope.run(), &scope.context().data);
    let items = u32::try_from(found).unwrap_or(u32::MAX);
    let manifest = data.keep_items(&run.step, run.attempt, split).await?;
    end(scope, StepEnd::Split { items, manifest }, None).await
}

/// The results of a `for_each` in the order of its items, or under their keys.
pub(super) async fn gather(scope: &Scope, results: &Arc<Results>) -> Result<Ending, Failure> {
    let node = scope.run().node();
    let collect = matches!(&node.operation, Operation::ForEach(each) if each.collect);
    let (data, results) = (&scope.context().data, Arc::clone(results));
    let manifest = data.manifest(&results.manifest).await?;
    let found = data
        .read_all(results.given.iter().map(Option::as_ref))
        .await?;
    let work = move || -> Result<Value, Failure> {
        let typed = |found: Option<Found>| found.map(Found::typed).transpose();
        let members = found.into_iter().map(typed).collect::<Result<_, _>>()?;
        let gathered = put_together(manifest.keys.as_deref(), members)?;
        if !collect {
            return Ok(gathered);
        }
        let error = |(index, trouble): &(u32, Arc<Trouble>)| ItemError {
            index: *index as usize,
            step: trouble.step.clone(),
            message: trouble.message.clone(),
            cause: trouble.cause,
        };
        let errors: Vec<_> = results.errors.iter().map(error).collect();
        Ok(collected(&gathered, &errors)?)
    };
    let mut gathered = blocking::run(work).await?;
    if let Some(aggregate) = &node.aggregate {
        gathered = scope.formula(aggregate, gathered).await?;
    }
    operation::succeed(scope, &gathered).await
}

/// What a `for_each` gives that collects its errors.
fn collected(results: &Value, errors: &[ItemError]) -> Result<Value, StepError> {
    let errors = Value::encode(errors).map_err(StepError::permanent)?;
    let document = Value::map(&[("results", results), ("errors", &errors)]);
    document.map_err(StepError::permanent)
}

/// A list, or a map under `keys`, with null where there is nothing.
fn put_together(keys: Option<&[String]>, members: Vec<Option<Value>>) -> Result<Value, StepError> {
    let null = Value::new(ContentType::JSON, Producer::Platform, b"null");
    let member = |member: Option<Value>| member.unwrap_or_else(|| null.clone());
    let members: Vec<_> = members.into_iter().map(member).collect();
    let gathered = match keys {
        None => Value::list(&members),
        Some(keys) => {
            let named: Vec<_> = keys.iter().map(String::as_str).zip(&members).collect();
            Value::map(&named)
        }
    };
    gathered.map_err(StepError::permanent)
}

/// The graph that is run in the node's place.
pub(super) async fn expand(scope: &Scope, expand: &Expand) -> Result<Ending, Failure> {
    let taken = input::take(scope).await?;
    let output = operation::produce(scope, &expand.by, &taken.inputs).await?;
    let flow = Arc::clone(&scope.context().flow);
    let graph = blocking::run(move || {
        let text = graph_text(output)?;
        match read_graph(&text, flow.closures()) {
            Ok(_) => Ok(text),
            Err(error) => Err(StepError::permanent(format!(
                "graph made at run time is refused: {error}"
            ))),
        }
    })
    .await?;
    let mut input = None;
    if taken.is_made {
        // An append has no room for both.
        let (run, value) = (scope.run(), taken.joined().await?);
        let data = &scope.context().data;
        input = Some(data.store(run.step.as_str(), run.attempt, &value).await?);
    }
    let set = scope.sets(None).await?;
    let found = graph.len() as u64 + set.iter().map(|(_, at)| at.size()).sum::<u64>();
    if found > EXPANDED_BYTES_MAX {
        let text = format!(
            "graph made at run time and variables are {found} bytes together, limit \
             {EXPANDED_BYTES_MAX}; make a smaller one, or set less"
        );
        return Err(StepError::permanent(text).into());
    }
    let (end, parts) = (StepEnd::Expanded { graph, input }, Vec::new());
    Ok(Ending { end, set, parts })
}

/// The text of a graph that was given as data or as text.
fn graph_text(output: Value) -> Result<String, StepError> {
    let value = typed(output);
    let mut body = value.body();
    let mut is_json = value.content_type().is_json();
    if value.content_type().is_msgpack() {
        // A function's is turned into JSON as well.
        let ours = Value::new(ContentType::MSGPACK, Producer::Closure, &body);
        let (content_type, json) = ours.leaving(false).map_err(StepError::permanent)?;
        is_json = content_type.is_json();
        body = json;
    }
    let found = body.len();
    // As a text in JSON it is longer than what it says.
    let limit = Limits::GRAPH_BYTES_MAX;
    if found > limit * 2 {
        let text =
            format!("graph made at run time is {found} bytes, limit {limit}; make a smaller one");
        return Err(StepError::permanent(text));
    }
    if is_json && body.trim_ascii_start().starts_with(b"\"") {
        return serde_json::from_slice(&body).map_err(StepError::permanent);
    }
    String::from_utf8(body.to_vec()).map_err(|_| {
        StepError::permanent("graph made at run time is no text; give it as JSON or YAML")
    })
}

/// Until when the node waits.
pub(super) async fn wait_until(scope: &Scope, until: &Expression) -> Result<Ending, Failure> {
    let value = input::take(scope).await?.joined().await?;
    let time = scope.jq(until, &value).await?;
    let until_us = time_us(&time, now_us()).map_err(StepError::permanent)?;
    end(scope, StepEnd::Waits { until_us }, None).await
}

/// A point in time, RFC 3339 or Unix seconds, in µs of Unix time; one long past is 1.
fn time_us(time: &Value, now_us: u64) -> Result<u64, String> {
    let wrong = |found: &str| {
        let found: String = found.chars().take(80).collect();
        format!("wait until {found}: it is neither RFC 3339 nor Unix seconds")
    };
    let json: serde_json::Value = time.decode().map_err(|error| error.to_string())?;
    let found = json.to_string();
    let micros = match &json {
        serde_json::Value::String(text) => {
            let time: jiff::Timestamp = text.parse().map_err(|_| wrong(&found))?;
            time.as_microsecond()
        }
        serde_json::Value::Number(seconds) => {
            // Beyond any time that is allowed the conversion saturates.
            (seconds.as_f64().ok_or_else(|| wrong(&found))? * 1e6) as i64
        }
        _ => return Err(wrong(&found)),
    };
    let until_us = u64::try_from(micros).unwrap_or(0).max(1);
    if until_us > now_us.saturating_add(WAIT_US_MAX) {
        let found: String = found.chars().take(80).collect();
        return Err(format!(
            "wait until {found}: that is over 366 days; write seconds, and wait in steps"
        ));
    }
    Ok(until_us)
}

/// The node's input as one value, kept where formulas made it.
async fn made_input(scope: &Scope) -> Result<(Value, Option<ValueRef>), Failure> {
    let taken = input::take(scope).await?;
    let (run, value) = (scope.run(), taken.joined().await?);
    if !taken.is_made {
        return Ok((value, None));
    }
    let data = &scope.context().data;
    let kept = data.keep(run.step.as_str(), run.attempt, &value).await?;
    Ok((value, Some(kept)))
}

async fn end(scope: &Scope, end: StepEnd, output: Option<&Value>) -> Result<Ending, Failure> {
    Ok(Ending {
        end,
        set: scope.sets(output).await?,
        parts: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
