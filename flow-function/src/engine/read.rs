//! What can be read of a request: its log, its end, the inputs and outputs of its steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use turlough_sdk::{Flow, FlowName, RequestId, StepPath, Value, ValueRef};
use turlough_statestore::event::{Outcome, StepEnd};
use turlough_statestore::{Event, Record, Seq};

use super::{ControlError, Engine};
use crate::data::{DataError, RequestData};
use crate::machine::Given;
use crate::shared::{Finished, Shared};

/// How long a store is waited for whose value is to be shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// Which value of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Input,
    Output,
}

/// Why a value cannot be shown.
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
    #[error("it cannot be read now: {0}")]
    Away(DataError),
    #[error("the output of request {0} lies in a store that does not answer; ask again")]
    OutputAway(RequestId),
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
        let data = self.shared.data_in_log(request, parts(&records));
        if let Some(given) = given {
            return shown(&data, &given).await;
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
                StepEnd::Succeeded { value } => Some(Given::value(value)),
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
        shown(&data, &given).await
    }
}

/// A value as it can be had now.
async fn shown(data: &RequestData, given: &Given) -> Result<Value, StepValueError> {
    let wrong = |error: DataError| match error {
        DataError::Away { .. } => StepValueError::Away(error),
        error => StepValueError::Gone(error.to_string()),
    };
    let found = data.read_within(given, SHOWN_WITHIN).await.map_err(wrong)?;
    found.value().map_err(wrong)
}

/// The newest end that stands in a log.
pub(crate) fn outcome_in(records: &[Record]) -> Option<Outcome> {
    let mut events = records
        .iter()
        .rev()
        .flat_map(|record| record.append.events.iter().rev());
    events.find_map(|event| match event {
        Event::Ended { outcome, .. } => Some(outcome.clone()),
        _ => None,
    })
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
        {
            // Its output may lie in a store that takes long.
            let shared = Arc::clone(self);
            tokio::spawn(async move { shared.tell_end(request, &records).await });
        }
        self.watch_end(request);
        receiver
    }

    /// Tells whoever waits how a request ended, as long as somebody does.
    async fn tell_end(&self, request: RequestId, records: &[Record]) {
        let mut end = std::pin::pin!(self.end_in_log(request, records));
        while self.waiting.is_waited_for(request) {
            if let Ok(end) = tokio::time::timeout(SHOWN_WITHIN, &mut end).await {
                if let Some(finished) = end {
                    self.waiting.tell(request, &finished);
                }
                return;
            }
        }
    }

    /// The newest end that stands in a log, with its output, where that was kept and is there still. A
    /// store that is away is waited for.
    pub(crate) async fn end_in_log(
        &self,
        request: RequestId,
        records: &[Record],
    ) -> Option<Finished> {
        let outcome = outcome_in(records)?;
        let output = match &outcome {
            Outcome::Succeeded {
                output: Some(at), ..
            } => {
                let parts = match at {
                    ValueRef::Parts { .. } => parts(records),
                    _ => HashMap::new(),
                };
                self.data_in_log(request, parts).load(at).await.ok()
            }
            _ => None,
        };
        Some(Finished { outcome, output })
    }

    /// The same, of a store that answers soon.
    pub(crate) async fn end_to_show(
        &self,
        request: RequestId,
        records: &[Record],
    ) -> Result<Finished, StepValueError> {
        let end = self.end_in_log(request, records);
        let end = tokio::time::timeout(SHOWN_WITHIN, end).await;
        let end = end.map_err(|_| StepValueError::OutputAway(request))?;
        Ok(end.ok_or(ControlError::Unknown(request))?)
    }

    /// What can be read of a request that somebody else may drive.
    fn data_in_log(&self, request: RequestId, parts: HashMap<u128, Bytes>) -> RequestData {
        let inline = self.settings.inline_bytes_max;
        RequestData::new(request, (0, 0), &self.stores, inline, parts)
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
