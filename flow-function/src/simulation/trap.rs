//! What a scenario catches on the wire: one message of one host, on its way or on its way back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use turlough_sdk::RequestId;
use turlough_statestore::{Append, Event, Hint, Word};

/// A message to the server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Message<'a> {
    Append(RequestId, &'a Append),
    Read(RequestId),
    Enqueue(&'a [u8]),
    Acknowledge(&'a [u8]),
    Word(&'a [u8]),
    Put(&'a str),
    Other,
}

impl Message<'_> {
    /// Whether it appends an event of this kind.
    pub(super) fn appends(&self, request: RequestId, is: impl Fn(&Event) -> bool) -> bool {
        matches!(self, Self::Append(to, append) if *to == request && append.events.iter().any(is))
    }

    /// Whether it enqueues a hint for a request.
    pub(super) fn hints(&self, request: RequestId) -> bool {
        match self {
            Self::Enqueue(payload) => {
                Hint::decode(payload).is_some_and(|hint| hint.request == request)
            }
            _ => false,
        }
    }

    /// Whether it pokes whoever drives a request.
    pub(super) fn pokes(&self, request: RequestId) -> bool {
        match self {
            Self::Word(word) => {
                matches!(Word::decode(word), Some(Word::Poke { request: of }) if of == request)
            }
            _ => false,
        }
    }
}

/// What becomes of a message that is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Lose,
    /// It is done, and its answer is lost.
    LoseAnswer,
    /// It is under way until it is let go.
    Hold,
    /// It is done, and its answer is under way until it is let go.
    HoldAnswer,
}

/// A message that is caught, as whoever set the trap knows it.
#[derive(Debug, Clone)]
pub(super) struct Trap {
    sprung: Arc<AtomicBool>,
    open: Arc<watch::Sender<bool>>,
}

impl Trap {
    pub(super) fn is_sprung(&self) -> bool {
        self.sprung.load(Ordering::Relaxed)
    }

    /// Lets go what is held.
    pub(super) fn release(&self) {
        self.open.send_replace(true);
    }
}

/// A message that was caught, as the wire knows it.
#[derive(Debug)]
pub(super) struct Caught {
    pub(super) does: Does,
    open: watch::Receiver<bool>,
}

impl Caught {
    /// Until it is let go.
    pub(super) async fn until_let_go(mut self) {
        drop(self.open.wait_for(|open| *open).await);
    }
}

type Matches = dyn Fn(&Message<'_>) -> bool + Send;

struct Set {
    host: String,
    matches: Box<Matches>,
    does: Does,
    trap: Trap,
}

/// The traps that nothing has gone into yet.
#[derive(Default)]
pub(super) struct Traps(Mutex<Vec<Set>>);

impl fmt::Debug for Traps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traps")
    }
}

impl Traps {
    /// Catches the next message of a host that is like this.
    pub(super) fn set(
        &self,
        host: &str,
        does: Does,
        matches: impl Fn(&Message<'_>) -> bool + Send + 'static,
    ) -> Trap {
        let trap = Trap {
            sprung: Arc::default(),
            open: Arc::new(watch::Sender::new(false)),
        };
        let mut traps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        traps.push(Set {
            host: host.to_owned(),
            matches: Box::new(matches),
            does,
            trap: trap.clone(),
        });
        trap
    }

    pub(super) fn catch(&self, host: &str, message: &Message<'_>) -> Option<Caught> {
        let mut traps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_for = |set: &Set| set.host == host && (set.matches)(message);
        let at = traps.iter().position(is_for)?;
        let set = traps.remove(at);
        set.trap.sprung.store(true, Ordering::Relaxed);
        Some(Caught {
            does: set.does,
            open: set.trap.open.subscribe(),
        })
    }
}
