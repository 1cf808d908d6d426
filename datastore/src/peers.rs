//! Other stores: those that copies are given to, and those that values are read of which lie there.
//!
//! A store speaks to another as any client does, as the tenant whose value it is, with the tenant's own
//! password. Invariants: nobody but the stores that are known is ever spoken to, whatever a reference
//! says, since whoever is learns that password; copies of one tenant reach a peer in their order; what
//! waits for a peer is bounded; a value that was read is the one that its digest names.
//! Absent: any agreement between stores. Who has a copy stands in the reference.

mod line;
mod link;
mod list;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redis::aio::MultiplexedConnection;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use turlough_sdk::Digest;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::reference::Reference;
use crate::server::{Secrets, now_ms};
use crate::store::Key;
pub(crate) use line::Word;
use line::{Job, Line};
use link::{Links, Purpose};
pub(crate) use list::follow;
pub use list::{PeerList, PeerListError};

/// Stores that are asked for a copy of which a reference says nothing.
const ASKED_MAX: usize = 2;

/// What a copy's bucket is called at the peer, before the owner's boot.
const COPY_MARK: &str = "~";
/// What that takes of a key, in bytes: the mark, 16 digits, a slash.
pub(crate) const COPY_MARK_BYTES: usize = 18;

/// Whether another store is given a copy of what is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backup {
    /// None is.
    #[default]
    None,
    /// One is, behind the answer.
    Async,
    /// One is, before the answer.
    Sync,
}

impl Backup {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Async, Self::Sync];

    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Async => "async",
            Self::Sync => "sync",
        }
    }
}

type Lines = HashMap<(Arc<str>, Arc<str>), Line>;

/// All other stores, as one store sees them.
#[derive(Debug)]
pub(crate) struct Peers {
    /// Where this store is reached.
    address: String,
    boot: u64,
    runtime: Handle,
    links: Arc<Links>,
    known: RwLock<Vec<Arc<str>>>,
    /// By peer and tenant.
    lines: Mutex<Lines>,
    counts: Arc<Counts>,
}

/// Copies, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Words to peers that were not answered yet.
    pub(crate) pending: AtomicU64,
    pub(crate) copied: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Values that were read of another store.
    pub(crate) fetched: AtomicU64,
    /// Of these, of a backup.
    pub(crate) saved: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// Why a peer did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("no other store is known; name some in TURLOUGH_STORE_PEERS")]
    Alone,
    #[error("none of the {0} other stores answers")]
    AllDown(usize),
    #[error("store {peer} does not answer: {why}")]
    Away { peer: Arc<str>, why: String },
    #[error("store {peer} refused: {why}")]
    Refused { peer: Arc<str>, why: String },
    #[error("{0} copies wait for store {1}, the most that may")]
    Behind(usize, Arc<str>),
}

/// Why a value cannot be read by its reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotFetched {
    #[error("value {reference} is lost: {why}")]
    Lost { reference: String, why: String },
    /// Its store may come back.
    #[error("value {reference} cannot be had now: {why}; ask again")]
    Away { reference: String, why: String },
}

/// Why one store did not give it.
enum NotRead {
    Away(String),
    Gone(String),
}

impl Counts {
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Peers {
    pub(crate) fn new(
        address: String,
        boot: u64,
        runtime: Handle,
        secrets: Secrets,
        root: Option<Vec<u8>>,
    ) -> Self {
        Self {
            address,
            boot,
            runtime,
            links: Arc::new(Links::new(secrets, root)),
            known: RwLock::default(),
            lines: Mutex::default(),
            counts: Arc::default(),
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Who there is, without this store.
    pub(crate) fn set(&self, all: Vec<Arc<str>>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    pub(crate) fn known(&self) -> usize {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// A store that is known.
    pub(crate) fn known_as(&self, store: &str) -> Option<Arc<str>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|peer| ***peer == *store).cloned()
    }

    fn knows(&self, store: &str) -> bool {
        self.known_as(store).is_some()
    }

    /// The peer for copies of a tenant's bucket: always the same one while all of them answer.
    pub(crate) fn choose(
        &self,
        tenant: &str,
        bucket: &[u8],
        now_ms: u64,
    ) -> Result<Arc<str>, PeerError> {
        let ranked = self.ranked(bucket);
        if ranked.is_empty() {
            return Err(PeerError::Alone);
        }
        let is_up = |peer: &&Arc<str>| !self.links.is_down(peer, tenant, now_ms);
        let best = ranked.iter().find(is_up).cloned();
        best.ok_or(PeerError::AllDown(ranked.len()))
    }

    /// The peers, those first that a bucket's copies go to first.
    fn ranked(&self, bucket: &[u8]) -> Vec<Arc<str>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut ranked = known.clone();
        let weight = |peer: &Arc<str>| xxh3_64_with_seed(peer.as_bytes(), xxh3_64(bucket));
        ranked.sort_by_cached_key(|peer| Reverse(weight(peer)));
        ranked
    }

    /// What the bucket of copies is called at a peer.
    pub(crate) fn copy_bucket(&self, bucket: &[u8]) -> Vec<u8> {
        copy_bucket(self.boot, bucket)
    }

    /// Says something to a peer; whether it was done is told by what is given back.
    pub(crate) fn say(
        &self,
        peer: &Arc<str>,
        tenant: &Arc<str>,
        word: Word,
    ) -> Result<oneshot::Receiver<Result<(), PeerError>>, PeerError> {
        let (done, told) = oneshot::channel();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines
            .entry((Arc::clone(peer), Arc::clone(tenant)))
            .or_insert_with(|| {
                let (links, counts) = (Arc::clone(&self.links), Arc::clone(&self.counts));
                Line::open(&self.runtime, links, counts, peer, tenant)
            });
        line.say(Job { word, done })?;
        Ok(told)
    }

    /// Has a peer do something at once, beside the copies that it is given.
    pub(crate) fn ask(
        &self,
        peer: &Arc<str>,
        tenant: &Arc<str>,
        word: Word,
    ) -> oneshot::Receiver<Result<(), PeerError>> {
        let (done, told) = oneshot::channel();
        let links = Arc::clone(&self.links);
        let link = (Arc::clone(peer), Arc::clone(tenant), Purpose::Small);
        self.runtime.spawn(async move {
            let asked = links.ask(&link, async |wire| line::say(wire, &word).await);
            // Who asked may be gone.
            drop(done.send(asked.await));
        });
        told
    }

    /// Says something that need not be heard: a lease does it otherwise.
    pub(crate) fn tell(&self, peer: &Arc<str>, tenant: &Arc<str>, word: Word) {
        // It is counted where it fails.
        drop(self.say(peer, tenant, word));
    }

    /// Whether a reference is of this store, in this life of it.
    fn is_ours(&self, reference: &Reference) -> bool {
        reference.store == self.address && reference.boot == self.boot
    }

    /// The key under which a value lies here, if it does: as its owner, or as who has its copy.
    pub(crate) fn key_here(&self, reference: &Reference) -> Option<Vec<u8>> {
        match self.is_ours(reference) {
            true => Some(reference.key.clone()),
            false => copy_key(reference),
        }
    }

    /// Reads a value of its owner, or of the store that has its copy. An owner that is away is waited for a
    /// little, by who asks.
    pub(crate) async fn fetch(
        &self,
        tenant: &Arc<str>,
        reference: &Reference,
    ) -> Result<Vec<u8>, NotFetched> {
        let mut may_come_back = false;
        let mut why = if reference.store == self.address {
            "its store came back without it".to_owned()
        } else if !self.knows(&reference.store) {
            let store = &reference.store;
            format!("store {store} is none of those that TURLOUGH_STORE_PEERS names")
        } else {
            let owner = Arc::from(&*reference.store);
            match self.read(&owner, tenant, &reference.key, reference).await {
                Ok(bytes) => {
                    self.counts.fetched.fetch_add(1, Ordering::Relaxed);
                    return Ok(bytes);
                }
                Err(NotRead::Gone(why)) => why,
                Err(NotRead::Away(why)) => {
                    may_come_back = !self.links.is_away_for_long(&owner, tenant, now_ms());
                    why
                }
            }
        };
        for (store, key) in self.copies(reference) {
            match self.read(&store, tenant, &key, reference).await {
                Ok(bytes) => {
                    self.counts.fetched.fetch_add(1, Ordering::Relaxed);
                    self.counts.saved.fetch_add(1, Ordering::Relaxed);
                    return Ok(bytes);
                }
                Err(NotRead::Gone(also) | NotRead::Away(also)) => why = format!("{why}; {also}"),
            }
        }
        let reference = reference.to_string();
        if may_come_back {
            return Err(NotFetched::Away { reference, why });
        }
        self.counts.lost.fetch_add(1, Ordering::Relaxed);
        Err(NotFetched::Lost { reference, why })
    }

    /// Who may have a copy, and under which key: whom the reference names, or, where it names nobody, those
    /// whom its owner would have chosen.
    fn copies(&self, reference: &Reference) -> Vec<(Arc<str>, Vec<u8>)> {
        let Some(key) = copy_key(reference) else {
            return Vec::new();
        };
        let stores = match &reference.backup {
            Some(backup) if self.knows(backup) => vec![Arc::from(&**backup)],
            Some(_) => Vec::new(),
            None => {
                let bucket = Key::parse(&reference.key).map(|key| key.bucket);
                let mut ranked = self.ranked(bucket.unwrap_or_default());
                ranked.retain(|peer| **peer != *reference.store);
                ranked.truncate(ASKED_MAX);
                ranked
            }
        };
        let with_key = |store| (store, key.clone());
        stores.into_iter().map(with_key).collect()
    }

    /// How many bytes lie under a key at a peer; 0 where nothing does.
    async fn size(&self, peer: &Arc<str>, tenant: &Arc<str>, key: &[u8]) -> Result<u64, PeerError> {
        let link = (Arc::clone(peer), Arc::clone(tenant), Purpose::Small);
        let ask = async |mut wire: MultiplexedConnection| {
            let mut command = redis::cmd("STRLEN");
            command.arg(key).query_async::<u64>(&mut wire).await
        };
        self.links.ask(&link, ask).await
    }

    async fn read(
        &self,
        peer: &Arc<str>,
        tenant: &Arc<str>,
        key: &[u8],
        reference: &Reference,
    ) -> Result<Vec<u8>, NotRead> {
        let purpose = Purpose::of_read(reference.size);
        if purpose == Purpose::Large {
            // What is large may take long, and who does not even answer this is not waited for.
            let size = self.size(peer, tenant, key).await?;
            if size != reference.size {
                let why = format!("store {peer} holds {size} bytes under its key");
                return Err(NotRead::Gone(why));
            }
        }
        let link = (Arc::clone(peer), Arc::clone(tenant), purpose);
        let ask = async |mut wire: MultiplexedConnection| {
            // One byte more, if there is one: a reference may say less than there is.
            let mut get = redis::cmd("GETRANGE");
            get.arg(key).arg(0).arg(reference.size);
            get.query_async::<Vec<u8>>(&mut wire).await
        };
        let bytes = self.links.ask(&link, ask).await?;
        if bytes.is_empty() && reference.size > 0 {
            return Err(NotRead::Gone(format!("store {peer} does not hold it")));
        }
        if bytes.len() as u64 != reference.size || Digest::of(&bytes) != reference.digest {
            let why = format!("store {peer} holds another value under its key");
            return Err(NotRead::Gone(why));
        }
        Ok(bytes)
    }
}

impl From<PeerError> for NotRead {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Away { .. } => Self::Away(error.to_string()),
            error => Self::Gone(error.to_string()),
        }
    }
}

fn copy_bucket(boot: u64, bucket: &[u8]) -> Vec<u8> {
    [format!("{COPY_MARK}{boot:016x}/").as_bytes(), bucket].concat()
}

/// Where a copy lies at the peer; none for a key without a bucket.
fn copy_key(reference: &Reference) -> Option<Vec<u8>> {
    let key = Key::parse(&reference.key).ok()?;
    key.has_bucket().then(|| {
        let bucket = copy_bucket(reference.boot, key.bucket);
        Key {
            bucket: &bucket,
            name: key.name,
        }
        .whole()
    })
}
