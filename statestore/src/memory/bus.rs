//! Words within one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Channel, Listener, WORDS_MAX};
use crate::error::StateError;

/// Words within one process.
#[derive(Debug, Default)]
pub struct MemoryBus {
    listeners: Arc<Mutex<Listeners>>,
}

type Listeners = HashMap<Channel, Vec<mpsc::Sender<Bytes>>>;

#[async_trait]
impl Bus for MemoryBus {
    async fn send(&self, to: Channel, word: Bytes) -> Result<(), StateError> {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = listeners.get_mut(&to) {
            list.retain(|listener| !listener.is_closed());
            for listener in list.iter() {
                // Who does not keep up misses words.
                drop(listener.try_send(word.clone()));
            }
            if list.is_empty() {
                listeners.remove(&to);
            }
        }
        Ok(())
    }

    async fn listen(&self, on: Channel) -> Result<Listener, StateError> {
        let (sender, words) = mpsc::channel(WORDS_MAX);
        let listeners = Arc::clone(&self.listeners);
        let mut lists = listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let list = lists.entry(on).or_default();
        list.retain(|listener| !listener.is_closed());
        list.push(sender);
        drop(lists);
        let _guard = CancellationToken::new().drop_guard();
        Ok(Listener { words, _guard })
    }
}
