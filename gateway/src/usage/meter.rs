//! What runs of all functions, and looks at it.
//!
//! One look reads the table of processes once for all functions. Between looks a process that ends tells
//! by itself what it took.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

use super::account::Account;
use super::cost::Cost;
use super::ended::Ended;
use super::family::Table;
use super::process::Process;

/// Between two looks. One takes a few milliseconds, by the number of processes on the machine.
const LOOK: Duration = Duration::from_secs(5);

/// Whoever asks sooner than this after a look has what that found.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Meter {
    running: Mutex<HashMap<i32, Arc<Leader>>>,
    /// Of the last look; held while there is one.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

/// A process that was started here, with whatever belongs to it.
#[derive(Debug)]
struct Leader {
    account: Arc<Account>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    cpu: Duration,
    resident_bytes: u64,
    has_ended: bool,
}

/// A process that is looked at until it has ended. Dropped before, what was seen of it last counts.
#[derive(Debug)]
pub(crate) struct Metered {
    meter: Arc<Meter>,
    pid: i32,
    leader: Arc<Leader>,
    /// What this process held when it forked that one, which the kernel takes for its own.
    forked_bytes: u64,
}

impl Meter {
    /// Looks at a process from now on, for its function.
    pub(crate) fn begin(
        self: &Arc<Self>,
        account: &Arc<Account>,
        pid: u32,
        forked_bytes: u64,
    ) -> Option<Metered> {
        let pid = i32::try_from(pid).ok()?;
        let leader = Arc::new(Leader {
            account: Arc::clone(account),
            seen: Mutex::default(),
        });
        account.begins();
        self.running().insert(pid, Arc::clone(&leader));
        Some(Metered {
            meter: Arc::clone(self),
            pid,
            leader,
            forked_bytes,
        })
    }

    /// Looks again and again.
    pub(crate) async fn watch(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    /// Brings every account up to date, as far as it is not.
    pub(crate) async fn look(self: &Arc<Self>) {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < ASKED_AGAIN) || self.running().is_empty() {
            return;
        }
        let meter = Arc::clone(self);
        let look = move || meter.read();
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            error!(%error, "cannot look at functions' processes");
        }
        *looked = Some(Instant::now());
    }

    fn read(&self) {
        // Before the table: those that begin meanwhile are in the next one.
        let running = self.running().clone();
        let mut families = Table::read().families(|pid| running.contains_key(&pid));
        for (pid, leader) in &running {
            if let Some(family) = families.remove(pid) {
                leader.sees(&family);
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<i32, Arc<Leader>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leader {
    fn sees(&self, family: &[Process]) {
        let cpu = family.iter().map(Process::cpu).sum();
        let resident_bytes = family.iter().map(Process::resident_bytes).sum();
        if let Some(peak) = family.iter().filter_map(Process::peak_bytes).max() {
            self.account.peak(peak);
        }
        let mut seen = self.seen();
        if !seen.has_ended {
            self.took(&mut seen, cpu);
            self.account.resident(seen.resident_bytes, resident_bytes);
            seen.resident_bytes = resident_bytes;
        }
    }

    /// What it took in all; less than before where something of it went unseen.
    fn took(&self, seen: &mut Seen, cpu: Duration) {
        self.account.add_cpu(cpu.saturating_sub(seen.cpu));
        seen.cpu = seen.cpu.max(cpu);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metered {
    /// Before what is left of it is killed: what that took, which nobody will tell.
    pub(crate) async fn last_look(&self) -> LastLook {
        let pid = self.pid;
        let look = move || Table::read().families(|found| found == pid).remove(&pid);
        let family = tokio::task::spawn_blocking(look).await;
        let family = family.ok().flatten().unwrap_or_default();
        if let Some(peak) = family.iter().filter_map(Process::peak_bytes).max() {
            self.leader.account.peak(peak);
        }
        LastLook {
            cpu: family.iter().map(Process::cpu).sum(),
            has_leader: family.iter().any(|process| process.pid == pid),
        }
    }

    /// It has ended, and took so much; what it cost, where that is known.
    pub(crate) fn ended(self, taken: Option<Ended>, rest: LastLook) -> Option<Cost> {
        let taken = taken.map(|taken| Cost {
            cpu: taken.cpu,
            peak_bytes: self.peak_of(taken),
        });
        let cpu = match taken {
            // What it did not wait for before it ended is not in its own time.
            Some(cost) if !rest.has_leader => cost.cpu + rest.cpu,
            Some(cost) => cost.cpu.max(rest.cpu),
            None => rest.cpu,
        };
        let mut seen = self.leader.seen();
        self.leader.took(&mut seen, cpu);
        drop(seen);
        if let Some(peak) = taken.and_then(|cost| cost.peak_bytes) {
            self.leader.account.peak(peak);
        }
        taken
    }

    /// `None` where it may be what it was forked from that was so large.
    fn peak_of(&self, taken: Ended) -> Option<u64> {
        Some(taken.peak_bytes).filter(|bytes| *bytes > self.forked_bytes)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let mut running = self.meter.running();
        // A later process may have its number by now.
        if running
            .get(&self.pid)
            .is_some_and(|held| Arc::ptr_eq(held, &self.leader))
        {
            running.remove(&self.pid);
        }
        drop(running);
        let mut seen = self.leader.seen();
        seen.has_ended = true;
        self.leader.account.resident(seen.resident_bytes, 0);
        seen.resident_bytes = 0;
    }
}

/// What was left of a family at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastLook {
    cpu: Duration,
    has_leader: bool,
}
