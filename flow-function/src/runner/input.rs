//! What a step is given: the values of its data edges, each transformed on its way, and one value
//! made of them where the node says how.

use std::sync::Arc;

use turlough_sdk::{Inputs, Operation, StepError, Value};

use super::scope::Scope;
use super::{Failure, INLINE_WORK_BYTES_MAX, blocking};
use crate::data::{DataError, Found};
use crate::machine::Given;

/// A node's input.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) inputs: Inputs,
    /// Whether formulas made it, so that the machine cannot know it.
    pub(super) is_made: bool,
}

impl Taken {
    pub(super) async fn joined(&self) -> Result<Value, Failure> {
        joined(&self.inputs).await
    }
}

/// Takes the inputs of the node.
pub(super) async fn take(scope: &Scope) -> Result<Taken, Failure> {
    let node = scope.run().node();
    let mut inputs = load(scope).await?;
    let mut is_made = false;
    let edges = node.edges.iter().filter(|edge| edge.data && !edge.capture);
    for (edge, (_, member)) in edges.zip(&mut inputs.members) {
        if let (Some(transform), Some(value)) = (&edge.transform, member) {
            *value = scope.formula(transform, value.clone()).await?;
            is_made = true;
        }
    }
    // That of a `for_each` is made of its results.
    let of_results = matches!(node.operation, Operation::ForEach(_));
    if let Some(aggregate) = node.aggregate.as_ref().filter(|_| !of_results) {
        let value = scope.formula(aggregate, joined(&inputs).await?).await?;
        inputs = single(value);
        is_made = true;
    }
    Ok(Taken { inputs, is_made })
}

/// One value as what an operation is given.
pub(super) fn single(value: Value) -> Inputs {
    Inputs {
        members: vec![(Arc::from("input"), Some(value))],
        ..Inputs::default()
    }
}

/// Several inputs as one value. Joining may take the processor.
pub(super) async fn joined(inputs: &Inputs) -> Result<Value, Failure> {
    let values = inputs.members.iter().flat_map(|(_, value)| value);
    let size: u64 = values.map(|value| value.envelope().len() as u64).sum();
    if inputs.members.len() < 2 || size <= INLINE_WORK_BYTES_MAX {
        return Ok(inputs.joined().map_err(StepError::permanent)?);
    }
    let inputs = inputs.clone();
    blocking::run(move || Ok(inputs.joined().map_err(StepError::permanent)?)).await
}

/// Reads what the machine names. Joining may take the processor.
pub(super) async fn read(scope: &Scope, given: &Given) -> Result<Value, Failure> {
    let found = scope.context().data.read(given).await?;
    if !found.is_joined() {
        return Ok(found.value()?);
    }
    blocking::run(move || Ok(found.value()?)).await
}

/// Reads the inputs; who is called gets the bytes of his only one as they are. Joining, and telling whether a text is JSON, may take the processor.
async fn load(scope: &Scope) -> Result<Inputs, Failure> {
    let (context, members) = (scope.context(), &scope.run().inputs);
    let mut names = members.iter().map(|(name, _)| name);
    let first = names.next();
    let called = &scope.run().vertex().operation;
    let called = matches!(
        called,
        Operation::Apply(_) | Operation::Http(_) | Operation::Flow(_)
    );
    let is_raw = called && names.all(|name| Some(name) == first);
    let given = members.iter().map(|(_, given)| given.as_ref());
    let found = context.data.read_all(given).await?;
    let is_heavy = found.iter().flatten().any(Found::is_joined)
        || found.iter().flatten().map(Found::size).sum::<u64>() > INLINE_WORK_BYTES_MAX;
    let names: Vec<_> = members.iter().map(|(name, _)| Arc::clone(name)).collect();
    let work = move || {
        let value = |found: Found| match is_raw {
            true => found.value(),
            false => found.typed(),
        };
        let read =
            |(name, found): (Arc<str>, Option<Found>)| Ok((name, found.map(value).transpose()?));
        let members = names.into_iter().zip(found).map(read);
        Ok::<_, Failure>(Inputs {
            members: members.collect::<Result<_, DataError>>()?,
            ..Inputs::default()
        })
    };
    if is_heavy {
        blocking::run(work).await
    } else {
        work()
    }
}
