//! Answers of several messages.
//!
//! Invariant: messages come over the connection that they were asked for on; when it ends, so does
//! the inbox, since some may be lost in between.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde_json::Value;

use super::api::Failure;
use super::connection::Connection;

/// A subject of our own that answers are sent to.
#[derive(Debug)]
pub(super) struct Inbox {
    connection: Arc<Connection>,
    era: u64,
    subject: String,
    messages: Subscriber,
}

impl Inbox {
    pub(super) async fn open(connection: &Arc<Connection>) -> Result<Self, Failure> {
        let era = connection.standing()?;
        let subject = connection.client().new_inbox();
        let messages = connection.client().subscribe(subject.clone());
        let messages = messages
            .await
            .map_err(|error| Failure::NotSent(error.to_string()))?;
        Ok(Self {
            connection: Arc::clone(connection),
            era,
            subject,
            messages,
        })
    }

    /// Asks for messages.
    pub(super) async fn ask(&self, subject: &str, body: &Value) -> Result<(), Failure> {
        let body = Bytes::from(body.to_string());
        let client = self.connection.client();
        let asked = client.publish_with_reply(subject.to_owned(), self.subject.clone(), body);
        tokio::select! {
            asked = asked => asked.map_err(|error| Failure::NotSent(error.to_string())),
            () = self.connection.ended(self.era) => Err(self.lost()),
        }
    }

    /// The next message; none when it does not come in time. Safe to be dropped while it waits.
    pub(super) async fn next(&mut self, wait: Duration) -> Result<Option<Message>, Failure> {
        let message = tokio::select! {
            biased; // what came before the connection ended counts
            message = self.messages.next() => message,
            () = self.connection.ended(self.era) => None,
            () = tokio::time::sleep(wait) => return Ok(None),
        };
        match message {
            Some(message) if self.connection.era() == self.era => Ok(Some(message)),
            _ => Err(self.lost()),
        }
    }

    /// A message that is there already.
    pub(super) fn next_now(&mut self) -> Option<Message> {
        if self.connection.era() != self.era {
            return None;
        }
        self.messages.next().now_or_never().flatten()
    }

    fn lost(&self) -> Failure {
        let servers = self.connection.servers();
        Failure::Unanswered(format!("the connection to {servers} ended"))
    }
}
