//! Logs of requests, in Redis.

mod follow;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use tokio_util::sync::{CancellationToken, DropGuard};
use turlough_sdk::RequestId;

use self::follow::RedisFollow;
use super::Keys;
use super::failure::Doing;
use super::line::Line;
use crate::append::{Append, Record, Seq};
use crate::error::StateError;
use crate::log::{Follow, Followed, Log, Usage};
use crate::state::Options;

/// Parts of `max_age` after which what is too old is looked for: what is kept too long is one of them.
const AGES: u32 = 16;
const EXPIRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));
/// Appends that go at once: a server does nothing else meanwhile.
const EXPIRED_AT_ONCE: usize = 64;
/// A log's key outlives its last append by this much more, for expiry to come first.
const KEY_SLACK: Duration = Duration::from_secs(300);

/// Logs of requests, in Redis.
#[derive(Debug)]
pub(super) struct RedisLog {
    line: Arc<Line>,
    keys: Keys,
    scripts: Scripts,
    bytes_max: u64,
    key_lifetime: Duration,
    _expiry: DropGuard,
}

#[derive(Debug)]
struct Scripts {
    append: Script,
    read: Script,
    delete: Script,
}

/// An entry of the feed: its id, and its fields.
type Entry = (String, Vec<Vec<u8>>);

impl RedisLog {
    /// Logs on this connection. Lets go of what is too old, for as long as it is held.
    pub(super) fn new(line: Arc<Line>, keys: Keys, options: &Options) -> Self {
        let ended = CancellationToken::new();
        let expiring = expire(Arc::clone(&line), keys.clone(), options.max_age);
        let until = ended.clone();
        tokio::spawn(async move { until.run_until_cancelled(expiring).await });
        Self {
            line,
            keys,
            scripts: Scripts {
                append: Script::new(include_str!("scripts/append.lua")),
                read: Script::new(include_str!("scripts/read.lua")),
                delete: Script::new(include_str!("scripts/delete.lua")),
            },
            bytes_max: options.bytes_max,
            key_lifetime: options.max_age + options.max_age / AGES * 2 + KEY_SLACK,
            _expiry: ended.drop_guard(),
        }
    }

    async fn records(
        &self,
        request: RequestId,
        after: Seq,
        last: usize,
    ) -> Result<Vec<Record>, StateError> {
        let mut script = self.scripts.read.key(self.keys.log(request));
        script.key(self.keys.feed()).arg(after.0).arg(last);
        let attempted = || format!("reading the log of request {request}");
        let found: Vec<Vec<u8>> = self.line.run(Doing::Read, &script, attempted).await?;
        let record = |pair: &[Vec<u8>]| match pair {
            [seq, bytes] => Record::decode(request, Seq(number(seq)), bytes),
            _ => Err(StateError::Unavailable {
                attempted: attempted(),
                reason: "redis answered half an append".to_owned(),
            }),
        };
        found.chunks(2).map(record).collect()
    }
}

#[async_trait]
impl Log for RedisLog {
    async fn append(
        &self,
        request: RequestId,
        expected: Seq,
        append: &Append,
    ) -> Result<Seq, StateError> {
        let encoded = append.encode(request)?;
        let size = encoded.len();
        let attempted = || format!("append of {size} bytes to the log of request {request}");
        let lifetime_ms = u64::try_from(self.key_lifetime.as_millis()).unwrap_or(u64::MAX);
        let mut script = self.scripts.append.key(self.keys.log(request));
        script.key(self.keys.feed()).key(self.keys.meta());
        script
            .arg(expected.0)
            .arg(request.as_uuid().as_bytes().as_slice());
        script.arg(encoded).arg(self.bytes_max).arg(lifetime_ms);
        let (verdict, number): (String, u64) =
            self.line.run(Doing::Write, &script, attempted).await?;
        match &*verdict {
            "stored" => Ok(Seq(number)),
            "conflict" => Err(StateError::Conflict {
                request,
                expected,
                last: Seq(number),
            }),
            _ => Err(StateError::Full {
                attempted: attempted(),
                reason: format!(
                    "logs hold {number} of {} bytes; raise TURLOUGH_STATE_BYTES_MAX",
                    self.bytes_max
                ),
            }),
        }
    }

    async fn read(&self, request: RequestId, after: Seq) -> Result<Vec<Record>, StateError> {
        self.records(request, after, 0).await
    }

    async fn last(&self, request: RequestId) -> Result<Option<Record>, StateError> {
        Ok(self.records(request, Seq::START, 1).await?.pop())
    }

    async fn at(&self, seq: Seq) -> Result<Option<Followed>, StateError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys.feed());
        range.arg(format!("{seq}-0")).arg(format!("{seq}-0"));
        let attempted = || format!("reading the append at {seq}");
        let entries: Vec<Entry> = self.line.ask(Doing::Read, &range, attempted).await?;
        Ok(entries.first().map(followed))
    }

    async fn follow(&self, after: Seq) -> Result<Box<dyn Follow>, StateError> {
        let follow = RedisFollow::start(&self.line, &self.keys, after).await?;
        Ok(Box::new(follow))
    }

    async fn delete(&self, request: RequestId) -> Result<(), StateError> {
        let mut script = self.scripts.delete.key(self.keys.log(request));
        script.key(self.keys.feed()).key(self.keys.meta());
        let attempted = || format!("deleting the log of request {request}");
        self.line.run(Doing::Write, &script, attempted).await
    }

    async fn usage(&self) -> Result<Usage, StateError> {
        let mut held = redis::cmd("HGET");
        held.arg(self.keys.meta()).arg("bytes");
        let attempted = || "asking how much the logs hold".to_owned();
        let bytes: Option<u64> = self.line.ask(Doing::Read, &held, attempted).await?;
        Ok(Usage {
            bytes: bytes.unwrap_or(0),
            bytes_max: self.bytes_max,
        })
    }
}

/// Lets go of what is too old, now and then. Every process does; it is done once.
async fn expire(line: Arc<Line>, keys: Keys, max_age: Duration) {
    let script = Script::new(include_str!("scripts/expire.lua"));
    let max_age_ms = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
    let mut tick = tokio::time::interval((max_age / AGES).clamp(EXPIRY.0, EXPIRY.1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // Ends with what was too old when it began, nearly.
        loop {
            let mut script = script.key(keys.feed());
            script.key(keys.meta()).arg(max_age_ms).arg(EXPIRED_AT_ONCE);
            let attempted = || "letting go of old appends".to_owned();
            match line.run::<usize>(Doing::Write, &script, attempted).await {
                Ok(EXPIRED_AT_ONCE) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "old appends could not be let go");
                    break;
                }
            }
        }
    }
}

/// An entry of the feed, as a reader of all logs meets it.
fn followed((id, fields): &Entry) -> Followed {
    let seq = Seq(number(id.as_bytes()));
    let field = |name: &[u8]| {
        let mut pairs = fields.chunks_exact(2);
        pairs.find(|pair| pair[0] == name).map(|pair| &*pair[1])
    };
    let request = field(b"r").and_then(|bytes| uuid::Uuid::from_slice(bytes).ok());
    let request = request.map(RequestId::from_uuid);
    let append = match (request, field(b"b")) {
        (Some(request), Some(bytes)) => {
            Append::decode(request, seq, bytes).map_err(|error| error.to_string())
        }
        _ => Err(format!("entry {id} of the feed is no append")),
    };
    Followed {
        request,
        seq,
        append,
    }
}

/// The number that a text begins with.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    })
}
