//! A request's end: what it came to, who is told, what is kept and what is dropped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{error, warn};
use turlough_sdk::{Cause, StepPath};
use turlough_statestore::Event;
use turlough_statestore::event::{Callback, Delivery, Outcome, Recipient};

use super::{Conclusion, DriveError, Driver, Rest, random};
use crate::clock::now_us;
use crate::runner;
use crate::shared::Finished;

impl Driver {
    /// What a conclusion means for the caller, its output kept where it fits; its end is added to
    /// `events`. None where somebody else appended first: it may be that the request ends otherwise.
    pub(super) async fn conclude(
        &mut self,
        conclusion: Conclusion,
        events: &mut Vec<Event>,
    ) -> Result<Option<Finished>, DriveError> {
        let (outcome, output) = match conclusion {
            Conclusion::Succeeded(given) => match runner::resolve(&self.context, given).await {
                Ok(value) => {
                    let Some(output) = self.keep_output(&value).await? else {
                        return Ok(None);
                    };
                    let size = value.envelope().len() as u64;
                    let output = output.place();
                    (Outcome::Succeeded { output, size }, Some(value))
                }
                Err(error) => {
                    let (step, cause) = (StepPath::from("output"), error.cause);
                    let message = error.message;
                    (
                        Outcome::Failed {
                            step,
                            message,
                            cause,
                        },
                        None,
                    )
                }
            },
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
        Ok(Some(Finished { outcome, output }))
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
        let urls = urls.map(|callback| Recipient::Url(callback.url.clone()));
        let parent = accepted.parent.clone().map(Recipient::Parent);
        let to = |to| Delivery { id: random(), to };
        parent.into_iter().chain(urls).map(to).collect()
    }

    /// Whether a request that ended so can be restarted for a while. That of a sub-flow is run anew by
    /// its parent.
    fn keeps(&self, outcome: &Outcome) -> bool {
        let settings = &self.shared.settings;
        !matches!(outcome, Outcome::Succeeded { .. })
            && !settings.keep_failed.is_zero()
            && self.context.accepted.parent.is_none()
            && !self.shared.draining.is_cancelled()
    }

    /// After the end is stored: callers are told, what is owed is delivered, then the request is kept
    /// for a restart, or its data dropped. None where it was restarted meanwhile.
    pub(super) async fn after_end(
        &mut self,
        finished: Option<Finished>,
    ) -> Result<Option<Rest>, DriveError> {
        let finished = match finished {
            Some(finished) => {
                self.tell(&finished);
                finished
            }
            None => {
                let records = self
                    .shared
                    .log
                    .read(self.request, turlough_statestore::Seq::START)
                    .await?;
                self.shared
                    .end_in_log(self.request, &records)
                    .ok_or(DriveError::Gone)?
            }
        };
        self.deliver_all(&finished).await?;
        if self.execution.is_restartable() && self.keeps(&finished.outcome) {
            let kept_until_us = self.keep();
            if kept_until_us > now_us() {
                let released = vec![Event::Released { at_us: now_us() }];
                if !self.commit(released, false).await? {
                    self.refold().await?;
                    return Ok(None);
                }
                let seq = self.seq;
                return Ok(Some(Rest::Until {
                    due_us: kept_until_us,
                    seq,
                }));
            }
        }
        while !self.execution.is_closing() {
            let closing = vec![Event::Closing { at_us: now_us() }];
            if !self.commit(closing, false).await? {
                self.refold().await?;
                if !self.execution.is_ended() {
                    return Ok(None);
                }
            }
        }
        self.context.data.close();
        let settled = self.settle().await;
        let log_bytes = self.shared.log.bytes(self.request);
        self.shared.index.settle(self.request, log_bytes);
        self.shared.forget_oldest();
        settled.map(|()| Some(Rest::Over))
    }

    /// Until when the request is kept; the oldest of those that are too many are let go.
    fn keep(&self) -> u64 {
        let settings = &self.shared.settings;
        let keep_us = u64::try_from(settings.keep_failed.as_micros()).unwrap_or(u64::MAX);
        let until_us = now_us().saturating_add(keep_us);
        let index = &self.shared.index;
        let (until_us, excess) = index.keep(self.request, until_us, settings.keep_failed_max);
        for request in excess {
            self.shared.wake(request);
        }
        until_us
    }

    /// Shows the end, and tells the callers.
    fn tell(&mut self, finished: &Finished) {
        let (index, ended_us) = (&self.shared.index, now_us());
        index.end(self.request, &finished.outcome, ended_us);
        let accepted_us = self.context.accepted.at_us;
        let took = Duration::from_micros(ended_us.saturating_sub(accepted_us));
        let outcome = finished.outcome.status();
        self.shared
            .metrics
            .request(self.execution.flow(), outcome, took);
        self.shared.leave();
        self.shared.waiting.tell(self.request, finished);
    }

    /// A restarted request is open again.
    pub(super) fn reopen(&self) {
        let index = &self.shared.index;
        if index.reopen(self.request, self.execution.generation()) {
            index.switch(self.request, self.execution.flow().version());
            self.shared.open.fetch_add(1, Ordering::Relaxed);
            self.shared.cancel_children(self.request);
        }
    }

    /// The last resort, where driving came to nothing: the request fails, and lets go of what it
    /// holds. With this log there is no other replica that could take it over.
    pub(super) async fn give_up(&mut self, why: &str) {
        self.running.abort_all();
        let outcome = failure(why);
        if let Err(error) = self.record_failure(&outcome).await {
            let request = self.request;
            error!(%request, %error, "end of a request could not be recorded");
        }
        self.shared.cancel_children(self.request);
        let finished = Finished {
            outcome,
            output: None,
        };
        self.tell(&finished);
        self.context.data.close();
        if let Err(error) = self.settle().await {
            warn!(request = %self.request, %error, "request could not be settled");
        }
        let log_bytes = self.shared.log.bytes(self.request);
        self.shared.index.settle(self.request, log_bytes);
        self.shared.forget_oldest();
    }

    async fn record_failure(&mut self, outcome: &Outcome) -> Result<(), DriveError> {
        loop {
            self.refold().await?;
            if self.execution.is_ended() {
                return Ok(());
            }
            let at_us = now_us();
            let ended = Event::Ended {
                outcome: outcome.clone(),
                trouble: Vec::new(),
                owed: Vec::new(),
                at_us,
            };
            if self
                .commit(vec![ended, Event::Closing { at_us }], false)
                .await?
            {
                return Ok(());
            }
        }
    }
}

/// How a request ends that could not be driven.
fn failure(why: &str) -> Outcome {
    Outcome::Failed {
        step: StepPath::from("driver"),
        message: format!("the request could not be driven on: {why}"),
        cause: Cause::Permanent,
    }
}
