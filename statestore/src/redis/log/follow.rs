//! Reads all logs as they grow, on a connection of its own.

use std::collections::{HashMap, VecDeque};

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Entry, followed};
use crate::append::Seq;
use crate::error::StateError;
use crate::log::{Follow, Followed};
use crate::redis::Keys;
use crate::redis::failure::{Doing, state_error};
use crate::redis::line::Line;

/// Appends that are read at once, and as many again ahead of their reader: 32 MiB of the largest.
const READ_AT_ONCE: usize = 64;
/// How long one reading waits for more: a connection that is gone is noticed after as long.
const WAIT_MS: usize = 1000;

/// Reads all logs as they grow. A task reads: what it waits for is not lost when a reader gives up.
#[derive(Debug)]
pub(in crate::redis) struct RedisFollow {
    read: mpsc::Receiver<Result<Vec<Followed>, StateError>>,
    ready: VecDeque<Followed>,
    _guard: DropGuard,
}

impl RedisFollow {
    pub(super) async fn start(line: &Line, keys: &Keys, after: Seq) -> Result<Self, StateError> {
        let mut wire = line.another(|| attempted(after)).await?;
        ends_after(&mut wire, keys, after).await?;
        let (sender, read) = mpsc::channel(1);
        let ended = CancellationToken::new();
        let until = ended.clone();
        let keys = keys.clone();
        let reading = async move {
            let mut after = after;
            loop {
                let next = read_next(&mut wire, &keys, after).await;
                let has_ended = next.is_err();
                if let Ok(next) = &next {
                    let Some(last) = next.last() else {
                        continue;
                    };
                    after = last.seq;
                }
                if sender.send(next).await.is_err() || has_ended {
                    return;
                }
            }
        };
        tokio::spawn(async move { until.run_until_cancelled(reading).await });
        Ok(Self {
            read,
            ready: VecDeque::new(),
            _guard: ended.drop_guard(),
        })
    }
}

#[async_trait]
impl Follow for RedisFollow {
    async fn next(&mut self, max: usize) -> Result<Vec<Followed>, StateError> {
        if self.ready.is_empty() {
            let read = self.read.recv().await.unwrap_or_else(|| {
                Err(StateError::Unavailable {
                    attempted: "following the logs".to_owned(),
                    reason: "the connection to redis ended".to_owned(),
                })
            });
            self.ready.extend(read?);
        }
        let count = max.min(self.ready.len());
        Ok(self.ready.drain(..count).collect())
    }
}

/// What comes next; nothing where nothing came for a while.
async fn read_next(
    wire: &mut MultiplexedConnection,
    keys: &Keys,
    after: Seq,
) -> Result<Vec<Followed>, StateError> {
    let mut read = redis::cmd("XREAD");
    read.arg("COUNT")
        .arg(READ_AT_ONCE)
        .arg("BLOCK")
        .arg(WAIT_MS);
    read.arg("STREAMS")
        .arg(keys.feed())
        .arg(format!("{after}-0"));
    let read: Result<Option<HashMap<String, Vec<Entry>>>, _> = read.query_async(wire).await;
    let read = read.map_err(|error| state_error(&error, Doing::Read, attempted(after)))?;
    let Some(feeds) = read else {
        // It may have been emptied meanwhile, and would be followed in vain.
        ends_after(wire, keys, after).await?;
        return Ok(Vec::new());
    };
    Ok(feeds.values().flatten().map(followed).collect())
}

/// Refuses to follow after a place that was lost: what comes next would be taken for what is known.
async fn ends_after(
    wire: &mut MultiplexedConnection,
    keys: &Keys,
    after: Seq,
) -> Result<(), StateError> {
    let mut last = redis::cmd("HGET");
    last.arg(keys.meta()).arg("seq");
    let last: Result<Option<u64>, _> = last.query_async(wire).await;
    let last = last.map_err(|error| state_error(&error, Doing::Read, attempted(after)))?;
    let last = last.unwrap_or(0);
    if last < after.0 {
        return Err(StateError::Unavailable {
            attempted: attempted(after),
            reason: format!("they end at {last}: what followed it was lost"),
        });
    }
    Ok(())
}

fn attempted(after: Seq) -> String {
    format!("following the logs after {after}")
}
