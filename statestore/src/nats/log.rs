//! Logs: a stream for each tenant, a subject for each request.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use turlough_sdk::RequestId;

use super::api::{self, Failure, call, code};
use super::connection::Connection;
use super::follow::NatsFollow;
use super::get::{Source, Stored, Which};
use super::names::{Names, request_of};
use crate::append::{Append, Record, Seq};
use crate::error::StateError;
use crate::log::{Follow, Followed, Log, Usage};
use crate::state::Options;

/// Times that an append is sent again where a server refused it though the log ends where it expects:
/// a sole writer met that a few times in a million, and once more was enough.
const TRIES: u32 = 5;
/// Before an append is sent again; doubles. An append of another that was on its way is stored by then.
const TRY_AFTER: Duration = Duration::from_millis(2);
/// How old the usage may be: admission asks for every request, and it moves slowly.
const USAGE_AGE_MAX: Duration = Duration::from_secs(1);

/// The logs of a tenant's requests.
#[derive(Debug)]
pub(super) struct NatsLog {
    connection: Arc<Connection>,
    source: Source,
    stream: String,
    prefix: String,
    bytes_max: u64,
    usage: Mutex<Option<(Instant, Usage)>>,
}

/// What a server answers when it has stored a message.
#[derive(Deserialize)]
pub(super) struct Ack {
    pub(super) seq: u64,
}

#[derive(Deserialize)]
pub(super) struct StreamInfo {
    pub(super) state: StreamState,
}

#[derive(Deserialize)]
pub(super) struct StreamState {
    pub(super) bytes: u64,
    pub(super) last_seq: u64,
}

impl NatsLog {
    pub(super) fn new(connection: &Arc<Connection>, names: &Names, options: &Options) -> Self {
        Self {
            connection: Arc::clone(connection),
            source: Source::new(connection, names.log_stream(), options.replicas),
            stream: names.log_stream(),
            prefix: names.log_prefix(),
            bytes_max: options.bytes_max,
            usage: Mutex::default(),
        }
    }

    fn subject(&self, request: RequestId) -> String {
        format!("{}{request}", self.prefix)
    }

    /// Sends an append once.
    async fn send(&self, subject: &str, expected: Seq, encoded: Bytes) -> Result<Seq, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        let answer = self
            .connection
            .request(subject, Some(headers), encoded)
            .await?;
        let ack: Ack = api::read(&answer.payload)?;
        Ok(Seq(ack.seq))
    }

    async fn place_of_last(&self, request: RequestId) -> Result<Seq, StateError> {
        let last = self.source.one(Which::LastOf(&self.subject(request))).await;
        let last = last.map_err(|failure| failure.of_read(reading(request)))?;
        Ok(last.map_or(Seq::START, |last| Seq(last.seq)))
    }

    fn not_appended(&self, failure: Failure, request: RequestId, size: usize) -> StateError {
        let attempted = format!("append of {size} bytes to the log of request {request}");
        match failure {
            Failure::Api(error) if error.is_full() => StateError::Full {
                attempted,
                reason: format!(
                    "{error}: stream {} may hold {} bytes; raise TURLOUGH_STATE_BYTES_MAX and the \
                     stream's max_bytes",
                    self.stream, self.bytes_max
                ),
            },
            failure => failure.of_write(attempted),
        }
    }
}

#[async_trait]
impl Log for NatsLog {
    async fn append(
        &self,
        request: RequestId,
        expected: Seq,
        append: &Append,
    ) -> Result<Seq, StateError> {
        let encoded = Bytes::from(append.encode(request)?);
        let subject = self.subject(request);
        let mut refusal = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(TRY_AFTER * 2_u32.pow(attempt - 1)).await;
            }
            match self.send(&subject, expected, encoded.clone()).await {
                Ok(seq) => return Ok(seq),
                Err(Failure::Api(error)) if code::WRONG_LAST.contains(&error.err_code) => {
                    refusal = Some(error);
                }
                Err(failure) => return Err(self.not_appended(failure, request, encoded.len())),
            }
            let last = self.place_of_last(request).await?;
            if last != expected {
                return Err(StateError::Conflict {
                    request,
                    expected,
                    last,
                });
            }
        }
        let refusal = refusal.map(|error| error.to_string()).unwrap_or_default();
        Err(StateError::Unavailable {
            attempted: format!("append at {expected} to the log of request {request}"),
            reason: format!("refused {TRIES} times though the log ends there: {refusal}"),
        })
    }

    async fn read(&self, request: RequestId, after: Seq) -> Result<Vec<Record>, StateError> {
        let stored = self.source.all(&self.subject(request), after.0).await;
        let stored = stored.map_err(|failure| failure.of_read(reading(request)))?;
        let decode = |stored: &Stored| Record::decode(request, Seq(stored.seq), &stored.payload);
        stored.iter().map(decode).collect()
    }

    async fn last(&self, request: RequestId) -> Result<Option<Record>, StateError> {
        let last = self.source.one(Which::LastOf(&self.subject(request))).await;
        let last = last.map_err(|failure| failure.of_read(reading(request)))?;
        last.map(|last| Record::decode(request, Seq(last.seq), &last.payload))
            .transpose()
    }

    async fn at(&self, seq: Seq) -> Result<Option<Followed>, StateError> {
        let stored = self.source.one(Which::At(seq.0)).await;
        let stored =
            stored.map_err(|failure| failure.of_read(format!("reading the logs at {seq}")))?;
        Ok(stored.map(|stored| followed(&self.prefix, &stored.subject, seq, &stored.payload)))
    }

    async fn follow(&self, after: Seq) -> Result<Box<dyn Follow>, StateError> {
        let follow = NatsFollow::open(&self.connection, &self.stream, &self.prefix, after).await;
        let attempted = || format!("following the logs after {after}");
        Ok(Box::new(
            follow.map_err(|failure| failure.of_read(attempted()))?,
        ))
    }

    async fn delete(&self, request: RequestId) -> Result<(), StateError> {
        let name = format!("STREAM.PURGE.{}", self.stream);
        let body = json!({"filter": self.subject(request)});
        let purged = call::<Value>(&self.connection, &name, &body).await;
        let attempted = || format!("deleting the log of request {request}");
        purged.map_err(|failure| failure.of_write(attempted()))?;
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, StateError> {
        // Held while it is asked for, so that many who ask at once cost one request.
        let mut usage = self.usage.lock().await;
        if let Some((at, usage)) = *usage
            && at.elapsed() < USAGE_AGE_MAX
        {
            return Ok(usage);
        }
        let name = format!("STREAM.INFO.{}", self.stream);
        let info = call::<StreamInfo>(&self.connection, &name, &json!({})).await;
        let info = info.map_err(|failure| failure.of_read("asking how much the logs hold"))?;
        let found = Usage {
            bytes: info.state.bytes,
            bytes_max: self.bytes_max,
        };
        *usage = Some((Instant::now(), found));
        Ok(found)
    }
}

fn reading(request: RequestId) -> String {
    format!("reading the log of request {request}")
}

/// A message of the stream as a reader of all logs meets it.
pub(super) fn followed(prefix: &str, subject: &str, seq: Seq, payload: &[u8]) -> Followed {
    let request = request_of(subject, prefix);
    let append = match request {
        Some(request) => Append::decode(request, seq, payload).map_err(|error| error.to_string()),
        None => Err(format!(
            "subject {subject:?} at {seq} is not that of a request"
        )),
    };
    Followed {
        request,
        seq,
        append,
    }
}
