//! Appends and events: what counts, and what each event does.

use std::sync::Arc;

use turlough_statestore::event::{Accepted, Delivery};
use turlough_statestore::{Append, AppendId, Event, Kind};

use super::action::Conclusion;
use super::frame::{Root, Stage, State};
use super::given::Given;
use super::mutation::{Mutation, planted};
use super::{Execution, Phase, Slot};
use crate::fault::{self, Fault};

impl Execution {
    /// Folds an append. A driver's counts only if it names the last append that counted, and its
    /// epoch is that of the newest claim (a claim: above it); an external one only where what it says
    /// is allowed. One that does not count changes nothing.
    pub(crate) fn fold(&mut self, append: &Append) -> bool {
        if append.is_blank() {
            return false;
        }
        let envelope = &append.envelope;
        let claims = append
            .events
            .iter()
            .any(|event| matches!(event, Event::Claimed { .. }));
        let counts = match envelope.kind {
            Kind::External if self.heard.contains(&envelope.id) => false,
            Kind::External => append.events.iter().all(|event| self.allows(event).is_ok()),
            Kind::Driver if planted(Mutation::ClaimUnchecked) => true,
            Kind::Driver if fault::planted(Fault::EpochUnchecked) => true,
            Kind::Driver if claims => envelope.epoch > self.epoch && envelope.after == self.last,
            Kind::Driver => envelope.epoch == self.epoch && envelope.after == self.last,
        };
        if !counts {
            return false;
        }
        self.last = Some(envelope.id);
        self.hold(envelope.id, &append.events);
        if envelope.kind == Kind::External {
            self.heard.insert(envelope.id);
        }
        for event in &append.events {
            self.apply_from(event, envelope.kind);
        }
        true
    }

    /// An append of events that were applied before it was stored counts now.
    pub(crate) fn stored(&mut self, id: AppendId, events: &[Event]) {
        self.last = Some(id);
        self.hold(id, events);
        for event in events {
            if matches!(
                event,
                Event::Ended { .. } | Event::Closing { .. } | Event::Settled { .. }
            ) {
                self.apply(event);
            }
        }
    }

    /// Applies one event of an append that counts, or of one that is about to be appended.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.apply_from(event, Kind::Driver);
    }

    fn apply_from(&mut self, event: &Event, kind: Kind) {
        match event {
            Event::Part { .. } | Event::Released { .. } => {}
            Event::Accepted(accepted) => self.accept(accepted),
            Event::Claimed { epoch, at_us, .. } => self.claimed(*epoch, *at_us),
            Event::StepStarted {
                step,
                attempt,
                at_us,
            } => self.started(step, *attempt, *at_us),
            Event::StepCalled {
                step,
                attempt,
                at_us,
            } => self.called(step, *attempt, *at_us),
            Event::StepEnded(ended) => self.step_ended(ended, kind),
            Event::Ticked { at_us } => self.ticked(*at_us),
            Event::OutputLost { value, at_us } => self.output_lost(value, *at_us),
            Event::OutputFailed {
                message,
                cause,
                at_us,
            } => self.output_failed(message, *cause, *at_us),
            Event::Signalled { name, value, at_us } => self.signalled(name, value, *at_us),
            Event::PauseAsked { at_us } => self.pause(*at_us),
            Event::ResumeAsked { at_us } => self.resume(*at_us),
            Event::CancelAsked { at_us } => self.cancel(*at_us),
            Event::RestartAsked {
                from,
                version,
                deadline_us,
                at_us,
            } => {
                self.see(*at_us);
                self.restart(from.as_ref(), version.as_deref(), *deadline_us);
            }
            Event::Ended { owed, .. } => self.end(owed),
            Event::Delivered { id, .. } => {
                if let Phase::Ended { owed, .. } = &mut self.phase {
                    owed.retain(|delivery| delivery.id != *id);
                }
            }
            Event::Closing { .. } if self.is_ended() => self.close(Phase::Closing),
            Event::Settled { .. } if self.is_ended() => self.close(Phase::Settled),
            Event::Closing { .. } | Event::Settled { .. } => {}
            Event::Snapshot(snapshot) => self.moved(&snapshot.moved),
        }
        while let Some((step, ix, node, state)) = self.later.pop() {
            // It may have been stopped meanwhile, and its place taken by another.
            let frame = self.frame(ix).filter(|frame| frame.path(node) == step);
            let waits = frame.is_some_and(|frame| match &frame.states[node] {
                State::Open(attempt) => attempt.stage == Stage::Sleep,
                state => matches!(state, State::Body),
            });
            if waits && self.runs() {
                self.resolve(&step, ix, node, state);
            }
        }
    }

    fn accept(&mut self, accepted: &Accepted) {
        if !matches!(self.phase, Phase::New) {
            return;
        }
        self.see(accepted.at_us);
        self.deadline_us = accepted.deadline_us;
        self.accepted = Some(Box::new(accepted.clone()));
        self.phase = Phase::Open;
        let input = Given::value(&accepted.input);
        let graph = Arc::clone(self.flow.graph());
        self.open_root(graph, Root::Flow, input);
    }

    fn end(&mut self, owed: &[Delivery]) {
        let restartable = match &self.phase {
            Phase::Ending { conclusion, .. } => !matches!(conclusion, Conclusion::Succeeded(_)),
            Phase::Open | Phase::Unwinding(_) => true,
            _ => return,
        };
        let owed = owed.to_vec();
        self.phase = Phase::Ended { restartable, owed };
        // Whoever holds the end of a call that must not be repeated may still say so.
        let open = std::mem::take(&mut self.open).into_iter();
        let open = open.filter(|(_, slot)| match slot {
            Slot::Node(ix, node) => self.must_end(*ix, *node),
            Slot::Stray(_) => true,
            Slot::Undo(_) => false,
        });
        self.open = open.collect();
        self.fresh.clear();
        self.recorded.clear();
        self.parked.clear();
        self.timers.clear();
    }

    fn close(&mut self, phase: Phase) {
        self.phase = phase;
        self.open.clear();
    }
}
