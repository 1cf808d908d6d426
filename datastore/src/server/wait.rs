//! What a connection waits for before it goes on with the next command.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;

use super::commands::{Copying, not_done};
use super::fault::Fault;
use super::session::Session;
use crate::peers::PeerError;
use crate::store::{InFlight, Key, Made};
use crate::wire::Outbox;

/// What has to happen before the next command.
#[derive(Debug)]
pub(crate) enum Wait {
    /// A value under a key, or the time.
    Value {
        key: Vec<u8>,
        until: Pin<Box<Sleep>>,
    },
    /// The time; then an error is said.
    Pause {
        until: Pin<Box<Sleep>>,
        fault: Fault,
    },
    /// A copy at another store; then a value is put.
    Copy(Box<Copying>),
    /// A value of another store, and what it counts for on its way.
    Read(AbortOnDropHandle<Result<(Made, InFlight), Fault>>),
    /// Another store, which was asked to do something.
    PassedOn(oneshot::Receiver<Result<(), PeerError>>),
    /// Something long, done elsewhere; then the command is carried out from its beginning.
    Again(JoinHandle<Result<(), Fault>>),
}

impl Wait {
    /// Whether the wait is over; then what it was for is answered, or the command that is to be carried
    /// out again is refused.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        out: &mut Outbox,
        now_ms: u64,
    ) -> Poll<Result<(), Fault>> {
        match self {
            Self::Pause { until, fault } => {
                ready!(until.as_mut().poll(cx));
                out.error(&fault.0);
            }
            Self::Value { key, until } => {
                let (Some(tenant), Ok(key)) = (session.tenant(), Key::parse(key)) else {
                    return Poll::Ready(Ok(()));
                };
                let is_there = tenant.wait(&key, session.id, cx.waker(), now_ms);
                if !is_there {
                    ready!(until.as_mut().poll(cx));
                }
                tenant.wait_no_more(&key, session.id);
                tenant.get(&key, now_ms, |item| match item {
                    Some(item) => out.value(item.value(), 0..item.value().len()),
                    None => out.null(),
                });
            }
            Self::Copy(copying) => {
                if let Err(fault) = ready!(copying.poll(cx, out, now_ms)) {
                    out.error(&fault.0);
                }
            }
            Self::Read(read) => match ready!(Pin::new(read).poll(cx)) {
                Ok(Ok((made, flight))) => {
                    if let Made::Large(blob) = &made {
                        blob.count(Box::new(flight));
                    }
                    out.value(made.held(), 0..made.held().len());
                }
                Ok(Err(fault)) => out.error(&fault.0),
                Err(_) => out.error(&Fault::closing().0),
            },
            Self::PassedOn(said) => match ready!(Pin::new(said).poll(cx)) {
                Ok(Ok(())) => out.ok(),
                Ok(Err(error)) => out.error(&not_done(error).0),
                Err(_) => out.error(&Fault::closing().0),
            },
            Self::Again(job) => {
                let done = ready!(Pin::new(job).poll(cx));
                return Poll::Ready(done.unwrap_or_else(|_| Err(Fault::closing())));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Nobody waits any more.
    pub(crate) fn give_up(&self, session: &Session) {
        if let (Self::Value { key, .. }, Some(tenant)) = (self, session.tenant())
            && let Ok(key) = Key::parse(key)
        {
            tenant.wait_no_more(&key, session.id);
        }
    }
}
