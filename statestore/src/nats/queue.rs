//! Queues: a stream for each tenant with work-queue retention, a subject and a durable consumer for
//! each queue.
//!
//! A taking is named by the subject that its acknowledgement goes to. The server takes the late
//! acknowledgement of a taking that is over for that of the item, which nothing here can tell apart:
//! whoever acts on an item must not rely on being alone with it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Message;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::api::{self, Failure, call};
use super::connection::Connection;
use super::inbox::Inbox;
use super::log::Ack;
use super::names::{self, Names};
use super::settings::ensure_consumer;
use crate::error::StateError;
use crate::queue::{Queue, Taken};
use crate::state::Options;

/// Items that are taken at once.
const BATCH_MAX: usize = 1024;
/// How much later than it should a server may say that nothing came.
const LATE_MAX: Duration = Duration::from_secs(5);
const ACK_PREFIX: &str = "$JS.ACK.";

/// The queues of a tenant.
#[derive(Debug)]
pub(super) struct NatsQueue {
    connection: Arc<Connection>,
    stream: String,
    prefix: String,
    visibility: Duration,
    /// Consumers that are known to be there: one for each queue that this process takes from.
    known: Mutex<HashSet<String>>,
}

/// Where and how often a message was delivered, as its reply subject says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) attempt: u32,
    pub(super) stream_seq: u64,
    pub(super) consumer_seq: u64,
}

impl Delivery {
    /// `$JS.ACK.<stream>.<consumer>.<attempt>.<stream>.<consumer>.<time>.<pending>`, or longer ones,
    /// where domain and account stand before the stream.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<_> = reply.strip_prefix(ACK_PREFIX)?.split('.').collect();
        let rest = match tokens.len() {
            7 => &tokens[2..],
            9.. => &tokens[4..],
            _ => return None,
        };
        Some(Self {
            attempt: rest[0].parse().ok()?,
            stream_seq: rest[1].parse().ok()?,
            consumer_seq: rest[2].parse().ok()?,
        })
    }
}

#[derive(Deserialize)]
struct Depths {
    state: DepthsState,
}

#[derive(Deserialize)]
struct DepthsState {
    #[serde(default)]
    subjects: Option<std::collections::HashMap<String, u64>>,
}

impl NatsQueue {
    pub(super) fn new(connection: &Arc<Connection>, names: &Names, options: &Options) -> Self {
        Self {
            connection: Arc::clone(connection),
            stream: names.work_stream(),
            prefix: names.work_prefix(),
            visibility: options.visibility,
            known: Mutex::default(),
        }
    }

    async fn ensure(&self, consumer: &str) -> Result<(), StateError> {
        if self.known().contains(consumer) {
            return Ok(());
        }
        let subject = format!("{}{consumer}", self.prefix);
        let (stream, visibility) = (&self.stream, self.visibility);
        ensure_consumer(&self.connection, stream, consumer, &subject, visibility).await?;
        self.known().insert(consumer.to_owned());
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One pull: what is there, or the first that comes, and what came with it.
    async fn pull(
        &self,
        consumer: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, Failure> {
        let mut inbox = Inbox::open(&self.connection).await?;
        let mut body = json!({"batch": max, "no_wait": true});
        if !wait.is_zero() {
            body["expires"] = json!(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        }
        let name = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.stream);
        inbox.ask(&name, &body).await?;
        let end = Instant::now() + wait + LATE_MAX;
        let mut items = Vec::new();
        while items.len() < max {
            let left = end.saturating_duration_since(Instant::now());
            let message = match inbox.next(left).await {
                Ok(Some(message)) => message,
                // What came is held by us, and is worth more than the reason why no more did.
                _ if !items.is_empty() => break,
                Ok(None) => {
                    let waited = LATE_MAX.as_secs();
                    return Err(Failure::Unanswered(format!(
                        "no end of the wait after {waited} s"
                    )));
                }
                Err(failure) => return Err(failure),
            };
            match message.status.map(|status| status.as_u16()) {
                None => items.push(message),
                Some(100) => {}
                // Nothing there, or nothing came in time.
                Some(404 | 408) => break,
                Some(_) if !items.is_empty() => break,
                Some(503) => return Err(Failure::Nobody),
                Some(status) => {
                    let description = message.description.unwrap_or_default();
                    let reason = format!("the server says {status} {description}");
                    return Err(Failure::Unanswered(reason));
                }
            }
        }
        Ok(items)
    }

    /// Tells the server about a taking, and waits until it heard it.
    async fn tell(&self, item: &Taken, doing: &str, word: Bytes) -> Result<(), StateError> {
        let told = self.connection.request(&item.ticket, None, word).await;
        let attempted = || format!("{doing} an item of queue {}", item.queue);
        told.map_err(|failure| failure.of_write(attempted()))?;
        Ok(())
    }
}

#[async_trait]
impl Queue for NatsQueue {
    async fn enqueue(&self, queue: &str, payload: Bytes) -> Result<(), StateError> {
        let attempted = format!("adding {} bytes to queue {queue}", payload.len());
        let subject = format!("{}{}", self.prefix, legal(queue, &attempted)?);
        let answer = self.connection.request(&subject, None, payload).await;
        let stored = answer.and_then(|answer| api::read::<Ack>(&answer.payload));
        match stored {
            Ok(_) => Ok(()),
            Err(Failure::Api(error)) if error.is_full() => Err(StateError::Full {
                attempted,
                reason: format!(
                    "{error} in stream {}; take more, or raise TURLOUGH_STATE_BYTES_MAX and the \
                     stream's max_bytes",
                    self.stream
                ),
            }),
            Err(failure) => Err(failure.of_write(attempted)),
        }
    }

    async fn take(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, StateError> {
        let attempted = format!("taking from queue {queue}");
        let consumer = legal(queue, &attempted)?;
        self.ensure(&consumer).await?;
        let pulled = self.pull(&consumer, max.clamp(1, BATCH_MAX), wait).await;
        let messages = pulled.map_err(|failure| {
            // It may have been taken away: the next take looks.
            self.known().remove(&consumer);
            failure.of_read(attempted)
        })?;
        let taken = messages.into_iter().filter_map(|message| {
            let ticket = message.reply?.to_string();
            let attempt = Delivery::parse(&ticket)?.attempt;
            Some(Taken {
                queue: queue.to_owned(),
                payload: message.payload,
                attempt,
                ticket,
            })
        });
        Ok(taken.collect())
    }

    async fn acknowledge(&self, item: &Taken) -> Result<(), StateError> {
        self.tell(item, "acknowledging", Bytes::from_static(b"+ACK"))
            .await
    }

    async fn extend(&self, item: &Taken) -> Result<(), StateError> {
        self.tell(item, "extending", Bytes::from_static(b"+WPI"))
            .await
    }

    async fn release(&self, item: &Taken, after: Duration) -> Result<(), StateError> {
        let word = if after.is_zero() {
            Bytes::from_static(b"-NAK")
        } else {
            Bytes::from(format!(
                "-NAK {}",
                json!({"delay": after.as_nanos() as u64})
            ))
        };
        self.tell(item, "releasing", word).await
    }

    async fn depth(&self, queue: &str) -> Result<u64, StateError> {
        let attempted = format!("asking for the depth of queue {queue}");
        let subject = format!("{}{}", self.prefix, legal(queue, &attempted)?);
        let name = format!("STREAM.INFO.{}", self.stream);
        let body = json!({"subjects_filter": subject});
        let depths = call::<Depths>(&self.connection, &name, &body).await;
        let depths = depths.map_err(|failure| failure.of_read(attempted))?;
        let of = |all: std::collections::HashMap<_, _>| all.get(&subject).copied();
        Ok(depths.state.subjects.and_then(of).unwrap_or(0))
    }
}

fn legal(queue: &str, attempted: &str) -> Result<String, StateError> {
    names::consumer(queue).ok_or_else(|| StateError::Refused {
        attempted: attempted.to_owned(),
        reason: "queues are named by letters, digits, -, . and _".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_tells_the_delivery() {
        let expect = Delivery {
            attempt: 2,
            stream_seq: 31,
            consumer_seq: 7,
        };
        for reply in [
            "$JS.ACK.TL_acme_WORK.flows=acme.2.31.7.1795297746268932285.5",
            "$JS.ACK.hub.ABC123.TL_acme_WORK.flows.2.31.7.1795297746268932285.5",
            "$JS.ACK._.ABC123.TL_acme_WORK.flows.2.31.7.1795297746268932285.5.token",
        ] {
            assert_eq!(Delivery::parse(reply), Some(expect), "{reply}");
        }
        for reply in ["", "_INBOX.a", "$JS.ACK.a.b.c", "$JS.ACK.a.b.x.31.7.1.5"] {
            assert_eq!(Delivery::parse(reply), None, "{reply}");
        }
    }
}
