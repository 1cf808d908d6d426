//! Decides on appends, writes them, and lets go of what is old.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use turlough_sdk::RequestId;

use super::index::Index;
use super::{NAME_BYTES, Shared, What, appending, deleting, name};
use crate::append::Seq;
use crate::error::StateError;
use crate::file::failure::Failure;
use crate::file::folder::Folder;
use crate::file::inbox::Writer;
use crate::file::journal::{Journal, Place};

/// Appends that are forgotten at once, while readers wait.
const FORGOTTEN_AT_ONCE: usize = 1024;

type Answer<T> = oneshot::Sender<Result<T, StateError>>;

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Command {
    Append {
        request: RequestId,
        expected: u64,
        encoded: Vec<u8>,
        answer: Answer<Seq>,
    },
    Delete {
        request: RequestId,
        answer: Answer<()>,
    },
}

/// Decides on appends, and writes them.
#[derive(Debug)]
pub(super) struct LogWriter {
    pub(super) folder: Arc<Folder>,
    pub(super) journal: Journal,
    pub(super) shared: Arc<Shared>,
    /// Gone once the folder is lost: who follows hears of it.
    pub(super) tail: Option<watch::Sender<u64>>,
    pub(super) bytes_max: u64,
    pub(super) max_age: Duration,
    pub(super) down: Option<String>,
}

/// What is written, or why not, to be told once the batch is.
struct Decided {
    command: Command,
    verdict: Verdict,
}

enum Verdict {
    Written(Place),
    /// There was nothing to delete.
    Nothing,
    Conflict(u64),
    Full(u64),
}

impl Writer for LogWriter {
    type Command = Command;

    fn write(&mut self, commands: Vec<Command>) {
        if let Some(reason) = &self.down {
            let failure = Failure::Unavailable(reason.clone());
            for command in commands {
                command.fail(failure.clone());
            }
            return;
        }
        if let Err(failure) = self.journal.begin() {
            for command in commands {
                command.fail(failure.clone());
            }
            return;
        }
        let decided = self.decide(commands);
        match self.journal.commit() {
            Ok(()) => self.publish(decided),
            Err(failure) => {
                // Also who was beaten: by an append that does not stand.
                for decided in decided {
                    decided.command.fail(failure.clone());
                }
            }
        }
        let bytes = self.journal.bytes();
        self.shared.bytes.store(bytes, Ordering::Relaxed);
    }

    fn tick(&mut self) {
        if self.down.is_some() {
            return;
        }
        if let Some(reason) = self.folder.loss() {
            tracing::error!(%reason, "the state is gone");
            self.index().down = Some(reason.clone());
            self.down = Some(reason);
            self.tail = None;
            return;
        }
        if let Err(failure) = self.expire() {
            tracing::warn!(?failure, "old records of the state could not be let go");
        }
        let bytes = self.journal.bytes();
        self.shared.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl LogWriter {
    fn index(&self) -> MutexGuard<'_, Index> {
        let index = self.shared.index.lock();
        index.unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what may be written into the batch. What comes later in it finds what came before.
    fn decide(&mut self, commands: Vec<Command>) -> Vec<Decided> {
        let mut ends: HashMap<RequestId, u64> = HashMap::new();
        let mut all = Vec::with_capacity(commands.len());
        for command in commands {
            let request = command.request();
            let last = ends.get(&request).copied();
            let last = last.unwrap_or_else(|| self.index().last(request));
            let verdict = match &command {
                Command::Append {
                    expected, encoded, ..
                } => {
                    let size = Journal::frame_bytes(NAME_BYTES + encoded.len());
                    let held = self.journal.bytes();
                    if last != *expected {
                        Verdict::Conflict(last)
                    } else if held + size > self.bytes_max {
                        Verdict::Full(held)
                    } else {
                        let name = name(What::Appended, request);
                        let place = self.journal.push(&[&name, encoded]);
                        ends.insert(request, place.seq);
                        Verdict::Written(place)
                    }
                }
                Command::Delete { .. } if last == 0 => Verdict::Nothing,
                Command::Delete { .. } => {
                    ends.insert(request, 0);
                    let name = name(What::Deleted, request);
                    // Also where it is full: it is what makes room.
                    Verdict::Written(self.journal.push(&[&name]))
                }
            };
            all.push(Decided { command, verdict });
        }
        all
    }

    /// Tells readers of what is written, then who asked for it.
    fn publish(&self, decided: Vec<Decided>) {
        {
            let mut index = self.index();
            for Decided { command, verdict } in &decided {
                match (command, verdict) {
                    (Command::Append { request, .. }, Verdict::Written(place)) => {
                        index.append(*request, place.clone());
                    }
                    (Command::Delete { request, .. }, Verdict::Written(_)) => {
                        index.delete(*request);
                    }
                    _ => {}
                }
            }
        }
        if let Some(tail) = &self.tail {
            let last = self.journal.last_seq();
            tail.send_if_modified(|tail| std::mem::replace(tail, last) != last);
        }
        for Decided { command, verdict } in decided {
            command.answer(&verdict, self.bytes_max);
        }
    }

    /// Lets go of the oldest segments, of which all is too old or deleted.
    fn expire(&mut self) -> Result<(), Failure> {
        if self.journal.oldest().is_none() && self.journal.oldest_is_past(self.max_age) {
            self.journal.roll()?;
        }
        // Ends with the segment that is written.
        while let Some(number) = self.journal.oldest() {
            let is_past = self.journal.oldest_is_past(self.max_age);
            if !is_past && self.index().live_of_oldest(number) > 0 {
                break;
            }
            while !self.index().forget(number, FORGOTTEN_AT_ONCE) {}
            self.journal.drop_oldest()?;
        }
        Ok(())
    }
}

impl Command {
    const fn request(&self) -> RequestId {
        match self {
            Self::Append { request, .. } | Self::Delete { request, .. } => *request,
        }
    }

    /// Who asked may be gone; then nobody is told.
    fn fail(self, failure: Failure) {
        match self {
            Self::Append {
                request,
                encoded,
                answer,
                ..
            } => {
                let attempted = appending(encoded.len(), request);
                drop(answer.send(Err(failure.of_attempt(attempted))));
            }
            Self::Delete { request, answer } => {
                drop(answer.send(Err(failure.of_attempt(deleting(request)))));
            }
        }
    }

    fn answer(self, verdict: &Verdict, bytes_max: u64) {
        match self {
            Self::Append {
                request,
                expected,
                encoded,
                answer,
            } => {
                let answered = match verdict {
                    Verdict::Written(place) => Ok(Seq(place.seq)),
                    Verdict::Nothing => Ok(Seq(expected)),
                    Verdict::Conflict(last) => Err(StateError::Conflict {
                        request,
                        expected: Seq(expected),
                        last: Seq(*last),
                    }),
                    Verdict::Full(held) => Err(StateError::Full {
                        attempted: appending(encoded.len(), request),
                        reason: format!(
                            "logs hold {held} of {bytes_max} bytes; raise TURLOUGH_STATE_BYTES_MAX"
                        ),
                    }),
                };
                drop(answer.send(answered));
            }
            Self::Delete { answer, .. } => drop(answer.send(Ok(()))),
        }
    }
}
