//! A request's end: what it came to, who is told, what is kept and what is dropped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{error, warn};
use turlough_sdk::{Cause, StepError, StepPath};
use turlough_statestore::event::{Callback, Delivery, Outcome, Recipient};
use turlough_statestore::{Event, Record, Seq, Why};

use super::output::Kept;
use super::{Action, Conclusion, DriveError, Driver, Rest, random};
use crate::clock::{now_us, until};
use crate::engine::outcome_in;
use crate::fault::{Fault, planted};
use crate::runner::NoOutput;
use crate::shared::{Finished, Shared};

/// What comes of a conclusion.
enum Concluded {
    Ended(Finished),
    /// The output cannot be had: the machine is told so, and has it made again, or the request unwound.
    NotYet(Event),
    /// The output is on its way.
    Later,
    /// Somebody else appended first: it may be that the request ends otherwise.
    Conflict,
}

impl Driver {
    /// How the request ends, if the machine says that it does, with what it asks for otherwise: where
    /// the output cannot be had, it does not end yet. None where somebody else appended first.
    pub(super) async fn ending(
        &mut self,
        actions: &mut Vec<Action>,
        events: &mut Vec<Event>,
    ) -> Result<Option<Option<Finished>>, DriveError> {
        let mut finished = None;
        actions.extend(self.output.arrived().map(Action::End));
        while let Some(conclusion) = take_end(actions) {
            match self.conclude(conclusion, events).await? {
                Concluded::Ended(end) => finished = Some(end),
                Concluded::NotYet(event) => {
                    self.execution.apply(&event);
                    events.push(event);
                    actions.extend(self.ask(events));
                }
                Concluded::Later => {}
                Concluded::Conflict => return Ok(None),
            }
        }
        Ok(Some(finished))
    }

    /// What a conclusion means for the caller, its output kept where it fits; its end is added to
    /// `events`.
    async fn conclude(
        &mut self,
        conclusion: Conclusion,
        events: &mut Vec<Event>,
    ) -> Result<Concluded, DriveError> {
        let (outcome, output) = match conclusion {
            Conclusion::Succeeded(given) => {
                let left = until(self.execution.deadline_us());
                let had = match self.output.fetch(&self.context, &given, left).await {
                    Some(Ok(had)) => had,
                    Some(Err(no_output)) => return Ok(Concluded::NotYet(told(no_output))),
                    None => {
                        self.output.put_off(Conclusion::Succeeded(given));
                        return Ok(Concluded::Later);
                    }
                };
                let size = had.value.envelope().len() as u64;
                let output = match had.kept {
                    Kept::Here(at) => Some(at),
                    Kept::Nowhere => None,
                    Kept::InParts => match self.keep_in_parts(&had.value).await? {
                        Some(at) => Some(at),
                        None => return Ok(Concluded::Conflict),
                    },
                };
                (Outcome::Succeeded { output, size }, Some(had.value))
            }
            Conclusion::Failed(error) => {
                let step = error.step.clone();
                let (message, cause) = (error.message.clone(), error.cause);
                (
                    Outcome::Failed {
                        step,
                        message,
                        cause,
                    },
                    None,
                )
            }
            Conclusion::TimedOut => (Outcome::TimedOut, None),
            Conclusion::Cancelled => (Outcome::Cancelled, None),
        };
        self.push_end(&outcome, events);
        Ok(Concluded::Ended(Finished { outcome, output }))
    }

    fn push_end(&self, outcome: &Outcome, events: &mut Vec<Event>) {
        let (at_us, owed) = (now_us(), self.owed_at_end(outcome));
        let closes = owed.is_empty() && !self.keeps(outcome);
        events.push(Event::Ended {
            outcome: outcome.clone(),
            trouble: self.execution.trouble().to_vec(),
            owed,
            at_us,
        });
        if closes {
            events.push(Event::Closing { at_us });
        }
    }

    fn owed_at_end(&self, outcome: &Outcome) -> Vec<Delivery> {
        let accepted = &self.context.accepted;
        let failed = !matches!(outcome, Outcome::Succeeded { .. });
        let wants = |callback: &&Callback| failed || !callback.failures_only;
        let urls = accepted.callbacks.iter().filter(wants);
        let urls = urls.map(|callback| match callback.is_openfaas {
            true => Recipient::OpenFaasUrl(callback.url.clone()),
            false => Recipient::Url(callback.url.clone()),
        });
        let parent = accepted.parent.clone().map(Recipient::Parent);
        // The gateway, which calls back itself where it is not told that somebody else does, has named the
        // first word already. That of a restarted request is another one.
        let named = accepted
            .delivery
            .filter(|_| self.execution.generation() == 0);
        let to = |to| Delivery {
            id: match (&to, named) {
                (Recipient::OpenFaasUrl(_), Some(id)) => id,
                _ => random(),
            },
            to,
        };
        let owed = parent.into_iter().chain(urls).map(to);
        owed.filter(|_| !planted(Fault::NothingOwed)).collect()
    }

    /// Whether a request that ended so can be restarted for a while. That of a sub-flow is run anew by
    /// its parent.
    fn keeps(&self, outcome: &Outcome) -> bool {
        let settings = &self.shared.settings;
        !matches!(outcome, Outcome::Succeeded { .. })
            && !settings.keep_failed.is_zero()
            && self.context.accepted.parent.is_none()
            && !self.shared.draining.is_cancelled()
            && !planted(Fault::NotKept)
    }

    /// After the end is stored: callers are told, what is owed is delivered, then the request is kept
    /// for a restart, or its data dropped. None where it was restarted meanwhile.
    pub(super) async fn after_end(
        &mut self,
        finished: Option<Finished>,
    ) -> Result<Option<Rest>, DriveError> {
        let ends = finished.is_some();
        let (finished, ended_us) = match finished {
            Some(finished) => {
                let now_us = now_us();
                let took_us = now_us.saturating_sub(self.context.accepted.at_us);
                let (flow, outcome) = (self.execution.flow(), finished.outcome.status());
                let metrics = &self.shared.metrics;
                metrics.request(flow, outcome, Duration::from_micros(took_us));
                (finished, now_us)
            }
            None => {
                let records = self.read_log(Seq::START).await?;
                let is_owed = !self.execution.owed().is_empty();
                let finished = match is_owed || self.shared.waiting.is_waited_for(self.request) {
                    true => self.shared.end_in_log(self.request, &records).await,
                    // Nobody wants the output, which may lie in a store that takes long.
                    false => outcome_in(&records).map(|outcome| Finished {
                        outcome,
                        output: None,
                    }),
                };
                (finished.ok_or(DriveError::Gone)?, ended_at(&records))
            }
        };
        self.tell(&finished, ends);
        if ends || !planted(Fault::WordOfAnother) {
            self.deliver_all(&finished).await?;
        }
        if !self.execution.is_ended() {
            return Ok(None);
        }
        if self.execution.is_restartable() && self.keeps(&finished.outcome) {
            let due_us = self.keep(ended_us);
            if due_us > now_us() {
                self.keep_data(due_us).await;
                let released = vec![Event::Released { at_us: now_us() }];
                if !self.commit(released, Some(due_us)).await? {
                    self.refold().await?;
                    return Ok(None);
                }
                return Ok(Some(Rest::Until));
            }
        }
        if planted(Fault::DroppedEarly) {
            self.context.data.close().await;
        }
        while !self.execution.is_closing() {
            let closing = vec![Event::Closing { at_us: now_us() }];
            if !self.commit(closing, None).await? {
                self.refold().await?;
                // The log may have lost with its tail that a parent was told, and so may the parent's.
                let is_told = self.execution.is_closing() || planted(Fault::ClosedUntold);
                if !is_told || !self.execution.is_ended() {
                    return Ok(None);
                }
            }
        }
        self.context.data.close().await;
        if planted(Fault::NeverSettled) || self.settle().await? {
            return Ok(Some(Rest::Over));
        }
        // The log lost its end, which comes once more, with data that is made anew: under another claim,
        // since the store takes nothing more under the one that it was dropped by.
        if !planted(Fault::DataStaysClosed) {
            self.claim().await?;
        }
        Ok(None)
    }

    /// Until when the request is kept. Those that are too many are let go one by one, by the keeper.
    fn keep(&self, ended_us: u64) -> u64 {
        let keep_us = u64::try_from(self.shared.settings.keep_failed.as_micros());
        match self.asked {
            Some(Why::LetGo) => 0,
            _ => ended_us.saturating_add(keep_us.unwrap_or(u64::MAX)),
        }
    }

    /// Tells the callers, here and elsewhere. Where it ends with this, it is open no more.
    fn tell(&self, finished: &Finished, ends: bool) {
        if ends && !self.shared.state.is_shared {
            self.shared.leave();
        }
        self.shared.waiting.tell(self.request, finished);
        self.shared.tell_others(self.request);
    }

    /// A request that was restarted is open again, and nobody waits for its earlier sub-flows.
    pub(super) fn reopen(&mut self) {
        let generation = self.execution.generation();
        if std::mem::replace(&mut self.generation, generation) < generation {
            if !self.shared.state.is_shared {
                self.shared.open.fetch_add(1, Ordering::Relaxed);
            }
            self.shared.cancel_children(self.request);
        }
    }

    /// The last resort, where driving came to nothing: the request fails, and lets go of what it
    /// holds. With this log there is no other replica that could take it over.
    pub(super) async fn give_up(&mut self, why: &str) {
        self.outlive();
        let outcome = failure(why);
        if let Err(error) = self.record_failure(&outcome).await {
            let request = self.request;
            error!(%request, %error, "end of a request could not be recorded");
            return;
        }
        self.shared.cancel_children(self.request);
        let finished = Finished {
            outcome,
            output: None,
        };
        if let Err(error) = self.after_end(Some(finished)).await {
            warn!(request = %self.request, %error, "request could not be settled");
        }
    }

    /// Its replicas died, one after another: it is not driven any more, and can be restarted.
    pub(super) async fn die(&mut self) -> Result<(), DriveError> {
        let message = Shared::dead(self.request, self.execution.take_overs());
        self.record_failure(&Outcome::Dead { message }).await?;
        self.shared.cancel_children(self.request);
        Ok(())
    }

    /// There is no request any more: what is held of it is let go, and whoever waits is told.
    pub(super) fn lose(&mut self, why: &str) {
        self.outlive();
        // Who lost his log may have begun anew, with this very claim: what is held goes with its lease.
        self.context.data.leave();
        let finished = Finished {
            outcome: failure(why),
            output: None,
        };
        self.tell(&finished, true);
    }

    async fn record_failure(&mut self, outcome: &Outcome) -> Result<(), DriveError> {
        loop {
            self.refold().await?;
            if self.execution.is_ended() {
                return Ok(());
            }
            let mut events = Vec::new();
            self.push_end(outcome, &mut events);
            if self.commit(events, None).await? {
                return Ok(());
            }
        }
    }
}

/// Takes out how the request ends, where the machine says it.
fn take_end(actions: &mut Vec<Action>) -> Option<Conclusion> {
    let is_end = |action: &Action| matches!(action, Action::End(_));
    match actions.remove(actions.iter().position(is_end)?) {
        Action::End(conclusion) => Some(conclusion),
        _ => None,
    }
}

/// What the machine is told where there is no output.
fn told(no_output: NoOutput) -> Event {
    let at_us = now_us();
    match no_output {
        NoOutput::Lost(value) => Event::OutputLost { value, at_us },
        NoOutput::Failed(StepError { message, cause }) => Event::OutputFailed {
            message,
            cause,
            at_us,
        },
    }
}

/// When a request ended, as its log says.
fn ended_at(records: &[Record]) -> u64 {
    let newest = records.iter().rev();
    let mut newest = newest.flat_map(|record| record.append.events.iter().rev());
    let ended = newest.find_map(|event| match event {
        Event::Ended { at_us, .. } => Some(*at_us),
        _ => None,
    });
    ended.unwrap_or_else(now_us)
}

/// How a request ends that could not be driven.
fn failure(why: &str) -> Outcome {
    Outcome::Failed {
        step: StepPath::from("driver"),
        message: format!("the request could not be driven on: {why}"),
        cause: Cause::Permanent,
    }
}
