//! Small tables, in Redis: a hash each, and for entries that lapse, when they do, by the server's
//! clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{FromRedisValue, Script};

use super::Keys;
use super::failure::Doing;
use super::line::Line;
use crate::error::StateError;
use crate::table::Table;

/// Entries that stay.
#[derive(Debug)]
pub(super) struct Definitions {
    line: Arc<Line>,
    hash: String,
}

impl Definitions {
    pub(super) const fn new(line: Arc<Line>, hash: String) -> Self {
        Self { line, hash }
    }

    async fn ask<T: FromRedisValue>(
        &self,
        doing: Doing,
        name: &str,
        args: &[&[u8]],
        attempted: impl Fn() -> String,
    ) -> Result<T, StateError> {
        let mut command = redis::cmd(name);
        command.arg(&self.hash).arg(args);
        self.line.ask(doing, &command, attempted).await
    }
}

#[async_trait]
impl Table for Definitions {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StateError> {
        let attempted = || format!("getting key {key}");
        let found: Option<Vec<u8>> = self
            .ask(Doing::Read, "HGET", &[key.as_bytes()], attempted)
            .await?;
        Ok(found.map(Bytes::from))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), StateError> {
        let attempted = || format!("putting key {key}");
        self.ask(Doing::Write, "HSET", &[key.as_bytes(), &value], attempted)
            .await
    }

    async fn remove(&self, key: &str) -> Result<(), StateError> {
        let attempted = || format!("removing key {key}");
        self.ask(Doing::Write, "HDEL", &[key.as_bytes()], attempted)
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StateError> {
        let attempted = || format!("listing the keys that begin with {prefix:?}");
        let mut keys: Vec<String> = self.ask(Doing::Read, "HKEYS", &[], attempted).await?;
        keys.retain(|key| key.starts_with(prefix));
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        keys.sort_unstable();
        let names: Vec<_> = keys.iter().map(String::as_bytes).collect();
        let values: Vec<Option<Vec<u8>>> =
            self.ask(Doing::Read, "HMGET", &names, attempted).await?;
        let entries = keys.into_iter().zip(values);
        // What was removed meanwhile is left out.
        let there = |(key, value): (String, Option<Vec<u8>>)| Some((key, Bytes::from(value?)));
        Ok(entries.filter_map(there).collect())
    }
}

/// Entries that lapse.
#[derive(Debug)]
pub(super) struct Beats {
    values: Definitions,
    deadlines: String,
    lifetime: Duration,
    beat: Script,
    lapse: Script,
}

impl Beats {
    pub(super) fn new(line: Arc<Line>, keys: &Keys, lifetime: Duration) -> Self {
        Self {
            values: Definitions::new(line, keys.replicas("values")),
            deadlines: keys.replicas("deadlines"),
            lifetime,
            beat: Script::new(include_str!("scripts/beat.lua")),
            lapse: Script::new(include_str!("scripts/lapse.lua")),
        }
    }

    /// Takes out what has lapsed.
    async fn lapse(&self, attempted: impl Fn() -> String) -> Result<(), StateError> {
        let mut script = self.lapse.key(&self.values.hash);
        script.key(&self.deadlines);
        self.values.line.run(Doing::Read, &script, attempted).await
    }
}

#[async_trait]
impl Table for Beats {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StateError> {
        self.lapse(|| format!("getting key {key}")).await?;
        self.values.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), StateError> {
        let mut script = self.beat.key(&self.values.hash);
        script.key(&self.deadlines).arg(key).arg(&value[..]);
        script.arg(u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX));
        let attempted = || format!("putting key {key}");
        self.values.line.run(Doing::Write, &script, attempted).await
    }

    async fn remove(&self, key: &str) -> Result<(), StateError> {
        // Its deadline then takes out nothing.
        self.values.remove(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StateError> {
        self.lapse(|| format!("listing the keys that begin with {prefix:?}"))
            .await?;
        self.values.list(prefix).await
    }
}
