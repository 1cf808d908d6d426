//! State in Redis, for any number of processes.
//!
//! All keys of a tenant begin with `tl:{<tenant>}:`; the braces keep them on one node, which scripts
//! over several of them need:
//!
//! ```text
//! feed             stream: every append, with its request, its time and its bytes, as <seq>-0
//! log:<request>    list: the sequences of a request's appends; gone some time after the last expired
//! meta             hash: the last sequence, up to where the feed has expired, bytes held, items queued
//! queue:<name>:…   ready, items, tries, hidden: see `queue`
//! flows            hash
//! replicas:…       values, deadlines
//! ```
//! The bytes stand once, in the feed, and what is expired is taken from there alone; a list of
//! sequences takes a hundredth of the memory that a stream for each request would. What is changed is
//! changed by one script each, which Redis does whole or not at all.

mod bus;
mod failure;
mod hearing;
mod line;
mod log;
mod queue;
mod requirements;
mod table;

use std::sync::Arc;

use turlough_sdk::{RequestId, TenantId};

use self::bus::RedisBus;
use self::hearing::Hearing;
use self::line::Line;
use self::log::RedisLog;
use self::queue::RedisQueue;
use self::table::{Beats, Definitions};
use crate::bus::Channel;
use crate::error::StateError;
use crate::state::{Options, State};

impl State {
    /// State in a Redis.
    ///
    /// # Errors
    /// A server that is away, too old, or set so that it takes away what is needed.
    pub(crate) async fn in_redis(url: &str, options: &Options) -> Result<Self, StateError> {
        let keys = Keys::of(&options.tenant);
        let hearing = Arc::new(Hearing::new(keys.more()));
        let line = Arc::new(Line::open(url, Arc::clone(&hearing)).await?);
        Ok(Self {
            log: Arc::new(RedisLog::new(Arc::clone(&line), keys.clone(), options)),
            queue: Arc::new(RedisQueue::new(
                Arc::clone(&line),
                keys.clone(),
                Arc::clone(&hearing),
                options,
            )),
            bus: Arc::new(RedisBus::new(Arc::clone(&line), keys.clone(), hearing)),
            flows: Arc::new(Definitions::new(Arc::clone(&line), keys.of_all("flows"))),
            replicas: Arc::new(Beats::new(Arc::clone(&line), &keys, options.heartbeat)),
            is_shared: true,
            link: line.link(),
        })
    }
}

/// The names of a tenant's keys.
#[derive(Debug, Clone)]
struct Keys(Arc<str>);

impl Keys {
    fn of(tenant: &TenantId) -> Self {
        Self(format!("tl:{{{tenant}}}:").into())
    }

    fn of_all(&self, what: &str) -> String {
        format!("{}{what}", self.0)
    }

    fn feed(&self) -> String {
        self.of_all("feed")
    }

    fn meta(&self) -> String {
        self.of_all("meta")
    }

    fn log(&self, request: RequestId) -> String {
        format!("{}log:{request}", self.0)
    }

    fn queue(&self, queue: &str, part: &str) -> String {
        format!("{}queue:{queue}:{part}", self.0)
    }

    fn replicas(&self, part: &str) -> String {
        format!("{}replicas:{part}", self.0)
    }

    /// The channel on which a queue's name is said when it has more.
    fn more(&self) -> String {
        self.of_all("more")
    }

    fn channel(&self, channel: Channel) -> String {
        match channel {
            Channel::Replica(id) => format!("{}words:replica:{id}", self.0),
            Channel::Done(id) => format!("{}words:done:{id}", self.0),
        }
    }
}
