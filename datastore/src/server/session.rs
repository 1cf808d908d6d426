//! A client, as long as it is connected: who it is, and what it said of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::unix_ms;
use super::fault::Fault;
use super::guesses::{Guesses, Origin};
use super::secrets::{DEFAULT, Secrets, Who};
use crate::credential::StepCredential;
use crate::peers::{Backup, Peers};
use crate::store::{Store, Tenant};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) secrets: Secrets,
    pub(crate) guesses: Guesses,
    pub(crate) peers: Arc<Peers>,
    /// Whether values are copied of whose backup nothing is said.
    pub(crate) backup: Backup,
    /// Where other hosts reach this store.
    pub(crate) address: String,
    /// Drawn at the start: an owner that came back empty has another.
    pub(crate) boot: u64,
    pub(crate) started_ms: u64,
    /// The largest value, in bytes.
    pub(crate) value_bytes_max: usize,
    /// What connections may hold together of commands and replies, in bytes.
    pub(crate) buffers_bytes_max: u64,
    /// How long a client may owe something, or leave something.
    pub(crate) stalled: Duration,
    pub(crate) counts: Counts,
}

impl AsRef<Store> for Shared {
    fn as_ref(&self) -> &Store {
        &self.store
    }
}

impl Shared {
    /// Connections that are open.
    pub(crate) fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Whether connections hold more than they may.
    pub(crate) fn is_pressed(&self) -> bool {
        self.counts.buffered.load(Ordering::Relaxed) > self.buffers_bytes_max
    }
}

/// A connection's place among those that may be open, from before it says anything until it is gone.
#[derive(Debug)]
pub(crate) struct Place(Arc<Shared>);

impl Place {
    pub(crate) fn take(shared: &Arc<Shared>) -> Self {
        shared.counts.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counts.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What there was since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    /// What they hold of commands and replies, in bytes.
    pub(crate) buffered: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) wrong_passwords: AtomicU64,
}

/// Who speaks.
#[derive(Debug, Clone)]
pub(crate) enum Speaker {
    Nobody,
    Tenant(Arc<Tenant>),
    /// A function, for one step of a tenant's.
    Step(Arc<Tenant>, Arc<StepCredential>),
    Admin,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) speaker: Speaker,
    pub(crate) name: Vec<u8>,
    pub(crate) origin: Origin,
    /// Who it is where it does not say so.
    initial: Speaker,
}

impl Session {
    pub(crate) fn new(shared: &Shared, origin: Origin, now_ms: u64) -> Self {
        let initial = if origin.is_near() && shared.secrets.is_open() {
            Speaker::Tenant(shared.store.tenant(DEFAULT, now_ms))
        } else {
            Speaker::Nobody
        };
        Self {
            id: shared.counts.accepted.fetch_add(1, Ordering::Relaxed) + 1,
            speaker: initial.clone(),
            name: Vec::new(),
            origin,
            initial,
        }
    }

    /// Whose data it may touch.
    pub(crate) fn tenant(&self) -> Option<&Arc<Tenant>> {
        match &self.speaker {
            Speaker::Tenant(tenant) | Speaker::Step(tenant, _) => Some(tenant),
            Speaker::Nobody | Speaker::Admin => None,
        }
    }

    /// What it may do, where that is one step's.
    pub(crate) fn step(&self) -> Option<&StepCredential> {
        match &self.speaker {
            Speaker::Step(_, step) => Some(step),
            Speaker::Tenant(_) | Speaker::Nobody | Speaker::Admin => None,
        }
    }

    pub(crate) const fn is_somebody(&self) -> bool {
        !matches!(self.speaker, Speaker::Nobody)
    }

    /// Becomes who has this name and this password.
    pub(crate) fn authenticate(
        &mut self,
        shared: &Shared,
        name: &[u8],
        password: &[u8],
        now_ms: u64,
    ) -> Result<(), Fault> {
        self.speaker = match shared.secrets.who(name, password, unix_ms()) {
            Some(Who::Admin) => Speaker::Admin,
            Some(Who::Step(tenant, step)) => {
                Speaker::Step(shared.store.tenant(tenant.as_str(), now_ms), Arc::new(step))
            }
            Some(Who::Tenant(tenant)) => {
                Speaker::Tenant(shared.store.tenant(tenant.as_str(), now_ms))
            }
            None => {
                shared
                    .counts
                    .wrong_passwords
                    .fetch_add(1, Ordering::Relaxed);
                return Err(Fault::new(
                    "WRONGPASS invalid username-password pair or user is disabled.",
                ));
            }
        };
        Ok(())
    }

    /// As it was when it came.
    pub(crate) fn reset(&mut self) {
        self.speaker = self.initial.clone();
        self.name.clear();
    }
}
