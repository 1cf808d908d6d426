//! Words, by publish and subscribe.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::Keys;
use super::failure::Doing;
use super::hearing::Hearing;
use super::line::Line;
use crate::bus::{Bus, Channel, Listener, WORDS_MAX};
use crate::error::StateError;

/// Words, by publish and subscribe.
#[derive(Debug)]
pub(super) struct RedisBus {
    line: Arc<Line>,
    keys: Keys,
    hearing: Arc<Hearing>,
    /// Held while a channel is subscribed to or left: one must not overtake the other.
    changing: Arc<Mutex<()>>,
}

impl RedisBus {
    pub(super) fn new(line: Arc<Line>, keys: Keys, hearing: Arc<Hearing>) -> Self {
        Self {
            line,
            keys,
            hearing,
            changing: Arc::default(),
        }
    }

    /// Leaves a channel once this listener is gone, if it was the last one.
    fn leave_after(&self, listener: CancellationToken, channel: String) {
        let hearing = Arc::clone(&self.hearing);
        let changing = Arc::clone(&self.changing);
        let line = Arc::downgrade(&self.line);
        tokio::spawn(async move {
            listener.cancelled().await;
            let _changing = changing.lock().await;
            if !hearing.is_left(&channel) {
                return;
            }
            // Where there is no connection, the next one does not subscribe to it.
            if let Some(line) = line.upgrade()
                && let Ok(mut wire) = line.wire(String::new)
                && let Err(error) = wire.unsubscribe(&channel).await
            {
                tracing::debug!(%error, "a channel could not be left");
            }
        });
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn send(&self, to: Channel, word: Bytes) -> Result<(), StateError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys.channel(to)).arg(&word[..]);
        let attempted = || format!("sending a word to {to:?}");
        self.line.ask(Doing::Read, &publish, attempted).await
    }

    async fn listen(&self, on: Channel) -> Result<Listener, StateError> {
        let attempted = || format!("listening on {on:?}");
        let channel = self.keys.channel(on);
        let (sender, words) = mpsc::channel(WORDS_MAX);
        let ended = CancellationToken::new();
        let _guard = ended.clone().drop_guard();
        let _changing = self.changing.lock().await;
        self.leave_after(ended, channel.clone());
        self.hearing.add(&channel, sender);
        let mut wire = self.line.wire(attempted)?;
        let subscribed = wire.subscribe(&channel).await;
        subscribed.map_err(|error| self.line.failed(&error, Doing::Read, attempted()))?;
        Ok(Listener { words, _guard })
    }
}
