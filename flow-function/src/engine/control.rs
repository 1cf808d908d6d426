//! What others append to a request's log: control, signals, callbacks, the ends of attempts that they
//! complete.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};
use turlough_sdk::{Cause, Digest, RequestId, StepPath, Value, ValueRef};
use turlough_statestore::event::{StepEnd, StepEnded};
use turlough_statestore::{Append, AppendId, Envelope, Event, Kind, Seq, StateError, Why};
use uuid::Uuid;

use super::{Engine, FoldError};
use crate::clock::now_us;
use crate::driver::parts_of;
use crate::fault::{Fault, planted};
use crate::machine::{Execution, Holder, Refusal};
use crate::shared::Shared;

/// How often an external append that meets another is tried again: each try means that somebody
/// else got through, so a request that is this busy is not stuck.
const EXTERNAL_TRIES_MAX: usize = 100;
/// How often an append that was not answered is tried again, and the wait in between: whoever asked
/// waits meanwhile.
const UNANSWERED_TRIES_MAX: usize = 5;
const AGAIN: Duration = Duration::from_millis(200);
/// The wait before the end of a call is told again that the state did not take: nobody else knows it.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// What may be asked of a request.
#[derive(Debug, Clone)]
pub(crate) enum Control {
    Pause,
    Resume,
    Cancel,
    Restart {
        from: Option<StepPath>,
        /// On the current version instead of the one that it began with.
        current: bool,
    },
    Signal {
        name: String,
        value: Value,
    },
}

/// Why a request did not take what was asked of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("no request {0} here")]
    Unknown(RequestId),
    #[error("{refusal}")]
    Refused {
        request: RequestId,
        refusal: Refusal,
    },
    #[error("payload is {size} bytes, limit {limit}; raise TURLOUGH_DURABLE_BYTES_MAX")]
    TooLarge { size: usize, limit: usize },
    #[error("what was asked of request {0} could not be recorded")]
    Log(RequestId, #[source] StateError),
    #[error("request {0} cannot be read now")]
    Read(RequestId, #[source] StateError),
    #[error(transparent)]
    Fold(FoldError),
}

impl From<FoldError> for ControlError {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Unknown(request) => Self::Unknown(request),
            error => Self::Fold(error),
        }
    }
}

/// Why a callback was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallbackError {
    #[error("the callback's token is not one of ours")]
    Forged,
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Engine {
    /// Asks something of a request. With a key, the same asked again is answered as the first time.
    pub(crate) async fn control(
        &self,
        request: RequestId,
        control: Control,
        key: Option<&str>,
    ) -> Result<(), ControlError> {
        let shared = &self.shared;
        let urgent = matches!(control, Control::Cancel);
        let id = key.map(|key| AppendId(Digest::of(format!("{request}/{key}").as_bytes()).0));
        let (mut before, mut value_at) = (Vec::new(), None);
        if let Control::Signal { value, .. } = &control {
            let (parts, at) = shared.external_value(value)?;
            (before, value_at) = (parts, Some(at));
        }
        let make = |execution: &Execution| {
            let at_us = now_us();
            match &control {
                Control::Pause => Event::PauseAsked { at_us },
                Control::Resume => Event::ResumeAsked { at_us },
                Control::Cancel => Event::CancelAsked { at_us },
                Control::Signal { name, .. } => Event::Signalled {
                    name: name.clone(),
                    value: value_at.clone().unwrap_or_else(empty),
                    at_us,
                },
                Control::Restart { from, current } => {
                    let flow = execution.flow();
                    let newest = shared.registry.current(flow.name()).filter(|_| *current);
                    let version = newest.as_ref().map(|flow| flow.version().to_string());
                    let timeout = newest.as_ref().unwrap_or(flow).timeout();
                    let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
                    Event::RestartAsked {
                        from: from.clone(),
                        version,
                        deadline_us: at_us.saturating_add(timeout_us),
                        at_us,
                    }
                }
            }
        };
        let holder = shared.append_external(request, id, before, make).await?;
        shared.follow_up(request, holder, urgent).await;
        Ok(())
    }

    /// A callback: the answer of a function that was called asynchronously.
    pub(crate) async fn complete(
        &self,
        token: &str,
        value: Value,
        status: Option<u16>,
    ) -> Result<(), CallbackError> {
        let shared = &self.shared;
        let waiting = shared.tokens.verify(token).ok_or(CallbackError::Forged)?;
        let request = waiting.request;
        let failed = status.filter(|status| *status >= 400);
        let (before, end) = match failed {
            Some(status) => {
                let quote = String::from_utf8_lossy(&value.body())
                    .chars()
                    .take(300)
                    .collect::<String>();
                let passes = status >= 500 || [408, 429].contains(&status);
                let cause = if passes {
                    Cause::Transient
                } else {
                    Cause::Permanent
                };
                let message = format!("the function called back with status {status}: {quote:?}");
                (Vec::new(), StepEnd::Failed { message, cause })
            }
            None => {
                let (parts, at) = shared.external_value(&value)?;
                (parts, StepEnd::Succeeded { value: at })
            }
        };
        let at = (waiting.generation, waiting.step, waiting.attempt);
        shared.complete_step(request, at, before, end).await?;
        Ok(())
    }
}

fn empty() -> ValueRef {
    ValueRef::Inline(Value::empty().envelope().clone())
}

impl Shared {
    /// A value that comes from outside, as the log keeps it.
    pub(super) fn external_value(
        &self,
        value: &Value,
    ) -> Result<(Vec<Event>, ValueRef), ControlError> {
        let (size, limit) = (value.body().len(), self.settings.durable_bytes_max);
        if size > limit {
            return Err(ControlError::TooLarge { size, limit });
        }
        if value.envelope().len() <= self.settings.inline_bytes_max {
            return Ok((Vec::new(), ValueRef::Inline(value.envelope().clone())));
        }
        let (at, parts) = parts_of(value);
        Ok((parts, at))
    }

    /// Ends an attempt that somebody else completes.
    pub(crate) async fn complete_step(
        self: &Arc<Self>,
        request: RequestId,
        (generation, step, attempt): (u32, StepPath, u32),
        before: Vec<Event>,
        end: StepEnd,
    ) -> Result<(), ControlError> {
        let make = |execution: &Execution| {
            let now = now_us();
            Event::StepEnded(StepEnded {
                step: step.clone(),
                generation,
                attempt,
                epoch: execution.epoch(),
                replica: self.replica,
                begin_us: now,
                end_us: now,
                end: end.clone(),
                set: Vec::new(),
                again_us: None,
            })
        };
        let holder = self.append_external(request, None, before, make).await?;
        self.follow_up(request, holder, false).await;
        Ok(())
    }

    /// Says how an attempt ended whose driver is done: where its start is recorded and nobody knows
    /// better, it counts.
    pub(crate) async fn report(
        self: &Arc<Self>,
        request: RequestId,
        parts: Vec<Event>,
        ended: StepEnded,
    ) {
        let step = ended.step.clone();
        let make = |_: &Execution| Event::StepEnded(ended.clone());
        loop {
            let parts = parts.clone();
            match self.append_external(request, None, parts, make).await {
                Ok(holder) => return self.follow_up(request, holder, false).await,
                Err(ControlError::Refused { .. } | ControlError::Unknown(_)) => {
                    return info!(%request, %step, "end of a call came too late to count");
                }
                Err(ControlError::Log(_, error) | ControlError::Read(_, error))
                    if error.passes() && !planted(Fault::ReportedOnce) =>
                {
                    warn!(%request, %step, %error, "end of a call was not recorded yet; it is tried again");
                    tokio::time::sleep(REPORT_AGAIN).await;
                }
                Err(error) => {
                    return warn!(%request, %step, %error, "end of a call could not be recorded");
                }
            }
        }
    }

    /// Sees to it that what was appended is looked at: by whoever holds the request, otherwise by this
    /// replica or one that has room. What must end needs none.
    async fn follow_up(self: &Arc<Self>, request: RequestId, holder: Option<Holder>, urgent: bool) {
        match holder {
            _ if planted(Fault::NobodyWoken) => {}
            Some(holder) if holder.replica != self.replica && self.state.is_shared => {
                self.poke_other(holder.replica, request).await;
            }
            None if self.state.is_shared && !urgent && self.room.free() == 0 => {
                self.hint(request, Why::Appended, None).await;
            }
            _ => {
                self.wake(request);
                if urgent {
                    self.desk.urge(request);
                }
            }
        }
    }

    /// Appends an external event, after the parts that it names, where the request takes it. Tells who
    /// holds the request.
    async fn append_external(
        &self,
        request: RequestId,
        id: Option<AppendId>,
        before: Vec<Event>,
        make: impl Fn(&Execution) -> Event,
    ) -> Result<Option<Holder>, ControlError> {
        let wrong = |error| self.not_recorded(request, error);
        let mut turn = self.folds.turn(request).await;
        let mut kept = turn.take();
        let mut era = self.state.link.borrow().era;
        let mut parts = before.iter().peekable();
        let mut tries = 0;
        // One name for all tries: an append whose answer was lost is found by it.
        let name = id.unwrap_or_else(|| AppendId(Uuid::new_v4().as_u128()));
        loop {
            let now = self.state.link.borrow().era;
            if std::mem::replace(&mut era, now) != now && !planted(Fault::PartsForgotten) {
                // The log may have lost the parts that stood in it.
                parts = before.iter().peekable();
                tries += 1;
            }
            let looks = (id.is_some() || tries > 0) && !planted(Fault::OwnUnseen);
            if looks && let Some(holder) = self.holder_where_stands(request, name).await? {
                return Ok(holder);
            }
            let mut fold = self.fold_on(request, kept.take()).await?;
            let event = make(&fold.execution);
            if let Err(refusal) = fold.execution.allows(&event) {
                self.folds.keep(&mut turn, fold);
                return Err(ControlError::Refused { request, refusal });
            }
            let part = parts.peek().map(|part| Event::clone(part));
            let is_last = part.is_none();
            let envelope = Envelope {
                id: match is_last {
                    true => name,
                    false => AppendId(Uuid::new_v4().as_u128()),
                },
                after: fold.execution.last(),
                kind: Kind::External,
                replica: self.replica,
                ..fold.envelope.clone()
            };
            let append = Append::new(envelope, vec![part.unwrap_or(event)]);
            match self.log.append(request, fold.seq, &append).await {
                Ok(seq) => {
                    fold.learn(seq, &append);
                    if is_last {
                        let holder = fold.execution.holder();
                        self.folds.keep(&mut turn, fold);
                        return Ok(holder);
                    }
                    parts.next();
                    kept = Some(fold);
                }
                Err(StateError::Conflict { last, .. }) if planted(Fault::StaleFold) => {
                    fold.seq = last;
                    kept = Some(fold);
                }
                Err(StateError::Conflict { .. }) if tries < EXTERNAL_TRIES_MAX => {
                    tries += 1;
                    // A log that is gone gives a kept fold nothing new; the second look is from its start.
                    kept = (tries % 2 == 1).then_some(fold);
                }
                Err(error @ StateError::Unanswered { .. }) => {
                    tries += 1;
                    if tries > UNANSWERED_TRIES_MAX {
                        return Err(wrong(error));
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(wrong(error)),
            }
        }
    }

    fn not_recorded(&self, request: RequestId, error: StateError) -> ControlError {
        self.note(&error);
        ControlError::Log(request, error)
    }

    /// Who holds a request in whose log an append stands; none where it does not stand there.
    async fn holder_where_stands(
        &self,
        request: RequestId,
        id: AppendId,
    ) -> Result<Option<Option<Holder>>, ControlError> {
        let records = self.log.read(request, Seq::START).await;
        let records = records.map_err(|error| ControlError::Read(request, error))?;
        let mut ids = records.iter().map(|record| record.append.envelope.id);
        if !ids.any(|stands| stands == id) {
            return Ok(None);
        }
        Ok(Some(self.execution(request, &records)?.holder()))
    }
}
