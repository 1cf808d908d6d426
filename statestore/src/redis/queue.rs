//! The work queue, in Redis. Of each queue: `ready`, a list of items that wait; `items`, their
//! payloads; `tries`, how often each was taken; `hidden`, when those that are taken or put off come
//! back, by the server's clock.
//!
//! A taker that waits is told on a channel when there is more, and looks now and then without.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{FromRedisValue, Script, Value};
use tokio::time::Instant;

use super::Keys;
use super::failure::Doing;
use super::hearing::Hearing;
use super::line::Line;
use crate::error::StateError;
use crate::queue::{Queue, Taken};
use crate::state::Options;

/// A taker that waits looks this often: what it should have been told may be lost with a connection.
const LOOK: Duration = Duration::from_secs(1);

/// The work queue, in Redis.
#[derive(Debug)]
pub(super) struct RedisQueue {
    line: Arc<Line>,
    keys: Keys,
    hearing: Arc<Hearing>,
    visibility: Duration,
    bytes_max: u64,
    scripts: Scripts,
}

#[derive(Debug)]
struct Scripts {
    enqueue: Script,
    take: Script,
    acknowledge: Script,
    hide: Script,
}

impl RedisQueue {
    pub(super) fn new(
        line: Arc<Line>,
        keys: Keys,
        hearing: Arc<Hearing>,
        options: &Options,
    ) -> Self {
        Self {
            line,
            keys,
            hearing,
            visibility: options.visibility,
            bytes_max: options.bytes_max,
            scripts: Scripts {
                enqueue: Script::new(include_str!("scripts/enqueue.lua")),
                take: Script::new(include_str!("scripts/take.lua")),
                acknowledge: Script::new(include_str!("scripts/acknowledge.lua")),
                hide: Script::new(include_str!("scripts/hide.lua")),
            },
        }
    }

    /// What is there now, and when more comes back.
    async fn take_now(
        &self,
        queue: &str,
        max: usize,
    ) -> Result<(Vec<Taken>, Option<Duration>), StateError> {
        let mut script = self.scripts.take.key(self.keys.queue(queue, "ready"));
        for part in ["items", "tries", "hidden"] {
            script.key(self.keys.queue(queue, part));
        }
        script.arg(max).arg(millis(self.visibility));
        let attempted = || format!("taking items of queue {queue}");
        let answer: Vec<Value> = self.line.run(Doing::Read, &script, attempted).await?;
        let unread = |_| StateError::Unavailable {
            attempted: attempted(),
            reason: "redis answered what is no item".to_owned(),
        };
        let mut answer = answer.into_iter();
        let back_ms = answer.next().unwrap_or(Value::Int(-1));
        let back_ms = i64::from_redis_value(back_ms).map_err(unread)?;
        let mut taken = Vec::new();
        while let (Some(id), Some(attempt), Some(payload)) =
            (answer.next(), answer.next(), answer.next())
        {
            let attempt = u32::from_redis_value(attempt).map_err(unread)?;
            let id = String::from_redis_value(id).map_err(unread)?;
            let payload = Vec::<u8>::from_redis_value(payload).map_err(unread)?;
            taken.push(Taken {
                queue: queue.to_owned(),
                payload: payload.into(),
                attempt,
                ticket: format!("{id}/{attempt}"),
            });
        }
        let back = u64::try_from(back_ms).ok().map(Duration::from_millis);
        Ok((taken, back))
    }

    async fn hide(&self, item: &Taken, after: Duration, doing: &str) -> Result<(), StateError> {
        let (id, attempt) = item.ticket.split_once('/').unwrap_or_default();
        let mut script = self.scripts.hide.key(self.keys.queue(&item.queue, "tries"));
        script.key(self.keys.queue(&item.queue, "hidden"));
        script.arg(id).arg(attempt).arg(millis(after));
        script.arg(self.keys.more()).arg(&item.queue);
        let attempted = || format!("{doing} an item of queue {}", item.queue);
        self.line.run(Doing::Write, &script, attempted).await
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn enqueue(&self, queue: &str, payload: Bytes) -> Result<(), StateError> {
        let size = payload.len();
        let attempted = || format!("enqueuing an item of {size} bytes in queue {queue}");
        let mut script = self.scripts.enqueue.key(self.keys.queue(queue, "ready"));
        script
            .key(self.keys.queue(queue, "items"))
            .key(self.keys.meta());
        script.arg(&payload[..]).arg(self.bytes_max);
        script.arg(self.keys.more()).arg(queue);
        let held: i64 = self.line.run(Doing::Write, &script, attempted).await?;
        if held < 0 {
            return Ok(());
        }
        Err(StateError::Full {
            attempted: attempted(),
            reason: format!(
                "the work queue holds {held} of {} bytes; raise TURLOUGH_STATE_BYTES_MAX",
                self.bytes_max
            ),
        })
    }

    async fn take(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, StateError> {
        let more = self.hearing.more_in(queue);
        let end = Instant::now() + wait;
        loop {
            // Before it looks: what comes while it looks is not missed.
            let told = more.notified();
            let (taken, back) = self.take_now(queue, max).await?;
            let now = Instant::now();
            if !taken.is_empty() || now >= end {
                if taken.len() == max {
                    // There may be more, for another taker of this process.
                    more.notify_one();
                }
                return Ok(taken);
            }
            let look = now + back.unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = told => {}
                () = tokio::time::sleep_until(look.min(end)) => {}
            }
        }
    }

    async fn acknowledge(&self, item: &Taken) -> Result<(), StateError> {
        let (id, attempt) = item.ticket.split_once('/').unwrap_or_default();
        let mut script = self
            .scripts
            .acknowledge
            .key(self.keys.queue(&item.queue, "items"));
        for part in ["tries", "hidden"] {
            script.key(self.keys.queue(&item.queue, part));
        }
        script.key(self.keys.meta()).arg(id).arg(attempt);
        let attempted = || format!("acknowledging an item of queue {}", item.queue);
        self.line.run(Doing::Write, &script, attempted).await
    }

    async fn extend(&self, item: &Taken) -> Result<(), StateError> {
        self.hide(item, self.visibility, "extending the time of")
            .await
    }

    async fn release(&self, item: &Taken, after: Duration) -> Result<(), StateError> {
        self.hide(item, after, "releasing").await
    }

    async fn depth(&self, queue: &str) -> Result<u64, StateError> {
        let mut count = redis::cmd("HLEN");
        count.arg(self.keys.queue(queue, "items"));
        let attempted = || format!("asking for the depth of queue {queue}");
        self.line.ask(Doing::Read, &count, attempted).await
    }
}

/// Whole milliseconds, not less than what is meant.
fn millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX)
}
