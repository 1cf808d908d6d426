//! What can be read of a request: its log, its end, the inputs and outputs of its steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use turlough_sdk::{Flow, FlowName, RequestId, StepPath, Value, ValueRef};
use turlough_statestore::event::{Outcome, StepEnd};
use turlough_statestore::{Event, Record, Seq};

use super::{ControlError, Engine};
use crate::data::{DataError, RequestData};
use crate::shared::{Finished, Shared};

/// Which value of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Input,
    Output,
}

/// Why a step's value cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepValueError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("request {request} has no step {step}; name one of those that it shows")]
    NoStep { request: RequestId, step: StepPath },
    #[error("step {step} of request {request} has none yet")]
    NotYet { request: RequestId, step: StepPath },
    #[error("it is gone: {0}")]
    Gone(String),
}

impl Engine {
    /// The log of a request.
    pub(crate) async fn records(&self, request: RequestId) -> Result<Vec<Record>, ControlError> {
        let records = self.shared.log.read(request, Seq::START).await;
        let wrong = |error| ControlError::Read(request, error);
        let records = records.map_err(wrong)?;
        self.shared
            .learn_versions(request, &records)
            .await
            .map_err(wrong)?;
        if records.is_empty() {
            Err(ControlError::Unknown(request))
        } else {
            Ok(records)
        }
    }

    /// A version of a flow that is known here.
    pub(crate) fn definition(&self, flow: &FlowName, version: &str) -> Option<Arc<Flow>> {
        self.shared.registry.version(flow, version)
    }

    /// The input or output of a step, while its data is held.
    pub(crate) async fn step_value(
        &self,
        request: RequestId,
        step: &StepPath,
        which: Which,
    ) -> Result<Value, StepValueError> {
        let records = self.records(request).await?;
        let execution = self
            .shared
            .execution(request, &records)
            .map_err(ControlError::from)?;
        let given = match which {
            Which::Input => execution.inputs_at(step),
            Which::Output => execution.value_at(step),
        };
        let data = RequestData::new(
            request,
            execution.generation(),
            execution.epoch(),
            Arc::clone(&self.shared.store),
            self.shared.settings.inline_bytes_max,
            parts(&records),
        );
        let gone = |error: DataError| StepValueError::Gone(error.to_string());
        if let Some(given) = given {
            return data.resolve(&given).map_err(gone);
        }
        let step = step.clone();
        let Some((at, place)) = end_of(&records, &step) else {
            return Err(if execution.knows(&step) {
                StepValueError::NotYet { request, step }
            } else {
                StepValueError::NoStep { request, step }
            });
        };
        // A body that has ended is as it was when the step ended.
        let (end, before) = (
            &records[at].append.events[place],
            &records[at].append.events[..place],
        );
        let given = match (end, which) {
            (Event::StepEnded(ended), Which::Output) => match &ended.end {
                StepEnd::Succeeded { value } => return data.load(value).map_err(gone),
                _ => None,
            },
            _ => {
                let mut execution = self
                    .shared
                    .execution(request, &records[..at])
                    .map_err(ControlError::from)?;
                before.iter().for_each(|event| execution.apply(event));
                execution.inputs_at(&step)
            }
        };
        let given = given.ok_or(StepValueError::NotYet { request, step })?;
        data.resolve(&given).map_err(gone)
    }
}

/// The newest end of a step: which record, and which event of it.
fn end_of(records: &[Record], step: &StepPath) -> Option<(usize, usize)> {
    let mut records = records.iter().enumerate().rev();
    records.find_map(|(at, record)| {
        let ends = |event: &Event| matches!(event, Event::StepEnded(it) if it.step == *step);
        let place = record.append.events.iter().rposition(ends)?;
        Some((at, place))
    })
}

impl Shared {
    /// Comes when a request has ended, or at once where it has.
    pub(crate) async fn finished(
        self: &Arc<Self>,
        request: RequestId,
    ) -> oneshot::Receiver<Finished> {
        // First the place in the list, then the look: an end in between is told.
        let receiver = self.waiting.register(request);
        if let Ok(records) = self.log.read(request, Seq::START).await
            && !is_open(&records)
            && let Some(finished) = self.end_in_log(request, &records)
        {
            self.waiting.tell(request, &finished);
        }
        self.watch_end(request);
        receiver
    }

    /// The newest end that stands in a log.
    pub(crate) fn end_in_log(&self, request: RequestId, records: &[Record]) -> Option<Finished> {
        let mut events = records
            .iter()
            .rev()
            .flat_map(|record| record.append.events.iter().rev());
        let outcome = events.find_map(|event| match event {
            Event::Ended { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })?;
        let output = match &outcome {
            Outcome::Succeeded {
                output: Some(at), ..
            } => self.value_in_log(request, at, records).ok(),
            _ => None,
        };
        Some(Finished { outcome, output })
    }

    /// A value that the log keeps, or that lies in the store.
    pub(crate) fn value_in_log(
        &self,
        request: RequestId,
        at: &ValueRef,
        records: &[Record],
    ) -> Result<Value, DataError> {
        let parts = match at {
            ValueRef::Parts { .. } => parts(records),
            _ => HashMap::new(),
        };
        let (store, inline) = (Arc::clone(&self.store), self.settings.inline_bytes_max);
        RequestData::new(request, 0, 0, store, inline, parts).load(at)
    }
}

/// Whether a request has not ended, or was restarted since.
pub(crate) fn is_open(records: &[Record]) -> bool {
    let newest = records.iter().rev();
    let mut newest = newest.flat_map(|record| record.append.events.iter().rev());
    let end =
        newest.find(|event| matches!(event, Event::Ended { .. } | Event::RestartAsked { .. }));
    !matches!(end, Some(Event::Ended { .. }))
}

/// Values that stand in a log in parts, by upload. A part that was appended twice counts once.
pub(crate) fn parts(records: &[Record]) -> HashMap<u128, Bytes> {
    let mut found: HashMap<u128, BTreeMap<u32, &[u8]>> = HashMap::new();
    for event in records.iter().flat_map(|record| &record.append.events) {
        if let Event::Part {
            upload,
            index,
            bytes,
        } = event
        {
            found.entry(*upload).or_default().insert(*index, bytes);
        }
    }
    let whole = |(upload, parts): (u128, BTreeMap<u32, &[u8]>)| {
        let parts: Vec<_> = parts.into_values().collect();
        (upload, Bytes::from(parts.concat()))
    };
    found.into_iter().map(whole).collect()
}
