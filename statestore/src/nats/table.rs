//! Tables: key-value buckets, laid out as other NATS clients read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;

use super::api::{self, Failure};
use super::connection::Connection;
use super::get::{Source, Which};
use super::log::Ack;
use super::names::Bucket;
use crate::error::StateError;
use crate::table::Table;

/// Rounds of a listing: a key would have to be set anew in each of them, within milliseconds, to be
/// missed by all.
const ROUNDS_MAX: u32 = 8;

/// Small values by key.
#[derive(Debug)]
pub(super) struct NatsTable {
    connection: Arc<Connection>,
    source: Source,
    stream: String,
    prefix: String,
}

impl NatsTable {
    pub(super) fn new(connection: &Arc<Connection>, bucket: &Bucket, replicas: u8) -> Self {
        Self {
            connection: Arc::clone(connection),
            source: Source::new(connection, bucket.stream.clone(), replicas),
            stream: bucket.stream.clone(),
            prefix: bucket.prefix.clone(),
        }
    }

    fn subject(&self, key: &str, attempted: &str) -> Result<String, StateError> {
        let is_segment = |segment: &str| {
            let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            !segment.is_empty() && segment.bytes().all(is_legal)
        };
        if key.split('.').all(is_segment) {
            Ok(format!("{}{key}", self.prefix))
        } else {
            Err(StateError::Refused {
                attempted: attempted.to_owned(),
                reason: "keys are segments of letters, digits, - and _, joined by .".to_owned(),
            })
        }
    }

    async fn publish(
        &self,
        attempted: String,
        subject: &str,
        headers: Option<HeaderMap>,
        value: Bytes,
    ) -> Result<(), StateError> {
        let answer = self.connection.request(subject, headers, value).await;
        match answer.and_then(|answer| api::read::<Ack>(&answer.payload)) {
            Ok(_) => Ok(()),
            Err(Failure::Api(error)) if error.is_full() => Err(StateError::Full {
                attempted,
                reason: format!("{error} in stream {}; raise its max_bytes", self.stream),
            }),
            Err(failure) => Err(failure.of_write(attempted)),
        }
    }
}

#[async_trait]
impl Table for NatsTable {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StateError> {
        let attempted = format!("reading {key} of {}", self.stream);
        let subject = self.subject(key, &attempted)?;
        let found = self.source.one(Which::LastOf(&subject)).await;
        let found = found.map_err(|failure| failure.of_read(attempted))?;
        Ok(found
            .filter(|found| !found.is_removal)
            .map(|found| found.payload))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), StateError> {
        let attempted = format!("setting {key} of {}", self.stream);
        let subject = self.subject(key, &attempted)?;
        self.publish(attempted, &subject, None, value).await
    }

    async fn remove(&self, key: &str) -> Result<(), StateError> {
        let attempted = format!("removing {key} of {}", self.stream);
        let subject = self.subject(key, &attempted)?;
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        self.publish(attempted, &subject, Some(headers), Bytes::new())
            .await
    }

    /// A value that is set while this reads moves to the stream's end. So it reads on until nothing
    /// is left: then it met every key at its old place or at its new one.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StateError> {
        let subject = format!("{}>", self.prefix);
        let mut entries = BTreeMap::new();
        let mut place = 0;
        for _ in 0..ROUNDS_MAX {
            let some = self.source.all(&subject, place).await;
            let attempted = || format!("listing {prefix}* of {}", self.stream);
            let some = some.map_err(|failure| failure.of_read(attempted()))?;
            let Some(last) = some.last() else {
                break;
            };
            place = last.seq;
            for stored in some {
                let Some(key) = stored.subject.strip_prefix(&self.prefix) else {
                    continue;
                };
                if stored.is_removal {
                    entries.remove(key);
                } else if key.starts_with(prefix) {
                    entries.insert(key.to_owned(), stored.payload);
                }
            }
        }
        Ok(entries.into_iter().collect())
    }
}
