//! Writes items and their acknowledgements, and keeps the files small.

use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Shared;
use super::places::Places;
use crate::file::failure::Failure;
use crate::file::folder::Folder;
use crate::file::frame::u64_at;
use crate::file::inbox::Writer;
use crate::file::journal::{Journal, Place};
use crate::file::reading;

/// Bytes of items that are written again at once, and one item more: others wait for it.
const CARRIED_BYTES: u64 = 4 * 1024 * 1024;

type Answer = oneshot::Sender<Result<(), Failure>>;

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Command {
    Put {
        queue: String,
        payload: Bytes,
        answer: Answer,
    },
    Done {
        id: u64,
        answer: Answer,
    },
}

/// What a record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// An item of this queue.
    Put(&'a str),
    /// An item is acknowledged.
    Done,
}

/// What a body says that it is, of which item, and its payload.
pub(super) fn named(body: &[u8]) -> Option<(What<'_>, u64, &[u8])> {
    let (head, rest) = body.split_at_checked(10)?;
    let id = u64_at(head, 1);
    match head[0] {
        1 => {
            let (queue, payload) = rest.split_at_checked(usize::from(head[9]))?;
            Some((What::Put(std::str::from_utf8(queue).ok()?), id, payload))
        }
        2 => Some((What::Done, id, &[])),
        _ => None,
    }
}

/// The payload of an item.
pub(super) fn payload(body: &Bytes) -> Result<Bytes, String> {
    match named(body) {
        Some((What::Put(_), _, payload)) => Ok(body.slice_ref(payload)),
        _ => Err(format!("a record of {} bytes is no item", body.len())),
    }
}

/// What a body begins with.
fn head(what: What<'_>, id: u64) -> [u8; 10] {
    let mut head = [0; 10];
    (head[0], head[9]) = match what {
        // The length of a name was looked at when it was handed in.
        What::Put(queue) => (1, queue.len() as u8),
        What::Done => (2, 0),
    };
    head[1..9].copy_from_slice(&id.to_le_bytes());
    head
}

/// Writes items and their acknowledgements.
#[derive(Debug)]
pub(super) struct QueueWriter {
    pub(super) folder: Arc<Folder>,
    pub(super) journal: Journal,
    pub(super) shared: Arc<Shared>,
    pub(super) segment_bytes: u64,
    pub(super) bytes_max: u64,
    pub(super) down: Option<String>,
}

impl Writer for QueueWriter {
    type Command = Command;

    fn write(&mut self, commands: Vec<Command>) {
        let begun = match &self.down {
            Some(reason) => Err(Failure::Unavailable(reason.clone())),
            None => self.journal.begin(),
        };
        if let Err(failure) = begun {
            for command in commands {
                drop(command.into_answer().send(Err(failure.clone())));
            }
            return;
        }
        let places: Vec<_> = commands.iter().map(|command| self.push(command)).collect();
        let written = self.journal.commit();
        for (command, place) in commands.into_iter().zip(places) {
            let answer = match (place, &written) {
                (Err(full), _) => Err(full),
                (Ok(_), Err(failure)) => Err(failure.clone()),
                (Ok(place), Ok(())) => {
                    self.publish(&command, place);
                    Ok(())
                }
            };
            // Who asked may be gone; then nobody is told.
            drop(command.into_answer().send(answer));
        }
        self.keep_small();
    }

    fn tick(&mut self) {
        if self.down.is_some() {
            return;
        }
        if let Some(reason) = self.folder.loss() {
            self.places().down = Some(reason.clone());
            self.down = Some(reason);
            return;
        }
        self.keep_small();
    }
}

impl QueueWriter {
    fn places(&self) -> MutexGuard<'_, Places> {
        let places = self.shared.places.lock();
        places.unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record into the batch. An item's number is the sequence of its first record.
    fn push(&mut self, command: &Command) -> Result<Place, Failure> {
        match command {
            Command::Put { queue, payload, .. } => {
                let held = self.journal.bytes();
                let size = Journal::frame_bytes(payload.len() + queue.len() + 10);
                if held + size > self.bytes_max {
                    return Err(Failure::Full(format!(
                        "the work queue holds {held} of {} bytes; raise TURLOUGH_STATE_BYTES_MAX",
                        self.bytes_max
                    )));
                }
                let id = self.journal.next_seq();
                let head = head(What::Put(queue), id);
                Ok(self.journal.push(&[&head, queue.as_bytes(), payload]))
            }
            // Also where it is full: it is what makes room.
            Command::Done { id, .. } => Ok(self.journal.push(&[&head(What::Done, *id)])),
        }
    }

    fn publish(&self, command: &Command, place: Place) {
        match command {
            Command::Put { queue, .. } => {
                let id = place.seq;
                self.places().put(id, place);
                self.shared.lanes.add(queue, id);
            }
            Command::Done { id, .. } => self.places().done(*id),
        }
    }

    /// Lets go of the oldest segments in which nothing waits; where the files are more than twice what
    /// waits, also of the oldest one, once what waits in it is written again.
    fn keep_small(&mut self) {
        while let Some(number) = self.journal.oldest() {
            let waits = !self.places().of_segment(number, 1).is_empty();
            let needed = 2 * (self.places().bytes + self.segment_bytes);
            let let_go = if !waits {
                self.journal.drop_oldest()
            } else if self.journal.bytes() > needed {
                self.carry(number)
            } else {
                return;
            };
            if let Err(failure) = let_go {
                tracing::warn!(
                    ?failure,
                    "the files of the work queue could not be made smaller"
                );
                return;
            }
        }
    }

    /// Writes some of what waits in a segment again. On the disk, before the segment can go.
    fn carry(&mut self, number: u64) -> Result<(), Failure> {
        let items = self.places().of_segment(number, CARRIED_BYTES);
        self.journal.begin()?;
        let mut carried = Vec::with_capacity(items.len());
        for (id, place) in items {
            let body = reading::body_waiting(&place).map_err(Failure::Unavailable)?;
            carried.push((id, self.journal.push(&[&body])));
        }
        self.journal.commit()?;
        self.journal.sync()?;
        let mut places = self.places();
        for (id, place) in carried {
            places.put(id, place);
        }
        Ok(())
    }
}

impl Command {
    fn into_answer(self) -> Answer {
        match self {
            Self::Put { answer, .. } | Self::Done { answer, .. } => answer,
        }
    }
}
