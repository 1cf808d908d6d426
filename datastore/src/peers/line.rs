//! What is said to one peer for one tenant: in order, many words at once, few enough to be remembered.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::link::{Links, Name, Purpose};
use super::{Counts, PeerError};
use crate::store::Made;

/// Words that may wait. What they copy counts for its tenant until they were said.
const WAITING_MAX: usize = 4_096;
/// Words that are on their way at once.
const AT_ONCE: usize = 32;

/// What is said to a peer.
#[derive(Debug)]
pub(crate) enum Word {
    /// Here is a copy.
    Put {
        key: Vec<u8>,
        value: Made,
        epoch: Option<u64>,
    },
    /// Keep the bucket for so long from now, in ms.
    Lease {
        bucket: Vec<u8>,
        epoch: u64,
        ms: u64,
    },
    /// The bucket was dropped.
    Drop { bucket: Vec<u8>, epoch: u64 },
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) word: Word,
    pub(super) done: oneshot::Sender<Result<(), PeerError>>,
}

#[derive(Debug)]
pub(super) struct Line {
    peer: Arc<str>,
    jobs: mpsc::Sender<Job>,
    counts: Arc<Counts>,
}

impl Line {
    pub(super) fn open(
        runtime: &Handle,
        links: Arc<Links>,
        counts: Arc<Counts>,
        peer: &Arc<str>,
        tenant: &Arc<str>,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let name = (Arc::clone(peer), Arc::clone(tenant), Purpose::Copy);
        runtime.spawn(run(links, Arc::clone(&counts), name, waiting));
        Self {
            peer: Arc::clone(peer),
            jobs,
            counts,
        }
    }

    pub(super) fn say(&self, job: Job) -> Result<(), PeerError> {
        let counts = &self.counts;
        counts.pending.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(job).map_err(|_| {
            counts.pending.fetch_sub(1, Ordering::Relaxed);
            counts.fail();
            PeerError::Behind(WAITING_MAX, Arc::clone(&self.peer))
        })
    }
}

async fn run(links: Arc<Links>, counts: Arc<Counts>, name: Name, mut waiting: mpsc::Receiver<Job>) {
    let mut going = FuturesOrdered::new();
    loop {
        tokio::select! {
            job = waiting.recv(), if going.len() < AT_ONCE => match job {
                Some(job) => going.push_back(carry_out(&links, &counts, &name, job)),
                None => break,
            },
            Some(()) = going.next() => {}
        }
    }
    while going.next().await.is_some() {}
}

async fn carry_out(links: &Links, counts: &Counts, name: &Name, job: Job) {
    let is_copy = matches!(job.word, Word::Put { .. });
    let done = links
        .ask(name, async |wire| say(wire, &job.word).await)
        .await;
    drop(job.word);
    match &done {
        Ok(()) if is_copy => drop(counts.copied.fetch_add(1, Ordering::Relaxed)),
        Ok(()) => {}
        Err(error) => {
            counts.fail();
            tracing::warn!(%error, "word to another store was not heard");
        }
    }
    counts.pending.fetch_sub(1, Ordering::Relaxed);
    // Not everybody waits for it.
    drop(job.done.send(done));
}

/// Says one word, and hears that it was done.
pub(super) async fn say(mut wire: MultiplexedConnection, word: &Word) -> redis::RedisResult<()> {
    // The answers differ, and say nothing that is wanted.
    let said = command(word)?;
    said.query_async::<redis::Value>(&mut wire).await.map(drop)
}

fn command(word: &Word) -> redis::RedisResult<redis::Cmd> {
    let mut command = redis::Cmd::new();
    match word {
        Word::Put { key, value, epoch } => {
            // What was just put lies in memory.
            let bytes = value.bytes().map_err(std::io::Error::other)?;
            command.arg("SET").arg(key).arg(bytes);
            if let Some(epoch) = epoch {
                command.arg("EPOCH").arg(*epoch);
            }
            // A copy has none.
            command.arg("BACKUP").arg("NONE");
        }
        Word::Lease { bucket, epoch, ms } => {
            command.arg("BUCKET.LEASE").arg(bucket).arg(*epoch).arg(*ms);
        }
        Word::Drop { bucket, epoch } => {
            command.arg("BUCKET.DROP").arg(bucket).arg(*epoch);
        }
    }
    Ok(command)
}
