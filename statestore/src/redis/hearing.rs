//! What is heard on a connection: words of the bus, and that a queue has more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::{Notify, mpsc};

/// Who hears what.
#[derive(Debug)]
pub(super) struct Hearing {
    /// The channel on which the name of a queue is said that has more.
    more: String,
    listeners: Mutex<HashMap<String, Vec<mpsc::Sender<Bytes>>>>,
    takers: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Hearing {
    pub(super) fn new(more: String) -> Self {
        Self {
            more,
            listeners: Mutex::default(),
            takers: Mutex::default(),
        }
    }

    /// Adds a listener to a channel.
    pub(super) fn add(&self, channel: &str, listener: mpsc::Sender<Bytes>) {
        let mut listeners = lock(&self.listeners);
        let list = listeners.entry(channel.to_owned()).or_default();
        list.push(listener);
    }

    /// Whether nobody listens on a channel any more; then it is forgotten.
    pub(super) fn is_left(&self, channel: &str) -> bool {
        let mut listeners = lock(&self.listeners);
        let Some(list) = listeners.get_mut(channel) else {
            return true;
        };
        list.retain(|listener| !listener.is_closed());
        let is_left = list.is_empty();
        if is_left {
            listeners.remove(channel);
        }
        is_left
    }

    /// Told when a queue may have more.
    pub(super) fn more_in(&self, queue: &str) -> Arc<Notify> {
        let mut takers = lock(&self.takers);
        Arc::clone(takers.entry(queue.to_owned()).or_default())
    }

    /// Hands a message on. Who does not keep up misses words.
    pub(super) fn heard(&self, push: PushInfo) {
        if push.kind != PushKind::Message {
            return;
        }
        let mut data = push.data.into_iter();
        let (Some(Value::BulkString(channel)), Some(Value::BulkString(word))) =
            (data.next(), data.next())
        else {
            return;
        };
        let Ok(channel) = String::from_utf8(channel) else {
            return;
        };
        if channel == self.more {
            let takers = lock(&self.takers);
            if let Some(taker) = takers.get(&*String::from_utf8_lossy(&word)) {
                taker.notify_one();
            }
            return;
        }
        let word = Bytes::from(word);
        let listeners = lock(&self.listeners);
        for listener in listeners.get(&channel).into_iter().flatten() {
            drop(listener.try_send(word.clone()));
        }
    }

    /// Subscribes a new connection to all that is listened on.
    pub(super) async fn subscribe_again(
        &self,
        wire: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        let mut channels: Vec<_> = lock(&self.listeners).keys().cloned().collect();
        channels.push(self.more.clone());
        wire.subscribe(channels).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
