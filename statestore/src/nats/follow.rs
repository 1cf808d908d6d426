//! Following all logs: a consumer of our own, which the server forgets some time after us.
//!
//! Invariants: nothing is met twice, out of order or left out: the consumer numbers what it sends,
//! and a gap ends the follower. It never goes on over another connection, nor on a stream that ends
//! before the place where it stands.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::api::{Failure, call};
use super::connection::Connection;
use super::inbox::Inbox;
use super::log::{StreamInfo, followed};
use super::queue::Delivery;
use crate::append::Seq;
use crate::error::StateError;
use crate::log::{Follow, Followed};

/// Messages that are asked for at once, and so wait in this process at most.
const PULL_MAX: u64 = 256;
/// Bytes that are asked for at once: several of the largest appends.
const PULL_BYTES_MAX: u64 = 4 << 20;
/// How long a pull waits at the server; then the stream's end is looked at.
const PULL_TIME: Duration = Duration::from_secs(15);
/// How often a server that has nothing to send says so.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A server that was silent for so long has lost the consumer, or us.
const SILENCE_MAX: Duration = Duration::from_secs(11);
/// How long a server keeps a consumer that nobody pulls from.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Reads all logs of a tenant.
#[derive(Debug)]
pub(super) struct NatsFollow {
    connection: Arc<Connection>,
    inbox: Inbox,
    stream: String,
    prefix: String,
    pull: String,
    after: Seq,
    /// The consumer's own number of the last message.
    count: u64,
    /// Messages that the server may still send for the last pull.
    asked: u64,
    has_looked: bool,
    /// What was met after appends that had to be returned first.
    failed: Option<Failure>,
}

/// What a message means to a follower.
enum Met {
    Append(Followed),
    /// The pull is over.
    PullEnded,
    Heartbeat,
}

impl NatsFollow {
    pub(super) async fn open(
        connection: &Arc<Connection>,
        stream: &str,
        prefix: &str,
        after: Seq,
    ) -> Result<Self, Failure> {
        let inbox = Inbox::open(connection).await?;
        let name = connection.client().new_inbox().replace('.', "");
        let body = json!({"stream_name": stream, "action": "create", "config": {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after.0 + 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": -1,
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": FORGET_AFTER.as_nanos() as u64,
        }});
        call::<Value>(
            connection,
            &format!("CONSUMER.CREATE.{stream}.{name}"),
            &body,
        )
        .await?;
        Ok(Self {
            connection: Arc::clone(connection),
            inbox,
            stream: stream.to_owned(),
            prefix: prefix.to_owned(),
            pull: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"),
            after,
            count: 0,
            asked: 0,
            has_looked: false,
            failed: None,
        })
    }

    /// Looks whether the stream still reaches to where this stands.
    async fn look(&mut self) -> Result<(), Failure> {
        let name = format!("STREAM.INFO.{}", self.stream);
        let info: StreamInfo = call(&self.connection, &name, &json!({})).await?;
        let last = info.state.last_seq;
        if last < self.after.0 {
            let reason = format!("they end at {last}: what followed it was lost");
            return Err(Failure::NotSent(reason));
        }
        self.has_looked = true;
        Ok(())
    }

    async fn ask(&mut self) -> Result<(), Failure> {
        let body = json!({
            "batch": PULL_MAX,
            "max_bytes": PULL_BYTES_MAX,
            "expires": PULL_TIME.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
        });
        self.inbox.ask(&self.pull, &body).await?;
        self.asked = PULL_MAX;
        Ok(())
    }

    fn meet(&mut self, message: &Message) -> Result<Met, Failure> {
        let lost = |reason: String| Err(Failure::Unanswered(reason));
        let description = message.description.as_deref().unwrap_or_default();
        match message.status.map(|status| status.as_u16()) {
            None => {}
            Some(100) => return Ok(Met::Heartbeat),
            // Time over, or no more fits into it.
            Some(408) => {
                (self.asked, self.has_looked) = (0, false);
                return Ok(Met::PullEnded);
            }
            Some(409) if description.contains("MaxBytes") || description == "Batch Completed" => {
                self.asked = 0;
                return Ok(Met::PullEnded);
            }
            Some(status) => return lost(format!("the server says {status} {description}")),
        }
        let delivery = message.reply.as_deref().and_then(Delivery::parse);
        let Some(delivery) = delivery else {
            return lost(format!(
                "a message came without its place: {:?}",
                message.reply
            ));
        };
        let seq = Seq(delivery.stream_seq);
        if delivery.consumer_seq != self.count + 1 || seq <= self.after {
            return lost(format!(
                "message {} at {seq} came after message {} at {}",
                delivery.consumer_seq, self.count, self.after
            ));
        }
        (self.count, self.after) = (delivery.consumer_seq, seq);
        self.asked = self.asked.saturating_sub(1);
        Ok(Met::Append(followed(
            &self.prefix,
            &message.subject,
            seq,
            &message.payload,
        )))
    }

    /// The next append, and what is there already of those after it.
    async fn some(&mut self, max: usize) -> Result<Vec<Followed>, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let mut all = Vec::new();
        while all.is_empty() {
            if !self.has_looked {
                self.look().await?;
            }
            if self.asked == 0 {
                self.ask().await?;
            }
            let Some(message) = self.inbox.next(SILENCE_MAX).await? else {
                let waited = SILENCE_MAX.as_secs();
                return Err(Failure::Unanswered(format!("nothing came for {waited} s")));
            };
            if let Met::Append(append) = self.meet(&message)? {
                all.push(append);
            }
        }
        // Nothing is awaited from here on: what was met is returned.
        while all.len() < max
            && let Some(message) = self.inbox.next_now()
        {
            match self.meet(&message) {
                Ok(Met::Append(append)) => all.push(append),
                Ok(Met::PullEnded | Met::Heartbeat) => {}
                Err(failure) => {
                    self.failed = Some(failure);
                    break;
                }
            }
        }
        Ok(all)
    }
}

#[async_trait]
impl Follow for NatsFollow {
    async fn next(&mut self, max: usize) -> Result<Vec<Followed>, StateError> {
        let after = self.after;
        let some = self.some(max.max(1)).await;
        some.map_err(|failure| failure.of_read(format!("following the logs after {after}")))
    }
}
