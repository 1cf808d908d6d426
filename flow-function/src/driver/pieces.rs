//! What is to be appended, cut so that each piece fits an append.

use bytes::Bytes;
use turlough_sdk::{Digest, Value, ValueRef};
use turlough_statestore::Event;
use turlough_statestore::event::{Outcome, StepEnd, StepEnded};

use super::random;
use crate::fault::{Fault, planted};

/// Size of a part in the log: an append holds one, with room for its envelope.
const PART_BYTES: usize = 480 * 1024;
/// Events are put into one append up to this estimate of their size.
const APPEND_BYTES_AIM: usize = 384 * 1024;
/// What an event takes beside its value and message, generously.
const EVENT_BYTES: usize = 512;

/// A value as parts, and the reference that names them.
pub(crate) fn parts_of(value: &Value) -> (ValueRef, Vec<Event>) {
    parts_of_bytes(value.envelope())
}

/// Bytes as parts, and the reference that names them.
pub(super) fn parts_of_bytes(envelope: &Bytes) -> (ValueRef, Vec<Event>) {
    let upload = match planted(Fault::OneUpload) {
        true => 1,
        false => random(),
    };
    let starts = (0..envelope.len()).step_by(PART_BYTES);
    let part = |(index, from): (usize, usize)| {
        let to = (from + PART_BYTES).min(envelope.len());
        Event::part(
            upload,
            u32::try_from(index).unwrap_or(u32::MAX),
            &envelope.slice(from..to),
        )
    };
    let parts: Vec<_> = starts.enumerate().map(part).collect();
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let (size, digest) = (envelope.len() as u64, Digest::of(envelope));
    (
        ValueRef::Parts {
            upload,
            count,
            size,
            digest,
        },
        parts,
    )
}

/// Spreads events over appends so that each fits.
pub(super) fn split(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut appends = vec![Vec::new()];
    let mut size = 0;
    for event in events {
        let bytes = EVENT_BYTES + payload_bytes(&event);
        // An end and its closing are one decision, and small beside what the aim leaves free.
        let apart = !matches!(event, Event::Closing { .. });
        if size + bytes > APPEND_BYTES_AIM && size > 0 && apart {
            appends.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(append) = appends.last_mut() {
            append.push(event);
        }
    }
    appends
}

fn payload_bytes(event: &Event) -> usize {
    match event {
        Event::StepEnded(StepEnded { step, end, set, .. }) => {
            let value = match end {
                StepEnd::Succeeded {
                    value: ValueRef::Inline(bytes),
                }
                | StepEnd::Split {
                    manifest: ValueRef::Inline(bytes),
                    ..
                }
                | StepEnd::Took {
                    input: Some(ValueRef::Inline(bytes)),
                    ..
                }
                | StepEnd::Asked {
                    input: Some(ValueRef::Inline(bytes)),
                    ..
                } => bytes.len(),
                StepEnd::Expanded { graph, input } => {
                    graph.len() + input.as_ref().map_or(0, |at| at.size() as usize)
                }
                StepEnd::Failed { message, .. } => message.len(),
                _ => 0,
            };
            let set: usize = set
                .iter()
                .map(|(name, at)| name.len() + at.size() as usize)
                .sum();
            value + set + step.as_str().len()
        }
        Event::StepStarted { step, .. } | Event::StepCalled { step, .. } => step.as_str().len(),
        Event::Ended {
            outcome,
            trouble,
            owed,
            ..
        } => {
            owed.len() * EVENT_BYTES
                + trouble
                    .iter()
                    .map(|t| t.message.len() + EVENT_BYTES)
                    .sum::<usize>()
                + match outcome {
                    Outcome::Succeeded {
                        output: Some(ValueRef::Inline(bytes)),
                        ..
                    } => bytes.len(),
                    Outcome::Failed { step, message, .. } => step.as_str().len() + message.len(),
                    _ => 0,
                }
        }
        _ => 0,
    }
}
