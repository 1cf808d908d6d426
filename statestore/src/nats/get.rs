//! Reading what a stream holds, outside of any consumer.
//!
//! Where a stream has one copy, its server answers from what is stored, by the fast way (direct get).
//! Where it has several, any of them answers a direct get, and may not have all that the leader has
//! acknowledged: single messages are then asked of the leader, and a batch is measured against the
//! leader's last message and completed from the leader.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Failure, call, code};
use super::connection::Connection;
use super::inbox::Inbox;

/// Messages that are asked for at once: few round trips for a long log, and few enough to wait for.
const PAGE_MAX: u64 = 1024;
/// Bytes that are asked for at once: what a server sends without waiting for us.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// Between two messages of a page.
const WAIT: Duration = Duration::from_secs(5);

/// A stream to read from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    connection: Arc<Connection>,
    stream: String,
    has_copies: bool,
}

/// A message that is stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) seq: u64,
    pub(super) subject: String,
    pub(super) payload: Bytes,
    /// It says that there is no value any more.
    pub(super) is_removal: bool,
}

/// Which single message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    At(u64),
    LastOf(&'a str),
}

impl Source {
    pub(super) fn new(connection: &Arc<Connection>, stream: String, replicas: u8) -> Self {
        Self {
            connection: Arc::clone(connection),
            stream,
            has_copies: replicas > 1,
        }
    }

    pub(super) async fn one(&self, which: Which<'_>) -> Result<Option<Stored>, Failure> {
        let body = match which {
            Which::At(0) => return Ok(None),
            Which::At(seq) => json!({"seq": seq}),
            Which::LastOf(subject) => json!({"last_by_subj": subject}),
        };
        if self.has_copies {
            self.of_leader(&body).await
        } else {
            self.direct(&body).await
        }
    }

    /// All messages of a subject, which may end in a wildcard, after a place.
    pub(super) async fn all(&self, subject: &str, after: u64) -> Result<Vec<Stored>, Failure> {
        let mut end = 0;
        if self.has_copies {
            let last = self.of_leader(&json!({"last_by_subj": subject})).await?;
            match last.map(|last| last.seq).filter(|last| *last > after) {
                Some(last) => end = last,
                None => return Ok(Vec::new()),
            }
        }
        let mut all = Vec::new();
        let mut place = after;
        loop {
            let is_end = self.page(subject, place, &mut all).await?;
            place = all.last().map_or(place, |last| last.seq);
            if is_end {
                break;
            }
        }
        while place < end {
            let body = json!({"seq": place + 1, "next_by_subj": subject});
            let Some(next) = self.of_leader(&body).await? else {
                break; // deleted meanwhile
            };
            place = next.seq;
            all.push(next);
        }
        Ok(all)
    }

    /// Reads on after a place; whether that was the end.
    async fn page(
        &self,
        subject: &str,
        after: u64,
        all: &mut Vec<Stored>,
    ) -> Result<bool, Failure> {
        let mut inbox = Inbox::open(&self.connection).await?;
        let body = json!({
            "seq": after + 1, "next_by_subj": subject,
            "batch": PAGE_MAX, "max_bytes": PAGE_BYTES_MAX,
        });
        inbox
            .ask(&format!("$JS.API.DIRECT.GET.{}", self.stream), &body)
            .await?;
        let before = all.len();
        // A page and its end.
        for _ in 0..=PAGE_MAX {
            let Some(message) = inbox.next(WAIT).await? else {
                break;
            };
            match message.status.map(|status| status.as_u16()) {
                None => all.push(Stored::of(&message)?),
                // The end of the batch: what is pending comes with the next.
                Some(204) => {
                    let pending = number(message.headers.as_ref(), "Nats-Num-Pending");
                    return Ok(pending == Some(0) || all.len() == before);
                }
                Some(404) => return Ok(true),
                Some(503) => return Err(Failure::Nobody),
                Some(_) => return Err(unexpected(&message)),
            }
        }
        let waited = WAIT.as_secs();
        Err(Failure::Unanswered(format!(
            "no end of a batch within {waited} s"
        )))
    }

    async fn direct(&self, body: &Value) -> Result<Option<Stored>, Failure> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        let body = Bytes::from(body.to_string());
        let message = self.connection.request(&subject, None, body).await?;
        match message.status.map(|status| status.as_u16()) {
            None => Stored::of(&message).map(Some),
            Some(404) => Ok(None),
            Some(_) => Err(unexpected(&message)),
        }
    }

    async fn of_leader(&self, body: &Value) -> Result<Option<Stored>, Failure> {
        let name = format!("STREAM.MSG.GET.{}", self.stream);
        match call::<Got>(&self.connection, &name, body).await {
            Ok(got) => got.message.stored().map(Some),
            Err(failure) if failure.code() == code::NO_MESSAGE => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

impl Stored {
    fn of(message: &Message) -> Result<Self, Failure> {
        let headers = message.headers.as_ref();
        let stored = number(headers, "Nats-Sequence").zip(text(headers, "Nats-Subject"));
        let (seq, subject) = stored.ok_or_else(|| unexpected(message))?;
        Ok(Self {
            seq,
            subject: subject.to_owned(),
            payload: message.payload.clone(),
            is_removal: matches!(text(headers, "KV-Operation"), Some("DEL" | "PURGE")),
        })
    }
}

#[derive(Deserialize)]
struct Got {
    message: GotMessage,
}

#[derive(Deserialize)]
struct GotMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
}

impl GotMessage {
    fn stored(self) -> Result<Stored, Failure> {
        let decode = |text: &str| {
            let decoded = STANDARD.decode(text);
            decoded.map_err(|error| Failure::Unanswered(format!("message {}: {error}", self.seq)))
        };
        let headers = decode(&self.hdrs)?;
        let headers = String::from_utf8_lossy(&headers);
        let is_removal = headers.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name == "KV-Operation" && matches!(value.trim(), "DEL" | "PURGE")
            })
        });
        Ok(Stored {
            seq: self.seq,
            payload: Bytes::from(decode(&self.data)?),
            subject: self.subject,
            is_removal,
        })
    }
}

fn text<'a>(headers: Option<&'a HeaderMap>, name: &'static str) -> Option<&'a str> {
    headers?.get(name).map(|value| value.as_str())
}

fn number(headers: Option<&HeaderMap>, name: &'static str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

fn unexpected(message: &Message) -> Failure {
    let status = message.status.map_or(0, |status| status.as_u16());
    let description = message.description.as_deref().unwrap_or_default();
    Failure::Unanswered(format!("the server answered {status} {description}"))
}
