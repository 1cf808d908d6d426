//! A log told in order: what the machine makes of it, and what is seen of each step on the way.
//!
//! Invariant: what does not count in the machine is not told.

use std::collections::{BTreeMap, HashMap};

use turlough_keeper::{Ended, Summary};
use turlough_sdk::{StepPath, ValueRef};
use turlough_statestore::event::{Accepted, Delivery, Outcome, StepEnd, StepEnded, Trouble};
use turlough_statestore::{Event, Kind, Record, Standing};

use super::attempt::Row;
use crate::machine::{Action, Execution, Work};

/// A log up to some event.
#[derive(Debug)]
pub(super) struct Story<'a> {
    /// None where the flow's definition is not known any more.
    pub(super) execution: Option<Execution>,
    pub(super) accepted: Option<&'a Accepted>,
    pub(super) rows: HashMap<StepPath, Row<'a>>,
    /// Paths in the order in which they were first seen.
    pub(super) seen: Vec<StepPath>,
    /// Variables, each as it was set last.
    pub(super) variables: BTreeMap<String, ValueRef>,
    /// The end that stands, if one does.
    pub(super) ended: Option<(&'a Outcome, &'a [Trouble], u64)>,
    pub(super) owed: Vec<&'a Delivery>,
    /// Word of the end that nobody took, and why.
    pub(super) given_up: Vec<(&'a Delivery, &'a str)>,
    generation: u32,
    version: Option<&'a str>,
    released: bool,
    standing: Standing,
    kept_until_us: Option<u64>,
    settled: bool,
    /// The latest time that an event carried.
    pub(super) at_us: u64,
}

impl<'a> Story<'a> {
    pub(super) fn new(execution: Option<Execution>) -> Self {
        Self {
            execution,
            accepted: None,
            rows: HashMap::new(),
            seen: Vec::new(),
            variables: BTreeMap::new(),
            ended: None,
            owed: Vec::new(),
            given_up: Vec::new(),
            generation: 0,
            version: None,
            released: false,
            standing: Standing::Running,
            kept_until_us: None,
            settled: false,
            at_us: 0,
        }
    }

    /// Of a log that is told from a snapshot on, and of a request that had not ended then.
    pub(super) fn of_snapshot(execution: Execution, accepted: &'a Accepted) -> Self {
        let begun = execution.root_states().into_iter();
        let begun = begun.filter(|state| state.status != "waiting");
        let begun: Vec<_> = begun.map(|state| StepPath::root(&state.node)).collect();
        let mut story = Self {
            accepted: Some(accepted),
            generation: execution.generation(),
            variables: execution.variables().clone(),
            at_us: accepted.at_us,
            ..Self::new(Some(execution))
        };
        for step in &begun {
            story.row(step);
        }
        story
    }

    pub(super) fn fold(&mut self, record: &'a Record) {
        let counts = match &mut self.execution {
            Some(execution) => execution.fold(&record.append),
            None => !record.append.is_blank(),
        };
        if !counts {
            return;
        }
        self.released = false;
        for event in &record.append.events {
            self.tell(event);
        }
        let envelope = &record.append.envelope;
        if envelope.kind == Kind::Driver {
            self.standing = envelope.standing;
        }
        if self.released && self.ended.is_some() {
            self.kept_until_us = envelope.wake_at_us;
        }
        let Some(execution) = &mut self.execution else {
            return;
        };
        // What a driver would be told now, so that what runs without a recorded start is seen too.
        let actions = execution.next_actions();
        for action in actions {
            match action {
                Action::Start { step, attempt } => {
                    let (generation, at_us) = (self.generation, self.at_us);
                    self.row(&step).begins(generation, attempt, at_us);
                }
                Action::Run(run) => {
                    let (generation, at_us) = (self.generation, self.at_us.max(run.not_before_us));
                    let row = self.row(&run.step);
                    row.begins(generation, run.attempt, at_us);
                    row.fallback = matches!(run.work, Work::Fallback);
                }
                Action::Stop { .. } | Action::End(_) => {}
            }
        }
    }

    fn tell(&mut self, event: &'a Event) {
        match event {
            Event::Accepted(accepted) => {
                self.see(accepted.at_us);
                self.accepted = Some(accepted);
                self.version = Some(&accepted.version);
            }
            Event::StepStarted {
                step,
                attempt,
                at_us,
            } => {
                self.see(*at_us);
                let generation = self.generation;
                self.row(step).started(generation, *attempt, *at_us);
            }
            Event::StepCalled {
                step,
                attempt,
                at_us,
            } => {
                self.see(*at_us);
                let generation = self.generation;
                self.row(step).called(generation, *attempt, *at_us);
            }
            Event::StepEnded(ended) => self.step_ended(ended),
            Event::RestartAsked { version, at_us, .. } => {
                self.see(*at_us);
                self.generation += 1;
                self.version = version.as_deref().or(self.version);
                self.ended = None;
                self.kept_until_us = None;
                self.owed.clear();
                self.given_up.clear();
            }
            Event::Ended {
                outcome,
                trouble,
                owed,
                at_us,
            } => {
                self.see(*at_us);
                self.ended = Some((outcome, trouble, *at_us));
                self.owed = owed.iter().collect();
            }
            Event::Delivered { id, error, at_us } => {
                self.see(*at_us);
                self.delivered(*id, error.as_deref());
            }
            Event::Settled { at_us } => {
                self.see(*at_us);
                self.settled = true;
            }
            Event::Released { at_us } => {
                self.see(*at_us);
                self.released = true;
            }
            Event::Claimed { at_us, .. }
            | Event::Ticked { at_us }
            | Event::OutputLost { at_us, .. }
            | Event::OutputFailed { at_us, .. }
            | Event::Signalled { at_us, .. }
            | Event::PauseAsked { at_us }
            | Event::ResumeAsked { at_us }
            | Event::CancelAsked { at_us }
            | Event::Closing { at_us } => self.see(*at_us),
            Event::Part { .. } | Event::Snapshot(_) => {}
        }
    }

    fn delivered(&mut self, id: u128, error: Option<&'a str>) {
        if let Some(at) = self.owed.iter().position(|owed| owed.id == id) {
            let delivery = self.owed.remove(at);
            self.given_up.extend(error.map(|error| (delivery, error)));
        }
    }

    fn step_ended(&mut self, ended: &'a StepEnded) {
        self.see(ended.end_us);
        let fails = matches!(ended.end, StepEnd::Failed { .. } | StepEnd::Lost { .. });
        if self.row(&ended.step).ended(ended) && !fails {
            self.variables.extend(ended.set.iter().cloned());
        }
    }

    fn row(&mut self, step: &StepPath) -> &mut Row<'a> {
        let seen = &mut self.seen;
        self.rows.entry(step.clone()).or_insert_with(|| {
            seen.push(step.clone());
            Row::default()
        })
    }

    fn see(&mut self, at_us: u64) {
        self.at_us = self.at_us.max(at_us);
    }

    /// Whether an attempt is open.
    pub(super) fn awaits(&self, step: &StepPath, attempt: u32) -> bool {
        let execution = self.execution.as_ref();
        execution.is_some_and(|execution| execution.awaits(step, attempt))
    }

    /// Whether its end is decided, so that nothing of the flow's own graph starts any more.
    pub(super) fn is_over(&self) -> bool {
        let execution = self.execution.as_ref();
        let status = execution.map(Execution::status);
        self.ended.is_some() || matches!(status, Some("unwinding" | "ended"))
    }

    pub(super) fn is_paused(&self) -> bool {
        let execution = self.execution.as_ref();
        execution.is_some_and(|execution| execution.status() == "paused")
    }

    /// What went wrong while it was unwound.
    pub(super) fn trouble(&self) -> &[Trouble] {
        match (&self.ended, &self.execution) {
            (Some((_, trouble, _)), _) => trouble,
            (None, Some(execution)) => execution.trouble(),
            (None, None) => &[],
        }
    }

    /// What a list would have said of it then; none where it was not accepted yet.
    pub(super) fn summary(&self) -> Option<Summary> {
        let accepted = self.accepted?;
        let state = match self.execution.as_ref().map(Execution::standing) {
            Some(Standing::Running) if self.released => Standing::Sleeping,
            Some(standing) => standing,
            None => self.standing,
        };
        let ended = self.ended.map(|(outcome, _, at_us)| Ended {
            settled: self.settled,
            ..Ended::new(outcome, at_us)
        });
        Some(Summary {
            version: self.version.unwrap_or(&accepted.version).to_owned(),
            standing: state,
            generation: self.generation,
            ended,
            kept_until_us: self.kept_until_us.filter(|_| !self.settled),
            ..Summary::accepted(accepted)
        })
    }
}
