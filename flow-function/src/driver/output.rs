//! What a flow returns, on its way from where it lies to where it is kept.
//!
//! Invariants: nothing but its own request waits for a store that takes long; a flow's timeout bounds it.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;
use turlough_sdk::{Cause, StepError, Value, ValueRef};

use super::Conclusion;
use crate::fault::{Fault, planted};
use crate::machine::Given;
use crate::runner::{self, Context, NoOutput};

/// How long a store is waited for while nobody else may append to the request: nearly all answer by then.
const AT_ONCE: Duration = Duration::from_millis(20);
/// How long it is waited for in any case, where hardly anything is left of the flow's time.
const AT_LEAST: Duration = Duration::from_secs(5);

/// Where an output is kept.
#[derive(Debug)]
pub(super) enum Kept {
    Here(ValueRef),
    /// In the log, in parts that come before its end.
    InParts,
    /// It is too large for that: who waits gets it, and nobody after him.
    Nowhere,
}

/// What a flow returns.
#[derive(Debug)]
pub(super) struct Had {
    pub(super) value: Value,
    pub(super) kept: Kept,
}

type Fetched = Result<Had, NoOutput>;

/// What comes of it.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// What it is made of, while it is on its way.
    of: Option<Given>,
    fetching: JoinSet<Fetched>,
    fetched: Option<Fetched>,
    /// What the machine said when it was not there yet.
    said: Option<Conclusion>,
}

impl Output {
    /// What a flow returns, or why it cannot be had. None where its store takes long: then it comes later.
    /// It comes within the time that is left, or it cannot be had.
    pub(super) async fn fetch(
        &mut self,
        context: &Arc<Context>,
        given: &Given,
        left: Duration,
    ) -> Option<Fetched> {
        if self.of.as_ref() != Some(given) {
            *self = Self::default();
            self.of = Some(given.clone());
            let mut fetching = Box::pin(fetch(Arc::clone(context), given.clone(), left));
            // What needs no store is there at once.
            match futures_util::poll!(&mut fetching) {
                Poll::Ready(fetched) => self.fetched = Some(fetched),
                Poll::Pending => drop(self.fetching.spawn(fetching)),
            }
        }
        tokio::time::timeout(AT_ONCE, self.comes()).await.ok()?;
        self.of = None;
        self.fetched.take()
    }

    /// That is said once more when it has come.
    pub(super) fn put_off(&mut self, conclusion: Conclusion) {
        self.said = Some(conclusion);
    }

    /// Whether the end waits for it.
    pub(super) const fn is_awaited(&self) -> bool {
        self.said.is_some()
    }

    /// Comes when it has come, if the end waits for it.
    pub(super) async fn arrives(&mut self) {
        if !self.is_awaited() {
            std::future::pending::<()>().await;
        }
        self.comes().await;
    }

    /// What the machine said of the end, where what that waited for has come.
    pub(super) fn arrived(&mut self) -> Option<Conclusion> {
        self.said.take_if(|_| self.fetched.is_some())
    }

    /// The machine says it anew.
    pub(super) fn forget(&mut self) {
        self.said = None;
    }

    async fn comes(&mut self) {
        if self.fetched.is_some() {
            return;
        }
        match self.fetching.join_next().await {
            Some(Ok(fetched)) => self.fetched = Some(fetched),
            Some(Err(lost)) => {
                let error = StepError::permanent(format!("reading it was given up: {lost}"));
                self.fetched = Some(Err(NoOutput::Failed(error)));
            }
            None => std::future::pending().await,
        }
    }
}

async fn fetch(context: Arc<Context>, given: Given, left: Duration) -> Fetched {
    let until = Instant::now() + left.max(AT_LEAST);
    let output = tokio::time::timeout_at(until, runner::output(&context, &given)).await;
    let value = output.unwrap_or_else(|_| Err(took_too_long()))?;
    let settings = &context.shared.settings;
    let kept = if value.envelope().len() <= settings.inline_bytes_max {
        Kept::Here(ValueRef::Inline(value.envelope().clone()))
    } else if planted(Fault::ResultNotKept) {
        Kept::Nowhere
    } else if value.body().len() <= settings.durable_bytes_max && settings.inline_bytes_max > 0 {
        Kept::InParts
    } else {
        let until = until.max(Instant::now() + AT_LEAST);
        let kept = tokio::time::timeout_at(until, context.data.keep_output(&value)).await;
        let why = match kept {
            Ok(Ok(Some(at))) => return Ok(had(value, Kept::Here(at))),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the flow's time is over".to_owned()),
        };
        if let Some(why) = why {
            warn!(request = %context.request, why, "output is not kept");
        }
        Kept::Nowhere
    };
    Ok(had(value, kept))
}

const fn had(value: Value, kept: Kept) -> Had {
    Had { value, kept }
}

fn took_too_long() -> NoOutput {
    NoOutput::Failed(StepError {
        message:
            "what the flow returns lies in a store that did not give it within the flow's timeout"
                .to_owned(),
        cause: Cause::Timeout,
    })
}
