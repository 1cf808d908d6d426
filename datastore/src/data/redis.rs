//! Values in a Redis, or a cluster of them, for any number of processes:
//!
//! ```text
//! {<tenant>/<request>}        hash: the values of a bucket, by name
//! {<tenant>/<request>}:epoch  hash: its newest epoch, its bytes, whether it was dropped
//! ```
//! Both expire with the lease. The braces keep them on one node. What is checked and then changed is one
//! script, which Redis does whole or not at all. Epochs are written in 20 digits, so that they compare as
//! text: numbers of Lua are not exact beyond 2^53.

mod script;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{FromRedisValue, Value};
use turlough_sdk::{Digest, RequestId, TenantId, ValueRef};

use self::script::Script;
use super::error::{BucketError, Failure, GetError, Newer, PutError};
use super::line::{Dialler, Fault, Line, Said, cluster, read_authorities, server};
use super::{DataStore, DataUrl, Dropped, Options, Stored, key, lease_ms};

/// A tenant's values in Redis.
#[derive(Debug)]
pub(super) struct InRedis {
    line: Line,
    address: Arc<str>,
    tenant: TenantId,
    lease_ms: u64,
    put: Script,
    drop: Script,
    lease: Script,
}

/// What a script did.
struct Told {
    what: String,
    newest: u64,
    rest: Vec<Value>,
}

impl InRedis {
    pub(super) async fn open(url: &str, options: &Options) -> Result<Self, Failure> {
        let address = DataUrl::Redis(url.to_owned()).to_string();
        let authorities = read_authorities(options.authorities.as_deref()).await?;
        let this = Self::with(server(address.into(), url, authorities)?, options).await?;
        this.warn_of_eviction().await;
        Ok(this)
    }

    /// `redis+cluster://[user:password@]host:port,host:port`
    pub(super) async fn open_cluster(url: &str, options: &Options) -> Result<Self, Failure> {
        let address = DataUrl::Cluster(url.to_owned()).to_string();
        let (scheme, rest) = url.split_once("+cluster://").unwrap_or(("redis", url));
        let (who, places) = match rest.rsplit_once('@') {
            Some((who, places)) => (format!("{who}@"), places),
            None => (String::new(), rest),
        };
        let nodes = places.trim_end_matches('/').split(',');
        let nodes = nodes.map(|place| format!("{scheme}://{who}{place}"));
        let authorities = read_authorities(options.authorities.as_deref()).await?;
        let dialler = cluster(address.into(), nodes.collect(), authorities)?;
        Self::with(dialler, options).await
    }

    async fn with(dialler: Dialler, options: &Options) -> Result<Self, Failure> {
        let (line, wire) = Line::open(dialler).await?;
        Ok(Self {
            line,
            address: wire.address,
            tenant: options.tenant.clone(),
            lease_ms: lease_ms(options.lease),
            put: Script::new(include_str!("redis/scripts/put.lua")),
            drop: Script::new(include_str!("redis/scripts/drop.lua")),
            lease: Script::new(include_str!("redis/scripts/lease.lua")),
        })
    }

    /// Values that are taken away before their time are made again, which somebody should know.
    async fn warn_of_eviction(&self) {
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        let Ok((value, _)) = self.line.ask(&info, 0).await else {
            return;
        };
        let text = String::from_redis_value(value).unwrap_or_default();
        let mut lines = text.lines();
        let policy = lines.find_map(|line| line.trim().strip_prefix("maxmemory_policy:"));
        if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
            tracing::warn!(
                address = %self.address,
                policy,
                "redis takes values away when it is full, and steps then run again; set its maxmemory-policy to noeviction"
            );
        }
    }

    /// The keys of a bucket.
    fn keys(&self, request: RequestId) -> [String; 2] {
        let bucket = format!("{{{}/{request}}}", self.tenant);
        let known = format!("{bucket}:epoch");
        [bucket, known]
    }

    async fn of_bucket(
        &self,
        script: &Script,
        request: RequestId,
        epoch: u64,
        lease_ms: u64,
        doing: &str,
    ) -> Result<Told, BucketError> {
        let attempted = || format!("{doing} the bucket of request {request}");
        let (epoch_digits, lease) = (digits(epoch), lease_ms.to_string());
        let args: [&[u8]; 2] = [epoch_digits.as_bytes(), lease.as_bytes()];
        let answer = script.run(&self.line, &self.keys(request), &args, 0).await;
        let told = answer.and_then(told);
        let told = told.map_err(|fault| fault.failure(attempted()))?;
        if told.what == "stale" {
            return Err(BucketError::Stale {
                attempted: attempted(),
                epoch,
                newer: told.newer(false),
            });
        }
        Ok(told)
    }
}

#[async_trait]
impl DataStore for InRedis {
    fn address(&self) -> &str {
        &self.address
    }

    async fn put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        envelope: Bytes,
    ) -> Result<ValueRef, PutError> {
        let name = key::checked(request, key, envelope.len())?;
        let (size, digest) = (envelope.len() as u64, Digest::of(&envelope));
        let (epoch_digits, lease) = (digits(epoch), self.lease_ms.to_string());
        let args: [&[u8]; 4] = [
            name.as_bytes(),
            epoch_digits.as_bytes(),
            lease.as_bytes(),
            &envelope,
        ];
        let (script, keys) = (&self.put, self.keys(request));
        let answer = script.run(&self.line, &keys, &args, envelope.len()).await;
        let told = answer.and_then(told);
        let told = told.map_err(|fault| put_error(fault, key, size))?;
        let stale = |is_dropped| PutError::Stale {
            key: key.to_owned(),
            epoch,
            newer: told.newer(is_dropped),
        };
        match told.what.as_str() {
            "stale" => Err(stale(false)),
            "dropped" => Err(stale(true)),
            "exists" => Err(PutError::Exists {
                key: key.to_owned(),
            }),
            _ => Ok(ValueRef::Stored {
                store: Arc::clone(&self.address),
                // What came back empty has no such key; what came back with it has the value.
                boot: 0,
                key: key.into(),
                size,
                digest,
            }),
        }
    }

    async fn get(&self, request: RequestId, at: Stored<'_>) -> Result<Bytes, GetError> {
        let name = key::name_of(request, at.key).ok_or_else(|| at.lost())?;
        let [bucket, _] = self.keys(request);
        let mut command = redis::cmd("HGET");
        command.arg(bucket).arg(name);
        let size = usize::try_from(at.size).unwrap_or(usize::MAX);
        let asked = self.line.ask(&command, size).await;
        let (value, _) = asked.map_err(|fault| fault.failure(format!("getting {}", at.key)))?;
        match value {
            Value::BulkString(found) => at.checked(found.into()),
            _ => Err(at.lost()),
        }
    }

    async fn drop_bucket(&self, request: RequestId, epoch: u64) -> Result<Dropped, BucketError> {
        let told = self
            .of_bucket(&self.drop, request, epoch, self.lease_ms, "dropping")
            .await?;
        let number = |n: usize| {
            let value = told.rest.get(n);
            value.and_then(|value| u64::from_redis_value_ref(value).ok())
        };
        Ok(Dropped {
            keys: number(0).unwrap_or(0),
            bytes: number(1).unwrap_or(0),
        })
    }

    async fn lease(
        &self,
        request: RequestId,
        epoch: u64,
        lease: Duration,
    ) -> Result<bool, BucketError> {
        let doing = "setting the lease of";
        let told = self
            .of_bucket(&self.lease, request, epoch, lease_ms(lease), doing)
            .await?;
        Ok(told.what == "done")
    }
}

/// What a refusal of a put means.
fn put_error(fault: Fault, key: &str, size: u64) -> PutError {
    match fault {
        // An older Redis wraps what a command in a script was told.
        Fault::Said(Said { code, text })
            if code == "OOM" || text.contains("OOM command not allowed") =>
        {
            PutError::Full {
                key: key.to_owned(),
                size,
                reason: format!("redis: {text}; drop requests, or raise its maxmemory"),
            }
        }
        fault => fault
            .failure(format!("putting {size} bytes under {key}"))
            .into(),
    }
}

/// What a script says: what it did, the newest epoch that it met, and more.
fn told(answer: Value) -> Result<Told, Fault> {
    let unread = || Fault::Denied("redis answered what no script of ours does".to_owned());
    let Value::Array(values) = answer else {
        return Err(unread());
    };
    let mut values = values.into_iter();
    let mut text = || String::from_redis_value(values.next()?).ok();
    let (what, newest) = (text().ok_or_else(unread)?, text().ok_or_else(unread)?);
    // Nothing where nothing was heard of yet.
    let newest = match newest.as_str() {
        "" => 0,
        digits => digits.parse().map_err(|_| unread())?,
    };
    Ok(Told {
        what,
        newest,
        rest: values.collect(),
    })
}

fn digits(epoch: u64) -> String {
    format!("{epoch:020}")
}

impl Told {
    fn newer(&self, is_dropped: bool) -> Newer {
        Newer {
            epoch: self.newest,
            is_dropped,
        }
    }
}
