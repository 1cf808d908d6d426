//! Logs of requests, in files.
//!
//! Invariants: one thread decides and writes; the index, which all read, tells of an append when it
//! is written, and forced to the disk where that is asked, never before.

mod follow;
mod index;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use turlough_sdk::RequestId;

use self::follow::FileFollow;
use self::index::Index;
use self::writer::{Command, LogWriter};
use super::failure::Failure;
use super::folder::Folder;
use super::frame::Kind;
use super::inbox::Inbox;
use super::journal::{Journal, Place, Settings};
use super::reading;
use crate::append::{Append, Record, Seq};
use crate::error::StateError;
use crate::log::{Follow, Followed, Log, Usage};
use crate::state::Options;

/// Parts of `max_age` that a segment takes records for: what is kept too long is that part of it.
const AGES: u32 = 16;
/// What is due by its age is looked for this often, and whether the folder is ours still.
const TICK: Duration = Duration::from_secs(1);
const TICK_MIN: Duration = Duration::from_millis(50);

/// Bytes of a body before its append: what it is, and of which request.
const NAME_BYTES: usize = 17;

/// Logs of requests, in files.
#[derive(Debug)]
pub(super) struct FileLog {
    inbox: Inbox<Command>,
    shared: Arc<Shared>,
    tail: watch::Receiver<u64>,
    bytes_max: u64,
}

/// What the writer and all readers hold.
#[derive(Debug)]
struct Shared {
    index: Mutex<Index>,
    bytes: AtomicU64,
}

/// What a record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Appended,
    Deleted,
}

impl FileLog {
    /// Reads what is in the folder, and starts to write. Blocks.
    pub(super) fn open(folder: &Arc<Folder>, options: &Options) -> Result<Self, Failure> {
        let mut index = Index::default();
        let settings = Settings {
            kind: Kind::Log,
            segment_bytes: Settings::segment_bytes(options.bytes_max),
            segment_age: Some(options.max_age / AGES),
            sync: options.sync,
        };
        let dir = folder.path.join("log");
        let journal = Journal::open(&dir, settings, &mut |place, body| {
            match named(body) {
                Some((What::Appended, request, _)) => index.append(request, place),
                Some((What::Deleted, request, _)) => index.delete(request),
                None => return Err("the record is of an unknown kind".to_owned()),
            }
            Ok(())
        })?;
        let shared = Arc::new(Shared {
            index: Mutex::new(index),
            bytes: AtomicU64::new(journal.bytes()),
        });
        let (sender, tail) = watch::channel(journal.last_seq());
        let writer = LogWriter {
            folder: Arc::clone(folder),
            journal,
            shared: Arc::clone(&shared),
            tail: Some(sender),
            bytes_max: options.bytes_max,
            max_age: options.max_age,
            down: None,
        };
        let tick = (options.max_age / AGES / 4).clamp(TICK_MIN, TICK);
        let inbox = Inbox::start("state-log", writer, tick);
        Ok(Self {
            inbox: inbox.map_err(|error| Failure::of(&error, "starting a thread"))?,
            shared,
            tail,
            bytes_max: options.bytes_max,
        })
    }

    async fn ask<T>(
        &self,
        attempted: impl Fn() -> String,
        bytes: usize,
        command: impl FnOnce(oneshot::Sender<Result<T, StateError>>) -> Command,
    ) -> Result<T, StateError> {
        let (answer, answered) = oneshot::channel();
        if !self.inbox.send(command(answer), bytes).await {
            return Err(StateError::Unavailable {
                attempted: attempted(),
                reason: "the thread that writes the logs has ended; start again".to_owned(),
            });
        }
        answered.await.unwrap_or_else(|_| {
            Err(StateError::Unanswered {
                attempted: attempted(),
                reason: "the thread that writes the logs has ended".to_owned(),
            })
        })
    }

    /// The appends at these places, which are of this request.
    async fn records(
        &self,
        request: RequestId,
        places: Vec<Place>,
    ) -> Result<Vec<Record>, StateError> {
        let seqs: Vec<_> = places.iter().map(|place| Seq(place.seq)).collect();
        let bodies = reading::bodies(places).await;
        let decode = |(seq, body): (Seq, Result<Bytes, String>)| {
            let body = body.and_then(|body| encoded(&body));
            let body = body.map_err(|reason| StateError::Unreadable {
                request,
                seq,
                reason,
            })?;
            Record::decode(request, seq, &body)
        };
        seqs.into_iter().zip(bodies).map(decode).collect()
    }
}

impl Shared {
    /// The index, unless the folder is lost.
    fn index(&self, attempted: impl Fn() -> String) -> Result<MutexGuard<'_, Index>, StateError> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        match &index.down {
            None => Ok(index),
            Some(reason) => Err(StateError::Unavailable {
                attempted: attempted(),
                reason: reason.clone(),
            }),
        }
    }
}

#[async_trait]
impl Log for FileLog {
    async fn append(
        &self,
        request: RequestId,
        expected: Seq,
        append: &Append,
    ) -> Result<Seq, StateError> {
        let encoded = append.encode(request)?;
        let size = encoded.len();
        let attempted = || appending(size, request);
        self.ask(attempted, size, |answer| Command::Append {
            request,
            expected: expected.0,
            encoded,
            answer,
        })
        .await
    }

    async fn read(&self, request: RequestId, after: Seq) -> Result<Vec<Record>, StateError> {
        let places = {
            let index = self.shared.index(|| reading_log(request))?;
            index.places(request, after.0)
        };
        self.records(request, places).await
    }

    async fn last(&self, request: RequestId) -> Result<Option<Record>, StateError> {
        let place = {
            let index = self.shared.index(|| reading_log(request))?;
            index.last_place(request)
        };
        let records = self.records(request, place.into_iter().collect()).await?;
        Ok(records.into_iter().next())
    }

    async fn at(&self, seq: Seq) -> Result<Option<Followed>, StateError> {
        let found = {
            let index = self
                .shared
                .index(|| format!("reading the append at {seq}"))?;
            index.at(seq.0)
        };
        Ok(followed(found.into_iter().collect()).await.pop())
    }

    async fn follow(&self, after: Seq) -> Result<Box<dyn Follow>, StateError> {
        let follow = FileFollow::new(Arc::clone(&self.shared), self.tail.clone(), after);
        Ok(Box::new(follow))
    }

    async fn delete(&self, request: RequestId) -> Result<(), StateError> {
        self.ask(
            || deleting(request),
            0,
            |answer| Command::Delete { request, answer },
        )
        .await
    }

    async fn usage(&self) -> Result<Usage, StateError> {
        Ok(Usage {
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            bytes_max: self.bytes_max,
        })
    }
}

/// The appends at these places, as a reader of all logs meets them.
async fn followed(found: Vec<(RequestId, Place)>) -> Vec<Followed> {
    let (requests, places): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let seqs: Vec<_> = places.iter().map(|place| Seq(place.seq)).collect();
    let bodies = reading::bodies(places).await;
    let met = requests.into_iter().zip(seqs).zip(bodies);
    met.map(|((request, seq), body)| {
        let append = body.and_then(|body| encoded(&body)).and_then(|body| {
            Append::decode(request, seq, &body).map_err(|error| error.to_string())
        });
        Followed {
            request: Some(request),
            seq,
            append,
        }
    })
    .collect()
}

/// What a body says that it is, of which request, and its append.
fn named(body: &[u8]) -> Option<(What, RequestId, &[u8])> {
    let (name, append) = body.split_first_chunk::<NAME_BYTES>()?;
    let what = match name[0] {
        1 => What::Appended,
        2 => What::Deleted,
        _ => return None,
    };
    let mut id = [0; 16];
    id.copy_from_slice(&name[1..]);
    let request = RequestId::from_uuid(uuid::Uuid::from_bytes(id));
    Some((what, request, append))
}

/// What a body begins with.
fn name(what: What, request: RequestId) -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    name[0] = match what {
        What::Appended => 1,
        What::Deleted => 2,
    };
    name[1..].copy_from_slice(request.as_uuid().as_bytes());
    name
}

fn encoded(body: &Bytes) -> Result<Bytes, String> {
    let known = body.len() >= NAME_BYTES;
    known
        .then(|| body.slice(NAME_BYTES..))
        .ok_or_else(|| format!("a record of {} bytes is no append", body.len()))
}

fn appending(size: usize, request: RequestId) -> String {
    format!("append of {size} bytes to the log of request {request}")
}

fn deleting(request: RequestId) -> String {
    format!("deleting the log of request {request}")
}

fn reading_log(request: RequestId) -> String {
    format!("reading the log of request {request}")
}
