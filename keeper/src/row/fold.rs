//! What an append does to a row.

use turlough_sdk::ValueRef;
use turlough_statestore::event::{Accepted, Outcome, StepEnd};
use turlough_statestore::{Append, AppendId, Envelope, Event, Kind, Standing};

use super::plan::{THINGS, Thing};
use super::{Candidates, Claim, Row};
use crate::summary::{Claimant, Ended};

/// External appends that are remembered until a driver's next one counts. Past it any is taken: better
/// than to ignore a driver from then on. 16 bytes each.
const CANDIDATES_MAX: usize = 128;
/// What an append takes beside the values in it, and each of its events.
const ENVELOPE_BYTES: u64 = 230;
const EVENT_BYTES: u64 = 110;

impl Row {
    /// What an append makes of a request, known or not. None for parts that no `accepted` follows yet.
    pub(crate) fn fold(row: Option<Self>, seq: u64, append: &Append, own_us: u64) -> Option<Self> {
        let mut row = match row {
            Some(row) if seq <= row.last_seq => return Some(row),
            row => row,
        };
        if append.is_blank() {
            return row.map(|row| Self {
                last_seq: seq,
                ..row
            });
        }
        if let Some(accepted) = accepted(append) {
            row = Some(Self::begin(&append.envelope, accepted));
        } else if row.is_none() {
            // Parts of an input are no request yet. What has something before it is of a log without a head.
            append.envelope.after?;
            let is_input = append.envelope.epoch == 0 && append.events.iter().all(is_part);
            if is_input {
                return None;
            }
            row = Some(Self::headless(append)?);
        }
        if let Some(row) = &mut row {
            row.apply(seq, append, own_us);
        }
        row
    }

    fn begin(envelope: &Envelope, accepted: &Accepted) -> Self {
        Self {
            function: envelope.function.clone(),
            flow: accepted.flow.clone(),
            version: accepted.version.clone(),
            parent: accepted.parent.as_ref().map(|parent| parent.request),
            call_id: accepted.call_id.clone(),
            accepted_us: accepted.at_us,
            deadline_us: Some(accepted.deadline_us),
            wake_at_us: None,
            generation: 0,
            standing: Standing::Running,
            ended: None,
            settled_us: None,
            is_closing: false,
            epoch: 0,
            claim: None,
            is_held: false,
            is_handed_over: false,
            is_let_go: false,
            is_lost: false,
            is_doomed: false,
            candidates: Candidates::Any,
            last_seq: 0,
            log_bytes: 0,
            snapshot_us: accepted.at_us,
            seen_us: 0,
            counted_us: 0,
            poked_us: None,
            questioned_us: 0,
            unanswered: 0,
            condemned_us: 0,
            said_us: [0; THINGS],
            said: 0,
        }
    }

    /// A request of which only later appends are left.
    fn headless(append: &Append) -> Option<Self> {
        let at_us = append.events.iter().filter_map(happened_us).next();
        let at_us = at_us.unwrap_or(0);
        let accepted = Accepted {
            flow: "unknown".parse().ok()?,
            version: String::new(),
            tenant: "unknown".parse().ok()?,
            input: ValueRef::Inline(Vec::new().into()),
            query: Vec::new(),
            headers: Vec::new(),
            parent: None,
            callbacks: Vec::new(),
            call_id: None,
            delivery: None,
            trace: None,
            deadline_us: 0,
            at_us,
        };
        let mut row = Self::begin(&append.envelope, &accepted);
        row.deadline_us = append.envelope.deadline_us;
        row.generation = append.envelope.generation;
        if append.envelope.kind == Kind::Driver {
            // It is not known to be a claim, so that a claim at this epoch may have been before.
            row.epoch = append.envelope.epoch;
            let claims = append.events.iter().any(is_claim);
            row.epoch -= u64::from(claims && row.epoch > 0);
            row.assume_claim(append);
        }
        Some(row)
    }

    /// A driver writes under a claim that stood in the head that is gone.
    fn assume_claim(&mut self, append: &Append) {
        let envelope = &append.envelope;
        if self.epoch > 0 {
            self.claim = Some(Claim {
                claimant: Claimant {
                    replica: envelope.replica,
                    epoch: self.epoch,
                    at_us: self.accepted_us,
                },
                append: envelope.id,
            });
            self.is_held = true;
        }
    }

    fn apply(&mut self, seq: u64, append: &Append, own_us: u64) {
        self.last_seq = seq;
        self.log_bytes += about_bytes(append);
        self.seen_us = own_us;
        self.said = 0;
        self.is_lost = false;
        match append.envelope.kind {
            Kind::Driver => self.apply_driver(append, own_us),
            Kind::External => self.apply_external(append, own_us),
        }
    }

    fn apply_driver(&mut self, append: &Append, own_us: u64) {
        let envelope = &append.envelope;
        let claims = append.events.iter().any(is_claim);
        let begins = accepted(append).is_some();
        let fits = if claims {
            envelope.epoch > self.epoch
        } else {
            envelope.epoch == self.epoch
        };
        let counts = begins || (fits && self.candidates.hold(envelope.after));
        if !counts {
            return;
        }
        self.epoch = envelope.epoch;
        self.candidates = Candidates::Known(vec![envelope.id]);
        self.counted_us = own_us;
        self.poked_us = None;
        self.generation = envelope.generation;
        self.standing = envelope.standing;
        self.deadline_us = envelope.deadline_us.or(self.deadline_us);
        self.answered(0);
        // What goes on by its own is not begun anew by every append of a request that is busy.
        for thing in [
            Thing::Due,
            Thing::Appended,
            Thing::Accepted,
            Thing::HandedOver,
        ] {
            self.said_us[thing as usize] = 0;
        }
        for event in &append.events {
            self.apply_event(append, event);
        }
    }

    fn apply_event(&mut self, append: &Append, event: &Event) {
        let envelope = &append.envelope;
        match event {
            Event::Claimed {
                replica,
                epoch,
                at_us,
            } => {
                self.claim = Some(Claim {
                    claimant: Claimant {
                        replica: *replica,
                        epoch: *epoch,
                        at_us: *at_us,
                    },
                    append: envelope.id,
                });
                (self.is_held, self.is_handed_over) = (true, false);
                (self.wake_at_us, self.condemned_us) = (None, 0);
            }
            Event::Released { .. } => {
                self.is_held = false;
                self.wake_at_us = envelope.wake_at_us;
                let is_running = envelope.standing.is_running();
                self.is_handed_over =
                    is_running && envelope.wake_at_us.is_none() && self.ended.is_none();
                if is_running {
                    self.standing = Standing::Sleeping;
                }
            }
            Event::Ended { outcome, at_us, .. } => self.end(outcome, *at_us),
            Event::Closing { .. } => self.is_closing = true,
            Event::Settled { at_us } => {
                self.settled_us = Some(*at_us);
                (self.is_held, self.is_let_go) = (false, false);
                self.wake_at_us = None;
                self.candidates = Candidates::Known(Vec::new());
                if let Some(ended) = &mut self.ended {
                    ended.settled = true;
                }
            }
            Event::Snapshot(snapshot) => {
                self.snapshot_us = self.snapshot_us.max(snapshot.at_us);
                self.said_us[Thing::Snapshot as usize] = 0;
            }
            _ => {}
        }
    }

    fn end(&mut self, outcome: &Outcome, at_us: u64) {
        if self.ended.is_none() {
            self.ended = Some(Ended::new(outcome, at_us));
            self.said_us[Thing::Deadline as usize] = 0;
        }
    }

    fn apply_external(&mut self, append: &Append, own_us: u64) {
        if !self.is_open() || !self.candidates.add(append.envelope.id) {
            return;
        }
        for event in &append.events {
            match event {
                Event::PauseAsked { .. } if self.ended.is_none() => {
                    self.standing = Standing::Paused;
                }
                Event::ResumeAsked { .. } if self.standing == Standing::Paused => {
                    self.standing = Standing::Running;
                }
                Event::CancelAsked { .. } if self.ended.is_none() => {
                    self.standing = Standing::Unwinding;
                }
                Event::RestartAsked {
                    version,
                    deadline_us,
                    ..
                } if self.ended.is_some() && !self.is_closing => {
                    self.restart(version.as_deref(), *deadline_us);
                }
                _ => {}
            }
        }
        if self.poked_us.is_none() {
            self.poked_us = Some(own_us);
            self.said_us[Thing::Appended as usize] = 0;
        }
    }

    fn restart(&mut self, version: Option<&str>, deadline_us: u64) {
        self.ended = None;
        self.is_let_go = false;
        self.generation = self.generation.saturating_add(1);
        self.standing = Standing::Running;
        self.wake_at_us = None;
        self.deadline_us = Some(deadline_us);
        self.said_us = [0; THINGS];
        if let Some(version) = version {
            version.clone_into(&mut self.version);
        }
    }
}

impl Candidates {
    fn hold(&self, after: Option<AppendId>) -> bool {
        match self {
            Self::Any => true,
            Self::Known(known) => after.is_some_and(|after| known.contains(&after)),
        }
    }

    /// False for one that was there.
    fn add(&mut self, id: AppendId) -> bool {
        let Self::Known(known) = self else {
            return true;
        };
        if known.contains(&id) {
            return false;
        }
        if known.len() < CANDIDATES_MAX {
            known.push(id);
        } else {
            *self = Self::Any;
        }
        true
    }
}

fn accepted(append: &Append) -> Option<&Accepted> {
    append.events.iter().find_map(|event| match event {
        Event::Accepted(accepted) => Some(accepted),
        _ => None,
    })
}

const fn is_part(event: &Event) -> bool {
    matches!(event, Event::Part { .. })
}

const fn is_claim(event: &Event) -> bool {
    matches!(event, Event::Claimed { .. })
}

/// When an event happened by its writer's clock, Unix time in µs.
pub(crate) const fn happened_us(event: &Event) -> Option<u64> {
    match event {
        Event::Accepted(Accepted { at_us, .. })
        | Event::Claimed { at_us, .. }
        | Event::Released { at_us }
        | Event::StepStarted { at_us, .. }
        | Event::StepCalled { at_us, .. }
        | Event::OutputLost { at_us, .. }
        | Event::OutputFailed { at_us, .. }
        | Event::Signalled { at_us, .. }
        | Event::PauseAsked { at_us }
        | Event::ResumeAsked { at_us }
        | Event::CancelAsked { at_us }
        | Event::RestartAsked { at_us, .. }
        | Event::Ended { at_us, .. }
        | Event::Delivered { at_us, .. }
        | Event::Closing { at_us }
        | Event::Settled { at_us } => Some(*at_us),
        Event::StepEnded(ended) => Some(ended.end_us),
        Event::Snapshot(snapshot) => Some(snapshot.at_us),
        Event::Part { .. } | Event::Ticked { .. } => None,
    }
}

/// About what an append takes in its log: what varies is counted, the rest is taken as it commonly is.
fn about_bytes(append: &Append) -> u64 {
    let inline = |value: &ValueRef| match value {
        ValueRef::Inline(envelope) => envelope.len() as u64,
        ValueRef::Stored { .. } | ValueRef::Parts { .. } => 100,
    };
    let option = |value: &Option<ValueRef>| value.as_ref().map_or(0, inline);
    let of_end = |end: &StepEnd| match end {
        StepEnd::Succeeded { value } | StepEnd::Lost { value } => inline(value),
        StepEnd::Took { input, .. } | StepEnd::Asked { input, .. } => option(input),
        StepEnd::Split { manifest, .. } => inline(manifest),
        StepEnd::Expanded { graph, input } => graph.len() as u64 + option(input),
        StepEnd::Failed { message, .. } => message.len() as u64,
        StepEnd::Went | StepEnd::Skipped | StepEnd::Waits { .. } => 0,
    };
    let of = |event: &Event| match event {
        Event::Part { bytes, .. } => bytes.len() as u64,
        Event::Accepted(accepted) => {
            let pairs = accepted.headers.iter().chain(&accepted.query);
            let pairs: usize = pairs.map(|(name, value)| name.len() + value.len()).sum();
            inline(&accepted.input) + pairs as u64
        }
        Event::StepEnded(ended) => {
            let set: u64 = ended.set.iter().map(|(_, value)| inline(value)).sum();
            of_end(&ended.end) + ended.step.as_str().len() as u64 + set
        }
        Event::Signalled { value, .. } => inline(value),
        Event::Ended { outcome, .. } => match outcome {
            Outcome::Succeeded { output, .. } => option(output),
            Outcome::Failed { message, .. } | Outcome::Dead { message } => message.len() as u64,
            Outcome::TimedOut | Outcome::Cancelled => 0,
        },
        Event::Snapshot(snapshot) => inline(&snapshot.state),
        _ => 0,
    };
    let events: u64 = append
        .events
        .iter()
        .map(|event| EVENT_BYTES + of(event))
        .sum();
    ENVELOPE_BYTES + events
}
