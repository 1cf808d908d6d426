//! Opening a state that is not there yet, or not fit yet.
//!
//! Invariant: what others may mend, at a server, is waited for, and it is said what for; what only a
//! new start of this process mends, its settings or its folder, is an error.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};
use turlough_sdk::RequestId;
use uuid::Uuid;

use crate::append::{Append, Seq};
use crate::error::StateError;
use crate::state::{Options, State};
use crate::url::StateUrl;

/// How long to wait before it is tried again: soon enough not to be noticed beside a server's own start.
const AGAIN: Duration = Duration::from_secs(1);
/// What has not changed is said again this often, for whoever looks at the log late.
const REMIND: Duration = Duration::from_secs(60);

/// What a process does with a state beside reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It appends to logs.
    Drive,
    /// It appends to none.
    Keep,
}

impl State {
    /// Opens the state of a tenant as soon as it can be had; meanwhile `waits` says why it cannot.
    ///
    /// # Errors
    /// What no waiting mends: an address or credentials that cannot be read, a folder that cannot be
    /// used.
    pub async fn open_once_fit(
        url: &StateUrl,
        options: &Options,
        doing: Use,
        waits: &watch::Sender<String>,
    ) -> Result<Self, StateError> {
        let mut told = None;
        loop {
            let error = match Self::open_fit(url, options, doing).await {
                Ok(state) => {
                    if told.is_some() {
                        info!(%url, "the state is there");
                    }
                    return Ok(state);
                }
                Err(error) => error,
            };
            let is_of_a_server = matches!(url, StateUrl::Nats(_) | StateUrl::Redis(_));
            if !error.is_of_the_state() || !(is_of_a_server || error.passes()) {
                return Err(error);
            }
            let reason = reason(&error);
            let is_news = !told
                .as_ref()
                .is_some_and(|(known, at): &(String, Instant)| {
                    *known == reason && at.elapsed() < REMIND
                });
            if is_news {
                tell(&error, &reason);
                waits.send_replace(format!("waiting for the state: {reason}"));
                told = Some((reason, Instant::now()));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn open_fit(url: &StateUrl, options: &Options, doing: Use) -> Result<Self, StateError> {
        let state = Self::open(url, options).await?;
        if doing == Use::Drive {
            state.may_append().await?;
        }
        Ok(state)
    }

    /// Whether requests can be recorded, as an append shows that cannot be stored: the log of a request
    /// that never was does not end where it expects it to. Room is another matter.
    ///
    /// # Errors
    /// A state that is away, or that does not permit it.
    pub async fn may_append(&self) -> Result<(), StateError> {
        let nobody = RequestId::from_uuid(Uuid::nil());
        let Some(append) = Append::blank() else {
            return Ok(());
        };
        match self.log.append(nobody, Seq(1), &append).await {
            Ok(_) | Err(StateError::Conflict { .. } | StateError::Full { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn reason(error: &StateError) -> String {
    if error.passes() {
        format!(
            "{error}; see that it runs and can be reached, or set TURLOUGH_STATE to where it is"
        )
    } else {
        error.to_string()
    }
}

fn tell(error: &StateError, reason: &str) {
    if error.passes() {
        warn!(
            reason,
            "the state is away; this process is not ready, and waits"
        );
    } else {
        error!(
            reason,
            "the state cannot be used as it is; this process is not ready, and waits"
        );
    }
}
