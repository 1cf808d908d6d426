//! How a keeper works.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::{ReplicaId, TenantId};
use turlough_telemetry::Registry;

use crate::clock::Clock;

/// How a keeper works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its own id, drawn at random: where it hears answers, and what its lease says.
    pub replica: ReplicaId,
    /// Whose requests these are.
    pub tenant: TenantId,
    /// Where functions that have no replica are woken; without it hints wait in the queue.
    pub gateway_url: Option<String>,
    /// Where the index is kept.
    pub index: IndexPlace,
    /// What is kept of settled requests, where nothing expires by age: with state of one process.
    pub retention: Option<Retention>,
    /// Failed requests that are kept for a restart at once; the oldest are let go past it.
    pub keep_failed_max: usize,
    /// How long a heartbeat lasts.
    pub heartbeat: Duration,
    /// How long an append is kept.
    pub max_age: Duration,
    /// How long an append may be lost by a machine that loses its power.
    pub sync_interval: Duration,
    /// After this long without an append, the claimant is asked whether it drives the request.
    pub silent: Duration,
    /// How long others have to see for themselves what is due.
    pub grace: Duration,
    /// What is due is said again this often.
    pub repeat: Duration,
    /// Logs that are deleted in a second, where somebody asked for it: deleting slows down others.
    pub deletions_per_s: u32,
    /// Where its metrics are shown, which is for one keeper alone; without it they have a place of their own.
    pub registry: Option<Arc<Registry>>,
    /// Tells the time.
    pub clock: Clock,
}

/// Where an index is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexPlace {
    /// In this process: rebuilt at every start.
    Memory,
    /// The same, without a thread of its own: each question is answered where it is asked, so that
    /// simulated time does not run on meanwhile.
    Inline,
    /// In a file of this machine.
    File(PathBuf),
}

impl IndexPlace {
    /// How a setting says [`IndexPlace::Memory`].
    pub const MEMORY: &str = "memory:";
}

/// What is kept of settled requests; the oldest are forgotten past either bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many.
    pub ended_max: usize,
    /// Bytes of their logs.
    pub ended_bytes_max: u64,
    /// Logs that are deleted in a second: at least as many as requests come in, or they pile up.
    pub deletions_per_s: u32,
}

impl Options {
    /// What is kept where nobody says otherwise.
    #[must_use]
    pub fn new(replica: ReplicaId, tenant: TenantId) -> Self {
        Self {
            replica,
            tenant,
            gateway_url: None,
            index: IndexPlace::Memory,
            retention: None,
            keep_failed_max: 1_000,
            heartbeat: Duration::from_secs(10),
            max_age: Duration::from_secs(7 * 24 * 3600),
            sync_interval: Duration::from_millis(200),
            silent: Duration::from_secs(30),
            grace: Duration::from_secs(2),
            repeat: Duration::from_secs(30),
            deletions_per_s: 200,
            registry: None,
            clock: Clock::system(),
        }
    }
}

impl Retention {
    /// Both bounds, and a rate of deletions that no load is above.
    #[must_use]
    pub const fn new(ended_max: usize, ended_bytes_max: u64) -> Self {
        Self {
            ended_max,
            ended_bytes_max,
            deletions_per_s: 50_000,
        }
    }
}
