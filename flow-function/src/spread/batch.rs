//! Steps on their way to another replica, and what they came to on their way back: MessagePack.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use turlough_sdk::{ReplicaId, RequestId, StepPath, Value, ValueRef};
use turlough_statestore::event::{Accepted, StepEnd, StepEnded, Trouble};

use crate::data::{DataError, Found};
use crate::machine::{Given, Run, Work, step_in};
use crate::runner::{Attempted, Context};

/// Most of what one call carries: a few milliseconds of copying.
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;
/// Most steps that one call carries.
pub(super) const BATCH_STEPS_MAX: usize = 64;

/// Steps of one request, with all that they need.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// Who asks.
    pub(crate) replica: ReplicaId,
    pub(super) request: RequestId,
    pub(super) generation: u32,
    pub(super) epoch: u64,
    /// Its input stands in it, and nobody is named that wants word of its end.
    pub(super) accepted: Accepted,
    pub(super) steps: Vec<Step>,
}

/// One of them. All its values stand in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) step: StepPath,
    pub(super) attempt: u32,
    /// The generation in which it was last reset.
    #[serde(default)]
    pub(super) generation: u32,
    pub(super) inputs: Vec<(String, Option<ValueRef>)>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) variables: BTreeMap<String, ValueRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Trouble>,
}

fn inline(value: &Value) -> ValueRef {
    ValueRef::Inline(value.envelope().clone())
}

impl Batch {
    /// A batch without steps.
    pub(super) async fn new(context: &Context) -> Result<Self, DataError> {
        let accepted = &context.accepted;
        let input = inline(&context.data.load(&accepted.input).await?);
        Ok(Self {
            replica: context.shared.replica,
            request: context.request,
            generation: context.generation,
            epoch: context.epoch,
            accepted: Accepted {
                input,
                parent: None,
                callbacks: Vec::new(),
                call_id: None,
                delivery: None,
                trace: None,
                ..Accepted::clone(accepted)
            },
            steps: Vec::new(),
        })
    }

    /// Bytes of its values.
    pub(super) fn size(&self) -> usize {
        let steps = self.steps.iter().map(Step::size).sum::<usize>();
        steps + self.accepted.input.size() as usize
    }

    pub(super) fn encode(&self) -> Result<Bytes, rmp_serde::encode::Error> {
        Ok(rmp_serde::to_vec_named(self)?.into())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        rmp_serde::from_slice(bytes)
    }
}

impl Step {
    /// An attempt with all that it reads. None where the flow's definition has no such step: another
    /// replica would not find it.
    pub(super) async fn of(context: &Context, run: &Run) -> Result<Option<Self>, DataError> {
        let found = step_in(&context.flow, &run.step);
        let is_defined =
            found.is_some_and(|(graph, node)| Arc::ptr_eq(&graph, &run.graph) && node == run.node);
        if !is_defined {
            return Ok(None);
        }
        let given = run.inputs.iter().map(|(_, given)| given.as_ref());
        let found = context.data.read_all(given).await?;
        let read = |((name, _), found): (&(Arc<str>, Option<Given>), Option<Found>)| {
            let value = found.map(Found::value).transpose()?;
            Ok::<_, DataError>((name.to_string(), value.as_ref().map(inline)))
        };
        Ok(Some(Self {
            step: run.step.clone(),
            attempt: run.attempt,
            generation: run.generation,
            inputs: run
                .inputs
                .iter()
                .zip(found)
                .map(read)
                .collect::<Result<_, _>>()?,
            variables: BTreeMap::clone(&run.variables),
            error: run.error.as_deref().cloned(),
        }))
    }

    pub(super) fn size(&self) -> usize {
        let inputs = self.inputs.iter().flat_map(|(_, value)| value);
        inputs.map(|value| value.size() as usize).sum()
    }

    /// The attempt, as the replica runs it that was asked. None where its flow has no such step.
    pub(super) fn run(self, flow: &turlough_sdk::Flow) -> Option<Run> {
        let (graph, node) = step_in(flow, &self.step)?;
        let given = |value: ValueRef| Given::Value(Arc::new(value));
        let inputs = self.inputs.into_iter();
        Some(Run {
            step: self.step,
            attempt: self.attempt,
            generation: self.generation,
            not_before_us: 0,
            until_us: u64::MAX,
            graph,
            node,
            work: Work::Operation,
            inputs: inputs
                .map(|(name, value)| (name.into(), value.map(given)))
                .collect(),
            variables: Arc::new(self.variables),
            error: self.error.map(Arc::new),
        })
    }
}

/// What a step came to elsewhere, as its driver commits it. None where that is nothing that another
/// replica can say.
pub(super) async fn taken_home(context: &Context, mut ended: StepEnded) -> Option<Attempted> {
    match &mut ended.end {
        StepEnd::Succeeded { value } => {
            let ValueRef::Inline(envelope) = &*value else {
                return None;
            };
            let output = Value::from_envelope(envelope.clone()).ok()?;
            let kept = context
                .data
                .keep(ended.step.as_str(), ended.attempt, &output);
            *value = kept.await.ok()?;
        }
        StepEnd::Failed { .. } => {}
        _ => return None,
    }
    let parts = Vec::new();
    Some(Attempted::Ended { parts, ended })
}
