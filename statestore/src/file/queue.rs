//! The work queue, in files: what waits is on the disk, who has it is in memory, so that after a
//! crash every item that was not acknowledged is there again, with its attempts counted anew.
//!
//! Invariants: an item goes by its acknowledgement alone, never by age; what still waits in the oldest
//! segment is written again before that segment goes, so the files stay within twice what waits.

mod places;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use self::places::Places;
use self::writer::{Command, QueueWriter};
use super::failure::Failure;
use super::folder::Folder;
use super::frame::{BODY_BYTES_MAX, Kind};
use super::inbox::Inbox;
use super::journal::{Journal, Settings};
use super::reading;
use crate::error::StateError;
use crate::lanes::Lanes;
use crate::queue::{Queue, Taken};
use crate::state::Options;

/// Files that are larger than they need to be are looked for this often.
const TICK: Duration = Duration::from_secs(1);
/// Room for the name of the queue and the number of the item, of a body.
const NAME_BYTES_MAX: usize = 1024;
const PAYLOAD_BYTES_MAX: usize = BODY_BYTES_MAX - NAME_BYTES_MAX;

/// The work queue, in files.
#[derive(Debug)]
pub(super) struct FileQueue {
    inbox: Inbox<Command>,
    shared: Arc<Shared>,
}

/// What the writer and all takers hold.
#[derive(Debug)]
struct Shared {
    /// Items by their numbers.
    lanes: Lanes<u64>,
    places: Mutex<Places>,
}

impl FileQueue {
    /// Reads what is in the folder, and starts to write. Blocks.
    pub(super) fn open(folder: &Arc<Folder>, options: &Options) -> Result<Self, Failure> {
        let mut places = Places::default();
        let settings = Settings {
            kind: Kind::Queue,
            segment_bytes: Settings::segment_bytes(options.bytes_max),
            segment_age: None,
            sync: options.sync,
        };
        let dir = folder.path.join("queue");
        let mut queues = std::collections::BTreeMap::new();
        let journal = Journal::open(&dir, settings, &mut |place, body| {
            match writer::named(body).ok_or("the record is of an unknown kind")? {
                (writer::What::Put(queue), id, _) => {
                    queues.insert(id, queue.to_owned());
                    places.put(id, place);
                }
                (writer::What::Done, id, _) => {
                    queues.remove(&id);
                    places.done(id);
                }
            }
            Ok(())
        })?;
        let lanes = Lanes::new(options.visibility);
        for (id, queue) in queues {
            lanes.add(&queue, id);
        }
        let shared = Arc::new(Shared {
            lanes,
            places: Mutex::new(places),
        });
        let writer = QueueWriter {
            folder: Arc::clone(folder),
            journal,
            shared: Arc::clone(&shared),
            segment_bytes: Settings::segment_bytes(options.bytes_max),
            bytes_max: options.bytes_max,
            down: None,
        };
        let inbox = Inbox::start("state-queue", writer, TICK);
        Ok(Self {
            inbox: inbox.map_err(|error| Failure::of(&error, "starting a thread"))?,
            shared,
        })
    }

    async fn ask(
        &self,
        attempted: String,
        bytes: usize,
        command: impl FnOnce(oneshot::Sender<Result<(), Failure>>) -> Command,
    ) -> Result<(), StateError> {
        let ended = "the thread that writes the work queue has ended; start again".to_owned();
        let (answer, answered) = oneshot::channel();
        let answered = if self.inbox.send(command(answer), bytes).await {
            answered.await.unwrap_or(Err(Failure::Unanswered(ended)))
        } else {
            Err(Failure::Unavailable(ended))
        };
        answered.map_err(|failure| failure.of_attempt(attempted))
    }
}

#[async_trait]
impl Queue for FileQueue {
    async fn enqueue(&self, queue: &str, payload: Bytes) -> Result<(), StateError> {
        let size = payload.len();
        let attempted = || format!("enqueuing an item of {size} bytes in queue {queue}");
        if size > PAYLOAD_BYTES_MAX || queue.len() > 255 {
            return Err(StateError::Refused {
                attempted: attempted(),
                reason: format!("limit {PAYLOAD_BYTES_MAX}, and 255 for the name of the queue"),
            });
        }
        let queue = queue.to_owned();
        self.ask(attempted(), size, |answer| Command::Put {
            queue,
            payload,
            answer,
        })
        .await
    }

    async fn take(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, StateError> {
        let leased = self.shared.lanes.take(queue, max, wait).await;
        let (mut kept, mut places) = (Vec::new(), Vec::new());
        {
            let known = self.shared.places.lock();
            let known = known.unwrap_or_else(PoisonError::into_inner);
            if let Some(reason) = &known.down {
                return Err(StateError::Unavailable {
                    attempted: format!("taking items of queue {queue}"),
                    reason: reason.clone(),
                });
            }
            for leased in leased {
                // What was acknowledged meanwhile has no place any more.
                if let Some(place) = known.get(leased.payload) {
                    places.push(place);
                    kept.push(leased);
                }
            }
        }
        let mut taken = Vec::with_capacity(kept.len());
        for (leased, body) in kept.into_iter().zip(reading::bodies(places).await) {
            let payload = body.and_then(|body| writer::payload(&body));
            match payload {
                Ok(payload) => taken.push(Taken {
                    queue: queue.to_owned(),
                    payload,
                    attempt: leased.attempt,
                    ticket: leased.ticket,
                }),
                // It comes again after its visibility time; others are not held up by it.
                Err(reason) => tracing::error!(
                    %reason, queue, item = leased.payload, "an item of the work queue cannot be read"
                ),
            }
        }
        Ok(taken)
    }

    async fn acknowledge(&self, item: &Taken) -> Result<(), StateError> {
        let Some(id) = self.shared.lanes.held(&item.queue, &item.ticket) else {
            return Ok(());
        };
        let attempted = format!("acknowledging an item of queue {}", item.queue);
        self.ask(attempted, 0, |answer| Command::Done { id, answer })
            .await?;
        self.shared.lanes.remove(&item.queue, &item.ticket);
        Ok(())
    }

    async fn extend(&self, item: &Taken) -> Result<(), StateError> {
        self.shared.lanes.extend(&item.queue, &item.ticket);
        Ok(())
    }

    async fn release(&self, item: &Taken, after: Duration) -> Result<(), StateError> {
        self.shared.lanes.hide(&item.queue, &item.ticket, after);
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<u64, StateError> {
        Ok(self.shared.lanes.depth(queue))
    }
}
