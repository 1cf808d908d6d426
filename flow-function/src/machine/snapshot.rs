//! Snapshots: a machine as bytes, so that a log can go on when its head is gone.
//!
//! Invariants: a machine that is read from a snapshot does, on every event that may come, what the one
//! that wrote it does; a snapshot holds all that the fold holds; every field of the machine is taken
//! apart by name in `write.rs`, so that a new one cannot be forgotten. Graphs are not in it: they are
//! found again in the flow's definition, by the nodes whose bodies they are, and made again from the
//! text of those that were made at run time.
//!
//! Absent: when a snapshot is due, and where its bytes are put; that is the driver's.

mod origin;
mod read;
mod saved;
mod table;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use turlough_sdk::{Digest, Flow, Graph, RequestId, StepPath, ValueRef};
use turlough_statestore::event::{Moved, Snapshot};
use turlough_statestore::{Event, Record, Seq};

use super::mutation::{Mutation, planted};
use super::{Execution, Versions};
use crate::fault::{self, Fault};
use saved::{FORMAT, Header, Saved};

/// Why a machine was not read from a snapshot, or from a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error("snapshot has format {found}, this version reads up to {FORMAT}; use a newer one")]
    Newer { found: u8 },
    #[error("snapshot cannot be read: {0}")]
    Broken(String),
    #[error("flow {flow} in version {version} is not here; deploy it again")]
    NoVersion { flow: String, version: String },
    #[error("a graph that step {step} made at run time is refused now: {reason}")]
    Graph { step: String, reason: String },
    #[error("the log's head is gone, and no snapshot in it can be read")]
    Truncated,
}

impl Execution {
    /// The machine as bytes: the fold of all appends up to `of`. Nothing that is not stored may have
    /// been applied.
    pub(crate) fn snapshot(&self, of: Seq) -> Result<Vec<u8>, RestoreError> {
        let broken = |error: rmp_serde::encode::Error| RestoreError::Broken(error.to_string());
        let of = if planted(Mutation::SnapshotWithoutPlace) {
            Seq::START
        } else {
            of
        };
        let mut saved = self.save(of);
        if fault::planted(Fault::EpochNotSaved) {
            saved.epoch = 0;
        }
        rmp_serde::to_vec_named(&saved).map_err(broken)
    }

    /// The machine that a snapshot was made of, and the place that it is the fold of: every event after
    /// that is to be folded into it.
    pub(crate) fn restore(
        request: RequestId,
        versions: Versions,
        bytes: &[u8],
    ) -> Result<(Self, Seq), RestoreError> {
        let saved = rmp_serde::from_slice::<Saved>(bytes);
        let newer = |format: u8| (format > FORMAT).then_some(RestoreError::Newer { found: format });
        let saved = saved.map_err(|error| {
            // What is newer may not look like a snapshot at all.
            let header = rmp_serde::from_slice::<Header>(bytes).ok();
            let newer = header.and_then(|header| newer(header.format));
            newer.unwrap_or_else(|| RestoreError::Broken(error.to_string()))
        })?;
        if let Some(error) = newer(saved.format) {
            return Err(error);
        }
        let of = saved.of;
        Ok((Self::load(request, versions, saved)?, of))
    }

    /// Folds a log from its head, or where that is gone from its newest snapshot.
    pub(crate) fn read(
        request: RequestId,
        versions: &Versions,
        log: &[Record],
    ) -> Result<Self, RestoreError> {
        let mut events = log.iter().flat_map(|record| &record.append.events);
        let first = events.find(|event| !matches!(event, Event::Part { .. }));
        if let Some(Event::Accepted(accepted)) = first {
            let flow = (versions.0)(&accepted.version);
            let flow = flow.ok_or_else(|| RestoreError::NoVersion {
                flow: accepted.flow.to_string(),
                version: accepted.version.clone(),
            })?;
            let mut execution = Self::new(request, flow, versions.clone());
            for record in log {
                execution.fold(&record.append);
            }
            return Ok(execution);
        }
        let (execution, _) = Self::read_newest(request, versions, log)?;
        Ok(execution)
    }

    /// The machine as the newest snapshot of a log has it, and the place that it is the fold of.
    pub(crate) fn restore_newest(
        request: RequestId,
        versions: &Versions,
        log: &[Record],
    ) -> Result<(Self, Seq), RestoreError> {
        let (_, snapshot) = Self::read_newest(request, versions, log)?;
        let bytes = bytes_of(log, &snapshot.state).ok_or(RestoreError::Truncated)?;
        Self::restore(request, versions.clone(), &bytes)
    }

    /// Folds a log from its newest snapshot that can be read.
    fn read_newest<'a>(
        request: RequestId,
        versions: &Versions,
        log: &'a [Record],
    ) -> Result<(Self, &'a Snapshot), RestoreError> {
        let mut why = RestoreError::Truncated;
        for (at, record) in log.iter().enumerate().rev() {
            let mut snapshots = record.append.events.iter().filter_map(snapshot_of);
            let Some(snapshot) = snapshots.next_back() else {
                continue;
            };
            match Self::read_from(request, versions, log, (at, snapshot)) {
                Ok(execution) => return Ok((execution, snapshot)),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Folds what stands after a snapshot. It is one only if its own append counts by then: what a
    /// driver wrote whose claim was over may hold what was never stored.
    fn read_from(
        request: RequestId,
        versions: &Versions,
        log: &[Record],
        (at, snapshot): (usize, &Snapshot),
    ) -> Result<Self, RestoreError> {
        let bytes = bytes_of(log, &snapshot.state).ok_or(RestoreError::Truncated)?;
        let (mut execution, of) = Self::restore(request, versions.clone(), &bytes)?;
        let mut counted = false;
        for (place, record) in log.iter().enumerate().filter(|(_, r)| r.seq > of) {
            let counts = execution.fold(&record.append);
            counted |= counts && place == at;
        }
        counted.then_some(execution).ok_or(RestoreError::Truncated)
    }

    /// Values were written again, in parts that stay: wherever one of them is named, the new place is.
    pub(super) fn moved(&mut self, moved: &[Moved]) {
        if moved.is_empty() {
            return;
        }
        let to: HashMap<_, _> = moved.iter().map(|moved| (moved.from, moved.to)).collect();
        let replace = |value: &mut ValueRef| {
            if let ValueRef::Parts { upload, .. } = value
                && let Some(to) = to.get(upload)
            {
                *upload = *to;
            }
        };
        let mut saved = self.save(Seq::START);
        for value in &mut saved.values {
            if matches!(**value, ValueRef::Parts { .. }) {
                replace(Arc::make_mut(value));
            }
        }
        saved.variables.values_mut().for_each(replace);
        if let Some(accepted) = &mut saved.accepted {
            replace(&mut accepted.input);
        }
        // Versions that it holds are there, whatever became of the others.
        let (held, all) = (self.held_versions(), self.versions.clone());
        let find = move |version: &str| held.get(version).cloned().or_else(|| (all.0)(version));
        if let Ok(loaded) = Self::load(self.request, Versions(Arc::new(find)), saved) {
            *self = Self {
                versions: self.versions.clone(),
                recorded: std::mem::take(&mut self.recorded),
                ..loaded
            };
        }
    }

    /// Values in parts that are still needed or owed: before a snapshot they are written again, where
    /// the head that holds them goes.
    pub(crate) fn parts(&self) -> Vec<ValueRef> {
        let mut seen = std::collections::HashSet::new();
        let is_new_part = |value: &ValueRef| match value {
            ValueRef::Parts { upload, .. } => seen.insert(*upload),
            _ => false,
        };
        let mut held = self.held();
        held.retain(is_new_part);
        held
    }

    /// Values that are still needed or owed.
    pub(crate) fn held(&self) -> Vec<ValueRef> {
        let saved = self.save(Seq::START);
        let input = saved.accepted.iter().map(|accepted| &accepted.input);
        let values = saved.values.iter().map(|value| &**value);
        let all = values.chain(saved.variables.values()).chain(input);
        all.cloned().collect()
    }

    fn held_versions(&self) -> HashMap<String, Arc<Flow>> {
        let frames = self.frames.iter().flatten();
        let made = frames.filter_map(|frame| frame.made.as_ref());
        let undone = self.undo.iter();
        let flows = made
            .map(|made| &made.flow)
            .chain(undone.clone().map(|undo| &undo.flow))
            .chain(undone.filter_map(|undo| undo.made.as_ref().map(|made| &made.flow)))
            .chain([&self.flow]);
        flows
            .map(|flow| (flow.version().to_string(), Arc::clone(flow)))
            .collect()
    }
}

/// The graph of a flow that a step stands in, and its place there. None where the flow does not define
/// it: it may stand in a graph that was made at run time.
pub(crate) fn step_in(flow: &Flow, step: &StepPath) -> Option<(Arc<Graph>, usize)> {
    origin::Origins::of_step(step, flow, None).ok()
}

const fn snapshot_of(event: &Event) -> Option<&Snapshot> {
    match event {
        Event::Snapshot(snapshot) => Some(snapshot),
        _ => None,
    }
}

/// The bytes of a state: in its event, or in parts of the same log.
fn bytes_of(log: &[Record], state: &ValueRef) -> Option<Vec<u8>> {
    let (upload, count, digest) = match state {
        ValueRef::Inline(bytes) => return Some(bytes.to_vec()),
        ValueRef::Stored { .. } => return None,
        ValueRef::Parts {
            upload,
            count,
            digest,
            ..
        } => (*upload, *count, *digest),
    };
    let mut parts = HashMap::new();
    for event in log.iter().flat_map(|record| &record.append.events) {
        if let Event::Part {
            upload: of,
            index,
            bytes,
        } = event
            && *of == upload
        {
            parts.insert(*index, bytes);
        }
    }
    let mut all = Vec::new();
    for index in 0..count {
        all.extend_from_slice(parts.get(&index)?);
    }
    (Digest::of(&all) == digest).then_some(all)
}

#[cfg(test)]
mod tests;
