//! A host's connection to the server: every question is a message, and so is every answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use turlough_sdk::RequestId;
use turlough_statestore::{
    Append, Bus, Channel, Follow, Followed, Link, Listener, Log, MemoryTable, Queue, Record, Seq,
    StateError, Table, Taken, Usage,
};

use super::server::Server;
use super::trap::{Does, Message};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A host's connection to the server.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    server: Arc<Server>,
    host: Arc<str>,
    link: watch::Receiver<Link>,
}

/// A table behind it.
#[derive(Debug)]
pub(super) struct WireTable {
    wire: Wire,
    table: Arc<MemoryTable>,
}

/// The logs, as they come to a host.
#[derive(Debug)]
struct WireFollow {
    follow: Box<dyn Follow>,
    wire: Wire,
    era: u64,
}

fn away(what: &str) -> StateError {
    StateError::Unavailable {
        attempted: what.to_owned(),
        reason: "the connection is lost".to_owned(),
    }
}

fn unanswered(what: &str) -> StateError {
    StateError::Unanswered {
        attempted: what.to_owned(),
        reason: "the simulation lost it".to_owned(),
    }
}

impl Wire {
    pub(super) fn new(server: Arc<Server>, host: &str, link: watch::Receiver<Link>) -> Self {
        Self {
            server,
            host: host.into(),
            link,
        }
    }

    pub(super) fn table(&self, table: &Arc<MemoryTable>) -> WireTable {
        WireTable {
            wire: self.clone(),
            table: Arc::clone(table),
        }
    }

    /// Asks the server for something. What was sent goes on when the host does not; `wait` is how long
    /// the server itself may take.
    async fn ask<T, F>(
        &self,
        what: &str,
        message: Message<'_>,
        wait: Duration,
        asked: F,
    ) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StateError>> + Send + 'static,
    {
        let mut link = self.link.clone();
        if !link.borrow_and_update().is_up {
            return Err(away(what));
        }
        let (answer, answered) = oneshot::channel();
        let server = Arc::clone(&self.server);
        let (fate, starts) = (server.fate(), server.starts());
        let mut caught = server.traps.catch(&self.host, &message);
        self.server.runtime.spawn(async move {
            let way = server.send_off();
            sleep(fate.way).await;
            let does = caught.as_ref().map(|caught| caught.does);
            if let Some(caught) = caught.take_if(|_| does == Some(Does::Hold)) {
                caught.until_let_go().await;
            }
            if fate.is_lost || does == Some(Does::Lose) || server.starts() != starts {
                return;
            }
            if wait > Duration::ZERO {
                drop(way);
                let done = asked.await;
                return drop(answer.send(done));
            }
            let done = asked.await;
            sleep(fate.way_back).await;
            if let Some(caught) = caught.take_if(|_| does == Some(Does::HoldAnswer)) {
                caught.until_let_go().await;
            }
            let is_lost = fate.is_answer_lost || does == Some(Does::LoseAnswer);
            if !is_lost && server.starts() == starts {
                drop(answer.send(done));
            }
        });
        tokio::select! {
            Ok(done) = answered => done,
            _ = link.changed() => Err(unanswered(what)),
            () = sleep(PATIENCE + wait) => Err(unanswered(what)),
        }
    }

    async fn ask_now<T, F>(
        &self,
        what: &str,
        message: Message<'_>,
        asked: F,
    ) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StateError>> + Send + 'static,
    {
        self.ask(what, message, Duration::ZERO, asked).await
    }
}

#[async_trait]
impl Log for Wire {
    async fn append(
        &self,
        request: RequestId,
        expected: Seq,
        append: &Append,
    ) -> Result<Seq, StateError> {
        let (server, copy) = (Arc::clone(&self.server), append.clone());
        let appended = async move {
            let seq = server.log.append(request, expected, &copy).await?;
            server.has_stored(seq);
            Ok(seq)
        };
        self.ask_now("append", Message::Append(request, append), appended)
            .await
    }

    async fn read(&self, request: RequestId, after: Seq) -> Result<Vec<Record>, StateError> {
        let log = self.server.log.clone();
        let read = async move { log.read(request, after).await };
        self.ask_now("read", Message::Read(request), read).await
    }

    async fn last(&self, request: RequestId) -> Result<Option<Record>, StateError> {
        let log = self.server.log.clone();
        let last = async move { log.last(request).await };
        self.ask_now("last", Message::Read(request), last).await
    }

    async fn at(&self, seq: Seq) -> Result<Option<Followed>, StateError> {
        let log = self.server.log.clone();
        self.ask_now("at", Message::Other, async move { log.at(seq).await })
            .await
    }

    async fn follow(&self, after: Seq) -> Result<Box<dyn Follow>, StateError> {
        let log = self.server.log.clone();
        let era = self.link.borrow().era;
        let followed = async move { log.follow(after).await };
        let follow = self.ask_now("follow", Message::Other, followed).await?;
        let wire = self.clone();
        Ok(Box::new(WireFollow { follow, wire, era }))
    }

    async fn delete(&self, request: RequestId) -> Result<(), StateError> {
        let log = self.server.log.clone();
        let deleted = async move { log.delete(request).await };
        self.ask_now("delete", Message::Other, deleted).await
    }

    async fn usage(&self) -> Result<Usage, StateError> {
        let log = self.server.log.clone();
        self.ask_now("usage", Message::Other, async move { log.usage().await })
            .await
    }
}

#[async_trait]
impl Follow for WireFollow {
    async fn next(&mut self, max: usize) -> Result<Vec<Followed>, StateError> {
        let mut link = self.wire.link.clone();
        let now = *link.borrow_and_update();
        if !now.is_up || now.era != self.era {
            return Err(away("following"));
        }
        // Before anything is taken, so that nothing is left out where the wait is given up.
        sleep(self.wire.server.fate().way).await;
        tokio::select! {
            biased;
            _ = link.changed() => Err(away("following")),
            followed = self.follow.next(max) => followed,
        }
    }
}

#[async_trait]
impl Queue for Wire {
    async fn enqueue(&self, queue: &str, payload: Bytes) -> Result<(), StateError> {
        let (server, name) = (Arc::clone(&self.server), queue.to_owned());
        let is_doubled = server.fate().is_doubled;
        let sent = payload.clone();
        let enqueued = async move {
            if is_doubled {
                server.queue.enqueue(&name, payload.clone()).await?;
            }
            server.queue.enqueue(&name, payload).await
        };
        self.ask_now("enqueue", Message::Enqueue(&sent), enqueued)
            .await
    }

    async fn take(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, StateError> {
        let (server, name) = (Arc::clone(&self.server), queue.to_owned());
        let taken = async move { server.queue.take(&name, max, wait).await };
        self.ask(
            "take",
            Message::Other,
            wait.max(Duration::from_millis(1)),
            taken,
        )
        .await
    }

    async fn acknowledge(&self, item: &Taken) -> Result<(), StateError> {
        let (server, taken) = (Arc::clone(&self.server), item.clone());
        let done = async move { server.queue.acknowledge(&taken).await };
        self.ask_now("acknowledge", Message::Acknowledge(&item.payload), done)
            .await
    }

    async fn extend(&self, item: &Taken) -> Result<(), StateError> {
        let (server, taken) = (Arc::clone(&self.server), item.clone());
        let done = async move { server.queue.extend(&taken).await };
        self.ask_now("extend", Message::Other, done).await
    }

    async fn release(&self, item: &Taken, after: Duration) -> Result<(), StateError> {
        let (server, taken) = (Arc::clone(&self.server), item.clone());
        let done = async move { server.queue.release(&taken, after).await };
        self.ask_now("release", Message::Other, done).await
    }

    async fn depth(&self, queue: &str) -> Result<u64, StateError> {
        let (server, name) = (Arc::clone(&self.server), queue.to_owned());
        let depth = async move { server.queue.depth(&name).await };
        self.ask_now("depth", Message::Other, depth).await
    }
}

#[async_trait]
impl Bus for Wire {
    /// Nobody hears whether a word came.
    async fn send(&self, to: Channel, word: Bytes) -> Result<(), StateError> {
        if !self.link.borrow().is_up {
            return Err(away("word"));
        }
        let server = Arc::clone(&self.server);
        let (fate, starts) = (server.fate(), server.starts());
        let caught = server.traps.catch(&self.host, &Message::Word(&word));
        self.server.runtime.spawn(async move {
            let _way = server.send_off();
            sleep(fate.way).await;
            let is_lost = match caught {
                Some(caught) if caught.does == Does::Hold => {
                    caught.until_let_go().await;
                    false
                }
                Some(_) => true,
                None => fate.is_lost,
            };
            if is_lost || server.starts() != starts {
                return;
            }
            if fate.is_doubled {
                drop(server.bus.send(to, word.clone()).await);
                sleep(fate.way_back).await;
            }
            drop(server.bus.send(to, word).await);
        });
        Ok(())
    }

    async fn listen(&self, on: Channel) -> Result<Listener, StateError> {
        let server = Arc::clone(&self.server);
        let listened = async move { server.bus.listen(on).await };
        self.ask_now("listen", Message::Other, listened).await
    }
}

#[async_trait]
impl Table for WireTable {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StateError> {
        let (table, key) = (Arc::clone(&self.table), key.to_owned());
        let got = async move { table.get(&key).await };
        self.wire.ask_now("get", Message::Other, got).await
    }

    async fn put(&self, named: &str, value: Bytes) -> Result<(), StateError> {
        let (table, key) = (Arc::clone(&self.table), named.to_owned());
        let put = async move { table.put(&key, value).await };
        self.wire.ask_now("put", Message::Put(named), put).await
    }

    async fn remove(&self, key: &str) -> Result<(), StateError> {
        let (table, key) = (Arc::clone(&self.table), key.to_owned());
        let removed = async move { table.remove(&key).await };
        self.wire.ask_now("remove", Message::Other, removed).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StateError> {
        let (table, prefix) = (Arc::clone(&self.table), prefix.to_owned());
        let list = async move { table.list(&prefix).await };
        self.wire.ask_now("list", Message::Other, list).await
    }
}
