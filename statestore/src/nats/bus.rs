//! Words: messages of core NATS, which no stream keeps.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::api::Failure;
use super::connection::Connection;
use super::names::Names;
use crate::bus::{Bus, Channel, Listener, WORDS_MAX};
use crate::error::StateError;

/// Words between the processes of a tenant.
#[derive(Debug)]
pub(super) struct NatsBus {
    connection: Arc<Connection>,
    names: Names,
}

impl NatsBus {
    pub(super) fn new(connection: &Arc<Connection>, names: &Names) -> Self {
        Self {
            connection: Arc::clone(connection),
            names: names.clone(),
        }
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn send(&self, to: Channel, word: Bytes) -> Result<(), StateError> {
        let subject = self.names.channel(to);
        let attempted = || format!("saying a word on {subject}");
        // Not kept until the connection is back: it would come as if it were new.
        let standing = self.connection.standing();
        standing.map_err(|failure| failure.of_write(attempted()))?;
        let sent = self
            .connection
            .client()
            .publish(subject.clone(), word)
            .await;
        sent.map_err(|error| Failure::NotSent(error.to_string()).of_write(attempted()))
    }

    async fn listen(&self, on: Channel) -> Result<Listener, StateError> {
        let subject = self.names.channel(on);
        let attempted = || format!("listening on {subject}");
        let not_heard = |failure: Failure| failure.of_read(attempted());
        let era = self.connection.standing().map_err(not_heard)?;
        let subscribed = self.connection.client().subscribe(subject.clone()).await;
        let mut messages =
            subscribed.map_err(|error| not_heard(Failure::NotSent(error.to_string())))?;
        // The server takes in order what one connection sends: once it answers, it listens for us.
        reach(&self.connection, era).await.map_err(not_heard)?;
        let (sender, words) = mpsc::channel(WORDS_MAX);
        let end = CancellationToken::new();
        let forward = async move {
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        // Who does not keep up misses words.
                        Some(message) => drop(sender.try_send(message.payload)),
                        None => return,
                    },
                    () = sender.closed() => return,
                }
            }
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(forward));
        let _guard = end.drop_guard();
        Ok(Listener { words, _guard })
    }
}

/// Returns once the server has taken all that was sent before. A request to a subject of our own that
/// nobody listens on is answered by the server itself.
async fn reach(connection: &Connection, era: u64) -> Result<(), Failure> {
    let nobody = connection.client().new_inbox();
    match connection.request(&nobody, None, Bytes::new()).await {
        Ok(_) | Err(Failure::Nobody) if connection.era() == era => Ok(()),
        // Subscribed again with the new connection, but perhaps not yet.
        Ok(_) | Err(Failure::Nobody) => {
            let reason = format!("the connection to {} ended", connection.servers());
            Err(Failure::Unanswered(reason))
        }
        Err(failure) => Err(failure),
    }
}
